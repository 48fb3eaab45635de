"""Several seeds in one run: names of their files; mean, spread and interval over them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tfcompress.comparison import Comparison
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


def seed_file(run: Run, seed: int, name: str, suffix: str = ".keras") -> Path:
    """Path of a seed's model: `name-seedN.keras`."""
    return run.path(f"{name}-seed{seed}{suffix}")


def seeds_table(
    seeds: Sequence[int],
    comparisons: Sequence[Comparison],
    differences: Sequence[tuple[int, int]],
    metric: str = "mean_iou",
    title: str = "Mean IoU",
) -> Table:
    """Mean, spread and 95 % interval of a metric over seeds, and of differences between rows.

    Args:
        seeds: Seeds, at least two.
        comparisons: Comparison of each seed, all with the same rows.
        differences: Pairs (row, row to subtract), by index.
        metric: Key of the metric in a row's quality.
        title: Name of the metric.
    """
    table = Table(("", *(f"seed {seed}" for seed in seeds), "mean", "spread", "95 % interval"))
    table.title = f"{title} on the test images over {len(seeds)} seeds"
    values = np.array([[row.quality[metric] for row in c.rows] for c in comparisons])
    names = [row.name for row in comparisons[0].rows]
    lines = [(name, values[:, i], "") for i, name in enumerate(names)]
    lines += [
        (f"{names[i]} - {names[j]}", values[:, i] - values[:, j], "+") for i, j in differences
    ]
    for name, line, signed in lines:
        low, high = mean_interval(line)
        table.add(
            name,
            *(f"{value:{signed}.4f}" for value in line),
            f"{line.mean():{signed}.4f}",
            f"{line.std(ddof=1):.4f}",
            f"{low:{signed}.4f} to {high:{signed}.4f}",
        )
    table.note("spread: standard deviation over seeds; interval: Student's t of the mean")
    return table


def mean_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean."""
    from scipy import stats

    half = stats.sem(values) * stats.t.ppf((1 + confidence) / 2, len(values) - 1)
    return float(values.mean() - half), float(values.mean() + half)

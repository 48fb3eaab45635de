"""What a program reports, and the parts of a page that programs of every subject share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from tfcompress.reporting.page import Finding, Section
from tfcompress.reporting.plots import plot_history, save_figure
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

if TYPE_CHECKING:  # it loads TensorFlow, which the programs in PyTorch do without
    from tfcompress.comparison import Comparison

History = list[dict[str, float]]
"""One row per epoch, "epoch" counted from 1."""


@dataclass(frozen=True)
class Report:
    """What a program reports; the driver prints it and writes it down.

    Attributes:
        title: Heading of the page.
        headline: Sentence below it; without a run, the last line printed.
        tables: Tables and texts for the terminal, in order.
        sections: Parts of the page.
        metrics: Numbers for `metrics.json` (without a run, for the file of `--json`).
        exit_code: Exit code of the process.
        seeds: Seeds of the trainings, for the record; None: the configuration's `seed`, or all of
            its `seeds`.
        clean_up: Function that removes what only a resumed run needs; called once the run is
            finished.
    """

    title: str = ""
    headline: str = ""
    tables: Sequence[Table | str] = ()
    sections: Sequence[Section] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    exit_code: int = 0
    seeds: Sequence[int] | None = None
    clean_up: Callable[[], None] | None = None


def quality_by_name(comparison: Comparison, metric: str = "mean_iou") -> dict[str, float]:
    """A metric of every row of a comparison, by the row's name."""
    return {row.name: row.quality[metric] for row in comparison.rows}


def comparison_findings(comparison: Comparison, title: str) -> tuple[Finding, ...]:
    """The best row of a comparison, and the smallest file that is as good as the first.

    Args:
        comparison: Comparison with quality.
        title: Name of the objective.
    """
    best, smallest = comparison.best, comparison.smallest_as_good
    if best is None or smallest is None:
        return ()
    metric = next(iter(best.quality))
    found = [Finding(f"Best {title}", f"{best.quality[metric]:.4f}", best.name)]
    first = comparison.rows[0]
    if smallest is not first:
        times = first.gzip_bytes / smallest.gzip_bytes
        label = f"Smallest file, {title} not significantly below {first.name}"
        found.append(Finding(label, f"{times:.1f} times smaller", smallest.name))
    return tuple(found)


def picture(run: Run, name: str, figure: Figure, caption: str) -> tuple[str, Path]:
    """Save a figure as `plots/<name>.png`; caption and file, as a section takes them."""
    return caption, save_figure(figure, run.path("plots", f"{name}.png"))


def write_histories(run: Run, histories: Mapping[str, History]) -> None:
    """Write `history.csv`: the rows of every model, with its name in the column "model"."""
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])


def history_section(
    run: Run,
    histories: Mapping[str, History],
    marks: Mapping[str, float] | None = None,
    metrics: Mapping[str, str] = {"mean_iou": "mean IoU", "loss": "loss"},
) -> Section:
    """Metrics against the epoch, as a section of the page.

    Args:
        run: Run that the pictures are saved in.
        histories: Rows of each model, by name.
        marks: Vertical lines: label to epoch.
        metrics: Title of each metric, by its key in the rows.
    """
    pictures = []
    for metric, title in metrics.items():
        figure = plot_history(histories, metric, title, marks or {})
        caption = f"{title} against epoch, training and validation"
        pictures.append(picture(run, metric, figure, caption))
    return Section("Training", pictures=tuple(pictures))

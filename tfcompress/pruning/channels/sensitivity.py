"""Sensitivity of a model to pruning each channel group: quality against its sparsity.

Reference: Li, Kadav, Durdanovic, Samet, Graf: "Pruning Filters for Efficient ConvNets", ICLR 2017,
section 3.2 and figure 2b.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfcompress.data.batches import batches
from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph.wiring import pack_inputs
from tfcompress.pruning.channels.core.budget import Candidate
from tfcompress.pruning.channels.core.scores import WEIGHT_SCORES
from tfcompress.pruning.channels.evidence import weight_scores
from tfcompress.pruning.channels.surgery import zeroed
from tfcompress.pruning.channels.trace.groups import find_groups
from tfcompress.reporting.plots import plot_sensitivity
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

Metric = Callable[[np.ndarray, np.ndarray], float]


@short_repr
@dataclass(frozen=True)
class Sensitivity:
    """Quality of a model with one group pruned at a time, without training.

    Attributes:
        baseline: Quality of the unpruned model.
        levels: Sparsities that were tried.
        groups: Quality at each level, by group name.
        makers: Paths of the layers that make the channels, by group name.
    """

    baseline: float
    levels: tuple[float, ...]
    groups: dict[str, tuple[float, ...]]
    makers: dict[str, tuple[str, ...]]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data for JSON."""
        return asdict(self)

    def config_list(self, tolerance: float) -> list[dict[str, Any]]:
        """Entries for `ChannelConfig(config_list=...)` with the highest tolerable sparsities.

        Groups that tolerate no level are excluded.

        Args:
            tolerance: Largest permitted loss of quality against the baseline, for each group alone.

        Raises:
            ConfigError: No group tolerates even the lowest level.
        """
        tolerated = {
            name: max(
                (
                    level
                    for level, value in zip(self.levels, values, strict=True)
                    if value >= self.baseline - tolerance
                ),
                default=0.0,
            )
            for name, values in self.groups.items()
        }
        if not any(tolerated.values()):
            raise ConfigError(
                "tolerance",
                f"every group loses more than {tolerance} at a sparsity of {self.levels[0]}",
                "allow more, or try lower levels",
            )
        # A layer that makes several groups must not apply the sparsity of one to another.
        makers = [path for paths in self.makers.values() for path in paths]
        entries: list[dict[str, Any]] = []
        for name, level in tolerated.items():
            own = [path for path in self.makers[name] if makers.count(path) == 1]
            if own and level:
                entries.append({"sparsity": level, "op_names": own})
            elif own:
                entries.append({"exclude": True, "op_names": own})
        # The last match wins: a short name must not override a longer path that contains it.
        entries.sort(key=lambda entry: max(path.count("/") for path in entry["op_names"]))
        return entries

    def table(self) -> Table:
        """A table with one row per group, the most sensitive first."""
        table = Table(
            ("group", *(f"{level:.0%} removed" for level in self.levels)),
            title=f"Quality with one group pruned, without training (whole: {self.baseline:.4f})",
        )
        for name, values in sorted(self.groups.items(), key=lambda item: item[1][-1]):
            table.add(name, *(f"{value:.4f}" for value in values))
        return table

    def figure(self, quality: str = "quality") -> Any:
        """The curves as a matplotlib figure.

        Args:
            quality: Name of the metric, for the axis.
        """
        start = [(0.0, self.baseline)]
        curves = {
            name: start + list(zip(self.levels, values, strict=True))
            for name, values in self.groups.items()
        }
        return plot_sensitivity(curves, quality)

    def __str__(self) -> str:
        return str(self.table())


def accuracy(targets: np.ndarray, outputs: np.ndarray) -> float:
    """Share of positions whose largest output is at the target class (integer or one-hot)."""
    if targets.shape == outputs.shape:
        targets = targets.argmax(axis=-1)
    return float((outputs.argmax(axis=-1) == targets.reshape(outputs.shape[:-1])).mean())


def sensitivity(
    model: Any,
    data: Any,
    metric: Metric = accuracy,
    levels: Sequence[float] = (0.25, 0.5, 0.75),
    score: str = "l2",
    at_most: int = 256,
    progress: Callable[[int, int], None] | None = None,
) -> Sensitivity:
    """Measure quality against the sparsity of each group that may lose channels.

    Args:
        model: Functional or Sequential model; its weights are changed temporarily and restored.
        data: Validation set: (inputs, targets), or an iterable of such batches.
        metric: Function of (targets, outputs) that returns a quality; higher is better.
        levels: Shares of each group's channels to remove, each in (0, 1).
        score: Weight score that chooses the channels: "l1", "l2" or "fpgm".
        at_most: Largest number of samples to use.
        progress: Function called with the number of finished evaluations and of all.

    Raises:
        ConfigError: An unknown score, a level outside (0, 1), or data without targets.
    """
    if score not in WEIGHT_SCORES:
        raise ConfigError("score", f"unknown value {score!r}", f"use {', '.join(WEIGHT_SCORES)}")
    if not levels or not all(0 < level < 1 for level in levels):
        raise ConfigError("levels", f"they are {tuple(levels)}", "use shares in (0, 1)")
    if len(model.outputs) != 1:
        raise LayerError(
            f"model {model.name!r}",
            f"it has {len(model.outputs)} outputs, and one metric judges one output",
            "wrap it: keras.Model(model.inputs, model.outputs[0])",
        )
    graph = find_groups(model)
    wiring = graph.flow.wiring
    parts = list(batches(data, wiring.input_names, wiring.input_shapes, at_most=at_most))
    if any(targets is None for _, targets in parts):
        raise ConfigError("data", "it has no targets", "give (inputs, targets)")
    targets = np.concatenate([target for _, target in parts])

    def quality() -> float:
        outputs = [np.asarray(model.predict_on_batch(pack_inputs(model, x))) for x, _ in parts]
        return float(metric(targets, np.concatenate(outputs)))

    scores = weight_scores(graph, score, "mean")
    free = [group for group in graph.groups if not group.frozen and group.name in scores]
    baseline = quality()
    found: dict[str, tuple[float, ...]] = {}
    for i, group in enumerate(free):
        candidate = Candidate(group.name, scores[group.name], np.asarray(group.locked))
        values = []
        for j, level in enumerate(sorted(levels)):
            count = candidate.count(len(group.units) * (1 - level))
            with zeroed(graph, graph.keep({group.name: candidate.kept(count)})):
                values.append(quality())
            if progress is not None:
                progress(i * len(levels) + j + 1, len(free) * len(levels))
        found[group.name] = tuple(values)
    makers = {group.name: group.makers for group in free}
    return Sensitivity(baseline, tuple(sorted(levels)), found, makers)

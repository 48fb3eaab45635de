"""A recipe for smaller and smaller shares of the MACs: how far it can go, as a curve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from experiments.common.recipe_config import PRUNE, STEPS_FOLDER, RecipeConfig, at_share
from experiments.common.report import picture
from tfcompress.comparison import Comparison, ModelRow, compare
from tfcompress.litert.model import LiteModel
from tfcompress.pipeline.outcome import CompressResult
from tfcompress.pipeline.steps import STEPS
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_limit
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


def check_reach(config: RecipeConfig, build: Callable[[], Any]) -> None:
    """Refuse shares that a model cannot be cut to, before anything is trained."""
    if config.further:
        model = build()
        for share in config.further:
            step = next(s for s in at_share(config.steps(), share).steps if s.kind == PRUNE)
            STEPS[PRUNE].check(step.options, model, None)


@dataclass(frozen=True)
class Curve:
    """Quality at each share of the MACs.

    Attributes:
        comparison: Comparison of the start and the last model of each recipe.
        allowed: Loss of quality that the budget allows.
        split: Name of the split that they are compared on.
    """

    comparison: Comparison
    allowed: float
    split: str

    @property
    def held(self) -> tuple[ModelRow, ...]:
        """The start and those that lost no more than allowed."""
        first, *others = self.comparison.rows
        return (first, *(row for row in others if self.lost(row) <= self.allowed))

    def lost(self, row: ModelRow) -> float:
        """Quality of the start minus that of a row."""
        first = self.comparison.rows[0]
        return _quality(first) - _quality(row)

    def table(self) -> Table:
        """The comparison, and how far it goes."""
        table = self.comparison.table()
        table.title = "How far it can go: the last model of each recipe"
        cheapest = min(self.held, key=lambda row: row.macs)
        table.note(
            f"cheapest that loses at most {self.allowed:g} on the {self.split} samples: "
            f"{cheapest.name}"
        )
        return table

    def section(self, run: Run, quality: str) -> Section:
        """The curve against MACs, latency and file size, as a section of the page."""
        first = self.comparison.rows[0]
        costs: dict[str, Callable[[ModelRow], float]] = {
            "MACs": lambda row: float(row.macs),
            "latency": lambda row: row.latency.median_ms,
            "file size": lambda row: float(row.size_bytes),
        }
        pictures = []
        for name, cost in costs.items():
            points = [
                (row.name, cost(row) / cost(first), _quality(row)) for row in self.comparison.rows
            ]
            floor = _quality(first) - self.allowed
            figure = plot_limit(points, floor, f"{name}, share of the start", quality)
            file = f"further_{name.replace(' ', '_').lower()}"
            caption = f"{quality} against {name}; dotted: the least that the budget allows"
            pictures.append(picture(run, file, figure, caption))
        return Section("How far it can go", tables=(self.table(),), pictures=tuple(pictures))


def go_further(
    config: Any,
    first: CompressResult,
    run_recipe: Callable[..., CompressResult],
    run: Run,
    data: Any,
    quality: str,
) -> tuple[list[Section], dict[str, Any]]:
    """Run the recipe at each of `further`, and compare the last model of each with the start.

    Args:
        config: A `RecipeConfig`, with the threads of the program.
        first: Result of the recipe as it is.
        run_recipe: Function `(recipe=, folder=) -> CompressResult`.
        run: Run that the steps' folders go into.
        data: Samples; the curve uses the split of `first`.
        quality: Name of the objective.

    Returns:
        Sections of the page and entries of the metrics; none where `further` is empty.
    """
    if not config.further:
        return [], {}
    results = []
    for share in sorted(config.further, reverse=True):
        run.print(f"further: {share:.1%} of the MACs")
        folder = run.path(f"{STEPS_FOLDER}-{share:g}")
        results.append(run_recipe(recipe=at_share(config.steps(), share), folder=folder))
    start = first.outcomes[0]
    names, folders = [start.name], [first.folder / start.folder]
    for result in (first, *results):
        last = result.kept[-1]
        names.append(f"{last.share('macs', start):.3f} of the MACs")
        folders.append(result.folder / last.folder)
    lites = [LiteModel.load(folder / "model.tflite") for folder in folders]
    samples = getattr(data, first.split)
    comparison = compare(*lites, data=samples, names=names, threads=config.threads)
    curve = Curve(comparison, config.steps().budget.quality_drop, first.split)
    return [curve.section(run, quality)], {"further": comparison.to_dict()}


def _quality(row: ModelRow) -> float:
    return next(iter(row.quality.values()))

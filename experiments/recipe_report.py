"""What the experiments that run a recipe share: their fields, pictures, and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from experiments.run_report import end_run
from tfcompress.errors import ConfigError
from tfcompress.pipeline.outcome import COSTS, CompressResult, front
from tfcompress.pipeline.recipe import Budget, Recipe, read_recipe
from tfcompress.pipeline.steps import STEPS
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import Dot, plot_front, plot_history, save_figure
from tfcompress.reporting.run import Run, environment

STEPS_FOLDER = "steps"
"""Folder of the recipe below the run's."""
PRUNE = "channel_prune"
RECIPE_FILES = "experiments/recipes"


@dataclass(frozen=True, kw_only=True)
class RecipeConfig:
    """Fields of the experiments that run a recipe, beside those of their data."""

    recipe: str = ""
    """YAML file of the steps and the budget."""
    threads: int = 1
    """LiteRT threads for latency."""
    model: str = ""
    """A trained .keras model of the same classes and input; empty: one is trained."""
    further: tuple[float, ...] = ()
    """Shares of the MACs to run the recipe's channel_prune with as well, from the same model:
    how far it can go, drawn as a curve."""
    smoke_steps: bool = False
    """As little training in each step as it allows, and nothing is rolled back."""

    def check_recipe(self) -> None:
        """Check the recipe before anything is trained."""
        self.steps()
        for share in self.further:
            at_share(self.steps(), share)
        if self.model and not Path(self.model).is_file():
            raise ConfigError("model", f"there is no {self.model}", "give a .keras file")

    def steps(self) -> Recipe:
        """The recipe."""
        recipe = read_recipe(self.recipe, STEPS)
        return without_training(recipe) if self.smoke_steps else recipe


def without_training(recipe: Recipe) -> Recipe:
    """The same steps with as little training as they allow, and nothing rolled back."""
    steps = []
    for step in recipe.steps:
        loose = replace(step.budget, quality_drop=1.0)
        steps.append(replace(step, options=_shortest(step.options), budget=loose))
    return Recipe(tuple(steps), replace(recipe.budget, quality_drop=1.0))


def at_share(recipe: Recipe, share: float) -> Recipe:
    """The recipe with another share of the MACs in its `channel_prune`, and no budget.

    Raises:
        ConfigError: A share that is none, or a recipe that has not one `channel_prune` to a share
            of the MACs.
    """
    if not 0 < share < 1:
        raise ConfigError("further", f"it has {share:g}", "give shares of the MACs, as 0.1")
    prunings = [step for step in recipe.steps if step.kind == PRUNE]
    if len(prunings) != 1 or prunings[0].options.target_macs is None:
        raise ConfigError(
            "further",
            f"the recipe has {len(prunings)} {PRUNE} steps"
            + (", without target_macs" if prunings else ""),
            f"use a recipe with one {PRUNE} to a share of the MACs, or leave it out",
        )
    steps = []
    for step in recipe.steps:
        options = step.options
        if step.kind == PRUNE:
            # Cut alike, each group keeps the share's square root: this leaves room below it.
            options = replace(options, target_macs=share, min_kept=min(options.min_kept, share))
        steps.append(replace(step, options=options, budget=Budget(quality_drop=1.0)))
    return Recipe(tuple(steps), Budget(quality_drop=1.0))


def _shortest(options: Any) -> Any:
    """A step's options with no epochs and trials, or one where it needs one."""
    for name in {"epochs", "trials"} & asdict(options).keys():
        try:
            options = replace(options, **{name: 0})
        except ConfigError:
            options = replace(options, **{name: 1})
    return options


def finish_recipe(
    run: Run,
    result: CompressResult,
    title: str,
    quality: str,
    config: dict[str, Any],
    sections: Sequence[Section] = (),
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Draw, write the page, print the tables, close the run; its metrics.

    Args:
        run: The run.
        result: Of the recipe.
        title: Of the page.
        quality: What the objective is called.
        config: The configuration, for the page.
        sections: Of the page; their tables are printed too.
        more: Entries of the metrics.
    """
    rows = {row.name: row for row in result.comparison.rows}
    chosen = rows[f"{result.chosen.name}, {result.chosen.format}"]
    first = result.comparison.rows[0]
    name = next(iter(chosen.quality))
    verdict = "within its budget" if not result.missed else "NOT within its budget"
    summary = (
        f"{quality} {first.quality[name]:.4f} at the start, {chosen.quality[name]:.4f} in the end "
        f"({result.chosen.name}), {result.chosen.speed:.2f} times as fast, "
        f"{result.chosen.share('size_bytes', result.outcomes[0]):.3f} of the file; {verdict}."
    )
    write_page(
        run.path("report.html"),
        title,
        summary,
        [
            Section(
                "Step by step",
                tables=(result.table(),),
                pictures=tuple(_fronts(run, result, quality)),
            ),
            Section("On the test samples", tables=(result.comparison.table(),)),
            *sections,
            *_training(run, result),
        ],
        config,
        environment(),
    )
    tables = [table for section in sections for table in section.tables]
    run.print(result.table(), result.comparison.table(), *tables)
    return end_run(run, {**result.to_dict(), **(more or {})})


def _fronts(run: Run, result: CompressResult, quality: str) -> list[tuple[str, Any]]:
    start, pictures = result.outcomes[0], []
    for key, what in COSTS.items():
        best = front(result.kept, key)
        dots = [
            Dot(o.name, o.share(key, start), o.quality, result.state_of(o), o in best)
            for o in result.outcomes
        ]
        figure = plot_front(dots, f"{what}, share of the start", quality)
        path = save_figure(figure, run.path("plots", f"front_{key}.png"))
        pictures.append((f"{quality} on validation against {what}", path))
    return pictures


def _training(run: Run, result: CompressResult) -> list[Section]:
    histories = {}
    for outcome in result.outcomes[1:]:
        path = result.folder / outcome.folder / "history.json"
        rows = json.loads(path.read_text(encoding="utf-8"))
        if rows and "loss" in rows[0]:
            histories[outcome.name] = rows
    if not histories:
        return []
    figure = plot_history(histories, "loss", "loss")
    path = save_figure(figure, run.path("plots", "loss.png"))
    return [Section("Training of the steps", pictures=(("Loss against epoch", path),))]

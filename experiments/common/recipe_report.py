"""A recipe run on a model: the steps, further shares of the MACs, and what is reported of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from experiments.common.recipe_config import STEPS_FOLDER
from experiments.common.recipe_curve import check_reach, go_further
from experiments.common.report import Report, comparison_findings, picture
from tfcompress.model_files import load_model_file
from tfcompress.pipeline.compress import compress
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.outcome import COSTS, CompressResult, front
from tfcompress.pipeline.step import Fit
from tfcompress.reporting.page import Finding, Section
from tfcompress.reporting.plots import Dot, plot_front, plot_history
from tfcompress.reporting.run import Run


def start_model(
    config: Any, run: Run, build: Callable[[], Any], check: Callable[[Any], None],
    train: Callable[[], Any],
) -> Any:  # fmt: skip
    """The model that the recipe starts from: MODEL, or a trained one.

    Args:
        config: A `RecipeConfig`.
        run: Run of the program.
        build: Builds an untrained model, to check what the recipe wants of it.
        check: Refuses a given model that does not fit the data.
        train: Trains a model.

    Raises:
        ConfigError: The recipe cannot be followed, or the given model does not fit.
    """
    run.print(config.steps().table())
    check_reach(config, build)
    if not config.model:
        return train()
    model = load_model_file(config.model)
    check(model)
    return model


def run_recipe(
    config: Any,
    run: Run,
    model: Any,
    samples: CompressionData,
    fit: Fit,
    card: dict[str, Any],
    seed: int,
    title: str,
    quality: str,
    more_sections: Callable[[CompressResult], Sequence[Section]] = lambda result: (),
) -> Report:
    """Run the config's recipe on a model, and report it.

    Args:
        config: A `RecipeConfig`, with the threads of the program.
        run: Run of the program; the steps go into its folder `steps`.
        model: Trained and compiled model.
        samples: Data.
        fit: Trains a step's model.
        card: Card of the files.
        seed: Seed of the steps.
        title: Heading of the page.
        quality: Name of the objective.
        more_sections: Further sections of the page, from the result.
    """
    steps = partial(
        compress,
        model,
        samples,
        fit=fit,
        card=card,
        seed=seed,
        threads=config.threads,
        tell=run.print,
    )
    result = steps(recipe=config.steps(), folder=run.path(STEPS_FOLDER))
    further, more = go_further(config, result, steps, run, samples, quality)
    return Report(
        title,
        _headline(result, quality),
        (
            result.table(),
            result.comparison.table(),
            *(table for section in further for table in section.tables),
        ),
        [
            Section(
                "Step by step",
                tables=(result.table(),),
                pictures=tuple(_fronts(run, result, quality)),
            ),
            Section(
                "On the test samples",
                tables=(result.comparison.table(),),
                findings=(
                    _chosen(result, quality),
                    *comparison_findings(result.comparison, quality),
                ),
            ),
            *further,
            *more_sections(result),
            *_training(run, result),
        ],
        {**result.to_dict(), **more},
        seeds=(seed,),
    )


def _headline(result: CompressResult, quality: str) -> str:
    rows = {row.name: row for row in result.comparison.rows}
    chosen = rows[f"{result.chosen.name}, {result.chosen.format}"]
    first = result.comparison.rows[0]
    name = next(iter(chosen.quality))
    verdict = "within its budget" if not result.missed else "NOT within its budget"
    return (
        f"{quality} {first.quality[name]:.4f} at the start, {chosen.quality[name]:.4f} in the end "
        f"({result.chosen.name}), {result.chosen.speed:.2f} times as fast, "
        f"{result.chosen.share('size_bytes', result.outcomes[0]):.3f} of the file; {verdict}."
    )


def _chosen(result: CompressResult, quality: str) -> Finding:
    """What the recipe chose, with its quality on the test samples."""
    name = f"{result.chosen.name}, {result.chosen.format}"
    (row,) = (row for row in result.comparison.rows if row.name == name)
    value = next(iter(row.quality.values()))
    label = "Chosen" if not result.missed else "Chosen, NOT within the budget"
    return Finding(label, f"{quality} {value:.4f}", name)


def _fronts(run: Run, result: CompressResult, quality: str) -> list[tuple[str, Path]]:
    start, pictures = result.outcomes[0], []
    for key, what in COSTS.items():
        best = front(result.kept, key)
        dots = [
            Dot(o.name, o.share(key, start), o.quality, result.state_of(o), o in best)
            for o in result.outcomes
        ]
        figure = plot_front(dots, f"{what}, share of the start", quality)
        caption = f"{quality} on validation against {what}"
        pictures.append(picture(run, f"front_{key}", figure, caption))
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
    pictures = (picture(run, "loss", figure, "Loss against epoch"),)
    return [Section("Training of the steps", pictures=pictures)]

"""The pictures, the page and the tables of the experiments that run a recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from experiments.common.report import end_run
from tfcompress.pipeline.outcome import COSTS, CompressResult, front
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import Dot, plot_front, plot_history, save_figure
from tfcompress.reporting.run import Run, environment


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

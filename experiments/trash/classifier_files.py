"""LiteRT files of classifiers: written, read back, compared and scored on the test images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from experiments.trash.classification import CARD_NAME, ClassificationConfig, Images
from experiments.unet.lite_files import FLOAT_AND_INT8
from tfcompress.comparison import Comparison, compare
from tfcompress.evaluation.classification import trash_score
from tfcompress.litert.formats import FORMATS
from tfcompress.litert.model import LiteModel, to_litert
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_tradeoff, save_figure
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

F1_AND_LOSS = {"macro_f1": "macro F1", "loss": "loss"}
"""What reports show against the epoch."""


def write_formats(
    models: Mapping[str, Any], images: Images, run: Run, seed: int | None = None
) -> dict[str, LiteModel]:
    """Convert models to float32 and int8, save, and read back.

    Args:
        models: Keras models by name; `name-int8.tflite` and so on are written.
        images: To calibrate on.
        run: Where the files go.
        seed: Makes that `name-int8-seedN.tflite`.

    Returns:
        By "name format", in order.
    """
    files = {}
    for name, model in models.items():
        for format in FLOAT_AND_INT8:
            stem = f"{name}-{format}" if seed is None else f"{name}-{format}-seed{seed}"
            path = run.path(f"{stem}.tflite")
            calibration = images.calibration() if FORMATS[format].needs_calibration else None
            with run.console.status(f"converting {name} to {format}"):
                lite = to_litert(model, format, calibration)
            lite.with_card(run.read_json(CARD_NAME) or {}).save(path)
            files[f"{name} {format}"] = replace(LiteModel.load(path), format=format)
    return files


def compare_classifiers(
    models: Mapping[str, Any], images: Images, config: ClassificationConfig
) -> tuple[Comparison, Table]:
    """Measure models on the test images: the comparison, and the competition's score of each."""
    comparison = compare(
        *models.values(),
        data=images.part("test"),
        names=list(models),
        classes=images.classes,
        threads=config.threads,
    )
    return comparison, score_table(comparison)


def score_table(comparison: Comparison) -> Table:
    """MACs, macro F1 and the score that the competition makes of them."""
    table = Table(("model", "MACs", "macro F1", "score"), title="Score of the trash competition")
    for row in comparison.rows:
        f1 = row.quality["macro_f1"]
        score = "–" if row.macs is None else f"{trash_score(row.macs, f1):.4f}"
        table.add(row.name, "–" if row.macs is None else f"{row.macs:,}", f"{f1:.4f}", score)
    table.note("lower is better: MACs / 13,878,369, plus 1 - F1 / 0.8367 (half of it where it is")
    table.note("negative; 1 where F1 is below 0.5)")
    return table


def classifier_section(run: Run, comparison: Comparison, scores: Table) -> Section:
    """The comparison and the scores, as a report section."""
    points = [
        (row.name, row.macs / 1e6, row.quality["macro_f1"]) for row in comparison.rows if row.macs
    ]
    path = save_figure(
        plot_tradeoff(points, "million multiply-accumulates", "macro F1"),
        run.path("plots", "f1_against_macs.png"),
    )
    pictures = (("Macro F1 against multiply-accumulates", path),)
    return Section("Comparison", tables=(comparison.table(), scores), pictures=pictures)

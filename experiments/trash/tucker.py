"""make trash-tucker: Tucker-2 and SVD factors in a classifier, planned, measured, tuned.

MODEL is a `.keras` classifier of trash-train, DATA the images it was trained on. The plan says what
each layer's factors cost and lose; `--measure` keeps those that are measured to be faster in
LiteRT.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.handover.evaluate_model import check_classes, square_side_of
from experiments.trash.classification import (
    ClassificationConfig,
    Images,
    compile_classifier,
    load_images,
    train_classifier,
    write_card,
)
from experiments.trash.classifier_files import (
    F1_AND_LOSS,
    classifier_section,
    compare_classifiers,
    write_formats,
)
from experiments.trash.score import smoke_classifier
from experiments.unet.smoke_model import SMOKE_MODEL
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import measure_latency
from tfcompress.factorization.factor_plan import FactorPlan
from tfcompress.factorization.factorize import factorize, keep_faster, plan_factorization
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import to_litert
from tfcompress.model_files import load_model_file
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import Run, environment, open_run

SLOWER_NAME = "measured_no_faster.json"


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Factor a classifier."""

    model: str = ""
    """A .keras classifier."""
    by: Literal["ratio", "energy", "evbmf", "macs"] = "macs"
    """How ranks are found."""
    value: float = 0.7
    """For `by`: share of the channels, of the energy, of EVBMF's rank, or of the MACs."""
    exclude: tuple[str, ...] = ("head",)
    """Layers (names or globs) that stay as they are."""
    measure: bool = False
    """Keep only factors that are measured to be faster (LiteRT float32, one thread)."""
    tune_epochs: int = 10
    """Epochs after factoring, at a tenth of the learning rate."""


def main(config: Config) -> dict[str, Any]:
    """Plan, factor, tune, convert, compare; the metrics."""
    if config.model == SMOKE_MODEL:
        config = smoke_classifier(config)
    model = load_model_file(config.model)
    if not isinstance(model, keras.Model):
        raise ConfigError("MODEL", f"{config.model} is no Keras 3 model", "give a .keras file")
    config = replace(config, side=square_side_of(model))
    plan = plan_factorization(model, config.by, config.value, exclude=config.exclude)
    run = open_run(config.root, "trash-tucker", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    images = load_images(config, run, config.model)
    check_classes(model, len(images.classes), "MODEL", "use the data that it was trained for")
    write_card(run, images, config)
    if config.measure:
        plan = _faster(model, plan, config, run)
    history, small = _tuned(model, plan, config, images, run)
    files = write_formats({"original": model, "factored": small}, images, run)
    with run.console.status("measuring every file on the test images"):
        comparison, scores = compare_classifiers(files, images, config)
    run.write_history(history)
    write_page(
        run.path("report.html"),
        "A classifier in factors",
        f"{plan.macs_before:,} multiply-accumulates before, {plan.macs_after:,} after; macro F1 "
        f"{comparison.rows[0].quality['macro_f1']:.4f} and "
        f"{comparison.rows[2].quality['macro_f1']:.4f} after tuning.",
        [
            classifier_section(run, comparison, scores),
            Section("Factorization", tables=(plan.table(),)),
            history_section(run, {"factored": history}, metrics=F1_AND_LOSS),
        ],
        compared(config),
        environment(),
    )
    run.print(plan.table(), comparison.table(), scores)
    return finish(run, comparison, {"factorization": plan.to_dict()})


def _faster(model: Any, plan: FactorPlan, config: Config, run: Run) -> FactorPlan:
    """What of a plan is measured to be faster; a resumed run keeps to what was measured."""
    slower = run.read_json(SLOWER_NAME)
    if slower is None:

        def latency(candidate: Any) -> float:
            (found,) = measure_latency([to_litert(candidate)], threads=config.threads)
            return found.median_ms

        with run.console.status(f"measuring {len(plan.rows)} layers"):
            kept = keep_faster(model, plan, latency)
        slower = dict(kept.skipped[len(plan.skipped) :])
        run.write_json(SLOWER_NAME, slower)
    return plan.without(slower)


def _tuned(
    model: Any, plan: FactorPlan, config: Config, images: Images, run: Run
) -> tuple[list[dict[str, float]], Any]:
    """The factored classifier after tuning, as its file holds it, and the history."""
    path: Path = run.path("model.keras")
    small = factorize(model, plan)
    slow = replace(config, learning_rate=config.learning_rate / 10)
    compile_classifier(small, slow)
    history = train_classifier(small, slow, images, run, "factored", 0, config.tune_epochs)
    save_plain(small, path, training_state=False)
    return history, keras.saving.load_model(path)


SMOKE = {"model": SMOKE_MODEL, "tune_epochs": 1}

if __name__ == "__main__":
    run_experiment(Config, main, SMOKE)

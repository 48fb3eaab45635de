"""make trash-tucker: Tucker-2 and SVD factors in a classifier, planned, measured, tuned.

MODEL is a `.keras` classifier of trash-train, DATA the images that it was trained on. The plan
shows what each layer's factors cost and lose; `--measure` keeps only those that are measured to be
faster in LiteRT.

Takes about a minute on two CPU cores (10 epochs of 2 s on 2,100 pictures), with `--measure` some
seconds more for each layer. Prints the plan, then macro F1, MACs and latency before and after.
"""

from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import keras

from experiments.common.inputs import check_classes, square_side_of
from experiments.common.program import SMOKE_MODEL, Program
from experiments.common.report import Report
from experiments.trash.classification import ClassificationConfig
from experiments.trash.score import smoke_classifier
from experiments.trash.study import Study
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import measure_latency
from tfcompress.factorization.factor_plan import FactorPlan
from tfcompress.factorization.factorize import factorize, keep_faster, plan_factorization
from tfcompress.litert.model import to_litert
from tfcompress.model_files import load_model_file
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run

SLOWER_NAME = "measured_no_faster.json"
SEED = 0
"""Seed of the tuning: the weights come from the file, so there is one training only."""


@dataclass(frozen=True, kw_only=True)
class Config(ClassificationConfig):
    """Factor a classifier."""

    model: str = ""
    """Classifier's .keras file."""
    by: Literal["ratio", "energy", "evbmf", "macs"] = "macs"
    """Criterion that determines the ranks."""
    value: float = 0.7
    """Argument of `by`: share of the channels, of the energy, of EVBMF's rank, or of the MACs."""
    exclude: tuple[str, ...] = ("head",)
    """Layers (names or globs) that stay as they are."""
    measure: bool = False
    """Whether only factors that are measured to be faster are kept (LiteRT float32, one thread)."""
    tune_epochs: int = 10
    """Epochs after factoring, at a tenth of the learning rate."""


def main(config: Config, run: Run) -> Report:
    """Factor, tune, convert, compare."""
    model, plan = _planned(config)
    study = Study.of(config, run, config.model)
    check_classes(model, study.classes, "MODEL", "use the data that it was trained for")
    if config.measure:
        plan = _faster(model, plan, config, run)
    slow = replace(study, config=replace(config, learning_rate=config.learning_rate / 10))
    build = partial(factorize, model, plan)
    small = slow.train("factored", SEED, build, config.tune_epochs, file="model.keras")
    comparison, scores = study.measure({"original": model, "factored": small})
    before, _, after, _ = (row.quality["macro_f1"] for row in comparison.rows)
    report = study.report(
        comparison,
        scores,
        "A classifier in factors",
        f"{plan.macs_before:,} multiply-accumulates before, {plan.macs_after:,} after; macro F1 "
        f"{before:.4f} and {after:.4f} after tuning.",
        [Section("Factorization", tables=(plan.table(),))],
        [plan.table()],
        factorization=plan.to_dict(),
    )
    return replace(report, seeds=(SEED,))


def complete(config: Config) -> Config:
    """The config with the model's input size; a plan that cannot be made shows here."""
    config = smoke_classifier(config)
    model, _ = _planned(config)
    return replace(config, side=square_side_of(model))


def _planned(config: Config) -> tuple[keras.Model, FactorPlan]:
    """The classifier and the plan of its factors; made once for `complete` and `main`."""
    file = Path(config.model)
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _plan_of(config.model, changed, config.by, config.value, config.exclude)


@lru_cache(maxsize=1)
def _plan_of(
    path: str, changed: int, by: Literal["ratio", "energy", "evbmf", "macs"], value: float,
    exclude: tuple[str, ...],
) -> tuple[keras.Model, FactorPlan]:  # fmt: skip
    """The same by what decides it; `changed`, the file's time, keeps an older model from it."""
    model = load_model_file(path)
    if not isinstance(model, keras.Model):
        raise ConfigError("MODEL", f"{path} is no Keras 3 model", "give a .keras file")
    return model, plan_factorization(model, by, value, exclude=exclude)


def _faster(model: Any, plan: FactorPlan, config: Config, run: Run) -> FactorPlan:
    """The factors of a plan that are measured to be faster; a resumed run keeps its measurement."""
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


SMOKE = {"model": SMOKE_MODEL, "tune_epochs": 1}
PROGRAM = Program("trash-tucker", Config, main, SMOKE, complete)

if __name__ == "__main__":
    PROGRAM.start()

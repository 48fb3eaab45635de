"""A search as the first step of a recipe: models are built and trained, the best is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import keras

from tfcompress.errors import ConfigError
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.saving import save_plain
from tfcompress.pipeline.step import Builder, Context, Fitting, StepResult
from tfcompress.tuning.keras_tuner.search import search_with_keras_tuner
from tfcompress.tuning.keras_tuner.settings import (
    TUNER_NAMES,
    KerasTunerSearch,
    Tuner,
    import_keras_tuner,
)
from tfcompress.tuning.keras_tuner.worker import ENVIRONMENT, role_of_process
from tfcompress.tuning.results import SearchResult
from tfcompress.tuning.trial import SearchObjective, Trial

MODEL = "model.keras"


@dataclass(frozen=True, kw_only=True)
class HpoOptions:
    """Search of training parameters; the best model on the validation set is kept.

    Attributes:
        trials: Number of trials.
        epochs: Number of training epochs per trial.
        tuner: Tuner of keras-tuner: "random", "bayesian" or "grid".
        macs_weight: Quality that is traded for all MACs of the original model; 0 ignores MACs.
    """

    trials: int = 8
    epochs: int = 5
    tuner: Tuner = "bayesian"
    macs_weight: float = 0.0

    def __post_init__(self) -> None:
        for name in ("trials", "epochs"):
            if getattr(self, name) < 1:
                raise ConfigError(name, f"it is {getattr(self, name)}", "use at least 1")
        if self.tuner not in TUNER_NAMES or self.tuner == "hyperband":
            raise ConfigError("tuner", f"{self.tuner!r} is none here", "use random, bayesian, grid")
        if self.macs_weight < 0:
            raise ConfigError("macs_weight", f"it is {self.macs_weight}", "use 0 or more")


@dataclass(frozen=True, kw_only=True)
class ArchitectureOptions(HpoOptions):
    """Search of an architecture (width, depth, kernels): `HpoOptions` with a penalty on MACs.

    Attributes:
        macs_weight: Quality that is traded for all MACs of the original model.
    """

    macs_weight: float = 0.05


def check_search(options: HpoOptions, model: Any, builder: Builder | None) -> None:
    """Check that there is a search space, that keras-tuner is installed, and no shared search.

    Raises:
        ConfigError: There is no builder, no keras-tuner, or a search shared among machines.
    """
    if builder is None:
        raise ConfigError(
            "recipe",
            "it searches, and nothing says what",
            "pass builder=Builder(build, space) to compress",
        )
    import_keras_tuner()
    if role_of_process() is not None:
        raise ConfigError(
            "environment",
            "keras-tuner's variables share a search among machines, and a recipe's is not shared",
            f"unset {', '.join(ENVIRONMENT)}",
        )


def search(model: Any, options: HpoOptions, context: Context) -> StepResult:
    """Build, train and score `trials` models, and return the best one as trained.

    The score is the quality on the validation set minus `macs_weight` times the share of the
    original model's MACs.
    """
    builder = context.builder
    if builder is None:
        raise ConfigError("builder", "there is none", "pass builder= to compress")
    whole = count_cost(context.base).macs

    def train(params: Mapping[str, Any], trial: Trial) -> dict[str, float]:
        candidate = builder.build(params)
        folder, name = trial.folder / "training", f"trial {trial.number}"
        fitting = Fitting(options.epochs, folder, name, trial.seed)
        context.train.fit(candidate, context.data, fitting)
        quality = context.quality(candidate)
        macs = count_cost(candidate).macs
        save_plain(candidate, trial.folder / MODEL, training_state=False)
        found = {"score": quality - options.macs_weight * macs / whole, "quality": quality}
        trial.epoch(1, {**found, "macs": macs})
        return {**found, "macs": macs}

    study = KerasTunerSearch(
        function=train,
        space=builder.space,
        objective=SearchObjective("score", also=("quality", "macs")),
        folder=context.folder / "search",
        tuner=options.tuner,
        trials=options.trials,
        seed=context.seed,
        stop_rule=None,
        isolate=False,
    )
    # None in a worker of several machines alone, which `check_search` refuses.
    result = cast(SearchResult, search_with_keras_tuner(study, resume=True, tell=context.tell))
    best = result.best
    found = keras.saving.load_model(study.trial_folder(best.number) / MODEL, compile=False)
    chosen = ", ".join(f"{name}={value}" for name, value in best.params.items())
    notes = (f"trial {best.number} of {len(result.trials)}: {chosen}",)
    rows = [{"epoch": trial.number, **trial.metrics} for trial in result.trials]
    return StepResult(found, notes, tuple(rows))

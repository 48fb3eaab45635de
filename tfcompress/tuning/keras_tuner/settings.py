"""A search by keras-tuner, stated: what is searched, for what, and within which limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.extras import import_extra
from tfcompress.tuning.checks import check_epochs, check_first_round, check_limits
from tfcompress.tuning.isolation import sendable
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.stopping import MedianStop, StopRule
from tfcompress.tuning.trial import SearchObjective, TrainingFunction

Tuner = Literal["random", "bayesian", "hyperband", "grid"]
TUNER_NAMES = ("random", "bayesian", "hyperband", "grid")


@dataclass(frozen=True, kw_only=True)
class KerasTunerSearch:
    """A search, stated.

    Attributes:
        function: Trains with parameters and a `Trial`; at the top of a module, so that another
            process finds it.
        space: What to search.
        objective: What for.
        folder: For the trials, their logs, and keras-tuner's state.
        tuner: "random", "bayesian" (Gaussian process), "hyperband" or "grid".
        trials: How many at most.
        epochs: Of Hyperband, for its longest trials; others leave it to the function.
        seed: Of the tuner; trial n trains with seed + n.
        stop_rule: When a trial is stopped early; None: never. Hyperband has its own rule.
        trial_seconds: After which a trial is killed and marked as failed (not where `isolate` is
            off); None: never. Six hours.
        seconds: After which no further trial starts; None: never.
        isolate: Whether each trial has a process of its own.
        threads: Of TensorFlow in a trial's process; None: its choice.
    """

    function: TrainingFunction
    space: SearchSpace
    objective: SearchObjective
    folder: Path
    tuner: Tuner = "bayesian"
    trials: int = 20
    epochs: int | None = None
    seed: int = 0
    stop_rule: StopRule | None = field(default_factory=MedianStop)
    trial_seconds: float | None = 6 * 3600.0
    seconds: float | None = None
    isolate: bool = True
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.tuner not in TUNER_NAMES:
            raise ConfigError("tuner", f"unknown {self.tuner!r}", f"use {', '.join(TUNER_NAMES)}")
        check_limits(self.trials, self.trial_seconds, self.seconds)
        if self.isolate:
            sendable(self.function)
        if self.tuner == "hyperband":
            import_keras_tuner()
            from tfcompress.tuning.keras_tuner.oracles import hyperband_first_round

            epochs = check_epochs(self.epochs)
            check_first_round(self.trials, epochs, hyperband_first_round(epochs))

    def trial_folder(self, number: int) -> Path:
        """Where a trial writes."""
        return Path(self.folder) / "trials" / f"{number:04d}"


def import_keras_tuner() -> Any:
    """The package keras_tuner.

    Raises:
        ConfigError: It, or what it needs, is not installed.
    """
    import_extra("grpc", "keras-tuner")  # of several processes
    return import_extra("keras_tuner", "keras-tuner")

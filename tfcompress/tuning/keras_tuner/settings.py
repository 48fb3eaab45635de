"""The settings of a search with keras-tuner."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.extras import import_extra
from tfcompress.short_repr import short_repr
from tfcompress.tuning.checks import check_epochs, check_first_round, check_limits
from tfcompress.tuning.job import sendable_job
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.stopping import MedianStop, StopRule
from tfcompress.tuning.trial import SearchObjective, TrainingFunction

Tuner = Literal["random", "bayesian", "hyperband", "grid"]
TUNER_NAMES = ("random", "bayesian", "hyperband", "grid")


@short_repr
@dataclass(frozen=True, kw_only=True)
class KerasTunerSearch:
    """The settings of a search with keras-tuner.

    Attributes:
        function: Training function, called with parameters and a `Trial`. Define it at the top
            level of a module, so that another process can import it.
        space: Search space.
        objective: Metric to optimize.
        folder: Folder for the trials, their logs, and keras-tuner's state.
        tuner: Name of the tuner: "random", "bayesian" (Gaussian process), "hyperband" or "grid".
        trials: Maximum number of trials.
        epochs: Number of epochs of Hyperband's longest trials. With other tuners, the function
            decides.
        seed: Seed of the tuner; trial n trains with seed + n.
        stop_rule: Rule that stops trials early; None stops none. Hyperband has its own rule.
        trial_seconds: Time in seconds after which a trial is killed and marked as failed; only with
            `isolate`. None for no limit; six hours by default.
        seconds: Time in seconds after which no further trial starts; None for no limit.
        isolate: Whether each trial runs in a process of its own.
        threads: Number of TensorFlow threads in a trial's process; None lets TensorFlow choose.

    Raises:
        ConfigError: A setting is invalid, the function cannot be sent to a process, or Hyperband
            has too few trials.
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
            sendable_job(self.function)
        if self.tuner == "hyperband":
            import_keras_tuner()
            from tfcompress.tuning.keras_tuner.oracles import hyperband_first_round

            epochs = check_epochs(self.epochs)
            check_first_round(self.trials, epochs, hyperband_first_round(epochs))

    def trial_folder(self, number: int) -> Path:
        """The folder of a trial."""
        return Path(self.folder) / "trials" / f"{number:04d}"


def import_keras_tuner() -> Any:
    """Import the package keras_tuner.

    Raises:
        ConfigError: The package, or one that it needs, is not installed.
    """
    import_extra("grpc", "keras-tuner")  # a search in several processes needs it
    return import_extra("keras_tuner", "keras-tuner")

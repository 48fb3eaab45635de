"""What a training function is given: parameters, a folder, a seed, and where to report.

The same function trains under keras-tuner, under NNI and alone:

    def train(params, trial):
        model = build(params["width"])
        model.compile(..., metrics=["accuracy"])
        history = model.fit(..., callbacks=[trial.callback()])
        return {key: values[-1] for key, values in history.history.items()}
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError

Report = Callable[[int, Mapping[str, float]], bool]
"""Told the epoch (from 1) and its metrics; True where the trial should stop."""
TrainingFunction = Callable[[Mapping[str, Any], "Trial"], Mapping[str, float]]
"""Trains with parameters; its metrics at the end, the objective among them."""


def _go_on(epoch: int, metrics: Mapping[str, float]) -> bool:
    """The report of a trial that nobody listens to."""
    return False


class TrialError(RuntimeError):
    """A trial's result cannot be used: it is marked as failed, the search goes on."""


@dataclass(frozen=True)
class SearchObjective:
    """What a search is for.

    Attributes:
        metric: Its name among the logs of an epoch, as "val_mean_iou".
        direction: "max" or "min".
        also: Metrics that every report must hold beside it, as "val_accuracy".
    """

    metric: str
    direction: Literal["max", "min"] = "max"
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise ConfigError("objective", f"direction {self.direction!r}", "use 'max' or 'min'")

    def better(self, first: float, second: float) -> bool:
        """Whether the first value is the better one."""
        return first > second if self.direction == "max" else first < second

    def best(self, values: Any) -> float:
        """The best of some values."""
        return float((max if self.direction == "max" else min)(values))

    def checked(self, metrics: Mapping[str, Any] | None, where: str) -> dict[str, float]:
        """Metrics as floats.

        Args:
            metrics: By name.
            where: Of what they are, for the error.

        Raises:
            TrialError: There are none, one is missing, or the objective is not finite.
        """
        if not isinstance(metrics, Mapping):
            raise TrialError(
                f"{where}: {metrics!r} came back instead of metrics, as {{'{self.metric}': 0.5}}"
            )
        scalars = {str(key): _scalar(value) for key, value in metrics.items()}
        found = {name: value for name, value in scalars.items() if value is not None}
        missing = [name for name in (self.metric, *self.also) if name not in found]
        if missing:
            known = ", ".join(found)
            raise TrialError(
                f"{where}: no {' and no '.join(map(repr, missing))} among what was reported "
                f"({known or 'nothing'})"
            )
        if not math.isfinite(found[self.metric]):
            raise TrialError(f"{where}: {self.metric} is {found[self.metric]}")
        return found


@dataclass
class Trial:
    """One trial, as its training function sees it.

    Attributes:
        number: From 0.
        objective: Of the search.
        folder: For whatever the training writes; there from the start.
        seed: Set for Python, NumPy and TensorFlow before the function is called.
        epochs: Epochs in all that a scheduler (Hyperband) grants; None: the function decides.
        continues: Folder of the trial with the same parameters and fewer epochs that this one
            takes up (Hyperband); None: it starts anew.
        report: Where epochs are reported.
        stopped: Whether the search has stopped it early.
        history: What was reported, epoch by epoch.
    """

    number: int
    objective: SearchObjective
    folder: Path
    seed: int = 0
    epochs: int | None = None
    continues: Path | None = None
    report: Report = field(default=_go_on, repr=False)
    stopped: bool = False
    history: list[dict[str, float]] = field(default_factory=list)

    def epoch(self, epoch: int, metrics: Mapping[str, Any]) -> bool:
        """Report an epoch of a custom loop.

        Args:
            epoch: From 1.
            metrics: By name; the objective among them.

        Returns:
            Whether to stop now.

        Raises:
            TrialError: The objective is missing or not finite.
        """
        row = self.objective.checked(metrics, f"epoch {epoch}")
        self.history.append({"epoch": epoch, **row})
        self.stopped = bool(self.report(epoch, row)) or self.stopped
        return self.stopped

    def callback(self, flavor: Literal["keras", "tf_keras"] = "keras") -> Any:
        """A Keras callback that reports every epoch and ends `fit` where the search stops it.

        Args:
            flavor: Of the model that is trained.
        """
        base: Any = importlib.import_module(flavor).callbacks.Callback
        trial = self

        class ReportEpochs(base):
            def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
                if trial.epoch(epoch + 1, logs or {}):
                    self.model.stop_training = True

        return ReportEpochs()


def _scalar(value: Any) -> float | None:
    """A float, or None of what is no number (keras logs may hold arrays)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None

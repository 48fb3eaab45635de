"""The arguments of a training function: parameters, and a trial with folder, seed and reports.

The same function can be used with keras-tuner, with NNI, and alone:

```python
def train(params, trial):
    model = build(params["width"])
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = model.fit(images, labels, callbacks=[trial.callback()])
    return {key: values[-1] for key, values in history.history.items()}
```
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.short_repr import short_repr

Report = Callable[[int, Mapping[str, float]], bool]
"""Function that takes an epoch (from 1) and its metrics; it returns True to stop the trial."""
TrainingFunction = Callable[[Mapping[str, Any], "Trial"], Mapping[str, float]]
"""Function that trains with parameters and returns the final metrics, including the objective."""


def _go_on(epoch: int, metrics: Mapping[str, float]) -> bool:
    """The report function of a trial outside a search."""
    return False


class TrialError(RuntimeError):
    """The result of a trial is invalid: the trial is marked as failed, and the search continues."""


@dataclass(frozen=True)
class SearchObjective:
    """The metric that a search optimizes.

    Attributes:
        metric: Name of the metric in the logs of an epoch, such as "val_mean_iou".
        direction: Whether the metric is maximized ("max") or minimized ("min").
        also: Names of further metrics that every report must contain, such as "val_accuracy".

    Raises:
        ConfigError: The direction is neither "max" nor "min".
    """

    metric: str
    direction: Literal["max", "min"] = "max"
    also: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.direction not in ("max", "min"):
            raise ConfigError("objective", f"direction {self.direction!r}", "use 'max' or 'min'")

    def better(self, first: float, second: float) -> bool:
        """Whether the first value is better than the second."""
        return first > second if self.direction == "max" else first < second

    def best(self, values: Any) -> float:
        """The best of several values."""
        return float((max if self.direction == "max" else min)(values))

    def checked(self, metrics: Mapping[str, Any] | None, where: str) -> dict[str, float]:
        """Check reported metrics and convert them to floats.

        Args:
            metrics: Metrics by name.
            where: Source of the metrics, for errors.

        Returns:
            The metrics that are scalars, by name.

        Raises:
            TrialError: `metrics` is not a mapping, a metric is missing, or the objective is not
                finite.
        """
        if not isinstance(metrics, Mapping):
            raise TrialError(
                f"{where}: it is {metrics!r} instead of metrics such as {{'{self.metric}': 0.5}}"
            )
        scalars = {str(key): _scalar(value) for key, value in metrics.items()}
        found = {name: value for name, value in scalars.items() if value is not None}
        missing = [name for name in (self.metric, *self.also) if name not in found]
        if missing:
            known = ", ".join(found)
            raise TrialError(
                f"{where}: {' and '.join(map(repr, missing))} "
                f"{'is' if len(missing) == 1 else 'are'} missing in the reported metrics "
                f"({known or 'none'})"
            )
        if not math.isfinite(found[self.metric]):
            raise TrialError(f"{where}: {self.metric} is {found[self.metric]}")
        return found


@short_repr
@dataclass
class Trial:
    """One trial, as its training function sees it.

    Attributes:
        number: Number of the trial, from 0.
        objective: Objective of the search.
        folder: Existing folder for everything that the training writes.
        seed: Seed that is set for Python, NumPy and TensorFlow before the function is called.
        epochs: Total number of epochs that a scheduler (Hyperband) grants; None lets the function
            decide.
        continues: Folder of a trial with the same parameters and fewer epochs whose training this
            one continues (Hyperband); None starts from scratch.
        report: Function that receives the metrics of each epoch.
        stopped: Whether the search has stopped the trial early.
        history: Reported metrics, one row per epoch.
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
            epoch: Number of the epoch, from 1.
            metrics: Metrics by name, including the objective.

        Returns:
            Whether the training should stop now.

        Raises:
            TrialError: The objective is missing or not finite.
        """
        row = self.objective.checked(metrics, f"epoch {epoch}")
        self.history.append({"epoch": epoch, **row})
        self.stopped = bool(self.report(epoch, row)) or self.stopped
        return self.stopped

    def callback(self, flavor: Literal["keras", "tf_keras"] = "keras") -> Any:
        """Make a Keras callback that reports every epoch and ends `fit` if the search says so.

        Args:
            flavor: Library of the model that is trained, "keras" or "tf_keras".
        """
        base: Any = importlib.import_module(flavor).callbacks.Callback
        trial = self

        class ReportEpochs(base):
            def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
                if trial.epoch(epoch + 1, logs or {}):
                    self.model.stop_training = True

        return ReportEpochs()


def _scalar(value: Any) -> float | None:
    """A value as a float; None if it is not a number (Keras logs may hold arrays)."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None

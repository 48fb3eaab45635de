"""Rules that stop unpromising trials early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from tfcompress.errors import ConfigError

GIVE_UP_AFTER = 3
"""Number of failures, without any success, after which a search gives up."""


def gives_up(failed: Sequence[bool]) -> str:
    """The reason why a search should give up; empty if it should continue.

    Args:
        failed: Whether each trial so far failed.
    """
    if len(failed) >= GIVE_UP_AFTER and all(failed):
        return f"its first {len(failed)} trials all failed"
    return ""


class StopRule(Protocol):
    """Rule that decides after each epoch whether a trial should stop."""

    def should_stop(
        self,
        curve: Sequence[float],
        others: Sequence[Sequence[float]],
        direction: Literal["max", "min"] = "max",
    ) -> bool:
        """Whether a trial should stop now.

        Args:
            curve: Objective of the trial, epoch by epoch.
            others: Objectives of the other trials, whether finished, stopped or running.
            direction: Whether the objective is maximized ("max") or minimized ("min").
        """


@dataclass(frozen=True)
class Replay:
    """The effect that a stop rule would have had on trials that ran to their end.

    Attributes:
        epochs: Number of epochs that would have been trained with the rule.
        whole: Number of epochs that were trained.
        best: Best objective that would have been found with the rule.
        whole_best: Best objective over all epochs.
        stopped: Number of trials that the rule would have stopped.
    """

    epochs: int
    whole: int
    best: float
    whole_best: float
    stopped: int


@dataclass(frozen=True)
class MedianStop:
    """The median stopping rule of Vizier (Golovin et al. 2017, section 3.2.2).

    A trial stops at an epoch if its best objective so far is worse than the median, over the
    trials that reached that epoch, of their running averages up to it.

    Attributes:
        start_epoch: First epoch (from 1) at which a trial may stop.
        least_trials: Number of other trials that must have reached the epoch.
    """

    start_epoch: int = 3
    least_trials: int = 3

    def __post_init__(self) -> None:
        if self.start_epoch < 1 or self.least_trials < 1:
            raise ConfigError(
                "median stop",
                f"start_epoch {self.start_epoch} and least_trials {self.least_trials}",
                "use at least 1 of each",
            )

    def should_stop(
        self,
        curve: Sequence[float],
        others: Sequence[Sequence[float]],
        direction: Literal["max", "min"] = "max",
    ) -> bool:
        """Whether a trial should stop now; see `StopRule.should_stop`."""
        epochs = len(curve)
        reached = [other for other in others if len(other) >= epochs]
        if epochs < self.start_epoch or len(reached) < self.least_trials:
            return False
        sign = 1.0 if direction == "max" else -1.0
        averages = [sign * np.mean(other[:epochs]) for other in reached]
        return bool(max(sign * value for value in curve) < np.median(averages))


@dataclass(frozen=True)
class HalvingStop:
    """Asynchronous successive halving (Li et al. 2020, ASHA), as a stop rule.

    At the epochs first_epoch, first_epoch * eta, first_epoch * eta^2 ... a trial stops unless its
    best objective so far is among the best 1/eta (rounded up) of all trials that reached that
    epoch, including itself. It saves more epochs than the median rule, but relies more on the first
    epochs: trials that improve slowly at first are stopped.

    Attributes:
        first_epoch: First epoch (from 1) at which a trial may stop.
        eta: Reduction factor: one trial in `eta` continues, to `eta` times the epochs.
    """

    first_epoch: int = 1
    eta: int = 2

    def __post_init__(self) -> None:
        if self.first_epoch < 1 or self.eta < 2:
            raise ConfigError(
                "halving",
                f"first_epoch {self.first_epoch} and eta {self.eta}",
                "use a first_epoch of at least 1 and an eta of at least 2",
            )

    def should_stop(
        self,
        curve: Sequence[float],
        others: Sequence[Sequence[float]],
        direction: Literal["max", "min"] = "max",
    ) -> bool:
        """Whether a trial should stop now; see `StopRule.should_stop`."""
        epochs = len(curve)
        if not self._is_rung(epochs):
            return False
        sign = 1.0 if direction == "max" else -1.0
        reached = [other for other in others if len(other) >= epochs]
        mine = max(sign * value for value in curve)
        better = sum(max(sign * value for value in other[:epochs]) > mine for other in reached)
        go_on = -(-(len(reached) + 1) // self.eta)
        return better >= go_on

    def _is_rung(self, epochs: int) -> bool:
        rung = self.first_epoch
        while rung < epochs:
            rung *= self.eta
        return rung == epochs


def replay(
    rule: StopRule, curves: Sequence[Sequence[float]], direction: Literal["max", "min"] = "max"
) -> Replay:
    """Simulate a stop rule on finished trials, as if they had run one after the other.

    Args:
        rule: The stop rule.
        curves: Objective of each trial, epoch by epoch, in the order of the trials' starts.
        direction: Whether the objective is maximized ("max") or minimized ("min").
    """
    pick = max if direction == "max" else min
    kept: list[Sequence[float]] = []
    for curve in curves:
        ends = (n for n in range(1, len(curve) + 1) if rule.should_stop(curve[:n], kept, direction))
        kept.append(curve[: next(ends, len(curve))])
    return Replay(
        sum(map(len, kept)),
        sum(map(len, curves)),
        pick(value for curve in kept for value in curve),
        pick(value for curve in curves for value in curve),
        sum(len(a) < len(b) for a, b in zip(kept, curves, strict=True)),
    )

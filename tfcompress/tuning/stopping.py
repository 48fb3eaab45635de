"""When a trial is not worth its remaining epochs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from tfcompress.errors import ConfigError

GIVE_UP_AFTER = 3
"""Failures at the start, with no trial that worked, after which a search gives up."""


def gives_up(failed: Sequence[bool]) -> str:
    """Why a search should end, of whose trials so far these failed; empty: it should not."""
    if len(failed) >= GIVE_UP_AFTER and all(failed):
        return f"its first {len(failed)} trials all failed"
    return ""


class StopRule(Protocol):
    """Says after each epoch whether a trial should end."""

    def should_stop(
        self,
        curve: Sequence[float],
        others: Sequence[Sequence[float]],
        direction: Literal["max", "min"] = "max",
    ) -> bool:
        """Whether a trial should stop now.

        Args:
            curve: Its objective, epoch by epoch.
            others: The other trials' objectives, finished, stopped or under way.
            direction: Of the objective.
        """


@dataclass(frozen=True)
class Replay:
    """What a rule would have made of trials that ran to their end.

    Attributes:
        epochs: Epochs that it would have trained.
        whole: Epochs that were trained.
        best: Best objective that it would have found.
        whole_best: Best objective of all epochs.
        stopped: Trials that it would have stopped.
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
        least_trials: Other trials that must have reached the epoch.
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
        """Whether a trial should stop now; as `StopRule` says."""
        epochs = len(curve)
        reached = [other for other in others if len(other) >= epochs]
        if epochs < self.start_epoch or len(reached) < self.least_trials:
            return False
        sign = 1.0 if direction == "max" else -1.0
        averages = [sign * np.mean(other[:epochs]) for other in reached]
        return bool(max(sign * value for value in curve) < np.median(averages))


@dataclass(frozen=True)
class HalvingStop:
    """Asynchronous successive halving (Li et al. 2020, ASHA), as a rule that stops trials.

    At the epochs first_epoch, first_epoch * eta, first_epoch * eta^2 ... a trial stops unless its
    best objective so far is among the best 1/eta (rounded up) of all trials that reached that
    epoch, itself included. It saves more than the median rule and asks more of the first epochs: a
    trial that starts slowly is lost.

    Attributes:
        first_epoch: First epoch (from 1) at which a trial may stop.
        eta: One trial in so many goes on, for so many times the epochs.
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
        """Whether a trial should stop now; as `StopRule` says."""
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
    """Apply a rule to finished curves, one trial after the other, as it would have acted.

    Args:
        rule: When to stop.
        curves: The objective of each trial, epoch by epoch, in the order of their starts.
        direction: Of the objective.
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

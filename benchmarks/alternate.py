"""Run contenders in turn, so that a slow moment of the machine hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from rich.progress import track


@dataclass(frozen=True)
class Ratio:
    """Times of one contender over another, round by round.

    Attributes:
        median: Median of the rounds' ratios.
        low: 25th percentile.
        high: 75th percentile.
        rounds: Number of rounds.
    """

    median: float
    low: float
    high: float
    rounds: int

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def time_in_turn(
    contenders: Mapping[str, Callable[[], object]], rounds: int, what: str
) -> dict[str, np.ndarray]:
    """Seconds of each contender in each round; the order rotates from round to round."""
    names = list(contenders)
    seconds = {name: np.zeros(rounds) for name in names}
    for turn in track(range(rounds), what, transient=True):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            start = time.perf_counter()
            contenders[name]()
            seconds[name][turn] = time.perf_counter() - start
    return seconds


def ratio(ours: np.ndarray, theirs: np.ndarray) -> Ratio:
    """Ours over theirs, paired by round."""
    each = ours / theirs
    low, median, high = np.percentile(each, [25, 50, 75])
    return Ratio(float(median), float(low), float(high), len(each))

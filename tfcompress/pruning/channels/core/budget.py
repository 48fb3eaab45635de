"""The number of channels that each group keeps, from scores and a budget. NumPy only.

Removing the least important channels first makes every cost (MACs, parameters, latency) fall with
the number removed, so a bisection finds the number that meets a target. Minimum widths and rounding
to multiples are applied on the way, so that the cost of the rounded widths is compared with the
target. A last search over single steps closes the gap that rounding leaves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Scope = Literal["global", "group"]


@dataclass(frozen=True)
class Candidate:
    """A group that may lose units.

    Attributes:
        name: Name of the group.
        scores: (units,) scores; comparable between groups if the scope is global.
        locked: (units,) booleans, True for a unit that has to stay.
        size: Number of channels per unit.
        minimum: Smallest number of units that stay.
        round_to: Number of channels that every width is a multiple of.
        sparsity: Share of units to remove regardless of the budget; None leaves it to the budget.
    """

    name: str
    scores: np.ndarray
    locked: np.ndarray
    size: int = 1
    minimum: int = 1
    round_to: int = 1
    sparsity: float | None = None
    order: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Sort the units in the order in which they are removed."""
        rank = np.where(self.locked, np.inf, self.scores)
        object.__setattr__(self, "order", np.argsort(rank, kind="stable"))

    @property
    def step(self) -> int:
        """Number of units by which the width changes under rounding."""
        return self.round_to // math.gcd(self.round_to, self.size)

    @property
    def least(self) -> int:
        """Smallest number of units that stay, rounding included."""
        floor = max(1, self.minimum, int(self.locked.sum()))
        return min(len(self.scores), math.ceil(floor / self.step) * self.step)

    def count(self, wanted: float) -> int:
        """The permitted number of units nearest to `wanted`."""
        total = len(self.scores)
        rounded = total if wanted >= total else round(wanted / self.step) * self.step
        return int(min(total, max(self.least, rounded)))

    def kept(self, count: int) -> np.ndarray:
        """Positions of the `count` most important units, in ascending order."""
        return np.sort(self.order[len(self.order) - count :])


Counts = dict[str, int]


def counts_at(candidates: Sequence[Candidate], removed: float, scope: Scope) -> Counts:
    """Units that each group keeps when a share of all units is removed.

    Groups with a fixed sparsity keep what that leaves.

    Args:
        candidates: Groups that may lose units.
        removed: Share to remove, in [0, 1]: the least important units of all groups together (scope
            "global"), or the same share of each group (scope "group").
        scope: "global" compares scores between groups, "group" within each.
    """
    free = [c for c in candidates if c.sparsity is None]
    counts = {
        c.name: c.count(len(c.scores) * (1 - c.sparsity))
        for c in candidates
        if c.sparsity is not None
    }
    if scope == "group":
        counts.update({c.name: c.count(len(c.scores) * (1 - removed)) for c in free})
        return counts
    if not free:
        return counts
    scores = np.concatenate([np.where(c.locked, np.inf, c.scores) for c in free])
    owner = np.repeat(np.arange(len(free)), [len(c.scores) for c in free])
    leaving = np.argsort(scores, kind="stable")[: round(removed * len(scores))]
    gone = np.bincount(owner[leaving], minlength=len(free))
    counts.update(
        {c.name: c.count(len(c.scores) - lost) for c, lost in zip(free, gone.tolist(), strict=True)}
    )
    return counts


def meet(
    candidates: Sequence[Candidate],
    cost: Callable[[Counts], float],
    target: float,
    scope: Scope,
    tolerance: float = 0.005,
) -> Counts:
    """Find the counts whose cost comes nearest to a target.

    Args:
        candidates: Groups that may lose units.
        cost: Function from counts to a cost, which never rises when a count falls.
        target: Cost to reach, in the unit of `cost`.
        scope: "global" compares scores between groups, "group" within each.
        tolerance: Relative distance at which the search over single steps stops.

    Returns:
        The counts; the caller compares their cost with the target.
    """
    low, high = 0.0, 1.0
    best = counts_at(candidates, 0.0, scope)
    best_gap = abs(cost(best) - target)
    for _ in range(24):
        middle = (low + high) / 2
        counts = counts_at(candidates, middle, scope)
        value = cost(counts)
        if abs(value - target) < best_gap:
            best, best_gap = counts, abs(value - target)
        if value > target:
            low = middle
        else:
            high = middle
        if best_gap <= tolerance * target:
            return best
    return _refined(candidates, cost, target, best, best_gap, tolerance)


def _refined(
    candidates: Sequence[Candidate],
    cost: Callable[[Counts], float],
    target: float,
    counts: Counts,
    gap: float,
    tolerance: float,
) -> Counts:
    """Add or remove one step in one group at a time as long as the cost comes nearer."""
    free = [c for c in candidates if c.sparsity is None]
    for _ in range(20):
        if gap <= tolerance * target:
            break
        sign = -1 if cost(counts) > target else 1
        trials = []
        for c in free:
            count = c.count(counts[c.name] + sign * c.step)
            if count != counts[c.name]:
                trial = {**counts, c.name: count}
                trials.append((abs(cost(trial) - target), c.name, trial))
        if not trials:
            break
        nearest = min(trials, key=lambda trial: trial[:2])
        if nearest[0] >= gap:
            break
        gap, _, counts = nearest
    return counts

"""Which channels go together: units, and the lanes by which tensors carry them.

A *unit* is what is removed as a whole: in most cases one channel of one layer together with the
channels of other layers that are added to it. `Units` is a union-find over them. `Lanes` say, for
one tensor, which unit each position along its axes belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

FIXED = -1
"""The unit of what is never removed: a model's inputs, an axis that carries no channels."""


@dataclass(frozen=True)
class Lanes:
    """The units that a tensor carries.

    Attributes:
        shape: Of the tensor, without the batch axis; None where free.
        units: Unit of each position; axes along which nothing changes have length 1, so that the
            array broadcasts to `shape`.
        rest: What stands at a removed position once the unit's weights are zero; NaN where that is
            not one known number. Broadcasts as `units` does.
    """

    shape: tuple[int | None, ...]
    units: np.ndarray
    rest: np.ndarray

    @classmethod
    def fixed(cls, shape: Iterable[int | None]) -> Lanes:
        """Lanes of a tensor that carries no units."""
        shape = tuple(shape)
        ones = (1,) * len(shape)
        return cls(shape, np.full(ones, FIXED), np.full(ones, np.nan))

    @classmethod
    def along(
        cls,
        shape: Iterable[int | None],
        axis: int,
        units: np.ndarray,
        rest: np.ndarray | float = 0.0,
    ) -> Lanes:
        """Lanes that change along one axis.

        Args:
            shape: Of the tensor, without batch.
            axis: Of `shape`; negative counts from the end.
            units: One per position of the axis.
            rest: A number, or one per position.
        """
        shape = tuple(shape)
        form = [1] * len(shape)
        form[axis] = len(units)
        values = np.broadcast_to(np.asarray(rest, float), np.shape(units))
        return cls(shape, np.reshape(units, form), values.reshape(form))

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes along which the units change."""
        return tuple(i for i, size in enumerate(self.units.shape) if size > 1)

    @property
    def carries(self) -> bool:
        """Whether any position belongs to a unit."""
        return bool((self.units != FIXED).any())

    def with_rest(self, rest: np.ndarray | float) -> Lanes:
        """The same units with another value at removed positions."""
        return Lanes(self.shape, self.units, np.broadcast_to(rest, self.units.shape))


class Units:
    """A union-find over units; each set may be frozen, with the first reason given."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> np.ndarray:
        """New units, each on its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def find(self, unit: int) -> int:
        """The representative of a unit's set."""
        root = unit
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[unit] != root:
            self._parent[unit], unit = root, self._parent[unit]
        return root

    def roots(self, units: np.ndarray) -> np.ndarray:
        """Representatives of an array of units; `FIXED` stays."""
        unique, inverse = np.unique(units, return_inverse=True)
        found = np.array([u if u == FIXED else self.find(int(u)) for u in unique])
        return found[inverse].reshape(np.shape(units))

    def join(self, ours: np.ndarray, theirs: np.ndarray, why_fixed: str) -> None:
        """Let the units at equal positions go together.

        Args:
            ours: Units.
            theirs: As many.
            why_fixed: Reason by which a unit freezes that meets `FIXED`.
        """
        if np.array_equal(ours, theirs):
            return
        pairs = np.unique(np.stack([np.ravel(ours), np.ravel(theirs)], axis=1), axis=0)
        for a, b in pairs.tolist():
            if FIXED in (a, b):
                self.freeze(np.array([max(a, b)]), why_fixed)
                continue
            first, second = sorted((self.find(a), self.find(b)))
            if first != second:
                self._parent[second] = first
                reason = self._reasons.pop(second, "")
                if reason:
                    self._reasons.setdefault(first, reason)

    def freeze(self, units: np.ndarray, reason: str) -> None:
        """Never remove these units."""
        for unit in np.unique(units).tolist():
            if unit != FIXED:
                self._reasons.setdefault(self.find(unit), reason)

    def frozen(self, unit: int) -> str:
        """Why a unit is frozen; empty if it is not."""
        return self._reasons.get(self.find(unit), "")

"""Channels that are removed together (units), and the units that a tensor carries (lanes).

A *unit* is removed as a whole: in most cases one channel of one layer together with the channels of
other layers that are added to it. `Units` is a union-find over units, for Keras and PyTorch models.
`Lanes` say, for one tensor, which unit each position along its axes belongs to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

FIXED = -1
"""Unit of channels that are never removed: a model's inputs, an axis that carries no channels."""


@dataclass(frozen=True)
class Lanes:
    """The units that a tensor carries.

    Attributes:
        shape: Shape of the tensor, without the batch axis; None for a free size.
        units: Unit of each position; axes along which the unit is the same have length 1, so that
            the array broadcasts to `shape`.
        value_when_zeroed: Value at each removed position once the unit's weights are zero; NaN
            where that is not one known number. It broadcasts as `units` does.
    """

    shape: tuple[int | None, ...]
    units: np.ndarray
    value_when_zeroed: np.ndarray

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
        value_when_zeroed: np.ndarray | float = 0.0,
    ) -> Lanes:
        """Lanes that change along one axis.

        Args:
            shape: Shape of the tensor, without the batch axis.
            axis: Axis of `shape`; negative counts from the end.
            units: One unit per position of the axis.
            value_when_zeroed: One number, or one per position.
        """
        shape = tuple(shape)
        form = [1] * len(shape)
        form[axis] = len(units)
        values = np.broadcast_to(np.asarray(value_when_zeroed, float), np.shape(units))
        return cls(shape, np.reshape(units, form), values.reshape(form))

    @property
    def axes(self) -> tuple[int, ...]:
        """Axes along which the units change."""
        return tuple(i for i, size in enumerate(self.units.shape) if size > 1)

    @property
    def carries(self) -> bool:
        """Whether any position belongs to a unit."""
        return bool((self.units != FIXED).any())

    def with_value_when_zeroed(self, value: np.ndarray | float) -> Lanes:
        """The same units with another value at removed positions."""
        return Lanes(self.shape, self.units, np.broadcast_to(value, self.units.shape))


class Units:
    """A union-find over units; each set may be frozen, with a reason."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._parent)

    def fresh(self, count: int) -> np.ndarray:
        """Make new units, each in a set of its own."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def find(self, unit: int) -> int:
        """The representative of the set that a unit belongs to."""
        root = unit
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[unit] != root:
            self._parent[unit], unit = root, self._parent[unit]
        return root

    def roots(self, units: np.ndarray) -> np.ndarray:
        """Representatives of an array of units; `FIXED` stays `FIXED`."""
        unique, inverse = np.unique(units, return_inverse=True)
        found = np.array([u if u == FIXED else self.find(int(u)) for u in unique])
        return found[inverse].reshape(np.shape(units))

    def join(self, ours: np.ndarray, theirs: np.ndarray, why_fixed: str) -> None:
        """Join the units at equal positions, so that they are removed together.

        Args:
            ours: (n,) units.
            theirs: (n,) units.
            why_fixed: Reason for freezing a unit that is joined with `FIXED`.
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
        """Mark units as never to be removed, with the reason."""
        for unit in np.unique(units).tolist():
            if unit != FIXED:
                self._reasons.setdefault(self.find(unit), reason)

    def frozen(self, unit: int) -> str:
        """The reason why a unit is frozen; empty if it is not."""
        return self._reasons.get(self.find(unit), "")

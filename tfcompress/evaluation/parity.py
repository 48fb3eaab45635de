"""Numerical differences between the outputs of two models."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfcompress.errors import DataError
from tfcompress.short_repr import short_repr


@short_repr
@dataclass(frozen=True)
class Parity:
    """Differences between two arrays of outputs.

    Attributes:
        max_abs: Largest absolute difference.
        mean_abs: Mean absolute difference.
        min_abs: Smallest absolute difference.
        max_rel: Largest difference relative to the reference, over positions where the reference is
            not 0; NaN if it is 0 everywhere.
        mean_rel: Mean relative difference, over the same positions.
        min_rel: Smallest relative difference, over the same positions.
        beyond: Share of positions where the difference exceeds `atol + rtol * |reference|`, or
            where either value is NaN.
        cosine: Cosine similarity of the flattened arrays; NaN if either is all zeros.
        snr_db: Signal-to-noise ratio in decibels, with the reference as the signal. Infinite if the
            arrays are equal or the reference is all zeros.
        agreement: Share of positions with the same arg-max along the last axis.
    """

    max_abs: float
    mean_abs: float
    min_abs: float
    max_rel: float
    mean_rel: float
    min_rel: float
    beyond: float
    cosine: float
    snr_db: float
    agreement: float

    @property
    def passed(self) -> bool:
        """Whether every position is within the tolerance."""
        return self.beyond == 0

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"max |d| {self.max_abs:.3g}, mean |d| {self.mean_abs:.3g}, cosine {self.cosine:.6f}, "
            f"SNR {self.snr_db:.1f} dB, arg-max agreement {self.agreement:.2%}"
        )


def compare_outputs(
    reference: np.ndarray, other: np.ndarray, atol: float = 1e-5, rtol: float = 1e-4
) -> Parity:
    """Compare two models' outputs on the same inputs.

    Args:
        reference: Outputs that are taken as correct, `(..., C)`.
        other: Outputs that are compared with them, of the same shape.
        atol: Absolute tolerance, for `beyond` and `passed`.
        rtol: Tolerance relative to the reference, added to `atol`.

    Returns:
        The differences.

    Raises:
        DataError: The shapes differ, or the arrays are empty.
    """
    if reference.shape != other.shape or not reference.size:
        raise DataError(
            "outputs",
            f"their shapes differ: {reference.shape} and {other.shape}"
            if reference.shape != other.shape
            else f"they are empty: their shape is {reference.shape}",
            "run both models on the same inputs",
        )
    a, b = reference.astype(np.float64), other.astype(np.float64)
    difference, size = np.abs(a - b), np.abs(a)
    noise, signal = np.square(a - b).sum(), np.square(a).sum()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    relative = difference[size > 0] / size[size > 0]
    if not relative.size:
        relative = np.array([np.nan])
    return Parity(
        max_abs=float(difference.max()),
        mean_abs=float(difference.mean()),
        min_abs=float(difference.min()),
        max_rel=float(relative.max()),
        mean_rel=float(relative.mean()),
        min_rel=float(relative.min()),
        beyond=float(1 - (difference <= atol + rtol * size).mean()),
        cosine=float((a * b).sum() / norms) if norms else float("nan"),
        snr_db=float(10 * np.log10(signal / noise)) if noise and signal else float("inf"),
        agreement=float((a.argmax(axis=-1) == b.argmax(axis=-1)).mean()),
    )

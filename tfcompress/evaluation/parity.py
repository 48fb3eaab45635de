"""How far two models' outputs are apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tfcompress.errors import DataError


@dataclass(frozen=True)
class Parity:
    """Differences between two arrays of outputs.

    Attributes:
        max_abs: Largest absolute difference.
        mean_abs: Mean absolute difference.
        cosine: Cosine similarity of the flattened arrays.
        snr_db: Signal-to-noise ratio in decibels, the reference being the signal; infinite when
            the two are equal.
        agreement: Share of positions whose arg-max along the last axis agrees.
    """

    max_abs: float
    mean_abs: float
    cosine: float
    snr_db: float
    agreement: float

    def to_dict(self) -> dict[str, Any]:
        """The numbers for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"max |d| {self.max_abs:.3g}, mean |d| {self.mean_abs:.3g}, cosine {self.cosine:.6f}, "
            f"SNR {self.snr_db:.1f} dB, arg-max agreement {self.agreement:.2%}"
        )


def compare_outputs(reference: np.ndarray, other: np.ndarray) -> Parity:
    """Parity of `other` with `reference`, both `(..., C)`.

    Raises:
        DataError: Their shapes differ.
    """
    if reference.shape != other.shape:
        raise DataError(
            "outputs",
            f"their shapes differ: {reference.shape} and {other.shape}",
            "run both models on the same inputs",
        )
    a, b = reference.astype(np.float64), other.astype(np.float64)
    noise, signal = np.square(a - b).sum(), np.square(a).sum()
    norms = np.linalg.norm(a) * np.linalg.norm(b)
    return Parity(
        max_abs=float(np.abs(a - b).max()),
        mean_abs=float(np.abs(a - b).mean()),
        cosine=float((a * b).sum() / norms) if norms else float("nan"),
        snr_db=float(10 * np.log10(signal / noise)) if noise and signal else float("inf"),
        agreement=float((a.argmax(axis=-1) == b.argmax(axis=-1)).mean()),
    )

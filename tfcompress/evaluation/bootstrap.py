"""Paired bootstrap intervals: is a difference between two models more than luck of the sample?"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """A metric of one model minus that of another, on the same samples.

    Attributes:
        value: The difference on all samples.
        low: Lower end of the interval.
        high: Upper end of the interval.
        confidence: Of the interval, such as 0.95.
    """

    value: float
    low: float
    high: float
    confidence: float


def paired_difference(
    metric: Callable[[np.ndarray], np.ndarray],
    counts: np.ndarray,
    baseline: np.ndarray,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Difference:
    """Percentile interval of `metric(counts) - metric(baseline)` over resampled samples.

    Both models are scored on the same resample, so what makes a sample easy or hard for both
    cancels. Samples that depend on each other (patches of one image) make the interval too narrow.

    Reference: Efron and Tibshirani: "An Introduction to the Bootstrap", 1993, section 13.3.

    Args:
        metric: From summed confusion matrices `(..., C, C)` to numbers `(...)`.
        counts: Confusion matrices of the model, `(N, C, C)`, one per sample.
        baseline: Those of the other model on the same samples.
        resamples: Number of resamples.
        confidence: Of the interval.
        seed: Of the resamples.
    """
    n = len(counts)
    value = float(metric(counts.sum(axis=0)) - metric(baseline.sum(axis=0)))
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    differences = metric(_resampled(draws, counts)) - metric(_resampled(draws, baseline))
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(differences, [tail, 100 - tail])
    return Difference(value, float(low), float(high), confidence)


def _resampled(draws: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Summed matrices of each resample: `(R, N)` times `(N, C, C)` to `(R, C, C)`."""
    return np.tensordot(draws.astype(np.float64), counts.astype(np.float64), axes=1)

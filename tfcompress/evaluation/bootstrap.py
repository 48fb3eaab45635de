"""Paired bootstrap: confidence intervals for the difference between two models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Difference:
    """The difference of a metric between two models on the same samples.

    Attributes:
        value: Metric of the model minus metric of the baseline, on all samples.
        low: Lower end of the confidence interval.
        high: Upper end of the confidence interval.
        confidence: Confidence level of the interval, such as 0.95.
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
    """Percentile bootstrap interval of `metric(counts) - metric(baseline)`.

    Both models are scored on the same resamples, so the difficulty of a sample cancels. If samples
    depend on each other (patches of one image), the interval is too narrow.

    Reference: Efron and Tibshirani: "An Introduction to the Bootstrap", 1993, section 13.3.

    Args:
        metric: Function from summed confusion matrices `(..., C, C)` to values `(...)`.
        counts: Confusion matrices of the model, `(N, C, C)`, one per sample.
        baseline: Confusion matrices of the baseline, `(N, C, C)`, on the same samples.
        resamples: Number of bootstrap resamples.
        confidence: Confidence level of the interval, between 0 and 1.
        seed: Seed of the resampling.

    Returns:
        The difference on all samples and its interval.
    """
    n = len(counts)
    value = float(metric(counts.sum(axis=0)) - metric(baseline.sum(axis=0)))
    draws = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=resamples)
    differences = metric(_resampled(draws, counts)) - metric(_resampled(draws, baseline))
    tail = 50 * (1 - confidence)
    low, high = np.nanpercentile(differences, [tail, 100 - tail])
    return Difference(value, float(low), float(high), confidence)


def _resampled(draws: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Sum the matrices of each resample: `(R, N)` times `(N, C, C)` gives `(R, C, C)`."""
    return np.tensordot(draws.astype(np.float64), counts.astype(np.float64), axes=1)

"""Rules for the rank that a matrix keeps: by ratio, by energy, by EVBMF."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize_scalar


def by_ratio(matrix: np.ndarray, ratio: float) -> int:
    """`max(2, int(ratio * full rank))`, at most the full rank.

    Args:
        matrix: Matrix `(rows, columns)`. For Tucker, the rows are the channels.
        ratio: Share of the full rank, from 0 to 1.
    """
    return min(max(2, int(ratio * min(matrix.shape))), *matrix.shape)


def by_energy(matrix: np.ndarray, energy: float) -> int:
    """The lowest rank whose squared singular values reach a share of their total sum.

    Args:
        matrix: Matrix `(rows, columns)`.
        energy: Share of the sum, from 0 to 1.
    """
    return rank_of_energy(np.linalg.svd(np.asarray(matrix, float), compute_uv=False), energy)


def rank_of_energy(values: np.ndarray, energy: float) -> int:
    """The rank of `by_energy`, from singular values `(n,)` in descending order."""
    shares = np.cumsum(np.square(values))
    if shares[-1] <= 0:
        return 1
    return min(int(np.searchsorted(shares, energy * shares[-1] * (1 - 1e-12))) + 1, len(values))


def by_evbmf(matrix: np.ndarray, value: float = 1.0) -> int:
    """The rank that empirical variational Bayesian matrix factorization finds above noise.

    Reference: Nakajima, Sugiyama, Babacan, Tomioka: "Global Analytic Solution of Fully-observed
    Variational Bayesian Matrix Factorization", JMLR 14, 2013, theorem 2 and corollary 3; the noise
    variance is the one that minimizes the free energy (equation 15 of section 3.2).

    Args:
        matrix: Matrix `(rows, columns)`.
        value: Share of the found rank to keep; 1 keeps all of it.

    Returns:
        The rank, at least 1.
    """
    matrix = np.asarray(matrix, float)
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    short, long = matrix.shape
    alpha = short / long
    values = np.linalg.svd(matrix, compute_uv=False)
    energy = np.square(values)
    if energy.sum() <= 0:
        return 1
    tau_bar = 2.5129 * np.sqrt(alpha)
    edge = (1 + tau_bar) * (1 + alpha / tau_bar)

    def free_energy(variance: float) -> float:
        x = energy / (long * variance)
        above, below = x[x > edge], x[x <= edge]
        tau = (above - (1 + alpha) + np.sqrt((above - (1 + alpha)) ** 2 - 4 * alpha)) / 2
        return float(
            np.sum(below - np.log(np.maximum(below, 1e-300)))
            + np.sum(above - tau)
            + np.sum(np.log((tau + 1) / above))
            + alpha * np.sum(np.log(tau / alpha + 1))
        )

    most = energy.sum() / (long * short)
    least_kept = min(int(np.ceil(short / (1 + alpha))) - 1, short - 1)
    tail = energy[least_kept:]
    least = max(energy[least_kept] / (long * edge), tail.mean() / long, 1e-12 * most)
    variance = _lowest(free_energy, least, most)
    kept = int(np.count_nonzero(values > np.sqrt(long * variance * edge)))
    return max(1, round(value * kept))


def _lowest(function: Callable[[float], float], least: float, most: float) -> float:
    """Minimize a function of one positive number: on a logarithmic grid, then around the best."""
    if least >= most:
        return most
    grid = np.geomspace(least, most, 64)
    at = int(np.argmin([function(x) for x in grid]))
    around = np.log(grid[max(at - 1, 0)]), np.log(grid[min(at + 1, 63)])
    found = minimize_scalar(
        lambda x: function(np.exp(x)), bounds=around, method="bounded", options={"xatol": 1e-4}
    )
    return float(np.exp(found.x))


RANKS: dict[str, Callable[[np.ndarray, float], int]] = {
    "ratio": by_ratio,
    "energy": by_energy,
    "evbmf": by_evbmf,
}
"""Rank rules by name, each a function `(matrix, value) -> rank`."""

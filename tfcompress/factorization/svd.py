"""Truncated SVD: a matrix as the product of two thinner ones."""

from __future__ import annotations

import numpy as np


def svd(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation of a matrix at a given rank, as two factors.

    Each factor takes the square roots of the singular values. This gives both the same scale,
    which suits training and int8.

    Reference: Eckart, Young: "The approximation of one matrix by another of lower rank", 1936.

    Args:
        matrix: Matrix `(inputs, outputs)`.
        rank: Rank, from 1 to `min(inputs, outputs)`.

    Returns:
        Two float32 factors, `(inputs, rank)` and `(rank, outputs)`, whose product approximates the
        matrix.
    """
    u, values, v = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    root = np.sqrt(values[:rank])
    first, last = u[:, :rank] * root, root[:, None] * v[:rank]
    return first.astype(np.float32), last.astype(np.float32)

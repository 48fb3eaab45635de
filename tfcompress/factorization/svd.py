"""A matrix as the product of two thinner ones."""

from __future__ import annotations

import numpy as np


def svd(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The best approximation of a rank, as two factors.

    Reference: Eckart, Young: "The approximation of one matrix by another of lower rank", 1936. The
    singular values are shared evenly, which keeps both factors at one scale for training and int8.

    Args:
        matrix: `(inputs, outputs)`.
        rank: From 1 to the smaller of the two.

    Returns:
        `(inputs, rank)` and `(rank, outputs)`, whose product approximates the matrix.
    """
    u, values, v = np.linalg.svd(np.asarray(matrix, np.float64), full_matrices=False)
    root = np.sqrt(values[:rank])
    first, last = u[:, :rank] * root, root[:, None] * v[:rank]
    return first.astype(np.float32), last.astype(np.float32)

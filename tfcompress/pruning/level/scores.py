"""Importance scores of single weights; the higher the score, the more important the weight.

To add a score, put a function of the same form into `SCORES`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Score = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def magnitude(weight: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Magnitude `|w|`, the classic criterion.

    Reference: Han, Pool, Tran, Dally: "Learning both Weights and Connections for Efficient Neural
    Networks", NeurIPS 2015, section 3.
    """
    return np.abs(weight)


def random(weight: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Uniform noise, the control that every other score has to beat."""
    return generator.random(weight.shape, dtype=np.float32)


SCORES: dict[str, Score] = {"magnitude": magnitude, "random": random}

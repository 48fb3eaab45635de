"""Compute masks from importance scores and a sparsity. NumPy in, NumPy out.

A score array has the shape of its weight. A mask is a boolean array of that shape, True where the
weight is kept. For block and N:M patterns, scores are arranged as `(..., inputs, outputs)`, the
layout of Keras kernels; `layout.py` swaps the axes of layers that store them otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class Unstructured:
    """Single weights are pruned independently."""

    def __str__(self) -> str:
        return "unstructured"


@dataclass(frozen=True)
class Block:
    """Blocks of `rows` inputs x `columns` outputs are kept or pruned together."""

    rows: int
    columns: int

    def __str__(self) -> str:
        return f"{self.rows}x{self.columns}"


@dataclass(frozen=True)
class NOfM:
    """Of every `m` consecutive inputs of an output, `n` are kept (2:4 is the GPU pattern)."""

    n: int
    m: int

    @property
    def sparsity(self) -> float:
        """Share of weights that are pruned."""
        return 1 - self.n / self.m

    def __str__(self) -> str:
        return f"{self.n}:{self.m}"


Granularity = Unstructured | Block | NOfM


def parse_granularity(text: str | Granularity) -> Granularity:
    """Parse a granularity.

    Args:
        text: Granularity as text: "unstructured", a block such as "1x4" (inputs x outputs), or an
            N:M pattern such as "2:4".

    Raises:
        ConfigError: The text is not a granularity, or its numbers are out of range.
    """
    if not isinstance(text, str):
        return text
    if text == "unstructured":
        return Unstructured()
    fix = "write 'unstructured', a block such as '1x4' (inputs x outputs), or '2:4'"
    if match := re.fullmatch(r"(\d+)x(\d+)", text):
        rows, columns = int(match[1]), int(match[2])
        if rows >= 1 and columns >= 1 and rows * columns > 1:
            return Block(rows, columns)
    if match := re.fullmatch(r"(\d+):(\d+)", text):
        n, m = int(match[1]), int(match[2])
        if 1 <= n < m:
            return NOfM(n, m)
    raise ConfigError("granularity", f"{text!r} is not a pattern", fix)


def n_to_prune(size: int, sparsity: float) -> int:
    """Number of weights to prune of `size`, rounded down, as in NNI's LevelPruner.

    A tiny amount is added first, because 0.29 * 100 is 28.999999999999996 in floating point.
    """
    return math.floor(size * sparsity + 1e-9 * size)


def keep_largest(score: np.ndarray, n_prune: int) -> np.ndarray:
    """Mask that prunes exactly the `n_prune` lowest scores; of equal scores, the first ones.

    It runs in linear time (by selection, without sorting).
    """
    if n_prune <= 0:
        return np.ones(score.shape, bool)
    flat = score.reshape(-1)
    lowest = flat.min()
    keep = flat > lowest
    if flat.size - np.count_nonzero(keep) >= n_prune:  # the zeros of a pruned weight are enough
        threshold = lowest
    else:
        threshold = kth_smallest(flat, n_prune - 1)
        keep = flat > threshold
    surplus = flat.size - np.count_nonzero(keep) - n_prune
    if surplus:
        keep[np.flatnonzero(flat == threshold)[-surplus:]] = True
    return keep.reshape(score.shape)


def kth_smallest(values: np.ndarray, k: int, large: int = 100_000) -> float:
    """The value at position `k` (from 0) of the sorted values.

    A sorted sample gives bounds for the value, so that selection runs only on the few values
    between them. If the bounds miss it (many ties, an unusual order), selection runs on all values.

    Reference: Floyd and Rivest: "Expected Time Bounds for Selection", CACM 1975.

    Args:
        values: Values `(n,)` without NaN.
        k: Position in sorted order, from 0.
        large: Size from which on sampling is used.
    """
    if values.size < large:
        return np.partition(values, k)[k]
    sample = np.sort(values[:: values.size // 10_000])
    place = k / values.size * sample.size
    margin = 4 * np.sqrt(sample.size) / 2 + 1  # four standard deviations of a sampled rank
    low = sample[max(0, int(place - margin))]
    high = sample[min(sample.size - 1, int(place + margin))]
    between = values >= low
    rank = k - (values.size - np.count_nonzero(between))
    between &= values <= high
    inside = values[between]
    if not 0 <= rank < inside.size:
        return np.partition(values, k)[k]
    return np.partition(inside, rank)[rank]


def keep_largest_blocks(score: np.ndarray, n_prune: int, block: Block) -> np.ndarray:
    """Mask that prunes whole blocks, those with the lowest mean scores first.

    Args:
        score: Scores `(..., inputs, outputs)`. Blocks at the edges may be smaller; their mean is
            taken over the weights they contain.
        n_prune: Maximum number of weights to prune.
        block: Size of a block, inputs x outputs.

    Returns:
        Boolean mask of the scores' shape, True where the weight is kept.
    """
    *lead, inputs, outputs = score.shape
    rows, columns = math.ceil(inputs / block.rows), math.ceil(outputs / block.columns)
    row_of = np.arange(inputs) // block.rows
    column_of = np.arange(outputs) // block.columns
    stacked = score.reshape(-1, inputs, outputs).astype(np.float64)
    starts_r = np.arange(0, inputs, block.rows)
    starts_c = np.arange(0, outputs, block.columns)
    sums = np.add.reduceat(np.add.reduceat(stacked, starts_r, axis=1), starts_c, axis=2)
    sizes = np.outer(np.bincount(row_of, minlength=rows), np.bincount(column_of, minlength=columns))
    sizes = np.broadcast_to(sizes, sums.shape).reshape(-1)
    order = np.argsort(sums.reshape(-1) / sizes, kind="stable")
    dropped = order[np.cumsum(sizes[order]) <= n_prune]
    keep = np.ones(sums.size, bool)
    keep[dropped] = False
    keep = keep.reshape(-1, rows, columns)[:, row_of][:, :, column_of]
    return keep.reshape(*lead, inputs, outputs)


def keep_n_of_m(score: np.ndarray, pattern: NOfM) -> np.ndarray:
    """Mask that keeps the `n` largest of every `m` consecutive inputs, for each output.

    Args:
        score: Scores `(..., inputs, outputs)`; the number of inputs is a multiple of `m`.
        pattern: N:M pattern. Of equal scores, the first ones are kept.

    Returns:
        Boolean mask of the scores' shape, True where the weight is kept.
    """
    moved = np.moveaxis(score, -2, -1)
    groups = moved.reshape(-1, pattern.m)
    order = np.argsort(-groups, axis=1, kind="stable")
    keep = np.zeros(groups.shape, bool)
    np.put_along_axis(keep, order[:, : pattern.n], True, axis=1)
    return np.ascontiguousarray(np.moveaxis(keep.reshape(moved.shape), -1, -2))


def mask_of(score: np.ndarray, sparsity: float, granularity: Granularity) -> np.ndarray:
    """Compute the mask of one weight.

    Args:
        score: Scores of the weight; for patterns `(..., inputs, outputs)`.
        sparsity: Share of the weight to prune; an N:M pattern ignores it.
        granularity: Granularity of the mask.

    Returns:
        Boolean mask of the scores' shape, True where the weight is kept.

    Raises:
        ConfigError: The scores contain NaN.
    """
    _refuse_nan(score)
    if isinstance(granularity, NOfM):
        return keep_n_of_m(score, granularity)
    n_prune = n_to_prune(score.size, sparsity)
    if isinstance(granularity, Block):
        return keep_largest_blocks(score, n_prune, granularity)
    return keep_largest(score, n_prune)


def masks_of_pool(scores: Sequence[np.ndarray], sparsity: float) -> list[np.ndarray]:
    """Compute the masks of several weights that share a sparsity: one threshold for all.

    Args:
        scores: Scores of each weight.
        sparsity: Share of all these weights together to prune.

    Returns:
        Boolean masks of the scores' shapes, True where the weight is kept.

    Raises:
        ConfigError: The scores contain NaN.
    """
    pooled = np.concatenate([score.reshape(-1) for score in scores])
    _refuse_nan(pooled)
    keep = keep_largest(pooled, n_to_prune(pooled.size, sparsity))
    parts = np.split(keep, np.cumsum([score.size for score in scores])[:-1])
    return [part.reshape(score.shape) for part, score in zip(parts, scores, strict=True)]


def _refuse_nan(score: np.ndarray) -> None:
    if score.size and np.isnan(score.max()):
        raise ConfigError(
            "weights",
            f"{np.count_nonzero(np.isnan(score))} of {score.size} scores are NaN",
            "prune a model whose weights are finite (did training diverge?)",
        )

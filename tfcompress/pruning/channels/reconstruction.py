"""The error of layers that read pruned channels, and its reduction by least squares.

Reference: He, Zhang, Sun: "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017,
section 3.1 (step ii) and 3.2: for one reader after the other, in the order of the graph, the kernel
is fitted so that the *pruned* model's inputs give the *original* layer's outputs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfcompress.data.batches import Batch
from tfcompress.graph.layers import walk_layers
from tfcompress.graph.wiring import last_uses, read_wiring, run, step
from tfcompress.pruning.channels.trace.flow import Keep
from tfcompress.pruning.channels.trace.groups import ChannelGraph, Kept

ROWS = 20_000
"""Largest number of output positions in a least-squares problem."""
RIDGE = 1e-4
"""Weight of the distance to the old kernel, relative to the mean square of the inputs."""

LINEAR = (
    *("Dense", "EinsumDense", "SeparableConv1D", "SeparableConv2D"),
    *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
)
"""Layers that are linear in their inputs, apart from the activation."""


def reader_errors(graph: ChannelGraph, kept: Kept, data: Iterable[Batch]) -> dict[str, float]:
    """Relative change of the linear outputs of each group's readers if that group alone is pruned.

    Args:
        graph: Channel groups of the model.
        kept: Positions of the kept units, by group name.
        data: Batches of inputs.

    Returns:
        Errors by group name: the Frobenius norm of the change divided by that of the output without
        bias, over all readers and samples. Groups that no layer reads directly are left out.
    """
    wiring = graph.flow.wiring
    layers = {placed.path: placed.layer for placed in walk_layers(graph.model)}
    keeps = {name: graph.keep({name: kept[name]}) for name in kept}
    readers = [
        (group.name, cut, cut.tensor)
        for group in graph.groups
        if group.name in kept and len(kept[group.name]) < len(group.units)
        for cut in graph.flow.cuts
        if cut.tensor is not None and np.isin(cut.units, group.units).any()
    ]
    taps = {tensor for *_, tensor in readers}
    changed: dict[str, float] = {}
    total: dict[str, float] = {}
    for inputs, _ in data:
        values = run(wiring, wiring.as_tensors(inputs), taps)
        for name, cut, tensor in readers:
            layer = layers[cut.key[0]]
            if type(layer).__name__ not in LINEAR:
                continue  # a recurrent cell is not linear in its inputs alone
            x = values[tensor]
            mask = keeps[name][graph.flow.lanes[tensor].units][None]
            with _linear(layer):
                whole, part = layer(x), layer(x * mask.astype(str(x.dtype.name)))
                bias = layer(x[:1] * 0)
            changed[name] = changed.get(name, 0.0) + float(np.square(whole - part).sum())
            total[name] = total.get(name, 0.0) + float(np.square(whole - bias).sum())
    return {name: float(np.sqrt(changed[name] / max(total[name], 1e-30))) for name in changed}


def refit(graph: ChannelGraph, keep: Keep, small: Any, data: Iterable[Batch]) -> list[str]:
    """Refit the kernels of a shrunk model that read pruned channels, in place.

    Args:
        graph: Channel groups of the original model.
        keep: Mask of kept units that the small model was built with.
        small: Shrunk model, whose kernels and biases are changed.
        data: Batches of inputs, which are held in memory together.

    Returns:
        Paths of the layers that were refitted.
    """
    ours, theirs = graph.flow.wiring, read_wiring(small, flat=True)
    inputs = [np.concatenate(parts) for parts in zip(*(x for x, _ in data), strict=True)]
    before, after = (
        {t.index: value for t, value in zip(w.inputs, w.as_tensors(inputs), strict=True)}
        for w in (ours, theirs)
    )
    cuts = _lossy(graph, keep)
    calls = Counter(call.path for call in ours.calls)
    last_use = last_uses(ours)
    done = []
    for i, (old, new) in enumerate(zip(ours.calls, theirs.calls, strict=True)):
        solve = SOLVERS.get(old.kind)
        first = getattr(old.op, "data_format", "channels_last") == "channels_first"
        if old.path in cuts and solve is not None and calls[old.path] == 1 and not first:
            with _linear(old.op):
                wanted = old.op(before[old.inputs[0].index])
            stays = keep[cuts[old.path]]
            wanted = np.asarray(wanted)[..., stays]
            if solve(new.op, np.asarray(after[new.inputs[0].index]), wanted):
                done.append(old.path)
        for call, values in ((old, before), (new, after)):
            step(call, values)
            for mine, tensor in zip(old.inputs, call.inputs, strict=True):
                if last_use[mine.index] == i:
                    values.pop(tensor.index, None)  # no later call reads it
    return done


def dense(layer: Any, x: np.ndarray, wanted: np.ndarray) -> bool:
    """Refit a Dense layer: rows are samples."""
    return _solve(layer, x.reshape(-1, x.shape[-1]), wanted.reshape(-1, wanted.shape[-1]), None)


def convolution(layer: Any, x: np.ndarray, wanted: np.ndarray) -> bool:
    """Refit a Conv1D or Conv2D: rows are the patches under the kernel."""
    import tensorflow as tf

    if layer.groups > 1:
        return False
    flat = x.ndim == 3
    if flat:
        x, wanted = x[:, None], wanted[:, None]
    pad = layer.padding.upper()
    size, strides, rates = (
        (1, *value) if flat else tuple(value)
        for value in (layer.kernel_size, layer.strides, layer.dilation_rate)
    )
    if pad == "CAUSAL":
        return False
    rows, goals = [], []
    generator = np.random.default_rng(0)
    share = -(-ROWS // len(x))
    for start in range(0, len(x), 8):  # patches of all samples at once may not fit into memory
        part = slice(start, start + 8)
        patches = tf.image.extract_patches(
            x[part], (1, *size, 1), (1, *strides, 1), (1, *rates, 1), pad
        ).numpy()
        patches = patches.reshape(-1, patches.shape[-1])
        aims = wanted[part].reshape(-1, wanted.shape[-1])
        count = min(len(patches), share * len(x[part]))
        chosen = generator.choice(len(patches), count, replace=False)
        rows.append(patches[chosen])
        goals.append(aims[chosen])
    return _solve(layer, np.concatenate(rows), np.concatenate(goals), None)


def transposed(layer: Any, x: np.ndarray, wanted: np.ndarray) -> bool:
    """Refit a Conv2DTranspose whose strides equal its kernel: each input pixel makes one block."""
    if tuple(layer.kernel_size) != tuple(layer.strides):
        return False
    n, h, w, _ = x.shape
    kh, kw = layer.kernel_size
    if wanted.shape[1:3] != (h * kh, w * kw):
        return False
    blocks = wanted.reshape(n, h, kh, w, kw, -1).transpose(0, 1, 3, 2, 4, 5)
    rows = blocks.reshape(n * h * w, -1)

    def to_kernel(solution: np.ndarray) -> np.ndarray:
        return np.moveaxis(solution.reshape(-1, kh, kw, wanted.shape[-1]), 0, -1)

    return _solve(layer, x.reshape(n * h * w, -1), rows, to_kernel, copies=kh * kw)


SOLVERS: dict[str, Callable[[Any, np.ndarray, np.ndarray], bool]] = {
    "Dense": dense,
    "Conv1D": convolution,
    "Conv2D": convolution,
    "Conv2DTranspose": transposed,
}
"""Solvers by class of the reader. Other layers, and those with channels first, are not refitted."""


def _solve(
    layer: Any,
    rows: np.ndarray,
    wanted: np.ndarray,
    to_kernel: Callable[[np.ndarray], np.ndarray] | None,
    copies: int = 1,
) -> bool:
    """Ridge regression towards the present kernel, with an intercept if there is a bias."""
    if len(rows) > ROWS:
        chosen = np.random.default_rng(0).choice(len(rows), ROWS, replace=False)
        rows, wanted = rows[chosen], wanted[chosen]
    rows, wanted = rows.astype(np.float64), wanted.astype(np.float64)
    kernel = np.asarray(layer.kernel, np.float64)
    if to_kernel is None:
        present = kernel.reshape(-1, kernel.shape[-1])
    else:
        present = np.moveaxis(kernel, -1, 0).reshape(kernel.shape[-1], -1)
    bias = np.zeros(wanted.shape[1])
    if layer.use_bias:
        bias = np.tile(np.asarray(layer.bias, np.float64), copies)
    residual = wanted - rows @ present - bias
    center, shift = rows.mean(axis=0), residual.mean(axis=0)
    if not layer.use_bias:
        center, shift = np.zeros_like(center), np.zeros_like(shift)
    x, y = rows - center, residual - shift
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram) + 1e-12
    change = np.linalg.solve(gram, x.T @ y)
    solution = present + change
    layer.kernel.assign(
        (solution.reshape(kernel.shape) if to_kernel is None else to_kernel(solution)).astype(
            "float32"
        )
    )
    if layer.use_bias:
        moved = (shift - center @ change).reshape(copies, -1).mean(axis=0)
        layer.bias.assign((np.asarray(layer.bias) + moved).astype("float32"))
    return True


def _lossy(graph: ChannelGraph, keep: Keep) -> dict[str, np.ndarray]:
    """Readers that lose input channels, with the units of their outputs."""
    lost = {
        cut.key[0] for cut in graph.flow.cuts if cut.part == "reader" and not keep[cut.units].all()
    }
    return {
        cut.key[0]: cut.units
        for cut in graph.flow.cuts
        if cut.part == "maker" and cut.key[0] in lost
    }


@contextmanager
def _linear(layer: Any) -> Iterator[None]:
    """Remove a layer's activation temporarily."""
    activation = layer.activation
    layer.activation = None
    try:
        yield
    finally:
        layer.activation = activation

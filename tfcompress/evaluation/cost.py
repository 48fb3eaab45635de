"""Multiply-accumulates and parameters per layer, read from one traced forward pass.

One multiply-accumulate (MAC) is one fused multiply-add of a convolution, matrix product or einsum.
By the field's convention, element-wise operations (activations, additions, pooling, and
normalization, which folds into a neighboring convolution) are not counted.

The model is traced, not run. A layer whose class is in `LAYERS` is counted by its formula.
Otherwise, each TensorFlow operation with MACs is attributed to the innermost layer whose `call`
made it. Custom layers, subclassed models and `keras.ops` are thus counted like built-in layers.
What cannot be counted (a loop, a shape that is not static) is listed in `uncounted` and never taken
as zero.

To add an operation, put a function `op -> macs` into `OPERATIONS`; to add a layer, put a function
`(layer, inputs, output) -> macs` into `LAYERS`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from tfcompress.errors import LayerError
from tfcompress.graph.layers import own_weights, walk_layers
from tfcompress.graph.wiring import pack_inputs
from tfcompress.internals.tensorflow import FUNCTION
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

Shape = tuple[int, ...]


def convolution(op: Any) -> int:
    """MACs of a convolution: each output value sums over the window and its input channels."""
    *window, per_group, _ = op.inputs[1].shape
    return math.prod(op.outputs[0].shape) * math.prod(window) * per_group


def depthwise_convolution(op: Any) -> int:
    """MACs of a depthwise convolution: each output value sums over the window of one channel."""
    return math.prod(op.outputs[0].shape) * math.prod(op.inputs[1].shape[:-2])


def transposed_convolution(op: Any) -> int:
    """MACs of a transposed convolution: each input value goes to the window of all outputs."""
    *window, outputs, _ = op.inputs[1].shape
    return math.prod(op.inputs[2].shape) * math.prod(window) * outputs


def matrix_product(op: Any) -> int:
    """MACs of a matrix product: each output value sums over the shared axis."""
    transposed = "transpose_a" if op.type == "MatMul" else "adj_x"
    shared = op.inputs[0].shape[-2 if op.get_attr(transposed) else -1]
    return math.prod(op.outputs[0].shape) * shared


def einsum(op: Any) -> int:
    """MACs of an einsum: one per combination of the indices, as in "abc,cde->abde".

    An ellipsis stands for the leading axes that have no letter.
    """
    terms = op.get_attr("equation").decode().replace(" ", "").split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, tensor in zip(terms, op.inputs, strict=True):
        before, dots, after = term.partition("...")
        shape = list(tensor.shape)
        for letter, size in zip(before, shape, strict=False):
            sizes[letter] = size
        for letter, size in zip(reversed(after), reversed(shape), strict=False):
            sizes[letter] = size
        if dots:
            sizes["..."] = math.prod(shape[len(before) : len(shape) - len(after)])
    return math.prod(sizes.values())


OPERATIONS: dict[str, Callable[[Any], int]] = {
    "Conv2D": convolution,
    "Conv3D": convolution,
    "DepthwiseConv2dNative": depthwise_convolution,
    "Conv2DBackpropInput": transposed_convolution,
    "Conv3DBackpropInputV2": transposed_convolution,
    "MatMul": matrix_product,
    "BatchMatMulV2": matrix_product,
    "BatchMatMulV3": matrix_product,
    "Einsum": einsum,
}

_LOOPS = ("While", "StatelessWhile", "If", "StatelessIf", "XlaCallModule")
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")


def convolution_layer(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """MACs of a convolution layer, by its kernel and output.

    TensorFlow computes dilated convolutions on padded pieces; counting its operations would count
    the padding too.
    """
    *window, per_group, _ = layer.kernel.shape
    return math.prod(output) * math.prod(window) * per_group


def depthwise_layer(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """MACs of a depthwise layer, as in `depthwise_convolution`."""
    kernel = getattr(layer, "depthwise_kernel", None)  # tf_keras' name; in Keras 3 it is kernel
    return math.prod(output) * math.prod((layer.kernel if kernel is None else kernel).shape[:-2])


def recurrent(layer: Any, inputs: Sequence[Shape], output: Shape) -> int:
    """MACs of a recurrent layer: kernel and recurrent kernel, once per time step."""
    cell = layer.cell
    return inputs[0][1] * (math.prod(cell.kernel.shape) + math.prod(cell.recurrent_kernel.shape))


LAYERS: dict[str, Callable[[Any, Sequence[Shape], Shape], int]] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), convolution_layer),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), depthwise_layer),
    **dict.fromkeys(("SimpleRNN", "LSTM", "GRU"), recurrent),
}


@dataclass(frozen=True)
class LayerCost:
    """Cost of one layer, summed over all its calls.

    Attributes:
        path: Layer path.
        kind: Class name of the layer.
        calls: Number of calls in one forward pass.
        output: Shape of the last call's output for a batch of 1; empty if it was not called.
        parameters: Number of values in the layer's own weights.
        nonzero: Number of these values that are not zero.
        macs: Multiply-accumulates for one sample; None if they cannot be counted.
    """

    path: str
    kind: str
    calls: int
    output: Shape
    parameters: int
    nonzero: int
    macs: int | None


@short_repr
@dataclass(frozen=True)
class ModelCost:
    """Cost of a model for one sample.

    Attributes:
        layers: Costs of the layers that have weights or MACs.
        uncounted: Layers whose MACs are missing in `macs`, each as (path, reason).
    """

    layers: tuple[LayerCost, ...]
    uncounted: tuple[tuple[str, str], ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample, without the `uncounted` layers."""
        return sum(layer.macs or 0 for layer in self.layers)

    @property
    def parameters(self) -> int:
        """Number of values in all weights, moving statistics included."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def nonzero(self) -> int:
        """Number of values in all weights that are not zero."""
        return sum(layer.nonzero for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """The cost for JSON."""
        return {
            "macs": self.macs,
            "parameters": self.parameters,
            "nonzero": self.nonzero,
            "layers": [asdict(layer) for layer in self.layers],
            "uncounted": [{"layer": path, "reason": reason} for path, reason in self.uncounted],
        }

    def table(self) -> Table:
        """The cost as a table."""
        table = Table(
            ("layer", "kind", "calls", "output", "parameters", "nonzero", "MACs"),
            title="Cost of one sample",
            drop=("calls", "nonzero", "kind", "output"),
        )
        for layer in self.layers:
            table.add(
                layer.path,
                layer.kind,
                str(layer.calls),
                "x".join(map(str, layer.output[1:])),
                f"{layer.parameters:,}",
                f"{layer.nonzero:,}",
                "uncounted" if layer.macs is None else f"{layer.macs:,}",
            )
        table.total(
            "total", "", "", "", f"{self.parameters:,}", f"{self.nonzero:,}", f"{self.macs:,}"
        )
        for path, reason in self.uncounted:
            table.note(f"uncounted {path}: {reason}")
        return table

    def __str__(self) -> str:
        return str(self.table())


def count_cost(model: Any, input_shapes: Sequence[Shape] | None = None) -> ModelCost:
    """Count the MACs and parameters of a model, layer by layer.

    Functional, Sequential, nested and subclassed models of either flavor can be counted, and layers
    that are called several times.

    Args:
        model: Built Keras 3 or tf_keras model.
        input_shapes: Input shapes without the batch axis, one per input. Needed for a subclassed
            model, and where the model's own shapes have free axes.

    Returns:
        The cost for one sample.

    Raises:
        LayerError: The input shapes are neither given nor known.
    """
    noted = _trace(model, _shapes_of(model, input_shapes))
    layers: list[LayerCost] = []
    uncounted: list[tuple[str, str]] = []
    places = [(placed.path, placed.kind, placed.layer) for placed in walk_layers(model)]
    if not any(layer is model for *_, layer in places):
        places.insert(0, (".", type(model).__name__, model))
    for path, kind, layer in places:
        weights = [np.asarray(variable) for _, variable in own_weights(layer)]
        note = noted.get(id(layer), _Note())
        uncounted.extend((path, reason) for reason in dict.fromkeys(note.reasons))
        if not weights and not note.macs and not note.reasons:
            continue
        layers.append(
            LayerCost(
                path=path,
                kind=kind,
                calls=note.calls,
                output=note.output,
                parameters=sum(weight.size for weight in weights),
                nonzero=sum(int(np.count_nonzero(weight)) for weight in weights),
                macs=None if note.reasons else note.macs,
            )
        )
    return ModelCost(tuple(layers), tuple(uncounted))


@dataclass
class _Note:
    """What one layer did in the traced forward pass."""

    calls: int = 0
    output: Shape = ()
    macs: int = 0
    reasons: list[str] = field(default_factory=list)


def _shapes_of(model: Any, input_shapes: Sequence[Shape] | None) -> list[Shape]:
    if input_shapes is not None:
        return [tuple(shape) for shape in input_shapes]
    shapes = [tuple(tensor.shape[1:]) for tensor in getattr(model, "inputs", None) or ()]
    if not shapes or any(None in shape for shape in shapes):
        raise LayerError(
            f"model {model.name!r}",
            "the size of its inputs is not fixed, so its MACs cannot be counted",
            "pass input_shapes=[(height, width, channels)]",
        )
    return shapes


def _trace(model: Any, shapes: Sequence[Shape]) -> dict[int, _Note]:
    """Trace one forward pass of one sample; returns notes by `id(layer)`."""
    import tensorflow as tf

    dtypes = [tensor.dtype for tensor in getattr(model, "inputs", None) or ()]
    dtypes = dtypes or ["float32"] * len(shapes)
    specs = [tf.TensorSpec((1, *shape), dtype) for shape, dtype in zip(shapes, dtypes, strict=True)]
    notes: dict[int, _Note] = {}

    @tf.function(input_signature=specs, autograph=False)
    def forward(*tensors: Any) -> Any:
        return model(pack_inputs(model, tensors), training=False)

    layers = [model, *(placed.layer for placed in walk_layers(model))]
    with _watched(list({id(layer): layer for layer in layers}.values()), notes, tf):
        forward.get_concrete_function()
    return notes


@contextmanager
def _watched(layers: Sequence[Any], notes: dict[int, _Note], tf: Any) -> Iterator[None]:
    """While open, note the operations that each `layer.call` adds, without those of inner calls."""
    charged: list[set[str]] = []  # per open call: operations already attributed to an inner call

    def watch(layer: Any) -> None:
        inner = layer.call
        rule = LAYERS.get(type(layer).__name__)
        below = [] if rule is None else [id(p.layer) for p in walk_layers(layer) if p.path != "."]

        @functools.wraps(inner)
        def call(*args: Any, **kwargs: Any) -> Any:
            graph = tf.compat.v1.get_default_graph()
            before = len(graph.get_operations())
            charged.append(set())
            output = inner(*args, **kwargs)
            made = graph.get_operations()[before:]
            taken = charged.pop()
            if charged:
                charged[-1].update(op.name for op in made)
            note = notes.setdefault(id(layer), _Note())
            note.calls += 1
            note.output = next(iter(_shapes_in(output)), ())
            if rule is None:
                _charge(note, [op for op in made if op.name not in taken])
            else:
                try:
                    note.macs += rule(layer, _shapes_in(args), note.output)
                except TypeError:
                    note.reasons.append("its shape is not static")
                for child in below:  # the rule of a recurrent layer includes its cell
                    notes[child] = _Note()
            return output

        object.__setattr__(layer, "call", call)

    watched = [layer for layer in layers if "call" not in vars(layer)]
    try:
        for layer in watched:
            watch(layer)
        yield
    finally:
        for layer in watched:
            vars(layer).pop("call", None)


def _charge(note: _Note, operations: Sequence[Any]) -> None:
    for op in operations:
        macs, reason = _count_operation(op)
        note.macs += macs
        if reason:
            note.reasons.append(reason)


def _shapes_in(tensors: Any) -> list[Shape]:
    import tensorflow as tf

    return [tuple(t.shape) for t in tf.nest.flatten(tensors) if tf.is_tensor(t)]


def _count_operation(op: Any) -> tuple[int, str]:
    """MACs of an operation and of the functions it calls, or why they cannot be counted."""
    if op.type in OPERATIONS:
        try:
            return int(OPERATIONS[op.type](op)), ""
        except (TypeError, ValueError):
            return 0, f"{op.type} works on a shape that is not static"
    if op.type in _LOOPS:
        return 0, f"{op.type}: the number of times its body runs is not known"
    if op.type not in _CALLS:
        return 0, ""
    body = FUNCTION.of(op.graph)(op.get_attr("f").name).graph.get_operations()
    counted = [_count_operation(inner) for inner in body]
    return sum(macs for macs, _ in counted), next((why for _, why in counted if why), "")

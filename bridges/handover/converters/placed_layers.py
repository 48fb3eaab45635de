"""Operations without weights in the graph that `onnx2keras` builds, and what converters share.

`onnx2keras` builds a channels-first graph and then clones it channels-last, layer by layer, from
configs in which it moves axes. An operation without weights enters that graph as a `Placed`
layer, which knows its channels-last form; `unplaced` replaces it at the end. Only Keras' own layers
and, for slices, `keras.ops` remain.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
import onnx
from keras import layers as kl

from bridges.handover.converters.patterns import GraphReader

Node = onnx.NodeProto
Params = dict[str, Any]
"""Attributes of a node."""
Tensors = dict[str, Any]
"""Symbolic tensors and constants of the graph, by name."""
LAST_AXIS = {0: 0, 1: 3, 2: 1, 3: 2}
"""Axis of a channels-first map in the channels-last one."""


class NotExpressible(Exception):
    """A node cannot be expressed by plain layers; the message says why."""


@contextmanager
def image_format(name: str) -> Iterator[None]:
    """Keras' default layout inside the block; `onnx2keras` sets it to channels first."""
    before = keras.config.image_data_format()
    keras.config.set_image_data_format(name)
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)


class Placed(kl.Layer):
    """Placeholder for operations without weights, defined by their effect on channels-last tensors.

    Args:
        plain: Function from channels-last symbolic tensors to one, made by new layers.
        data_format: "channels_first" until the cloning changes it.
        name: Name of the tensor that the node outputs.
    """

    def __init__(
        self,
        plain: Callable[..., Any],
        data_format: str = "channels_first",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name)
        self.plain, self.data_format = plain, data_format

    def call(self, inputs: Any) -> Any:
        """Apply the operation in the graph's present layout."""
        listed = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        with image_format("channels_last"):
            if self.data_format == "channels_last":
                return self.plain(*listed)
            last = [keras.ops.transpose(x, (0, 2, 3, 1)) if x.ndim == 4 else x for x in listed]
            said = self.plain(*last)
        return keras.ops.transpose(said, (0, 3, 1, 2)) if len(said.shape) == 4 else said

    def get_config(self) -> dict[str, Any]:
        """Config for the cloning only: this layer is never saved to a file."""
        return {"plain": self.plain, "data_format": self.data_format, "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Placed:
        """Rebuild the layer, in the other layout."""
        return cls(**config)


def unplaced(model: Any) -> Any:
    """Build a new model with plain layers in place of every `Placed`; weights are copied."""
    pairs = []

    def fresh(layer: Any) -> Any:
        if isinstance(layer, Placed):
            return layer
        new = type(layer).from_config(layer.get_config())
        pairs.append((layer, new))
        return new

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(layer, Placed):
            return layer(*args, **kwargs)
        (inputs,) = args
        return layer.plain(*inputs) if isinstance(inputs, (list, tuple)) else layer.plain(inputs)

    with image_format("channels_last"):
        new = keras.models.clone_model(model, clone_function=fresh, call_function=call)
    for old, made in pairs:
        made.set_weights(old.get_weights())
    one_or_all = [listed[0] if len(listed) == 1 else listed for listed in (new.inputs, new.outputs)]
    return keras.Model(*one_or_all, name="from_onnx")


class Converters:
    """Methods `on_<operator>` turn a node into layers.

    Each takes the node, its attributes, the tensors made so far (to which it adds its output), and
    the name of the new layer.

    Args:
        graph: The graph to convert.
    """

    def __init__(self, graph: GraphReader) -> None:
        self.graph = graph

    def table(self) -> dict[str, Callable[..., None]]:
        """Converters by operator, as `onnx2keras` calls them."""

        def adapted(convert: Callable[..., None]) -> Callable[..., None]:
            return lambda node, params, layers, _, __, name: convert(node, params, layers, name)

        methods = [name for name in dir(self) if name.startswith("on_")]
        return {name.removeprefix("on_"): adapted(getattr(self, name)) for name in methods}

    @staticmethod
    def place(
        layers: Tensors, node: Node, name: str, plain: Callable[..., Any], *inputs: Any
    ) -> None:
        """Apply an operation without weights to inputs (default: the node's first)."""
        listed = list(inputs) or [tensor(layers, node, 0)]
        fed = listed if len(listed) > 1 else listed[0]
        layers[node.output[0]] = Placed(plain, name=name)(fed)


def tensor(layers: Mapping[str, Any], node: Node, index: int) -> Any:
    """The symbolic tensor that a node takes; an error if it is a constant."""
    found = layers[node.input[index]]
    if isinstance(found, (np.ndarray, np.generic)):
        raise NotExpressible("it computes on a constant; simplify the graph before")
    return found


def constant(layers: Mapping[str, Any], node: Node, index: int) -> np.ndarray:
    """The constant that a node takes."""
    found = layers[node.input[index]]
    if not isinstance(found, (np.ndarray, np.generic)):
        raise NotExpressible(f"its input {index} is computed, where only a constant is possible")
    return np.asarray(found)


def explicit_pads(params: Mapping[str, Any]) -> list[int]:
    """(top, left, bottom, right)."""
    automatic = text(params.get("auto_pad", "NOTSET"))
    if automatic not in ("NOTSET", "VALID"):
        raise NotExpressible(f"its padding is {automatic}; explicit numbers are possible")
    return [int(n) for n in params.get("pads", [0, 0, 0, 0])]


def has_input(node: Node, index: int) -> bool:
    """Whether an optional input is given."""
    return len(node.input) > index and bool(node.input[index])


def text(value: bytes | str) -> str:
    """Decode a string attribute, which ONNX keeps as bytes."""
    return value.decode() if isinstance(value, bytes) else value

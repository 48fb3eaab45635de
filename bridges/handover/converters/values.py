"""ONNX nodes that act element by element or move values, as Keras layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers as kl

from bridges.handover.converters.patterns import GELU, SILU
from bridges.handover.converters.placed_layers import (
    LAST_AXIS,
    Converters,
    Node,
    NotExpressible,
    Params,
    Placed,
    Tensors,
    constant,
    has_input,
    tensor,
)

ACTIVATIONS = {
    SILU: "silu", GELU: "gelu", "HardSwish": "hard_silu", "Softplus": "softplus",
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Selu": "selu", "Softsign": "softsign",
}  # fmt: skip
"""Keras' activation of each operator without settings."""


class ValueConverters(Converters):
    """Activations, arithmetic, slices, and changes of shape."""

    def table(self) -> dict[str, Callable[..., None]]:
        """Converters by operator, activations included."""
        activations = {
            operator: lambda node, params, layers, _, __, name, kind=kind: self.place(
                layers, node, name, lambda x: kl.Activation(kind, name=name)(x)
            )
            for operator, kind in ACTIVATIONS.items()
        }
        return activations | super().table()

    def on_Elu(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """The activation with its slope."""
        slope = params.get("alpha", 1.0)
        self.place(layers, node, name, lambda x: kl.ELU(slope, name=name)(x))

    def on_Flatten(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Flatten in the order channels, rows, columns."""
        if params.get("axis", 1) != 1:
            raise NotExpressible(f"its axis is {params['axis']}; 1 is possible")
        self.place(layers, node, name, lambda x: flattened(x, name))

    def on_Reshape(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Flattening; other reshapes mix channels with positions and have no channels-last form."""
        shape = constant(layers, node, 1)
        if isinstance(layers[node.input[0]], np.ndarray):
            layers[node.output[0]] = layers[node.input[0]].reshape([int(n) for n in shape])
            return
        if len(shape) != 2:
            raise NotExpressible(f"it makes {len(shape)} axes; 2 (flattening) are possible")
        self.place(layers, node, name, lambda x: flattened(x, name))

    def on_ChannelShuffle(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Interleave the channels of several groups."""
        groups = params["groups"]

        def plain(x: Any) -> Any:
            height, width, channels = x.shape[1:]
            x = kl.Reshape((height, width, groups, channels // groups), name=f"{name}_split")(x)
            x = kl.Permute((1, 2, 4, 3), name=f"{name}_swap")(x)
            return kl.Reshape((height, width, channels), name=name)(x)

        self.place(layers, node, name, plain)

    def on_Softmax(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Softmax over classes."""
        rank = len(tensor(layers, node, 0).shape)
        axis = params.get("axis", -1) % rank
        axis = LAST_AXIS[axis] if rank == 4 else axis
        if axis == rank - 1:
            self.place(layers, node, name, lambda x: kl.Activation("softmax", name=name)(x))
        else:
            self.place(layers, node, name, lambda x: kl.Softmax(axis=axis, name=name)(x))

    def on_HardSigmoid(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """max(0, min(1, alpha x + beta)); Keras has alpha 1/6 and beta 0.5."""
        alpha, beta = params.get("alpha", 0.2), params.get("beta", 0.5)
        if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
            self.place(layers, node, name, lambda x: kl.Activation("hard_sigmoid", name=name)(x))
            return

        def plain(x: Any) -> Any:
            x = kl.Rescaling(alpha, beta, name=f"{name}_line")(x)
            return kl.ReLU(max_value=1.0, name=name)(x)

        self.place(layers, node, name, plain)

    def on_LeakyRelu(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """The activation with its slope."""
        slope = params.get("alpha", 0.01)
        self.place(layers, node, name, lambda x: kl.LeakyReLU(slope, name=name)(x))

    def on_Clip(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """A ReLU with an upper bound, shifted to the lower bound."""
        low, high = params.get("min"), params.get("max")
        if len(node.input) > 1:
            ends = [constant(layers, node, i) if has_input(node, i) else None for i in (1, 2)]
            low, high = (None if end is None else float(end) for end in ends)
        if low is None:
            raise NotExpressible("it has no lower end")

        def plain(x: Any) -> Any:
            if low == 0:
                return kl.ReLU(max_value=high, name=name)(x)
            x = kl.Rescaling(1.0, -low, name=f"{name}_from")(x)
            top = None if high is None else high - low
            x = kl.ReLU(max_value=top, name=f"{name}_relu")(x)
            return kl.Rescaling(1.0, low, name=name)(x)

        self.place(layers, node, name, plain)

    def on_Erf(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """The error function, for which LiteRT has no operator except within GELU."""
        self.place(layers, node, name, keras.ops.erf)

    def on_Slice(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """A slice of the channels, rows or columns."""
        given = layers[node.input[0]]  # an array where it is the shape of a tensor
        if "starts" in params:
            starts, ends = params["starts"], params["ends"]
            axes, steps = params.get("axes", range(len(starts))), [1] * len(starts)
        else:
            starts, ends = constant(layers, node, 1), constant(layers, node, 2)
            axes = constant(layers, node, 3) if has_input(node, 3) else range(len(starts))
            steps = constant(layers, node, 4) if has_input(node, 4) else [1] * len(starts)
        rank, known = len(given.shape), isinstance(given, np.ndarray)
        key = [slice(None)] * rank
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            axis = int(axis) % rank
            end = None if int(end) >= 2**31 - 1 else int(end)
            place = LAST_AXIS[axis] if rank == 4 and not known else axis
            key[place] = slice(int(start), end, int(step))
        if known:
            layers[node.output[0]] = given[tuple(key)]
            return
        if key[0] != slice(None):
            raise NotExpressible("it cuts the batch")
        self.place(layers, node, name, lambda x: x[tuple(key)])

    def on_Split(self, node: Node, params: Params, layers: Tensors, names: list[str] | str) -> None:
        """Consecutive slices of the channels, rows or columns."""
        x = tensor(layers, node, 0)
        rank = len(x.shape)
        axis = params.get("axis", 0) % rank
        sizes = params.get("split")
        if sizes is None and has_input(node, 1):
            sizes = constant(layers, node, 1)
        count = len(node.output)
        if axis == 0:
            raise NotExpressible("it cuts the batch")
        if sizes is None:
            each = -(-x.shape[axis] // count)
            sizes = [each] * (count - 1) + [x.shape[axis] - each * (count - 1)]
        edges = np.cumsum([0, *sizes])
        place = LAST_AXIS[axis] if rank == 4 else axis
        for i, output in enumerate(node.output):
            key = [slice(None)] * rank
            key[place] = slice(int(edges[i]), int(edges[i + 1]))
            name = names[i] if isinstance(names, list) else names
            layers[output] = Placed(lambda x, key=tuple(key): x[key], name=name)(x)

    def on_Concat(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Tensors joined along an axis."""
        listed = [layers[item] for item in node.input]
        if all(isinstance(item, np.ndarray) for item in listed):
            layers[node.output[0]] = np.concatenate(listed, params["axis"])
            return
        listed = [tensor(layers, node, i) for i in range(len(node.input))]
        rank = len(listed[0].shape)
        axis = params["axis"] % rank
        axis = LAST_AXIS[axis] if rank == 4 else axis
        axis = -1 if axis == rank - 1 else axis
        if len(listed) == 1:
            layers[node.output[0]] = listed[0]
            return
        self.place(
            layers, node, name, lambda *x: kl.Concatenate(axis=axis, name=name)(list(x)), *listed
        )

    def on_Neg(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Negation."""
        self.place(layers, node, name, lambda x: kl.Rescaling(-1.0, name=name)(x))

    def on_Add(self, *args: Any) -> None:
        """A sum."""
        self._merge(*args, layer=kl.Add, by_number=lambda c, first: (1.0, c))

    def on_Mul(self, *args: Any) -> None:
        """A product."""
        self._merge(*args, layer=kl.Multiply, by_number=lambda c, first: (c, 0.0))

    def on_Sub(self, *args: Any) -> None:
        """A difference."""
        self._merge(
            *args, layer=kl.Subtract, by_number=lambda c, first: (-1.0, c) if first else (1.0, -c)
        )

    def on_Div(self, *args: Any) -> None:
        """A quotient by a number."""
        self._merge(*args, layer=None, by_number=lambda c, first: None if first else (1 / c, 0.0))

    def _merge(
        self,
        node: Node,
        params: Params,
        layers: Tensors,
        name: str,
        layer: Any,
        by_number: Callable[[float, bool], tuple[float, float] | None],
    ) -> None:
        """Use a merging layer, or a scale and offset if one operand is a constant."""
        given = [layers[item] for item in node.input]
        numbers = [isinstance(item, np.ndarray) for item in given]
        if all(numbers):
            operation = {"Add": np.add, "Mul": np.multiply, "Sub": np.subtract, "Div": np.divide}
            layers[node.output[0]] = np.asarray(operation[node.op_type](*given))
            return
        if any(numbers):
            first = numbers[0]
            value = given[0 if first else 1]
            if value.size != 1:
                raise NotExpressible(
                    f"it takes a constant of shape {value.shape}, which no plain layer holds as a "
                    "trainable weight"
                )
            line = by_number(float(value.ravel()[0]), first)
            if line is not None:
                x = given[1 if first else 0]
                self.place(layers, node, name, lambda x: kl.Rescaling(*line, name=name)(x), x)
                return
        if layer is None or any(numbers):
            raise NotExpressible("a quotient by a tensor is no plain layer")
        self.place(layers, node, name, lambda *x: layer(name=name)(list(x)), *given)


def flattened(x: Any, name: str) -> Any:
    """Flatten channels-last maps in the order channels, rows, columns."""
    if len(x.shape) == 4 and x.shape[1:3] != (1, 1):
        x = kl.Permute((3, 1, 2), name=f"{name}_channels_first")(x)
    return kl.Flatten(name=name)(x)

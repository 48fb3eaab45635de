"""ONNX nodes that act on windows, as Keras layers: convolutions, pooling, resizing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import layers as kl

from bridges.handover.converters.placed_layers import (
    Converters,
    Node,
    NotExpressible,
    Params,
    Tensors,
    constant,
    explicit_pads,
    has_input,
    tensor,
    text,
)

NEVER_NEGATIVE = ("Relu", "Sigmoid", "Softmax", "HardSigmoid")
KEEP_SIGN = (
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "Concat",
    "Identity",
    "Dropout",
    "Resize",
)


class WindowConverters(Converters):
    """Convolutions, pooling and resizing."""

    def on_Conv(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Conv2D or DepthwiseConv2D, with "same" padding if the pads are equal to it."""
        kernel = constant(layers, node, 1)
        if kernel.ndim != 4:
            raise NotExpressible(f"its kernel has {kernel.ndim - 2} axes; 2 are possible")
        x = tensor(layers, node, 0)
        out, per_group, *size = kernel.shape
        groups = params.get("group", 1)
        dilation, strides = params.get("dilations", [1, 1]), params.get("strides", [1, 1])
        top, left, bottom, right = explicit_pads(params)
        reach = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
        same = (
            list(strides) == [1, 1]
            and [top, left] == [bottom, right]
            and [2 * top, 2 * left] == reach
        )
        if not same and any((top, left, bottom, right)):
            x = kl.ZeroPadding2D(
                ((top, bottom), (left, right)), data_format="channels_first", name=f"{name}_pad"
            )(x)
        common = dict(
            kernel_size=tuple(size),
            strides=tuple(strides),
            padding="same" if same else "valid",
            dilation_rate=tuple(dilation),
            use_bias=len(node.input) > 2 and bool(node.input[2]),
            data_format="channels_first",
            name=name,
        )
        if groups > 1 and per_group == 1 and out % groups == 0:
            layer = kl.DepthwiseConv2D(depth_multiplier=out // groups, **common)
            weights = kernel.reshape(groups, -1, *size).transpose(2, 3, 0, 1)
        else:
            layer = kl.Conv2D(out, groups=groups, **common)
            weights = kernel.transpose(2, 3, 1, 0)
        layers[node.output[0]] = layer(x)
        layer.set_weights([weights, constant(layers, node, 2)] if common["use_bias"] else [weights])

    def on_GlobalAveragePool(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """The mean over positions, which remain as axes of size 1."""
        self.place(
            layers, node, name, lambda x: kl.GlobalAveragePooling2D(keepdims=True, name=name)(x)
        )

    def on_ReduceMean(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """The mean over positions."""
        axes = params.get("axes")
        if axes is None and len(node.input) > 1:
            axes = constant(layers, node, 1)
        rank = len(tensor(layers, node, 0).shape)
        axes = sorted(int(axis) % rank for axis in (() if axes is None else axes))
        if rank != 4 or axes != [2, 3]:
            raise NotExpressible(
                f"it is over axes {axes} of {rank}; a mean over 2 and 3 is possible"
            )
        keep = bool(params.get("keepdims", 1))
        self.place(
            layers, node, name, lambda x: kl.GlobalAveragePooling2D(keepdims=keep, name=name)(x)
        )

    def on_Resize(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Nearest or bilinear; see `_scales`."""
        x = tensor(layers, node, 0)
        mode = text(params.get("mode", "nearest"))
        where = text(params.get("coordinate_transformation_mode", "half_pixel"))
        old = [int(n) for n in x.shape[2:]]
        new = self._new_size(node, layers, old)
        factors = [n // o for n, o in zip(new, old, strict=True)]
        whole = [f * o for f, o in zip(factors, old, strict=True)] == new
        if mode == "nearest" and whole and min(factors) > 0:
            method = "nearest"
        elif mode == "linear" and where in ("half_pixel", "pytorch_half_pixel"):
            method = "bilinear"
        else:
            raise NotExpressible(
                f"mode {mode!r} with coordinates {where!r} from {old} to {new}; nearest by whole "
                "factors and linear with half pixels (align_corners=False) are possible"
            )
        if whole and min(factors) > 0:
            size = tuple(factors)
            self.place(
                layers, node, name,
                lambda x: kl.UpSampling2D(size, interpolation=method, name=name)(x),
            )  # fmt: skip
        else:
            self.place(layers, node, name, lambda x: kl.Resizing(*new, name=name)(x))

    def _new_size(self, node: Node, layers: Tensors, old: list[int]) -> list[int]:
        scales = constant(layers, node, 2) if has_input(node, 2) else np.zeros(0)
        if scales.size:
            return [int(np.floor(o * s)) for o, s in zip(old, scales[2:], strict=True)]
        if not has_input(node, 3):
            raise NotExpressible("it has neither scales nor sizes")
        return [int(n) for n in constant(layers, node, 3)[2:]]

    def on_MaxPool(self, node: Node, params: Params, layers: Tensors, name: str) -> None:
        """Padding counts as the lowest value, and windows may end outside (ceil_mode).

        Where nothing is negative, zeros can be padded. Else windows around every position are
        pooled, which Keras does with the lowest value outside, and the wanted ones are picked.
        """
        size = params["kernel_shape"]
        strides = params.get("strides", [1] * len(size))
        if len(size) != 2 or any(d != 1 for d in params.get("dilations", [1])):
            raise NotExpressible("a window of two axes without dilation is possible")
        old = [int(n) for n in tensor(layers, node, 0).shape[2:]]
        begin, end = explicit_pads(params)[:2], explicit_pads(params)[2:]
        new, missing = [], []
        for o, k, s, b, e in zip(old, size, strides, begin, end, strict=True):
            places = (o + b + e - k) / s
            count = int(np.ceil(places) if params.get("ceil_mode") else np.floor(places)) + 1
            if params.get("ceil_mode") and (count - 1) * s >= o + b:
                count -= 1  # a window must start inside
            new.append(count)
            missing.append(max((count - 1) * s + k - o - b, 0))
        self.place(
            layers, node, name,
            self._max_pool(node, name, size, strides, old, new, list(begin), missing),
        )  # fmt: skip

    def _max_pool(
        self,
        node: Node,
        name: str,
        size: list[int],
        strides: list[int],
        old: list[int],
        new: list[int],
        begin: list[int],
        missing: list[int],
    ) -> Callable[[Any], Any]:
        same = [(k - 1) // 2 for k in size]
        if list(strides) == [1, 1] and begin == same and new == old:
            return lambda x: kl.MaxPooling2D(size, 1, padding="same", name=name)(x)
        if not any(begin) and not any(missing):
            return lambda x: kl.MaxPooling2D(size, strides, name=name)(x)
        if self._never_negative(node.input[0]):
            pads = tuple(zip(begin, missing, strict=True))

            def padded(x: Any) -> Any:
                x = kl.ZeroPadding2D(pads, name=f"{name}_pad")(x)
                return kl.MaxPooling2D(size, strides, name=name)(x)

            return padded
        first = [c - b for c, b in zip(same, begin, strict=True)]
        last = [f + (n - 1) * s for f, n, s in zip(first, new, strides, strict=True)]
        if min(first) < 0 or any(at >= o for at, o in zip(last, old, strict=True)):
            raise NotExpressible(
                "its padding reaches further than half a window, on values that may be negative"
            )
        cut = tuple((f, o - 1 - at) for f, o, at in zip(first, old, last, strict=True))

        def picked(x: Any) -> Any:
            x = kl.MaxPooling2D(size, 1, padding="same", name=f"{name}_all")(x)
            if any(map(any, cut)):
                x = kl.Cropping2D(cut, name=f"{name}_cut")(x)
            return kl.MaxPooling2D(1, strides, name=name)(x)

        return picked

    def _never_negative(self, name: str) -> bool:
        maker = self.graph.maker.get(name)
        if maker is None:
            return False
        if maker.op_type == "Clip" and len(maker.input) > 1:
            low = self.graph.constants.get(maker.input[1])
            return low is not None and float(low) >= 0
        if maker.op_type in KEEP_SIGN:
            return all(
                map(self._never_negative, maker.input[: None if maker.op_type == "Concat" else 1])
            )
        return maker.op_type in NEVER_NEGATIVE

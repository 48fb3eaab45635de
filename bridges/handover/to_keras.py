"""ONNX to a Keras 3 model of plain layers with trainable weights, channels last.

```python
crossing = to_keras("detector.onnx", images)
print(crossing)                                  # parity, tensor by tensor
crossing.model.save("detector.keras")            # reloads in safe mode
small = tfc.shrink(crossing.model, tfc.plan_channels(crossing.model, config))
```

`onnx2keras` converts. For operators for which it would leave a Lambda, fail, or compute something
else, converters of this package are put into its table during the conversion (see
`placed_layers`). Every result is compared with onnxruntime, and a difference is an error.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bridges.handover.converters.patterns import GraphReader, with_layer_names, with_patterns
from bridges.handover.converters.placed_layers import NotExpressible, image_format, unplaced
from bridges.handover.converters.values import ValueConverters
from bridges.handover.converters.windows import WindowConverters
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.parity import (
    ParityReport,
    compare_tensors,
    keras_tensors,
    onnx_tensors,
)
from tfcompress.errors import ConfigError, DataError, LayerError
from tfcompress.internals.onnx2keras import CONVERT, CONVERTERS, ITS_KERAS, with_converters
from tfcompress.short_repr import short_repr

TOLERANCE = 1e-4
"""Largest difference from onnxruntime, relative to the largest value where that is above 1."""


@short_repr
@dataclass(frozen=True)
class KerasCrossing:
    """A Keras model converted from ONNX.

    Attributes:
        model: Uncompiled model from (B, H, W, C) to the outputs, in the order of the graph.
        layers: Name of the layer that outputs each tensor of the graph.
        parity: Outputs against onnxruntime's.
    """

    model: Any
    layers: Mapping[str, str]
    parity: ParityReport

    @property
    def trainable_weights(self) -> int:
        """Trainable weight tensors."""
        return len(self.model.trainable_weights)

    def __str__(self) -> str:
        table = self.parity.table()
        table.note(
            f"{len(self.model.layers)} layers, {self.trainable_weights} trainable weights, "
            f"{self.model.count_params():,} numbers"
        )
        return str(table)


def to_keras(
    source: OnnxModel | str | Path,
    images: np.ndarray | None = None,
    tolerance: float = TOLERANCE,
) -> KerasCrossing:
    """Convert a graph and compare the result with onnxruntime.

    Args:
        source: ONNX file or model with one input of fixed size (the batch may be dynamic).
        images: Images (B, C, H, W) for the comparison; default: random numbers in [0, 1).
        tolerance: Largest allowed difference, relative to the largest value of a tensor if that is
            above 1.

    Raises:
        DataError: The file is broken.
        LayerError: An operator has no plain layer (the node is named), or the result differs (the
            first differing layer is named).
    """
    model = source if isinstance(source, OnnxModel) else OnnxModel.load(source)
    for port in model.inputs:
        if None in port.shape[1:]:
            raise DataError(
                f"{model.source}, input {port.name!r}",
                f"its shape {port.shape} has free sizes",
                "export it for one size",
            )
    if images is None:
        if len(model.inputs) != 1:
            raise ConfigError("images", "there are several inputs", "give a model of one")
        generator = np.random.default_rng(0)
        shape = (model.inputs[0].shape[0] or 2, *model.inputs[0].shape[1:])
        images = generator.random(shape, np.float32)
    crossed, layers = _converted(model)
    wanted = onnx_tensors(model, images, inner=False)
    found = keras_tensors(crossed, images)
    atol = tolerance * max(1.0, *(float(np.abs(a).max()) for a in wanted.values.values()))
    names = dict(zip(wanted.outputs, found.outputs, strict=True))
    try:
        parity = compare_tensors(wanted, found, names, atol, 0)
        problem = "" if parity.passed else f"outputs differ by up to {parity.max_abs:.3g}"
    except DataError as error:  # no output has the right shape
        problem = error.problem
    if problem:
        raise LayerError(
            f"{model.source}, {_first_apart(model, crossed, layers, images, tolerance)}",
            f"the Keras model computes something else from here on ({problem})",
            "replace the operation in the original, or use bridges.handover.to_litert",
        )
    return KerasCrossing(crossed, layers, parity)


def _converted(model: OnnxModel) -> tuple[Any, dict[str, str]]:
    """The model, and the layer of each tensor."""
    if ITS_KERAS.get().layers.Layer is not keras.layers.Layer:
        raise ConfigError(
            "TF_USE_LEGACY_KERAS",
            "tf.keras is the legacy Keras in this process, so onnx2keras would build with it",
            "unset the variable, and import TFMOT (which sets it) later",
        )
    proto = with_patterns(model.proto)
    old_names = with_layer_names(proto)
    graph = GraphReader(proto.graph)
    table = CONVERTERS.get() | WindowConverters(graph).table() | ValueConverters(graph).table()
    unknown = next((node for node in graph.nodes if node.op_type not in table), None)
    if unknown is not None:
        raise LayerError(
            f"{model.source}, node {unknown.name!r}",
            f"operator {unknown.op_type} has no converter to Keras",
            "replace it in the original, or use bridges.handover.to_litert",
        )
    layers: dict[str, str] = {}
    before = keras.config.image_data_format()  # the package leaves another one where it fails
    guarded = {
        kind: _guarded(kind, convert, layers, model.source) for kind, convert in table.items()
    }
    with _quiet(), image_format(before), with_converters(guarded):
        first_last = CONVERT.get()(
            proto, [port.name for port in model.inputs], verbose=False, change_ordering=True
        )
        named = {old_names[tensor]: layer for tensor, layer in layers.items()}
        _check_plain(first_last, named, model)
        return unplaced(first_last), named


def _guarded(
    kind: str, convert: Callable[..., None], layers: dict[str, str], source: str
) -> Callable[..., None]:
    """A converter whose errors name the node, and that notes which layers it makes."""

    def call(node: Any, params: Any, made: Any, lambdas: Any, name: str, names: Any) -> None:
        listed = names if isinstance(names, list) else [names]
        layers.update(zip(node.output, listed, strict=True))
        try:
            convert(node, params, made, lambdas, name, names)
        except Exception as error:  # onnx2keras raises errors of many kinds
            reason = str(error) if isinstance(error, NotExpressible) else repr(error)
            raise LayerError(
                f"{source}, node {node.name!r}",
                f"operator {kind} cannot be a plain Keras layer: {reason}",
                "replace it in the original, or use bridges.handover.to_litert",
            ) from error

    return call


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the package's warnings about what our converters handle."""
    logger = logging.getLogger("onnx2keras")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _check_plain(crossed: Any, layers: Mapping[str, str], model: OnnxModel) -> None:
    """No Lambda, and no constant in it."""
    node_of = {output: node for node in model.proto.graph.node for output in node.output}
    for layer in crossed.layers:
        if not isinstance(layer, keras.layers.Lambda):
            continue
        stem = re.sub(r"_(const\d?|CHW|EXPAND\d)$", "", layer.name)
        output = next((tensor for tensor, name in layers.items() if name in (layer.name, stem)), "")
        node = node_of.get(output)
        raise LayerError(
            f"{model.source}, node {node.name if node else layer.name!r}",
            f"operator {node.op_type if node else 'unknown'} would become a Lambda with its "
            "constants inside, which no safe file can hold",
            "replace it in the original, or use bridges.handover.to_litert",
        )


def _first_apart(
    model: OnnxModel, crossed: Any, layers: Mapping[str, str], images: np.ndarray, tolerance: float
) -> str:
    """The first node whose Keras layer gives other values."""
    wanted = onnx_tensors(model, images)
    found = keras_tensors(crossed, images, layers)
    nodes = {output: node for node in model.proto.graph.node for output in node.output}
    for name, array in wanted.values.items():
        if name not in found.values:
            continue
        atol = tolerance * max(1.0, float(np.abs(array).max()))
        one = replace(wanted, values={name: array})
        try:
            apart = compare_tensors(one, found, atol=atol, rtol=0).first_apart
        except DataError:  # another shape
            apart = name
        if apart:
            return f"node {nodes[name].name!r} ({nodes[name].op_type})"
    return "its outputs"

"""How each layer of a tf_keras model is quantized while it trains: TFMOT's rules and ours.

TFMOT's registry covers convolutions, Dense, ReLU, pooling, Add, Concatenate and the like. This file
adds layers that it lacks and that LiteRT has in int8: other merges, PReLU, activations, and layers
that only move values.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from tfcompress.internals.tf_keras import CALLS, READERS
from tfcompress.internals.tfmot import NO_CONFIG, OUTPUT_CONFIG, QUANTIZE_REGISTRY

_MERGES = ("Multiply", "Subtract", "Average", "Maximum", "Minimum")
_OUTPUT_ONLY = (*_MERGES, "PReLU", "Resizing", "Softmax")
_PASSING = (
    "MaxPooling1D",
    "MaxPooling3D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "GlobalMaxPooling3D",
    "ZeroPadding3D",
    "RepeatVector",
    "UpSampling1D",
    "UpSampling3D",
    "AlphaDropout",
    "GaussianDropout",
    "GaussianNoise",
)
OWN_ACTIVATIONS = ("linear", "relu", "swish", "gelu", "softmax", "sigmoid", "tanh")
"""Activations inside Conv2D and Dense for which TFMOT places quantizers."""
_ACTIVATION_LAYERS = (*OWN_ACTIVATIONS, "relu6")
KERNELS = ("Conv2D", "DepthwiseConv2D", "Dense")
"""Layers with a kernel whose activation TFMOT quantizes with them."""


@dataclass(frozen=True)
class Rule:
    """How a layer is quantized.

    Attributes:
        how: Description for the report.
        config: TFMOT's `QuantizeConfig`; None lets TFMOT choose it.
        supported: Whether it is quantized; if not, it stays in float, and `how` says why.
    """

    how: str
    config: Any = None
    supported: bool = True


def rule_of(layer: Any, outputs: Collection[str] = ()) -> Rule:
    """The rule of a layer of a built functional tf_keras model.

    Args:
        layer: The layer.
        outputs: Names of the layers whose outputs leave the model.
    """
    kind = type(layer).__name__
    configs = _configs()
    if kind in ("BatchNormalization", "SyncBatchNormalization"):
        if _follows_kernel(layer, outputs):
            return Rule("folded into the convolution before it")
        return Rule("no convolution before it that it could be folded into", supported=False)
    if kind == "Activation":
        name = activation_of(layer)
        if name in _ACTIVATION_LAYERS:
            return Rule("output")
        if name == "elu":
            return Rule("LiteRT's converter leaves ELU in float", supported=False)
        return Rule("output", configs["output"]())
    if _registry().supports(layer):
        if kind in KERNELS or kind == "Conv2DTranspose":
            return Rule("kernel, output")
        return Rule("output")
    if kind in _OUTPUT_ONLY:
        return Rule("output", configs["output"]())
    if kind in _PASSING:
        return Rule("passes quantized values", configs["pass"]())
    return Rule(f"TFMOT and LiteRT quantize no {kind} in training", supported=False)


def custom_objects(model: Any) -> dict[str, Any]:
    """Classes by name that TFMOT needs to rebuild the model's layers."""
    found: dict[str, Any] = {type(layer).__name__: type(layer) for layer in model.layers}
    found.update({made.__name__: made for made in _configs().values()})
    for layer in model.layers:
        function = getattr(layer, "activation", None)
        if function is not None and hasattr(function, "__name__"):
            found[function.__name__] = function
    return found


def activation_of(layer: Any) -> str:
    """Name of a layer's activation."""
    function = getattr(layer, "activation", None)
    return getattr(function, "__name__", type(function).__name__)


def _follows_kernel(layer: Any, outputs: Collection[str]) -> bool:
    """Whether TFMOT folds this normalization: what comes before is linear and read by it only."""
    nodes = CALLS.of(layer)
    if len(nodes) != 1 or isinstance(nodes[0].inbound_layers, list):
        return False
    before = nodes[0].inbound_layers
    if before.name in outputs:
        return False
    if type(before).__name__ == "SeparableConv2D":
        return activation_of(before) == "linear"
    return (
        type(before).__name__ in KERNELS
        and activation_of(before) == "linear"
        and len(READERS.of(before)) == 1
    )


def _registry() -> Any:
    return QUANTIZE_REGISTRY.get()()


def _configs() -> dict[str, Callable[..., Any]]:
    """TFMOT's configs that quantize a layer's output alone, and nothing."""
    return {"output": OUTPUT_CONFIG.get(), "pass": NO_CONFIG.get()}

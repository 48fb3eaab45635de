"""The multi-class U-Net of the aerial-imagery project.

Ronneberger, Fischer, Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, in the small form (16 to 256 filters, dropout between the two convolutions of a level)
that is common in Keras tutorials.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any


def multi_unet_model(
    n_classes: int = 4,
    height: int = 256,
    width: int = 256,
    channels: int = 1,
    filters: Sequence[int] = (16, 32, 64, 128, 256),
    dropout: float | Sequence[float] | None = None,
    batch_norm: bool = False,
    batch_norm_momentum: float = 0.9,
    flavor: str = "keras",
    name: str = "multi_unet",
) -> Any:
    """Build the U-Net: convolution blocks down, a bottleneck, transposed convolutions up.

    A block is a 3x3 convolution, dropout, and a 3x3 convolution, with ReLU and He-normal
    initialization. In the encoder, each block is followed by 2x2 max pooling. In the decoder, a 2x2
    transposed convolution of stride 2 comes before each block, and its output is concatenated with
    the skip connection, in the order (up, skip). The head is a 1x1 convolution with softmax. Layers
    are named by their place: "down1_a_conv", ..., "bottom_b_conv", "up1_transpose", "head".

    Args:
        n_classes: Number of classes, at least 2.
        height: Height of the input in pixels, a multiple of `2 ** (len(filters) - 1)`.
        width: Width of the input in pixels, a multiple of the same number.
        channels: Number of input channels (1 for gray, 3 for RGB).
        filters: Number of filters per level, from the first level to the bottleneck.
        dropout: Dropout rates: one for all blocks; or one per level (`len(filters)`, the decoder
            mirrors the encoder); or one per block (`2 * len(filters) - 1`, from the first block of
            the encoder to the last of the decoder). None is 0.2, and 0.3 at the bottleneck.
        batch_norm: Whether to put batch normalization between each 3x3 convolution and its ReLU.
        batch_norm_momentum: Momentum of the moving statistics. Keras' default of 0.99 needs
            thousands of steps to converge, more than a short training on few patches has.
        flavor: Library of the model, "keras" (Keras 3) or "tf_keras".
        name: Name of the model.

    Returns:
        An uncompiled functional model, `(batch, height, width, channels)` to
        `(batch, height, width, n_classes)` of probabilities. With 6 classes and 256x256x3 it has
        1,941,190 parameters and costs 3,037,724,672 multiply-accumulates.

    Raises:
        ValueError: The size is not a multiple of the required number, the number of dropout rates
            is wrong, `n_classes` is below 2, or the flavor is unknown.
    """
    keras = _library(flavor)
    layers = keras.layers
    depth = len(filters)
    if n_classes < 2:
        raise ValueError(f"n_classes is {n_classes}, but a softmax needs at least 2 classes")
    factor = 2 ** (depth - 1)
    if height % factor or width % factor:
        raise ValueError(
            f"height x width is {height}x{width}, but {depth} levels halve both "
            f"{depth - 1} times: use multiples of {factor}"
        )
    rates = _dropout_rates(dropout, depth)

    def convolution(x: Any, width_out: int, place: str) -> Any:
        common = dict(padding="same", kernel_initializer="he_normal", name=f"{place}_conv")
        if not batch_norm:
            return layers.Conv2D(width_out, 3, activation="relu", **common)(x)
        x = layers.Conv2D(width_out, 3, use_bias=False, **common)(x)
        x = layers.BatchNormalization(momentum=batch_norm_momentum, name=f"{place}_norm")(x)
        return layers.ReLU(name=f"{place}_relu")(x)

    def block(x: Any, width_out: int, rate: float, place: str) -> Any:
        x = convolution(x, width_out, f"{place}_a")
        x = layers.Dropout(rate, name=f"{place}_dropout")(x)
        return convolution(x, width_out, f"{place}_b")

    inputs = keras.Input((height, width, channels), name="image")
    x, skips = inputs, []
    for level in range(depth - 1):
        x = block(x, filters[level], rates[level], f"down{level + 1}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
    x = block(x, filters[-1], rates[depth - 1], "bottom")
    for level in reversed(range(depth - 1)):
        place = f"up{level + 1}"
        x = layers.Conv2DTranspose(
            filters[level], 2, strides=2, padding="same", name=f"{place}_transpose"
        )(x)
        x = layers.Concatenate(name=f"{place}_skip")([x, skips[level]])
        x = block(x, filters[level], rates[-1 - level], place)
    outputs = layers.Conv2D(n_classes, 1, activation="softmax", dtype="float32", name="head")(x)
    return keras.Model(inputs, outputs, name=name)


def _library(flavor: str) -> Any:
    if flavor not in ("keras", "tf_keras"):
        raise ValueError(f"flavor is {flavor!r}, but must be 'keras' or 'tf_keras'")
    return importlib.import_module(flavor)


def _dropout_rates(dropout: float | Sequence[float] | None, depth: int) -> tuple[float, ...]:
    """Expand dropout rates to one per block (`2 * depth - 1`), in the order of execution."""
    if dropout is None:
        dropout = (0.2,) * (depth - 1) + (0.3,)
    if isinstance(dropout, (int, float)):
        return (float(dropout),) * (2 * depth - 1)
    rates = tuple(float(rate) for rate in dropout)
    if len(rates) == depth:
        return rates + rates[-2::-1]
    if len(rates) == 2 * depth - 1:
        return rates
    raise ValueError(
        f"dropout has {len(rates)} rates, but this U-Net takes one number, {depth} (per depth) "
        f"or {2 * depth - 1} (per block)"
    )

"""ShuffleNetV2 for images of at least 32 pixels, complete or truncated after stage 3.

Ma, Zhang, Zheng, Sun: "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design",
ECCV 2018, figure 3 (c, d) and table 5. Padding is that of torchvision (one pixel on every side), so
that its weights give the same outputs.
"""

from __future__ import annotations

import importlib
from typing import Any

WIDTHS = {
    0.5: (24, 48, 96, 192, 1024),
    1.0: (24, 116, 232, 464, 1024),
    1.5: (24, 176, 352, 704, 1024),
    2.0: (24, 244, 488, 976, 2048),
}
"""Number of channels of the stem, stages 2 to 4, and conv5, by scale."""
REPEATS = (4, 8, 4)
"""Number of units of stages 2 to 4."""


def shufflenet_v2(
    n_classes: int = 9,
    height: int = 64,
    width: int = 64,
    channels: int = 3,
    scale: float = 0.5,
    truncate: bool = False,
    dropout: float = 0.0,
    activation: str | None = "softmax",
    batch_norm_momentum: float = 0.9,
    flavor: str = "keras",
    name: str = "shufflenet_v2",
) -> Any:
    """Build ShuffleNetV2: 3x3 stem of stride 2, max pooling, stages of shuffled units, Dense head.

    Layers are named by their place: "stem", "stage2_1_left_depthwise", "stage3_4_point1", "conv5",
    "head".

    Args:
        n_classes: Number of classes, at least 2.
        height: Height of the input in pixels, at least 32.
        width: Width of the input in pixels, at least 32.
        channels: Number of input channels (3 for RGB).
        scale: Width of the network: 0.5, 1.0, 1.5 or 2.0.
        truncate: Whether to leave out stage 4 and conv5, and to pool by the maximum instead of the
            mean, for small images. With scale 0.5 and 9 classes this gives 54,057 trainable
            parameters, and 494,496 multiply-accumulates at 32x32 or 1,975,392 at 64x64.
        dropout: Dropout rate before the head.
        activation: Activation of the head; None for logits.
        batch_norm_momentum: Momentum of the moving statistics (PyTorch's 0.1 is 0.9 here).
        flavor: Library of the model, "keras" (Keras 3) or "tf_keras".
        name: Name of the model.

    Returns:
        An uncompiled functional model, `(batch, height, width, channels)` to `(batch, n_classes)`.

    Raises:
        ValueError: The scale or flavor is unknown, the size is below 32, or `n_classes` below 2.
    """
    if scale not in WIDTHS:
        raise ValueError(f"scale is {scale}; use one of {', '.join(map(str, WIDTHS))}")
    if min(height, width) < 32:
        raise ValueError(f"the input is {height}x{width}; use at least 32x32")
    if n_classes < 2:
        raise ValueError(f"n_classes is {n_classes}; use at least 2")
    if flavor not in ("keras", "tf_keras"):
        raise ValueError(f"flavor is {flavor!r}; use 'keras' or 'tf_keras'")
    keras = importlib.import_module(flavor)
    build = _Builder(keras.layers, batch_norm_momentum)
    stem, *stages, last = WIDTHS[scale]
    x = inputs = keras.Input((height, width, channels), name="image")
    x = build.conv(x, stem, 3, "stem", strides=2)
    # After a ReLU, zeros do not change the maximum.
    x = keras.layers.ZeroPadding2D(1, name="stem_pool_pad")(x)
    x = keras.layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for i, (filters, repeats) in enumerate(zip(stages, REPEATS, strict=True)):
        if truncate and i == 2:
            break
        x = build.downsampling_unit(x, filters, f"stage{i + 2}_1")
        for unit in range(2, repeats + 1):
            x = build.unit(x, filters, f"stage{i + 2}_{unit}")
    if truncate:
        x = keras.layers.GlobalMaxPooling2D(name="pool")(x)
    else:
        x = build.conv(x, last, 1, "conv5")
        x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    if dropout:
        x = keras.layers.Dropout(dropout, name="head_dropout")(x)
    x = keras.layers.Dense(n_classes, activation=activation, name="head")(x)
    return keras.Model(inputs, x, name=name)


class _Builder:
    """Builds the network's units from layers of one library."""

    def __init__(self, layers: Any, momentum: float) -> None:
        self.layers = layers
        self.momentum = momentum

    def norm(self, x: Any, name: str) -> Any:
        """Batch normalization with PyTorch's epsilon."""
        return self.layers.BatchNormalization(
            momentum=self.momentum, epsilon=1e-5, name=f"{name}_norm"
        )(x)

    def conv(self, x: Any, filters: int, size: int, name: str, strides: int = 1) -> Any:
        """Convolution, normalization, ReLU."""
        if strides > 1:
            x = self.layers.ZeroPadding2D(size // 2, name=f"{name}_pad")(x)
        x = self.layers.Conv2D(
            filters,
            size,
            strides=strides,
            padding="valid" if strides > 1 else "same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=name,
        )(x)
        return self.layers.ReLU(name=f"{name}_relu")(self.norm(x, name))

    def depthwise(self, x: Any, name: str, strides: int = 1) -> Any:
        """3x3 depthwise convolution and normalization."""
        if strides > 1:
            x = self.layers.ZeroPadding2D(1, name=f"{name}_pad")(x)
        x = self.layers.DepthwiseConv2D(
            3,
            strides=strides,
            padding="valid" if strides > 1 else "same",
            use_bias=False,
            depthwise_initializer="he_normal",
            name=name,
        )(x)
        return self.norm(x, name)

    def unit(self, x: Any, filters: int, name: str) -> Any:
        """A unit of stride 1: half of the channels pass a bottleneck, then the halves mix."""
        half = filters // 2
        passing, changed = x[..., :half], x[..., half:]
        changed = self.conv(changed, half, 1, f"{name}_point1")
        changed = self.depthwise(changed, f"{name}_depthwise")
        changed = self.conv(changed, half, 1, f"{name}_point2")
        return self.shuffle(passing, changed, name)

    def downsampling_unit(self, x: Any, filters: int, name: str) -> Any:
        """A unit of stride 2: both halves read all channels and halve the size."""
        half = filters // 2
        left = self.depthwise(x, f"{name}_left_depthwise", strides=2)
        left = self.conv(left, half, 1, f"{name}_left_point")
        right = self.conv(x, half, 1, f"{name}_point1")
        right = self.depthwise(right, f"{name}_depthwise", strides=2)
        right = self.conv(right, half, 1, f"{name}_point2")
        return self.shuffle(left, right, name)

    def shuffle(self, one: Any, other: Any, name: str) -> Any:
        """Concatenate and interleave the channels of the two halves."""
        x = self.layers.Concatenate(name=f"{name}_concat")([one, other])
        height, width, channels = x.shape[1:]
        x = self.layers.Reshape((height, width, 2, channels // 2), name=f"{name}_split")(x)
        x = self.layers.Permute((1, 2, 4, 3), name=f"{name}_shuffle")(x)
        return self.layers.Reshape((height, width, channels), name=f"{name}_join")(x)

"""tf.data pipelines for segmentation: shuffled, augmented, cached and prefetched batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation of training patches; geometric changes apply to the labels too.

    Attributes:
        flips: Whether to flip left-right and up-down, each with probability 1/2.
        rotations: Whether to rotate by 0, 90, 180 or 270 degrees, with equal probability.
        brightness: Maximum brightness change: a number from `[-brightness, brightness]` is added
            to all pixels.
        contrast: Maximum relative change of contrast about each channel's mean, below 1.
    """

    flips: bool = True
    rotations: bool = True
    brightness: float = 0.1
    contrast: float = 0.1

    def __post_init__(self) -> None:
        if self.brightness < 0 or not 0 <= self.contrast < 1:
            raise ConfigError(
                "augmentation",
                f"brightness is {self.brightness} and contrast {self.contrast}",
                "use brightness >= 0 and contrast in [0, 1)",
            )


NO_AUGMENTATION = Augmentation(flips=False, rotations=False, brightness=0.0, contrast=0.0)


def training_batches(
    images: np.ndarray,
    labels: np.ndarray,
    batch: int,
    augmentation: Augmentation = NO_AUGMENTATION,
    seed: int = 0,
) -> tf.data.Dataset:
    """Make training batches, shuffled and augmented differently in each epoch.

    The last batch of an epoch may be smaller.

    Args:
        images: Patches `(N, H, W, C)`, float32; H = W if they are rotated.
        labels: Class indices `(N, H, W)`, integers.
        batch: Number of patches per batch.
        augmentation: Random changes; none by default.
        seed: Seed of the shuffling and the augmentation.

    Returns:
        A dataset of `(images, labels)`: `(batch, H, W, C)` float32, and `(batch, H, W)` of the
        labels' type.
    """
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    pairs = tf.data.Dataset.from_tensor_slices((images, labels)).cache()
    pairs = pairs.shuffle(len(images), seed=seed, reshuffle_each_iteration=True)
    changed = tf.data.Dataset.zip(pairs, seeds).map(
        lambda pair, seed_pair: _augment(pair[0], pair[1], seed_pair, augmentation),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    return changed.batch(batch).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(images: np.ndarray, labels: np.ndarray, batch: int) -> tf.data.Dataset:
    """Make batches for evaluation, in the given order and without augmentation."""
    pairs = tf.data.Dataset.from_tensor_slices((images, labels))
    return pairs.batch(batch).cache().prefetch(tf.data.AUTOTUNE)


def _augment(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, how: Augmentation
) -> tuple[tf.Tensor, tf.Tensor]:
    draws = tf.random.stateless_uniform([5], tf.cast(seed, tf.int64))
    label = label[..., tf.newaxis]
    if how.flips:
        for draw, axis in ((draws[0], 1), (draws[1], 0)):
            flipped = draw < 0.5
            image = tf.where(flipped, tf.reverse(image, [axis]), image)
            label = tf.where(flipped, tf.reverse(label, [axis]), label)
    if how.rotations:
        turns = tf.cast(draws[2] * 4, tf.int32)
        shape, label_shape = image.shape, label.shape
        image = tf.ensure_shape(tf.image.rot90(image, turns), shape)
        label = tf.ensure_shape(tf.image.rot90(label, turns), label_shape)
    if how.brightness:
        image += (2 * draws[3] - 1) * how.brightness
    if how.contrast:
        mean = tf.reduce_mean(image, axis=(0, 1), keepdims=True)
        image = mean + (image - mean) * (1 + (2 * draws[4] - 1) * how.contrast)
    return image, label[..., 0]

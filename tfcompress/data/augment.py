"""tf.data pipelines: shuffled, augmented, cached and prefetched batches of patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """Random changes of a training patch; labels follow where geometry changes.

    Attributes:
        flips: Mirror left-right and up-down, each with probability one half.
        rotations: Turn by 0, 90, 180 or 270 degrees.
        brightness: Largest amount added to all pixels, drawn from `[-brightness, brightness]`.
        contrast: Largest relative change of contrast about the patch's mean.
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
    """Batches in a new random order each epoch; a last smaller batch is kept.

    Args:
        images: `(N, H, W, C)` float32; H = W if rotations are asked for.
        labels: `(N, H, W)` integers.
        batch: Patches per batch.
        augmentation: Random changes, new each epoch.
        seed: Of the order and of the changes.

    Returns:
        Elements `(images, labels)` of `(batch, H, W, C)` float32 and `(batch, H, W)` uint8.
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
    """Batches in the given order, unchanged."""
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

"""tf.data batches of classified images: crops, flips, Cutout, CutMix, normalization.

All random numbers follow from the seed, so a run can be repeated exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcompress.data.image_folder import ImageSet
from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class Normalization:
    """Normalization of pixels per channel: `(pixel / 255 - mean) / std`.

    Attributes:
        mean: Mean of each channel, for pixels scaled to 0..1.
        std: Standard deviation of each channel, for pixels scaled to 0..1.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Normalize uint8 images `(..., channels)`; returns float32."""
        scaled = np.asarray(images, np.float32) / 255
        mean, std = (np.asarray(numbers, np.float32) for numbers in (self.mean, self.std))
        return (scaled - mean) / std

    @classmethod
    def of(cls, images: np.ndarray) -> Normalization:
        """The normalization that fits a set of images; of a large set, a sample of whole images."""
        some = images[:: max(1, images.size // 10**7)]  # every n-th pixel could be one column
        pixels = some.reshape(-1, images.shape[-1]) / 255
        std = np.maximum(pixels.std(axis=0), 1e-3)
        return cls(tuple(pixels.mean(axis=0).tolist()), tuple(std.tolist()))


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Normalization of ImageNet, which pretrained backbones expect."""


@dataclass(frozen=True)
class ImageAugmentation:
    """Random augmentation of training images.

    Attributes:
        crop: Smallest and largest share of the area that a random crop keeps; (1, 1) does not crop.
        ratio: Smallest and largest aspect ratio of a crop, width over height.
        flip: Whether to flip left-right, with probability 1/2.
        cutout: Side of a square that is set to the mean, relative to the side of the image; 0 for
            none. Source: DeVries, Taylor: "Improved Regularization of CNNs with Cutout", 2017.
        cutmix: Probability per batch that a rectangle of each image is replaced by that of another
            image, with labels mixed by area; 0 for none. Source: Yun et al.: "CutMix", ICCV 2019.
    """

    crop: tuple[float, float] = (0.6, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = True
    cutout: float = 0.0
    cutmix: float = 0.0

    @property
    def crops(self) -> bool:
        """Whether images are cropped, so that it pays to read them larger."""
        return self.crop != (1, 1)

    def __post_init__(self) -> None:
        if not 0 < self.crop[0] <= self.crop[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(
                "augmentation",
                f"crop {self.crop}, ratio {self.ratio}",
                "use 0 < smallest <= largest, and a crop of at most 1",
            )
        if not 0 <= self.cutout < 1 or not 0 <= self.cutmix <= 1:
            raise ConfigError(
                "augmentation",
                f"cutout {self.cutout}, cutmix {self.cutmix}",
                "use a cutout of at least 0 and below 1, and a cutmix from 0 to 1",
            )


def training_images(
    data: ImageSet,
    side: int,
    n_classes: int,
    batch: int,
    normalization: Normalization,
    augmentation: ImageAugmentation,
    seed: int = 0,
) -> tf.data.Dataset:
    """Make training batches, shuffled and augmented differently in each epoch.

    The last batch of an epoch may be smaller.

    Args:
        data: Training images, at least `side` pixels wide.
        side: Side length of the resulting images, in pixels.
        n_classes: Number of classes, for one-hot labels.
        batch: Number of images per batch.
        normalization: Normalization, applied after crop and flip.
        augmentation: Random changes.
        seed: Seed of the shuffling and the augmentation.

    Returns:
        A dataset of `(images, labels)`, float32: `(batch, side, side, channels)` and
        `(batch, n_classes)`. Labels that CutMix mixed are soft.
    """
    mean, std = (tf.constant(v, tf.float32) for v in (normalization.mean, normalization.std))

    def one(pair: tuple[tf.Tensor, tf.Tensor], seeds: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = pair
        image = _changed(image, side, seeds, augmentation)
        image = (image / 255 - mean) / std
        if augmentation.cutout:
            image = _cut_out(image, seeds + 2, augmentation.cutout)
        return image, tf.one_hot(label, n_classes)

    pairs = tf.data.Dataset.from_tensor_slices((data.images, data.labels))
    pairs = pairs.shuffle(len(data), seed=seed, reshuffle_each_iteration=True)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)
    made = tf.data.Dataset.zip(pairs, seeds).map(
        one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
    )
    made = made.batch(batch)
    if augmentation.cutmix:
        more = tf.data.Dataset.random(seed=seed + 1, rerandomize_each_iteration=True).batch(2)
        made = tf.data.Dataset.zip(made, more).map(
            lambda pair, seed_pair: _cut_mix(pair[0], pair[1], seed_pair, augmentation.cutmix)
        )
    return made.prefetch(tf.data.AUTOTUNE)


def _changed(image: tf.Tensor, side: int, seed: tf.Tensor, how: ImageAugmentation) -> tf.Tensor:
    """Crop, resize, flip; float32 in 0..255."""
    shape = image.shape
    if how.crops:
        begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
            shape,
            tf.zeros([0, 0, 4], tf.float32),
            seed=seed,
            aspect_ratio_range=how.ratio,
            area_range=how.crop,
            max_attempts=10,
            use_image_if_no_bounding_boxes=True,
        )
        image = tf.slice(image, begin, size)
    image = tf.image.resize(tf.cast(image, tf.float32), (side, side))
    image.set_shape((side, side, shape[-1]))
    if how.flip:
        image = tf.image.stateless_random_flip_left_right(image, seed + 1)
    return image


def _cut_out(image: tf.Tensor, seed: tf.Tensor, share: float) -> tf.Tensor:
    """Set a square about a random point to 0, which is the mean after normalization."""
    side = image.shape[0]
    center = tf.random.stateless_uniform([2], seed) * side
    near = [
        tf.abs(tf.range(side, dtype=tf.float32) + 0.5 - center[i]) < share * side / 2
        for i in range(2)
    ]
    hidden = tf.logical_and(near[0][:, None], near[1][None])
    return tf.where(hidden[..., None], 0.0, image)


def _cut_mix(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, probability: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Replace one rectangle of all images by that of the batch in another order."""
    side = images.shape[1]
    draws = tf.random.stateless_uniform([4], seed)
    kept = draws[0]  # share of the area that is kept, uniform: Beta(1, 1)
    half = tf.sqrt(1 - kept) * side / 2
    bounds = []
    for draw in (draws[1], draws[2]):
        low = tf.clip_by_value(tf.round(draw * side - half), 0.0, float(side))
        high = tf.clip_by_value(tf.round(draw * side + half), 0.0, float(side))
        line = tf.range(side, dtype=tf.float32)
        bounds.append(tf.logical_and(line >= low, line < high))
    inside = tf.logical_and(bounds[0][:, None], bounds[1][None])
    inside = tf.logical_and(inside, draws[3] < probability)
    share = tf.reduce_mean(tf.cast(inside, tf.float32))
    order = tf.random.experimental.stateless_shuffle(tf.range(tf.shape(images)[0]), seed + 1)
    mixed = tf.where(inside[None, :, :, None], tf.gather(images, order), images)
    return mixed, labels * (1 - share) + tf.gather(labels, order) * share

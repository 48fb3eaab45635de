"""tf.data batches of classified images: crops, flips, Cutout, CutMix, normalization.

Every random number comes from the seed and the position in the epoch, so a run can be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfcompress.data.image_folder import ImageSet
from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class Normalization:
    """`(pixel / 255 - mean) / std`, channel by channel.

    Attributes:
        mean: One number per channel.
        std: One number per channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Uint8 images `(..., channels)` as float32."""
        scaled = np.asarray(images, np.float32) / 255
        mean, std = (np.asarray(numbers, np.float32) for numbers in (self.mean, self.std))
        return (scaled - mean) / std

    @classmethod
    def of(cls, images: np.ndarray) -> Normalization:
        """Mean and deviation of a set; of a large one, those of some whole images of it."""
        some = images[:: max(1, images.size // 10**7)]  # single pixels might be a column or two
        pixels = some.reshape(-1, images.shape[-1]) / 255
        std = np.maximum(pixels.std(axis=0), 1e-3)
        return cls(tuple(pixels.mean(axis=0).tolist()), tuple(std.tolist()))


IMAGENET = Normalization((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The one that pretrained backbones expect."""


@dataclass(frozen=True)
class ImageAugmentation:
    """Random changes of training images.

    Attributes:
        crop: Least and greatest share of the area that a random crop keeps; (1, 1) crops nothing.
        ratio: Least and greatest width over height of a crop.
        flip: Mirror left-right, with probability one half.
        cutout: Side of a square that is set to the mean, as a share of the image's; 0 for none.
            DeVries, Taylor: "Improved Regularization of CNNs with Cutout", 2017.
        cutmix: Probability that a rectangle of a batch's images is another's, labels by area; 0
            for none. Yun et al.: "CutMix", ICCV 2019.
    """

    crop: tuple[float, float] = (0.6, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: bool = True
    cutout: float = 0.0
    cutmix: float = 0.0

    @property
    def crops(self) -> bool:
        """Whether anything is cropped, so that larger images are of use."""
        return self.crop != (1, 1)

    def __post_init__(self) -> None:
        if not 0 < self.crop[0] <= self.crop[1] <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(
                "augmentation",
                f"crop {self.crop}, ratio {self.ratio}",
                "let 0 < least <= greatest, and crop's greatest at most 1",
            )
        if not 0 <= self.cutout < 1 or not 0 <= self.cutmix <= 1:
            raise ConfigError(
                "augmentation",
                f"cutout {self.cutout}, cutmix {self.cutmix}",
                "use a cutout below 1 and a cutmix from 0 to 1",
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
    """Batches in a new random order each epoch; a last smaller batch is kept.

    Args:
        data: Training images, of `side` or larger.
        side: Pixels of what comes out.
        n_classes: Of the one-hot labels.
        batch: Images per batch.
        normalization: Applied last.
        augmentation: Random changes, new each epoch.
        seed: Of the order and of the changes.

    Returns:
        Elements `(images, labels)`, `(batch, side, side, channels)` and `(batch, n_classes)`
        float32; labels are soft where CutMix mixed.
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
    """A square about a random point set to 0, which is the mean after normalization."""
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
    """One rectangle of all images comes from the batch in another order."""
    side = images.shape[1]
    draws = tf.random.stateless_uniform([4], seed)
    kept = draws[0]  # uniform: Beta(1, 1)
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

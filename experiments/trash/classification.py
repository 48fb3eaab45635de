"""The classifier programs' fields, data, model and training.

The task is that of a trash-classification competition: small images, a truncated ShuffleNetV2,
macro F1 against multiply-accumulates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from experiments.common.inputs import card_of_file, check_file
from experiments.common.program import RunConfig
from experiments.common.report import History
from experiments.common.training import Training, fit_resumable
from models.shufflenet_v2 import shufflenet_v2
from tfcompress.data.image_augment import (
    IMAGENET,
    ImageAugmentation,
    Normalization,
    training_images,
)
from tfcompress.data.image_folder import ClassificationData, load_image_folder
from tfcompress.data.known_sets import FASHION_FOLDER, load_digits_set, load_fashion_mnist
from tfcompress.data.trash import write_trash
from tfcompress.errors import ConfigError
from tfcompress.evaluation.classification import MacroF1
from tfcompress.graph.transfer import transfer_weights
from tfcompress.losses import F1CrossEntropyLoss
from tfcompress.reporting.run import Run

CARD_NAME = "classifier_card.json"
Source = Literal["folder", "fashion-mnist", "digits"]


@dataclass(frozen=True, kw_only=True)
class ClassificationConfig(RunConfig):
    """Fields of every classifier program."""

    data: str = ""
    """Folder of class folders, with or without train/, val/, test/; empty: generated trash."""
    source: Source = "folder"
    """Kind of data: 'folder'; 'fashion-mnist' (its four files are in DATA, or where Debian puts
    them); or 'digits' of scikit-learn."""
    images: int = 3000
    """Number of generated images, where there is no data."""
    at_most: int = 0
    """Number of training images used of fashion-mnist; 0 for all."""
    val_share: float = 0.2
    """Share of the images for validation, where the folder is not split."""
    test_share: float = 0.2
    """Share of the images for the test, where the folder is not split."""
    group_pattern: str = ""
    """Regular expression whose group names files that belong together and are not split."""
    side: int = 32
    """Side of the square inputs, in pixels."""
    normalization: Literal["imagenet", "dataset"] = "dataset"
    """Mean and deviation of the inputs: ImageNet's (for pretrained weights), or the training
    images' own."""

    scale: float = 0.5
    """Width of the ShuffleNetV2: 0.5, 1.0, 1.5 or 2.0."""
    truncate: bool = True
    """Whether stage 4 and conv5 are left out."""
    dropout: float = 0.0
    """Dropout rate before the head."""
    pretrained: str = ""
    """Keras file whose weights are taken over by name and shape."""
    freeze: bool = False
    """Whether layers whose weights were all taken over stay as they are."""

    epochs: int = 30
    """Number of training epochs."""
    batch: int = 64
    """Images per batch."""
    learning_rate: float = 3e-3
    """Learning rate at the start of each cosine."""
    weight_decay: float = 1e-4
    """Weight decay of AdamW."""
    restart_epochs: int = 10
    """Epochs of a cosine; then the learning rate restarts."""
    warm_up: float = 0.0
    """Share of the epochs over which the learning rate first rises."""
    ce_share: float = 0.5
    """Share of the cross entropy in the loss; the rest is the macro-F1 loss."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross entropy."""
    crop: tuple[float, float] = (0.8, 1.0)
    """Smallest and largest share of the area that a random crop keeps."""
    cutout: float = 0.0
    """Side of a hidden square, as a share of the image's; 0 for none."""
    cutmix: float = 0.0
    """Probability that a rectangle of an image comes from another image; 0 for none."""
    flip: bool = True
    """Whether training images are mirrored at random."""
    seeds: tuple[int, ...] = (0,)
    """Seeds; programs that train one model use the first."""

    threads: int = 1
    """LiteRT threads that latency is measured with."""

    def check(self) -> None:
        """Check what would only show later."""
        if self.epochs < 1 or self.batch < 1 or self.restart_epochs < 1:
            raise ConfigError(
                "epochs, batch, restart_epochs",
                f"{self.epochs}, {self.batch} and {self.restart_epochs}",
                "use at least 1 of each",
            )
        if not self.seeds:
            raise ConfigError("seeds", "there is none", "give at least one")
        check_file(self.pretrained, "pretrained", "give a .keras file")
        if not 0 <= self.warm_up < 1:
            raise ConfigError("warm_up", f"it is {self.warm_up}", "use a share, 0 to below 1")
        self.augmentation()
        F1CrossEntropyLoss(self.ce_share, self.label_smoothing)

    def augmentation(self) -> ImageAugmentation:
        """The augmentation of the training images."""
        return ImageAugmentation(
            crop=self.crop, flip=self.flip, cutout=self.cutout, cutmix=self.cutmix
        )


@dataclass(frozen=True)
class Images:
    """A data set and how it is normalized.

    Attributes:
        data: Images as read.
        normalization: Normalization of the models' inputs.
    """

    data: ClassificationData
    normalization: Normalization

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.data.class_names

    def part(self, split: Literal["val", "test"]) -> tuple[np.ndarray, np.ndarray]:
        """Normalized images, and labels."""
        chosen = getattr(self.data, split)
        return self.normalization(chosen.images), chosen.labels

    def calibration(self, at_most: int = 200) -> np.ndarray:
        """Evenly spaced training images, at the models' input size, normalized."""
        images, side = self.data.train.images, self.data.val.images.shape[1]
        images = images[np.linspace(0, len(images) - 1, min(len(images), at_most)).astype(int)]
        if images.shape[1] != side:  # larger, for crops
            images = np.asarray(keras.ops.image.resize(images.astype("float32"), (side, side)))
        return self.normalization(images)


def load_images(config: ClassificationConfig, run: Run, model_file: str = "") -> Images:
    """The data set of a config; without one, generated trash is written and read.

    Args:
        config: Configuration of the program.
        run: Run that generated pictures are saved in.
        model_file: Classifier that will see the images: its card says how to normalize them.
    """
    folder = Path(config.data) if config.data else run.path("generated_trash")
    if config.source == "folder" and not config.data and not folder.is_dir():
        with run.console.status(f"drawing {config.images} pictures of trash"):
            write_trash(folder, config.images)
        run.print(f"wrote {config.images} generated pictures as '{folder}/train/<class>/...'")
    images = read_images(config, folder, model_file)
    data = images.data
    run.print(
        f"{len(data.train)} training, {len(data.val)} validation and {len(data.test)} test images "
        f"of {config.side}x{config.side}, {len(data.class_names)} classes; the largest has "
        f"{data.imbalance:.1f} times the training images of the smallest"
    )
    return images


def read_images(config: ClassificationConfig, folder: Path, model_file: str = "") -> Images:
    """The data set of a config, normalized for a model file or as the config says."""
    data = _read_data(config, folder)
    found = card_of_file(model_file, CARD_NAME).get("normalization")
    if found:
        return Images(data, Normalization(tuple(found["mean"]), tuple(found["std"])))
    if config.normalization == "imagenet":
        return Images(data, IMAGENET)
    return Images(data, Normalization.of(data.train.images))


def write_card(run: Run, images: Images, config: ClassificationConfig) -> None:
    """Write how inputs of a run's models are prepared, and their classes."""
    run.write_json(
        CARD_NAME,
        {
            "classes": list(images.classes),
            "side": config.side,
            "normalization": asdict(images.normalization),
        },
    )


def _read_data(config: ClassificationConfig, folder: Path) -> ClassificationData:
    """The data set of a config's source."""
    if config.source == "fashion-mnist":
        return load_fashion_mnist(
            config.data or FASHION_FOLDER, config.side, at_most=config.at_most or None
        )
    if config.source == "digits":
        return load_digits_set(config.side)
    return load_image_folder(
        folder,
        config.side,
        round(1.2 * config.side) if config.augmentation().crops else config.side,
        val_share=config.val_share,
        test_share=config.test_share,
        group_pattern=config.group_pattern,
    )


def build_classifier(config: ClassificationConfig, n_classes: int, run: Run | None = None) -> Any:
    """The ShuffleNetV2 of a config, with the pretrained weights that it names."""
    try:
        model = shufflenet_v2(
            n_classes,
            config.side,
            config.side,
            scale=config.scale,
            truncate=config.truncate,
            dropout=config.dropout,
        )
    except ValueError as error:
        raise ConfigError("ShuffleNetV2", str(error), "change scale or side") from None
    if config.pretrained:
        source = keras.saving.load_model(config.pretrained, compile=False)
        report = transfer_weights(source, model, freeze=config.freeze)
        if run is not None:
            run.print(report.table())
    return model


def compile_classifier(model: Any, config: ClassificationConfig) -> None:
    """F1 and cross entropy, AdamW, macro F1."""
    model.compile(
        keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay),
        F1CrossEntropyLoss(config.ce_share, config.label_smoothing),
        metrics=[MacroF1(), "accuracy"],
    )


def restarts(config: ClassificationConfig) -> Any:
    """Cosine annealing with warm restarts, a step per epoch (Loshchilov, Hutter: "SGDR", 2017)."""
    rising = round(config.warm_up * config.epochs)

    def rate(epoch: int, _: float) -> float:
        if epoch < rising:
            return config.learning_rate * (epoch + 1) / (rising + 1)
        share = (epoch - rising) % config.restart_epochs / config.restart_epochs
        return config.learning_rate * (1 + math.cos(math.pi * share)) / 2

    return keras.callbacks.LearningRateScheduler(rate)


def train_classifier(
    model: Any,
    config: ClassificationConfig,
    images: Images,
    run: Run,
    name: str,
    seed: int,
    epochs: int,
    after_epoch: Callable[[dict[str, float]], bool] | None = None,
    folder: str = "",
    callbacks: Sequence[Any] = (),
    choose_from: int = 1,
) -> History:
    """Train a compiled classifier (or a Distiller), chosen by macro F1 on validation; the history.

    Args:
        model: Model compiled by `compile_classifier`.
        config: Configuration of the program.
        images: Data.
        run: Run that keeps the checkpoints and shows the progress.
        name: Name in the console and of the checkpoints' folder.
        seed: Seed of order and augmentation.
        epochs: Epochs in total.
        after_epoch: Callback of `fit_resumable`.
        folder: Folder of the checkpoints; empty: `name-seedN`.
        callbacks: Further Keras callbacks.
        choose_from: First epoch (from 1) whose weights may be chosen.
    """
    data = images.data
    how = Training(
        name,
        folder or f"{name}-seed{seed}",
        epochs,
        config.batch,
        seed,
        choose_from=choose_from,
        metric="macro_f1",
        title="F1",
    )
    return fit_resumable(
        model,
        lambda first: training_images(
            data.train,
            config.side,
            len(images.classes),
            config.batch,
            images.normalization,
            config.augmentation(),
            1000 * seed + first,
        ),
        images.part("val"),
        how,
        run,
        [restarts(config), *callbacks],
        after_epoch,
    )


CLASSIFIER_SMOKE: dict[str, Any] = {
    "data": "",
    "source": "folder",
    "images": 300,
    "epochs": 2,
    "restart_epochs": 2,
}
"""Fields that make a classifier program small enough for a minute."""

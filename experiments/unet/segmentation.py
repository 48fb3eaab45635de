"""The U-Net programs' fields, data and model, and the parts of their pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.common.inputs import card_of_file
from experiments.common.program import RunConfig
from experiments.common.report import comparison_findings, picture
from experiments.unet.mistakes import mistake_pictures
from models.unet import multi_unet_model
from tfcompress.comparison import Comparison, predict
from tfcompress.data.augment import Augmentation
from tfcompress.data.folder import Patches, SegmentationData, load_segmentation
from tfcompress.data.palette import Palette
from tfcompress.data.patches import Scaling, balanced_class_weights
from tfcompress.data.synthetic import AerialSpec, write_aerial_scenes
from tfcompress.errors import ConfigError
from tfcompress.evaluation.segmentation import (
    confusion_matrices,
    iou_per_class,
    precision_recall,
    segmentation_metrics,
)
from tfcompress.losses import DiceFocalLoss
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_precision_recall, plot_segmentations, plot_tradeoff
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig(RunConfig):
    """Fields of every U-Net program."""

    data: str = ""
    """Folder of the data set ('Tile N/{images,masks}', or images/ and masks/); empty: generated
    tiles."""
    classes: dict[str, str] = field(default_factory=dict)
    """Mask colors by class name, as {Road: '#6EC1E4', ...}; empty: the layout's, or the masks'."""
    color_tolerance: int = 0
    """Largest difference per channel at which a mask color still counts (JPEG-damaged masks)."""
    patch: int = 128
    """Side of the square patches, in pixels."""
    stride: int | None = None
    """Pixels between neighboring training patches; default: the patch, no overlap."""
    scaling: Scaling = "minmax"
    """Pixel scaling, per source image and channel."""
    val_share: float = 0.2
    """Share of the source images (or tiles) for validation, taken before the test ones."""
    test_share: float = 0.2
    """Share of the source images (or tiles) for the test, taken from the end."""
    tiles: int = 8
    """Number of generated tiles, where there is no data."""
    images_per_tile: int = 4
    """Number of generated scenes per tile."""
    scene_size: int = 256
    """Side of the generated scenes, in pixels."""

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Widths of the U-Net, from the first level to the bottleneck."""
    dropout: tuple[float, ...] = (0.1,)
    """Dropout rate, or one rate per depth."""
    batch_norm: bool = True
    """Whether each 3x3 convolution is followed by batch normalization."""

    epochs: int = 20
    """Number of training epochs."""
    batch: int = 8
    """Patches per batch."""
    learning_rate: float = 2e-3
    """Peak learning rate of the cosine schedule."""
    class_balance: float = 0.5
    """Exponent x of the class weights 1 / share ** x: 0 weighs classes equally, 1 by inverse
    frequency."""
    class_factors: tuple[float, ...] = ()
    """Factors on top of the class weights, in the order of the classes; empty: none."""
    focal_weight: float = 1.0
    """Weight of the focal loss beside the Dice loss."""
    augment: bool = True
    """Whether training patches are flipped, turned, and changed in brightness and contrast."""
    augment_strength: float = 1.0
    """Factor on the changes of brightness and contrast."""

    threads: int = 1
    """LiteRT threads that latency is measured with."""


@dataclass(frozen=True)
class ModelCard:
    """How a model file's inputs are prepared and its outputs are read; written beside it as JSON.

    Attributes:
        classes: Color by class name.
        integer_masks: Whether masks hold labels rather than colors.
        scaling: Pixel scaling of the inputs.
        patch: Side of the input, in pixels.
        channels: Number of input channels.
    """

    classes: dict[str, str]
    integer_masks: bool
    scaling: Scaling
    patch: int
    channels: int

    @property
    def palette(self) -> Palette:
        """The classes."""
        colors = Palette.from_hex(self.classes)
        return Palette(colors.names, colors.colors, self.integer_masks)


CARD_NAME = "model_card.json"


def read_card(path: str | Path) -> ModelCard | None:
    """The card of a U-Net's file, if there is one."""
    card = card_of_file(path, CARD_NAME)
    return ModelCard(**card) if "patch" in card else None


def load_data(config: SegmentationConfig, run: Run) -> SegmentationData:
    """The data set of a config; without one, generated tiles are written and read."""
    folder = Path(config.data) if config.data else run.path("generated_tiles")
    if not config.data and not folder.is_dir():
        spec = AerialSpec(config.tiles, config.images_per_tile, config.scene_size)
        total = spec.tiles * spec.images_per_tile
        with run.console.status(f"drawing {total} aerial scenes"):
            write_aerial_scenes(folder, spec)
        run.print(f"wrote {total} generated scenes as '{folder}/Tile N/{{images,masks}}'")
    if config.classes and len(config.classes) < 2:
        raise ConfigError("classes", "there is only one", "give at least two, or none")
    data = load_segmentation(
        folder,
        patch=config.patch,
        stride=config.stride,
        scaling=config.scaling,
        palette=Palette.from_hex(config.classes) if config.classes else None,
        tolerance=config.color_tolerance,
        val_share=config.val_share,
        test_share=config.test_share,
    )
    run.print(
        f"{len(data.train)} training, {len(data.val)} validation and {len(data.test)} test patches "
        f"of {config.patch}x{config.patch}x{data.train.images.shape[-1]}, "
        f"{len(data.palette)} classes; test: {', '.join(data.groups['test'])}"
    )
    return data


def card_of(config: SegmentationConfig, data: SegmentationData) -> ModelCard:
    """The card of a model trained on this data."""
    return ModelCard(
        classes=data.palette.to_dict(),
        integer_masks=data.palette.integer_masks,
        scaling=config.scaling,
        patch=config.patch,
        channels=int(data.train.images.shape[-1]),
    )


def build_model(config: SegmentationConfig, data: SegmentationData) -> Any:
    """The U-Net of a config, uncompiled.

    Raises:
        ConfigError: Fields that make no U-Net.
    """
    dropout = config.dropout[0] if len(config.dropout) == 1 else config.dropout
    try:
        return multi_unet_model(
            n_classes=len(data.palette),
            height=config.patch,
            width=config.patch,
            channels=data.train.images.shape[-1],
            filters=config.filters,
            dropout=dropout,
            batch_norm=config.batch_norm,
        )
    except ValueError as error:
        raise ConfigError("U-Net", str(error), "change patch, filters or dropout") from None


def compile_model(
    model: Any, config: SegmentationConfig, data: SegmentationData, epochs: int
) -> None:
    """Dice and focal loss with balanced class weights, Adam on a cosine, mean IoU."""
    weights = balanced_class_weights(data.class_shares(), config.class_balance)
    if config.class_factors:
        if len(config.class_factors) != len(weights):
            raise ConfigError(
                "class_factors",
                f"there are {len(config.class_factors)} for {len(weights)} classes",
                f"give one for each of {', '.join(data.palette.names)}",
            )
        weights = weights * np.array(config.class_factors)
        weights = weights * len(weights) / weights.sum()
    steps = max(1, epochs) * -(-len(data.train) // config.batch)  # a cosine needs a step
    model.compile(
        optimizer=keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(config.learning_rate, steps, alpha=0.01)
        ),
        loss=DiceFocalLoss(
            focal_weight=config.focal_weight, class_weights=weights.tolist(), weigh_focal=True
        ),
        metrics=[*segmentation_metrics(len(data.palette)), "accuracy"],
    )


def augmentation_of(config: SegmentationConfig) -> Augmentation:
    """The augmentation of a config."""
    if config.augment:
        strength = 0.1 * config.augment_strength
        return Augmentation(brightness=strength, contrast=strength)
    return Augmentation(flips=False, rotations=False, brightness=0.0, contrast=0.0)


def mean_iou_on(model: Any, patches: Patches, n_classes: int) -> tuple[float, np.ndarray]:
    """Mean IoU and IoU of each class on patches."""
    predicted = predict(model, patches.images).argmax(axis=-1)
    confusion = confusion_matrices(patches.labels, predicted, n_classes).sum(axis=0)
    per_class = iou_per_class(confusion)
    return float(np.nanmean(per_class)), per_class


def prediction_section(
    run: Run,
    patches: Patches,
    outputs: Mapping[str, np.ndarray],
    palette: Palette,
    rows: int = 4,
) -> Section:
    """Predictions, precision-recall curves, and the best model's mistakes, as a section.

    Args:
        run: Run that the pictures are saved in.
        patches: Test patches.
        outputs: Predicted probabilities on them, by model.
        palette: Classes.
        rows: Number of patches to show, those with the most classes first.
    """
    chosen = _examples(patches, len(palette), rows)
    examples = plot_segmentations(
        patches.images[chosen],
        patches.labels[chosen],
        {name: output[chosen].argmax(axis=-1) for name, output in outputs.items()},
        palette.names,
        palette.colors,
    )
    curves = plot_precision_recall(
        {name: precision_recall(patches.labels, output) for name, output in outputs.items()},
        palette.names,
        palette.colors,
    )
    caption = "Image, label and prediction, patches with the most classes"
    pictures = (
        picture(run, "predictions", examples, caption),
        picture(run, "precision_recall", curves, "Precision against recall of each class"),
        *mistake_pictures(run, patches, outputs, palette, rows),
    )
    return Section("Predictions on the test set", pictures=pictures)


def _examples(patches: Patches, n_classes: int, at_most: int) -> list[int]:
    """Whole patches with the most classes, from as many scenes as possible."""
    known = patches.labels < n_classes
    whole = known.all(axis=(1, 2))
    variety = [len(np.unique(label[k])) for label, k in zip(patches.labels, known, strict=True)]
    order = sorted(range(len(patches)), key=lambda i: (not whole[i], -variety[i]))
    seen: dict[str, int] = {}
    turns = []
    for i in order:  # the first of every scene, then the second of every scene, ...
        seen[patches.sources[i]] = seen.get(patches.sources[i], 0) + 1
        turns.append((seen[patches.sources[i]], len(turns), i))
    return [i for *_, i in sorted(turns)[:at_most]]


def comparison_section(run: Run, comparison: Comparison, text: Sequence[str] = ()) -> Section:
    """The comparison table and its trade-off plots, as a section of the page."""
    tables = (comparison.table(), comparison.class_table())
    pictures = []
    for name, title, cost in (
        ("latency", "latency of batch 1 (ms)", lambda row: row.latency and row.latency.median_ms),
        ("size", "file after gzip (MB)", lambda row: row.gzip_bytes / 1e6),
    ):
        points = [(row.name, cost(row), row.quality["mean_iou"]) for row in comparison.rows]
        if len(points) > 1 and all(point[1] for point in points):
            figure = plot_tradeoff(points, title, "mean IoU")
            pictures.append(
                picture(run, f"iou_against_{name}", figure, f"Mean IoU against {title}")
            )
    found = comparison_findings(comparison, "mean IoU")
    return Section("Comparison", text, tables, tuple(pictures), found)


SMOKE: dict[str, Any] = {
    "data": "",
    "tiles": 4,
    "images_per_tile": 1,
    "scene_size": 128,
    "patch": 64,
    "filters": (8, 16, 32),
    "epochs": 4,
}
"""Fields that make a U-Net program small enough for a minute."""

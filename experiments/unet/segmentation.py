"""What the U-Net experiments share: configuration, data, model, evaluation, the report's parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

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
from tfcompress.reporting.plots import (
    plot_precision_recall,
    plot_segmentations,
    plot_tradeoff,
    save_figure,
)
from tfcompress.reporting.run import Run


@dataclass(frozen=True, kw_only=True)
class SegmentationConfig:
    """Fields of every U-Net experiment."""

    data: str = ""
    """Data set folder ('Tile N/{images,masks}', or images/ and masks/); empty: generated tiles."""
    classes: dict[str, str] = field(default_factory=dict)
    """Mask colors by class name, as {Road: '#6EC1E4', ...}; empty: the layout's, or the masks'."""
    color_tolerance: int = 0
    """Largest difference per channel at which a mask color still counts (JPEG-damaged masks)."""
    patch: int = 128
    """Side of the square patches, in pixels."""
    stride: int | None = None
    """Distance of neighboring training patches; default: the patch, no overlap."""
    scaling: Scaling = "minmax"
    """Pixel scaling, per source image and channel."""
    val_share: float = 0.2
    """Share of the source images (or tiles) for validation: those before the test ones."""
    test_share: float = 0.2
    """Share of the source images (or tiles) for the test: the last ones."""
    tiles: int = 8
    """Generated tiles, where there is no data."""
    images_per_tile: int = 4
    """Generated scenes per tile."""
    scene_size: int = 256
    """Side of the generated scenes."""

    filters: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Widths of the U-Net, from the first level to the bottleneck."""
    dropout: tuple[float, ...] = (0.1,)
    """One rate, or one per depth."""
    batch_norm: bool = True
    """Batch normalization after each 3x3 convolution."""

    epochs: int = 20
    batch: int = 8
    learning_rate: float = 2e-3
    """Peak of the cosine schedule."""
    class_balance: float = 0.5
    """Exponent of the class weights, 1 / share ** it: 0 is equal weights, 1 inverse frequency."""
    class_factors: tuple[float, ...] = ()
    """Further factors of the class weights, in the order of the classes; empty: none."""
    focal_weight: float = 1.0
    """Factor of the focal loss beside Dice."""
    augment: bool = True
    """Flips, quarter turns, brightness and contrast."""
    augment_strength: float = 1.0
    """Factor of the changes of brightness and contrast."""

    root: str = "runs"
    """Folder of all runs."""
    run: str = "default"
    """Name of the run."""
    resume: bool = False
    """Go on with an unfinished run."""
    threads: int = 1
    """LiteRT threads for latency."""


@dataclass(frozen=True)
class ModelCard:
    """What one has to know to feed a model file; written beside it as JSON.

    Attributes:
        classes: Color by class name.
        integer_masks: Whether masks hold labels rather than colors.
        scaling: Pixel scaling of the inputs.
        patch: Side of its input.
        channels: Channels of its input.
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


def load_data(config: SegmentationConfig, run: Run, seed: int = 0) -> SegmentationData:
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
    steps = epochs * -(-len(data.train) // config.batch)
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
    """Precision-recall curves and rows of image, label and predictions, as a report section.

    Args:
        run: Where the pictures go.
        patches: The test patches.
        outputs: Probabilities of each model on them.
        palette: The classes.
        rows: How many patches to show, those with the most classes first.
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
    return Section(
        "Predictions on the test set",
        pictures=(
            (
                "Image, label and prediction, patches with the most classes",
                save_figure(examples, run.path("plots", "predictions.png")),
            ),
            (
                "Precision against recall of each class",
                save_figure(curves, run.path("plots", "precision_recall.png")),
            ),
        ),
    )


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
    """The comparison table and its trade-off plots, as a report section."""
    tables = (comparison.table(), comparison.class_table())
    pictures = []
    for name, title, cost in (
        ("latency", "latency of batch 1 (ms)", lambda row: row.latency and row.latency.median_ms),
        ("size", "file after gzip (MB)", lambda row: row.gzip_bytes / 1e6),
    ):
        points = [(row.name, cost(row), row.quality["mean_iou"]) for row in comparison.rows]
        if len(points) > 1 and all(point[1] for point in points):
            figure = plot_tradeoff(points, title, "mean IoU")
            path = save_figure(figure, run.path("plots", f"iou_against_{name}.png"))
            pictures.append((f"Mean IoU against {title}", path))
    return Section("Comparison", text=text, tables=tables, pictures=tuple(pictures))


SMOKE: dict[str, Any] = {
    "data": "",
    "tiles": 4,
    "images_per_tile": 1,
    "scene_size": 128,
    "patch": 64,
    "filters": (8, 16, 32),
    "epochs": 4,
}
"""Fields that make an experiment small enough for a minute."""

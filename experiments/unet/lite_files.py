"""LiteRT files of a run's U-Nets: written, read back, and compared on the test images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.common.seeds import seed_file
from experiments.unet.segmentation import CARD_NAME, SegmentationConfig
from tfcompress.comparison import Comparison, compare
from tfcompress.data.folder import SegmentationData
from tfcompress.litert.formats import FORMATS
from tfcompress.litert.model import LiteModel, to_litert
from tfcompress.reporting.run import Run

FLOAT_AND_INT8 = ("float32", "int8")


@dataclass(frozen=True)
class LiteFile:
    """A file to write.

    Attributes:
        title: Of the model in tables and plots.
        path: Ends in ".tflite".
        model: The Keras model.
        format: Its number format.
        sparse: Store zeros sparsely, where the format can.
    """

    title: str
    path: Path
    model: Any
    format: str
    sparse: bool = False


def write_lite(
    file: LiteFile, data: SegmentationData, run: Run, calibration_samples: int = 200
) -> LiteModel:
    """Convert, save with the run's card inside, and read back; calibrated on training patches."""
    format = FORMATS[file.format]
    with run.console.status(f"converting {file.title} to {file.format}"):
        to_litert(
            file.model,
            file.format,
            data.train.images if format.needs_calibration else None,
            sparse_encoding=file.sparse and format.can_be_sparse,
            calibration_samples_at_most=calibration_samples,
        ).with_card(run.read_json(CARD_NAME) or {}).save(file.path)
    return replace(LiteModel.load(file.path), format=file.format)


def write_formats(
    run: Run,
    seed: int,
    data: SegmentationData,
    names: Mapping[str, str],
    formats: Callable[[str], Sequence[str]] = lambda name: FLOAT_AND_INT8,
    sparse: Callable[[str], bool] = lambda name: False,
) -> dict[str, LiteModel]:
    """Load a seed's saved U-Nets and write each in its number formats.

    Args:
        run: Where they are.
        seed: Of the U-Nets.
        data: To calibrate on.
        names: Title of each U-Net, by the name of its file.
        formats: Formats of a U-Net, by name.
        sparse: Whether its zeros are stored sparsely, by name.

    Returns:
        By "title format", in order.
    """
    files = {}
    for name, title in names.items():
        model = keras.saving.load_model(seed_file(run, seed, name))
        for format in formats(name):
            path = seed_file(run, seed, f"{name}-{format}", ".tflite")
            file = LiteFile(title, path, model, format, sparse(name))
            files[f"{title} {format}"] = write_lite(file, data, run)
    return files


def compare_lite(
    models: Sequence[LiteModel],
    titles: Sequence[str],
    config: SegmentationConfig,
    data: SegmentationData,
    run: Run,
) -> tuple[dict[str, np.ndarray], Comparison]:
    """Outputs on the test patches by title, and the comparison; the first is the baseline."""
    with run.console.status("predicting the test patches with every file"):
        outputs = [model.predict(data.test.images) for model in models]
    with run.console.status("measuring every file"):
        comparison = compare(
            *models,
            data=(data.test.images, data.test.labels),
            names=titles,
            classes=data.palette.names,
            threads=config.threads,
            predictions=outputs,
        )
    return dict(zip(titles, outputs, strict=True)), comparison

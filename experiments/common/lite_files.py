"""LiteRT files of Keras models: converted, saved with their card, read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.litert.formats import FORMATS
from tfcompress.litert.model import LiteModel, to_litert
from tfcompress.reporting.run import Run

FLOAT_AND_INT8 = ("float32", "int8")
"""Number formats that most programs compare."""


def write_lite(
    model: Any,
    path: Path,
    format: str,
    calibration: np.ndarray,
    card: Mapping[str, Any],
    run: Run,
    sparse: bool = False,
    calibrate_on: int = 200,
) -> LiteModel:
    """Convert a model, save it with its card inside, and read the file back.

    Args:
        model: Keras model.
        path: File to write, ending in ".tflite".
        format: Number format.
        calibration: Inputs that int8 ranges are calibrated on.
        card: How the inputs are prepared, for whoever feeds the file.
        run: Run whose terminal shows the progress.
        sparse: Whether zeros are stored sparsely, where the format can.
        calibrate_on: Number of calibration inputs used, at most.
    """
    form = FORMATS[format]
    with run.console.status(f"converting {path.stem} to {format}"):
        to_litert(
            model,
            format,
            calibration if form.needs_calibration else None,
            sparse_encoding=sparse and form.can_be_sparse,
            calibration_samples_at_most=calibrate_on,
        ).with_card(card).save(path)
    return replace(LiteModel.load(path), format=format)

"""make unet-int8: a U-Net in every LiteRT number format, compared on the test images.

MODEL is a `.keras` file of `unet-train` or `unet-level-prune`; without it a U-Net is trained first.
Ranges are calibrated on training patches. Every row is measured on the saved file.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import keras
import numpy as np

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish
from experiments.handover.evaluate_model import input_shape_of, read_card
from experiments.unet.lite_files import LiteFile, compare_lite, write_lite
from experiments.unet.segmentation import (
    CARD_NAME,
    SMOKE,
    SegmentationConfig,
    card_of,
    comparison_section,
    load_data,
    prediction_section,
)
from experiments.unet.train import train_unet
from tfcompress.comparison import predict
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import measure_latency
from tfcompress.evaluation.parity import compare_outputs
from tfcompress.litert.formats import FORMATS, format_named
from tfcompress.litert.model import LiteModel
from tfcompress.model_files import load_model_file
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import environment, open_run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Convert a U-Net to LiteRT."""

    RENAMED: ClassVar[Mapping[str, str]] = {"recipes": "formats"}

    model: str = ""
    """A .keras file; empty trains a U-Net first."""
    formats: tuple[str, ...] = ("float32", "float16", "dynamic_int8", "int8", "int16x8")
    """Number formats; the first is the baseline."""
    calibration_samples: int = 200
    """Training patches that the ranges are measured on."""
    sparse_encoding: bool = False
    """Store zeros sparsely where the format can."""
    seed: int = 0

    def check(self) -> None:
        """Check the formats before any training."""
        for name in self.formats:
            format_named(name)
        if not self.formats:
            raise ConfigError("formats", "there is none", f"give some of {', '.join(FORMATS)}")


def main(config: Config) -> dict[str, Any]:
    """Convert, measure, report; the metrics."""
    if config.model:
        config = as_model_wants(config)
    run = open_run(config.root, "unet-int8", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    keras.utils.set_random_seed(config.seed)
    data = load_data(config, run)
    model = load_model_file(config.model) if config.model else train_unet(config, run, data)
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    files = []
    for format in config.formats:
        path = run.path(f"model-{format}.tflite")
        file = LiteFile("the U-Net", path, model, format, config.sparse_encoding)
        files.append(write_lite(file, data, run, config.calibration_samples))
        run.print(f"wrote {path.name}, {path.stat().st_size / 1e6:.2f} MB")
    outputs, comparison = compare_lite(files, config.formats, config, data, run)
    parity = _parity_table(config, files, predict(model, data.test.images), list(outputs.values()))
    shown = {name: outputs[name] for name in (config.formats[0], "int8") if name in outputs}
    write_page(
        run.path("report.html"),
        "A U-Net in LiteRT's number formats",
        "Size, speed and mean IoU of each file on the test images.",
        [
            comparison_section(run, comparison),
            Section("Parity with the Keras model", tables=(parity,)),
            prediction_section(run, data.test, shown, data.palette),
        ],
        compared(config),
        environment(),
    )
    run.print(comparison.table(), comparison.class_table(), parity)
    return finish(run, comparison, {})


def _parity_table(
    config: Config,
    files: Sequence[LiteModel],
    reference: np.ndarray,
    outputs: Sequence[np.ndarray],
) -> Table:
    """Each file's probabilities against the Keras model's, and its speed on plain kernels."""
    slow = measure_latency(files, repeats=5, warmup=1, threads=config.threads, xnnpack=False)
    table = Table(
        ("format", "max |d|", "mean |d|", "SNR", "arg-max agrees", "without XNNPACK", "float ops"),
        title="Each file's probabilities against the Keras model's",
    )
    for file, output, latency in zip(files, outputs, slow, strict=True):
        parity = compare_outputs(reference, output)
        table.add(
            file.format,
            f"{parity.max_abs:.2g}",
            f"{parity.mean_abs:.2g}",
            f"{parity.snr_db:.1f} dB",
            f"{parity.agreement:.2%}",
            f"{latency.median_ms:.2f} ms",
            ", ".join(file.float_ops) if len(file.float_ops) < 3 else "all",
        )
    if "int16x8" in config.formats:
        table.note(f"int16x8: {FORMATS['int16x8'].summary}")
    return table


def as_model_wants(config: Config) -> Config:
    """The config with the patch size and scaling that a given model was trained with."""
    height, _, _ = input_shape_of(load_model_file(config.model))
    card = read_card(config.model)
    classes = card.classes if card and not card.integer_masks else config.classes
    scaling = card.scaling if card else config.scaling
    return replace(config, patch=height, scaling=scaling, classes=classes)


if __name__ == "__main__":
    run_experiment(Config, main, SMOKE)

"""make unet-int8: compare every LiteRT number format of a U-Net on the test patches.

MODEL is a `.keras` file of `unet-train` or `unet-level-prune`; without it a U-Net is trained first.
Ranges are calibrated on training patches, and every row is measured on the saved file.

Takes about 2 minutes on two CPU cores to train (20 epochs of 4 s on generated tiles), then another
to convert and measure. Prints size, latency and mean IoU of each file, its difference from the
Keras model, and the operators that stay in float.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from experiments.common.inputs import input_shape_of
from experiments.common.program import Program
from experiments.common.report import Report
from experiments.unet.segmentation import SMOKE, SegmentationConfig, read_card
from experiments.unet.study import Study
from experiments.unet.train import train_unet
from tfcompress.comparison import predict
from tfcompress.errors import ConfigError
from tfcompress.evaluation.latency import measure_latency
from tfcompress.evaluation.parity import compare_outputs
from tfcompress.litert.formats import FORMATS, format_named
from tfcompress.litert.model import LiteModel
from tfcompress.model_files import load_model_file
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Convert a U-Net to LiteRT."""

    RENAMED: ClassVar[Mapping[str, str]] = {"recipes": "formats"}

    model: str = ""
    """U-Net's .keras file; empty: one is trained first."""
    formats: tuple[str, ...] = ("float32", "float16", "dynamic_int8", "int8", "int16x8")
    """Number formats; the first is the baseline."""
    calibration_samples: int = 200
    """Number of training patches that the ranges are calibrated on."""
    sparse_encoding: bool = False
    """Whether zeros are stored sparsely, where the format can."""
    seed: int = 0
    """Seed of the U-Net that is trained."""

    def check(self) -> None:
        """Check the number formats before any training."""
        for name in self.formats:
            format_named(name)
        if not self.formats:
            raise ConfigError("formats", "there is none", f"give some of {', '.join(FORMATS)}")


def main(config: Config, run: Run) -> Report:
    """Convert, read back, and measure every file."""
    study = Study.of(config, run)
    model = load_model_file(config.model) if config.model else train_unet(study)
    files = {}
    for format in config.formats:
        path = run.path(f"model-{format}.tflite")
        files[format] = study.write(
            model, path, format, config.sparse_encoding, config.calibration_samples
        )
        run.print(f"wrote {path.name}, {path.stat().st_size / 1e6:.2f} MB")
    outputs, comparison = study.compare(files)
    parity = _parity_table(config, list(files.values()), predict(model, study.data.test.images),
                           outputs)  # fmt: skip
    shown = {name: outputs[name] for name in (config.formats[0], "int8") if name in outputs}
    return study.report(
        comparison,
        "A U-Net in LiteRT's number formats",
        "Size, speed and mean IoU of each file on the test images.",
        [Section("Parity with the Keras model", tables=(parity,)), study.predictions(shown)],
        (parity,),
    )


def _parity_table(
    config: Config,
    files: Sequence[LiteModel],
    reference: np.ndarray,
    outputs: Mapping[str, np.ndarray],
) -> Table:
    """Each file's probabilities against the Keras model's, and its latency on plain kernels."""
    slow = measure_latency(files, repeats=5, warmup=1, threads=config.threads, xnnpack=False)
    table = Table(
        ("format", "max |d|", "mean |d|", "SNR", "arg-max agrees", "without XNNPACK", "float ops"),
        title="Each file's probabilities against the Keras model's",
    )
    for file, output, latency in zip(files, outputs.values(), slow, strict=True):
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
    """The config with the patch size, scaling and classes that a given model was trained with."""
    if not config.model:
        return config
    height, _, _ = input_shape_of(load_model_file(config.model))
    card = read_card(config.model)
    classes = card.classes if card and not card.integer_masks else config.classes
    scaling = card.scaling if card else config.scaling
    return replace(config, patch=height, scaling=scaling, classes=classes)


PROGRAM = Program("unet-int8", Config, main, SMOKE, as_model_wants)

if __name__ == "__main__":
    PROGRAM.start()

"""make unet-qat: int8 after training and in training, beside float, of a dense and a sparse U-Net.

Starts from a finished run of `unet-level-prune` (FROM_RUN), or trains its two U-Nets first. The
dense one is made int8 with calibrated ranges (PTQ) and after some epochs of quantization-aware
training (QAT); the sparse one after QAT that keeps its zeros (PQAT). Every row is measured on the
finished file. Layer by layer, the report says where the int8 files differ from float.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish
from experiments.common.seeds import seed_file
from experiments.handover.evaluate_model import check_classes
from experiments.unet import level_prune as unet_level_prune
from experiments.unet.lite_files import LiteFile, compare_lite, write_lite
from experiments.unet.segmentation import (
    CARD_NAME,
    card_of,
    comparison_section,
    load_data,
    prediction_section,
)
from experiments.unet.twin_fit import TwinTraining, fit_twin
from tfcompress.data.folder import SegmentationData
from tfcompress.errors import ConfigError
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import LiteModel
from tfcompress.model_files import load_model_file
from tfcompress.quantization.report import debug_quantization
from tfcompress.quantization.training.tfmot import quantize_aware
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import plot_layer_noise, save_figure
from tfcompress.reporting.run import Run, environment, open_run


@dataclass(frozen=True, kw_only=True)
class Config(unet_level_prune.Config):
    """Make a U-Net int8 with and without quantization-aware training."""

    from_run: str = ""
    """Folder of a finished unet-level-prune run whose U-Nets to take; empty: train them first."""
    qat_epochs: int = 4
    """Epochs of quantization-aware training."""
    qat_learning_rate: float = 5e-5
    """Peak of its cosine schedule."""
    channel_macs: float = 0.0
    seeds: tuple[int, ...] = (0,)
    """The first one is used."""

    def check(self) -> None:
        """Check what would only show later."""
        super().check()
        if self.qat_epochs < 1:
            raise ConfigError("qat_epochs", f"it is {self.qat_epochs}", "use at least 1")
        if self.from_run:
            for name in _SOURCES:
                path = Path(self.from_run) / f"{name}-seed{self.seeds[0]}.keras"
                if not path.is_file():
                    raise ConfigError(
                        "from_run",
                        f"there is no {path}",
                        "give the folder of a finished unet-level-prune run",
                    )


_SOURCES = ("dense", "pruned")


@dataclass(frozen=True)
class QatFile:
    """A file of the comparison.

    Attributes:
        title: In tables and plots.
        name: Of the LiteRT file.
        source: The Keras U-Net it comes from: "dense" or "pruned".
        how: "float32", "PTQ", or what quantization-aware training preserves.
    """

    title: str
    name: str
    source: str
    how: Literal["float32", "PTQ", "nothing", "sparsity"]


def files_of(config: Config) -> list[QatFile]:
    """What is compared; the first is the baseline."""
    zeros = f"{config.sparsity:.0%} zeros"
    return [
        QatFile("dense float32", "dense", "dense", "float32"),
        QatFile("dense int8 (PTQ)", "dense-ptq", "dense", "PTQ"),
        QatFile("dense int8 (QAT)", "dense-qat", "dense", "nothing"),
        QatFile(f"{zeros} float32", "pruned", "pruned", "float32"),
        QatFile(f"{zeros} int8 (PTQ)", "pruned-ptq", "pruned", "PTQ"),
        QatFile(f"{zeros} int8 (PQAT)", "pruned-qat", "pruned", "sparsity"),
    ]


def main(config: Config) -> dict[str, Any]:
    """Train, quantize, compare; the metrics."""
    run = open_run(config.root, "unet-qat", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_data(config, run)
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    models = _models(config, run, data)
    lite, noise = [], {}
    for file in files_of(config):
        made = _file(file, models[file.source], config, run, data)
        lite.append(made)
        if file.how != "float32":
            reference = _trained(file, models[file.source], config, run)
            with run.console.status(f"{file.title}: layer by layer against float"):
                noise[file.title] = debug_quantization(reference, made, data.val.images, at_most=16)
    outputs, comparison = compare_lite(
        lite, [file.title for file in files_of(config)], config, data, run
    )
    tables = [report.table() for report in noise.values()]
    for table, title in zip(tables, noise, strict=True):
        table.title = f"{title} against float, layer by layer, worst first"
    picture = plot_layer_noise({title: report.points() for title, report in noise.items()})
    rows = {row.name: row for row in comparison.rows}
    write_page(
        run.path("report.html"),
        "A U-Net in int8, with and without quantization-aware training",
        ", ".join(f"{title}: {row.quality['mean_iou']:.4f}" for title, row in rows.items())
        + " mean IoU.",
        [
            comparison_section(run, comparison),
            prediction_section(
                run, data.test, {n: o for n, o in outputs.items() if "PTQ" not in n}, data.palette
            ),
            Section(
                "Where int8 differs from float",
                tables=tuple(tables),
                pictures=(
                    (
                        "Signal over error of each operator, in the order of computation",
                        save_figure(picture, run.path("plots", "layer_noise.png")),
                    ),
                ),
            ),
        ],
        compared(config),
        environment(),
    )
    run.print(*tables, comparison.table(), comparison.class_table())
    more = {"debug": {title: report.to_dict() for title, report in noise.items()}}
    return finish(run, comparison, more)


def _models(config: Config, run: Run, data: SegmentationData) -> dict[str, Any]:
    """The trained float U-Nets, from another run or of this one."""
    seed = config.seeds[0]
    if config.from_run:
        paths = {name: Path(config.from_run) / f"{name}-seed{seed}.keras" for name in _SOURCES}
    else:
        unet_level_prune.train_all(config, run, data, seed)
        paths = {name: seed_file(run, seed, name) for name in _SOURCES}
    models = {name: load_model_file(str(path)) for name, path in paths.items()}
    check_classes(models["dense"], len(data.palette), "from_run", "use the data of that run")
    shape = models["dense"].input_shape[1:]
    if tuple(shape) != tuple(data.train.images.shape[1:]):
        raise ConfigError(
            "from_run",
            f"its U-Nets take {tuple(shape)}, and the patches are {data.train.images.shape[1:]}",
            "use the patch size and the data of that run",
        )
    return models


def _file(file: QatFile, model: Any, config: Config, run: Run, data: SegmentationData) -> LiteModel:
    """Write a file and read it back."""
    path = seed_file(run, config.seeds[0], file.name, ".tflite")
    sparse = config.sparse_encoding and file.source == "pruned"
    if file.how in ("float32", "PTQ"):
        format = "float32" if file.how == "float32" else "int8"
        return write_lite(LiteFile(file.title, path, model, format, sparse), data, run)
    if not path.is_file() or not _keras_path(file, config, run).is_file():
        how = TwinTraining(
            "PQAT" if file.how == "sparsity" else "QAT",
            f"{file.name}-seed{config.seeds[0]}",
            0,
            config.qat_epochs,
            choose_from=1,
            seed=config.seeds[0],
            learning_rate=config.qat_learning_rate,
        )
        result = quantize_aware(
            model,
            preserve_kernels=file.how,
            calibration=data.train.images,
            train=lambda twin: fit_twin(
                twin, keras.models.clone_model(model), how, config, data, run
            ),
        )
        save_plain(result.model, _keras_path(file, config, run), training_state=False)
        lite = result.to_litert(sparse_encoding=sparse)
        lite.with_card(run.read_json(CARD_NAME) or {}).save(path)
    return replace(LiteModel.load(path), format="int8")


def _keras_path(file: QatFile, config: Config, run: Run) -> Path:
    return seed_file(run, config.seeds[0], file.name)


def _trained(file: QatFile, model: Any, config: Config, run: Run) -> Any:
    """The float model that an int8 file stands for."""
    if file.how in ("float32", "PTQ"):
        return model
    return keras.saving.load_model(_keras_path(file, config, run))


QAT_SMOKE = {**unet_level_prune.LEVEL_SMOKE, "qat_epochs": 1}

if __name__ == "__main__":
    run_experiment(Config, main, QAT_SMOKE)

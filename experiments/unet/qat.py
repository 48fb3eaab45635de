"""make unet-qat: int8 after training and in training, beside float, of a dense and a sparse U-Net.

Starts from a finished run of `unet-level-prune` (FROM_RUN), or trains its two U-Nets first. The
dense one is made int8 with calibrated ranges (PTQ) and after some epochs of quantization-aware
training (QAT); the sparse one after QAT that keeps its zeros (PQAT). Every row is measured on the
finished file. Layer by layer, the report shows where the int8 files differ from float.

Takes about 7 minutes on two CPU cores (70 epochs of 4 s on generated tiles for the two U-Nets, 8
for each in int8, then the comparison layer by layer); with FROM_RUN about 2. Prints mean IoU, size
and latency of the six files, and the layers that lose the most. Over three seeds QAT and PTQ were a
draw (docs/measurements.md, "TFMOT, int8 in training, and each form's cost").
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras

from experiments.common.inputs import check_classes, check_file
from experiments.common.program import Program
from experiments.common.report import Report, picture, quality_by_name
from experiments.common.seeds import seed_file
from experiments.unet import level_prune
from experiments.unet.study import Study
from experiments.unet.twin_fit import fit_twin
from tfcompress.errors import ConfigError
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import LiteModel
from tfcompress.model_files import load_model_file
from tfcompress.quantization.report import debug_quantization
from tfcompress.quantization.training.tfmot import quantize_aware
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_layer_noise
from tfcompress.reporting.run import Run

_SOURCES = ("dense", "pruned")


@dataclass(frozen=True, kw_only=True)
class Config(level_prune.Config):
    """Make a U-Net int8 with and without quantization-aware training."""

    from_run: str = ""
    """Folder of a finished unet-level-prune run with the U-Nets; empty: they are trained first."""
    qat_epochs: int = 4
    """Epochs of quantization-aware training."""
    qat_learning_rate: float = 5e-5
    """Peak of its cosine schedule."""
    channel_macs: float = 0.0
    seeds: tuple[int, ...] = (0,)
    """Seed; only the first one is used."""

    def check(self) -> None:
        """Check what would only show later."""
        super().check()
        if self.qat_epochs < 1:
            raise ConfigError("qat_epochs", f"it is {self.qat_epochs}", "use at least 1")
        if self.from_run:
            for name in _SOURCES:
                path = Path(self.from_run) / f"{name}-seed{self.seeds[0]}.keras"
                fix = "give the folder of a finished unet-level-prune run"
                check_file(str(path), "from_run", fix)


@dataclass(frozen=True)
class QatFile:
    """A file of the comparison.

    Attributes:
        title: Title in tables and plots.
        name: Name of the LiteRT file.
        source: Keras U-Net that it comes from: "dense" or "pruned".
        how: "float32", "PTQ", or what quantization-aware training preserves.
    """

    title: str
    name: str
    source: str
    how: Literal["float32", "PTQ", "nothing", "sparsity"]

    @property
    def trained(self) -> bool:
        """Whether quantization-aware training made it."""
        return self.how not in ("float32", "PTQ")


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


def main(config: Config, run: Run) -> Report:
    """Train, quantize, compare."""
    study, seed = Study.of(config, run), config.seeds[0]
    models = _models(study, seed)
    lite, noise = {}, {}
    for file in files_of(config):
        made = lite[file.title] = _file(study, seed, file, models[file.source])
        if file.how != "float32":
            reference = study.load(seed, file.name) if file.trained else models[file.source]
            with run.console.status(f"{file.title}: layer by layer against float"):
                images = study.data.val.images
                noise[file.title] = debug_quantization(reference, made, images, at_most=16)
    outputs, comparison = study.compare(lite)
    tables = [found.table() for found in noise.values()]
    for table, title in zip(tables, noise, strict=True):
        table.title = f"{title} against float, layer by layer, worst first"
    figure = plot_layer_noise({title: found.points() for title, found in noise.items()})
    caption = "Signal over error of each operator, in the order of computation"
    iou = quality_by_name(comparison)
    report = study.report(
        comparison,
        "A U-Net in int8, with and without quantization-aware training",
        ", ".join(f"{title}: {value:.4f}" for title, value in iou.items()) + " mean IoU.",
        [
            study.predictions({name: o for name, o in outputs.items() if "PTQ" not in name}),
            Section(
                "Where int8 differs from float",
                tables=tuple(tables),
                pictures=(picture(run, "layer_noise", figure, caption),),
            ),
        ],
        tables,
        debug={title: found.to_dict() for title, found in noise.items()},
    )
    return replace(report, seeds=(seed,))


def _models(study: Study, seed: int) -> dict[str, Any]:
    """The trained float U-Nets, from another run or of this one."""
    if study.config.from_run:
        folder = Path(study.config.from_run)
        paths = {name: folder / f"{name}-seed{seed}.keras" for name in _SOURCES}
    else:
        level_prune.train_all(study, seed)
        paths = {name: seed_file(study.run, seed, name) for name in _SOURCES}
    models = {name: load_model_file(str(path)) for name, path in paths.items()}
    check_classes(models["dense"], len(study.data.palette), "from_run", "use the data of that run")
    wanted, patches = models["dense"].input_shape[1:], study.data.train.images.shape[1:]
    if tuple(wanted) != tuple(patches):
        raise ConfigError(
            "from_run",
            f"its U-Nets take {tuple(wanted)}, and the patches are {patches}",
            "use the patch size and the data of that run",
        )
    return models


def _file(study: Study, seed: int, file: QatFile, model: Any) -> LiteModel:
    """Write a file and read it back."""
    config, run = study.config, study.run
    path, keras_path = (seed_file(run, seed, file.name, end) for end in (".tflite", ".keras"))
    sparse = config.sparse_encoding and file.source == "pruned"
    if not file.trained:
        return study.write(model, path, "float32" if file.how == "float32" else "int8", sparse)
    if not path.is_file() or not keras_path.is_file():

        def train(twin: Any) -> None:
            name = "PQAT" if file.how == "sparsity" else "QAT"
            fit_twin(
                study, twin, keras.models.clone_model(model), name, f"{file.name}-seed{seed}", seed,
                0, config.qat_epochs, learning_rate=config.qat_learning_rate,
            )  # fmt: skip

        result = quantize_aware(
            model,
            preserve_kernels=file.how,
            calibration=study.data.train.images,
            train=train,
        )
        save_plain(result.model, keras_path, training_state=False)
        result.to_litert(sparse_encoding=sparse).with_card(study.card).save(path)
    return replace(LiteModel.load(path), format="int8")


QAT_SMOKE = {**level_prune.LEVEL_SMOKE, "qat_epochs": 1}
PROGRAM = Program("unet-qat", Config, main, QAT_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

"""make unet-distill: the shrunk U-Net with and without a teacher, seed by seed.

A dense U-Net is trained for EPOCHS. From its state after `dense_epochs` two others branch off, lose
the same channels (TARGET_MACS), and train on to the same number of epochs: one alone, one under a
teacher. The teacher is the finished dense U-Net; or TEACHER=file; or a segmentation_models U-Net on
a backbone, trained first. All are chosen on validation and measured as finished files.

Takes about 5 minutes on two CPU cores (30 epochs of 4 s and 36 of the shrunk U-Nets, on generated
tiles). Prints mean IoU of the three U-Nets, and how much of the loss the teacher recovers.
docs/measurements.md ("A shrunk U-Net and its teacher") has the numbers of three seeds on micro-CT
slices: a steadier outcome, no proven gain.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from experiments.common.inputs import check_classes, check_file
from experiments.common.program import Program
from experiments.common.report import (
    History,
    Report,
    history_section,
    quality_by_name,
    write_histories,
)
from experiments.unet.segmentation import SMOKE, SegmentationConfig
from experiments.unet.study import Rounds, Study, UnetChannels
from models.backbones import segmentation_model
from tfcompress.comparison import Comparison
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import ChannelWise, PixelWise
from tfcompress.errors import ConfigError
from tfcompress.model_files import load_model_file
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

ALONE, TAUGHT = "shrunk", "taught"
NAMES = ("dense", ALONE, TAUGHT)


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Shrink a U-Net, and teach the shrunk one."""

    epochs: int = 30
    """Number of training epochs of each U-Net."""
    dense_epochs: int = 12
    """Epochs before the shrunk U-Nets branch off: enough for the rarest class to be learned."""
    target_macs: float = 0.25
    """Share of the MACs to keep."""
    teacher: str = ""
    """Teacher's .keras U-Net of the same classes and patches; empty: the dense one of each seed."""
    teacher_backbone: str = ""
    """Backbone of segmentation_models (such as resnet18) whose U-Net is trained as the teacher."""
    temperature: float = 1.0
    """Temperature of the softmax in the distillation losses."""
    channel_weight: float = 0.3
    """Weight of channel-wise distillation of the logits, in which rare classes count as much as
    common ones; 0 for none. A large one crowds out the Dice loss."""
    pixel_weight: float = 0.0
    """Weight of soft targets at every pixel; 0 for none."""
    task_weight: float = 1.0
    """Weight of the student's own loss."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, one set of U-Nets for each; the report's pictures show the first."""

    def check(self) -> None:
        """Check what would only show after the dense U-Net is trained."""
        if not 0 < self.dense_epochs < self.epochs:
            raise ConfigError(
                "dense_epochs, epochs",
                f"{self.dense_epochs} and {self.epochs} are not in order",
                "let 0 < dense_epochs < epochs",
            )
        check_file(self.teacher, "teacher", "give a .keras file")
        if self.teacher and self.teacher_backbone:
            raise ConfigError("teacher, teacher_backbone", "both are given", "give one")
        if not self.seeds:
            raise ConfigError("seeds", "there is none", "give at least one")
        self.objectives()
        self.pruning()

    def objectives(self) -> list[Any]:
        """The distillation losses."""
        found: list[Any] = []
        if self.channel_weight:
            found.append(ChannelWise(self.temperature, weight=self.channel_weight))
        if self.pixel_weight:
            found.append(PixelWise(self.temperature, weight=self.pixel_weight))
        if not found:
            raise ConfigError(
                "channel_weight, pixel_weight", "both are 0", "let at least one be above 0"
            )
        return found

    def pruning(self) -> ChannelConfig:
        """How channels are chosen, as `unet-channel-prune` does by default."""
        return UnetChannels(target_macs=self.target_macs)


def main(config: Config, run: Run) -> Report:
    """Train, shrink, teach, convert, compare."""
    study = Study.of(config, run)
    plan_channels(study.build(), config.pruning())  # what is out of reach shows now
    outside = _outside_teacher(study)
    titles = {name: name for name in NAMES}
    seeds = study.each_seed(
        lambda seed: (
            _train(study, seed, outside),
            *study.compare(study.write_formats(seed, titles)),
        )
    )
    histories, outputs, comparison = seeds[0]
    comparisons = [each for *_, each in seeds]
    write_histories(run, histories)
    tables = study.over_seeds(comparisons, ((2, 0), (4, 2), (4, 0)))
    tables.append(_recovered(config, comparisons))
    iou = quality_by_name(comparison)
    return study.report(
        comparison,
        "A shrunk U-Net and its teacher",
        f"Mean IoU {iou['dense float32']:.4f} dense, {iou[f'{ALONE} float32']:.4f} with "
        f"{config.target_macs:.0%} of the MACs, {iou[f'{TAUGHT} float32']:.4f} with these and a "
        "teacher.",
        [
            Section("What the teacher recovers", tables=tuple(tables)),
            history_section(run, histories, {"channels removed": config.dense_epochs}),
            study.predictions({f"{name} float32": outputs[f"{name} float32"] for name in NAMES}),
        ],
        tables,
        seeds=[each.to_dict() for each in comparisons],
    )


def _outside_teacher(study: Study) -> Any | None:
    """A teacher that is no U-Net of this run; None: the dense one of each seed teaches."""
    config = study.config
    if config.teacher:
        teacher = load_model_file(config.teacher)
        check_classes(teacher, len(study.data.palette), "teacher", "use a teacher of this data")
        return teacher
    if not config.teacher_backbone:
        return None
    study.train_whole("teacher", config.seeds[0], partial(_on_backbone, study))
    return study.load(config.seeds[0], "teacher")


def _on_backbone(study: Study) -> Any:
    """A segmentation_models U-Net with new weights."""
    config, channels = study.config, study.data.train.images.shape[-1]
    shape = (config.patch, config.patch, channels)
    try:
        return segmentation_model("Unet", config.teacher_backbone, shape, len(study.data.palette))
    except ValueError as error:
        raise ConfigError(
            "teacher_backbone", str(error)[:300], "use a backbone of segmentation_models"
        ) from None


def _train(study: Study, seed: int, outside: Any | None) -> dict[str, History]:
    """Train and save the U-Nets of a seed; their histories."""
    config = study.config
    histories = {"dense": study.train_whole("dense", seed, keep_epoch=config.dense_epochs)}
    teacher = outside if outside is not None else study.load(seed, "dense")
    rounds = Rounds(config.dense_epochs, config.dense_epochs)

    def taught(student: Any) -> Any:
        return Distiller(teacher, student, config.objectives(), task_weight=config.task_weight)

    wraps: dict[str, Callable[[Any], Any]] = {ALONE: lambda model: model, TAUGHT: taught}
    for name, wrap in wraps.items():
        _, histories[name] = study.train_pruned(name, seed, config.pruning(), rounds, wrap)
    return histories


def _recovered(config: Config, comparisons: list[Comparison]) -> Table:
    """How much of what shrinking lost the teacher recovered."""
    table = Table(("seed", *NAMES, "lost", "brought back"), title="Mean IoU of the float32 files")
    values = []
    for comparison in comparisons:
        iou = quality_by_name(comparison)
        values.append([iou[f"{name} float32"] for name in NAMES])

    def cells(dense: float, alone: float, taught: float) -> tuple[str, ...]:
        numbers = (f"{value:.4f}" for value in (dense, alone, taught))
        return (*numbers, f"{dense - alone:+.4f}", f"{taught - alone:+.4f}")

    for seed, row in zip(config.seeds, values, strict=True):
        table.add(str(seed), *cells(*row))
    table.total("mean", *cells(*np.mean(values, axis=0)))
    return table


DISTILL_SMOKE = {**SMOKE, "dense_epochs": 1, "epochs": 2, "filters": (8, 16), "target_macs": 0.5}
PROGRAM = Program("unet-distill", Config, main, DISTILL_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

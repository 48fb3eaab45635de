"""make unet-distill: the shrunk U-Net with and without a teacher, seed by seed.

A dense U-Net is trained for EPOCHS. From its state after `dense_epochs` two others branch off, lose
the same channels (TARGET_MACS), and train on to the same number of epochs: one alone, one under a
teacher. The teacher is the finished dense U-Net; or TEACHER=file; or a segmentation_models U-Net on
a backbone, trained first. All are chosen on validation and measured as finished files.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seed_file, seeds_table
from experiments.handover.evaluate_model import check_classes
from experiments.unet.lite_files import compare_lite, write_formats
from experiments.unet.segmentation import (
    CARD_NAME,
    SMOKE,
    SegmentationConfig,
    build_model,
    card_of,
    comparison_section,
    load_data,
    prediction_section,
)
from experiments.unet.variants import History, Rounds, train_pruned, train_whole
from models.backbones import segmentation_model
from tfcompress.comparison import Comparison
from tfcompress.data.folder import SegmentationData
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import ChannelWise, PixelWise
from tfcompress.errors import ConfigError
from tfcompress.model_files import load_model_file
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import Run, environment, open_run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Shrink a U-Net, and teach the shrunk one."""

    epochs: int = 30
    dense_epochs: int = 12
    """Epochs before the shrunk U-Nets branch off: enough for the rarest class to be learned."""
    target_macs: float = 0.25
    """Share of the MACs to keep."""
    teacher: str = ""
    """A .keras U-Net of the same classes and patches; empty: the dense one of each seed."""
    teacher_backbone: str = ""
    """Instead: a backbone of segmentation_models (such as resnet18) whose U-Net is trained."""
    temperature: float = 1.0
    """Of the softmax in the distillation losses."""
    channel_weight: float = 0.3
    """Factor of channel-wise distillation of the logits, in which rare classes count as much as
    common ones; 0 for none. A large one crowds out the Dice loss."""
    pixel_weight: float = 0.0
    """Factor of soft targets at every pixel; 0 for none."""
    task_weight: float = 1.0
    """Factor of the student's own loss."""
    seeds: tuple[int, ...] = (0,)

    def check(self) -> None:
        """Check what would only show after the dense U-Net is trained."""
        if not 0 < self.dense_epochs < self.epochs:
            raise ConfigError(
                "dense_epochs, epochs",
                f"{self.dense_epochs} and {self.epochs} are not in order",
                "let 0 < dense_epochs < epochs",
            )
        if self.teacher and not Path(self.teacher).is_file():
            raise ConfigError("teacher", f"there is no {self.teacher}", "give a .keras file")
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
        return ChannelConfig(
            target_macs=self.target_macs, score="l2", scope="group", round_to=4, min_kept=0.25
        )


ALONE, TAUGHT = "shrunk", "taught"


def main(config: Config) -> dict[str, Any]:
    """Train, shrink, teach, convert, compare; the metrics."""
    run = open_run(config.root, "unet-distill", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_data(config, run)
    plan_channels(build_model(config, data), config.pruning())  # what is out of reach shows now
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    outside = _outside_teacher(config, data, run)
    results = []
    for seed in config.seeds:
        histories = _train(config, run, data, seed, outside)
        results.append((histories, *_measure(config, run, data, seed)))
    histories, outputs, _ = results[0]
    comparisons = [comparison for *_, comparison in results]
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    tables = [_recovered(config, comparisons)]
    if len(comparisons) > 1:
        tables.insert(0, seeds_table(config.seeds, comparisons, ((2, 0), (4, 2), (4, 0))))
    rows = {row.name: row for row in comparisons[0].rows}
    write_page(
        run.path("report.html"),
        "A shrunk U-Net and its teacher",
        f"Mean IoU {rows['dense float32'].quality['mean_iou']:.4f} dense, "
        f"{rows[f'{ALONE} float32'].quality['mean_iou']:.4f} with {config.target_macs:.0%} of the "
        f"MACs, {rows[f'{TAUGHT} float32'].quality['mean_iou']:.4f} with these and a teacher.",
        [
            comparison_section(run, comparisons[0]),
            Section("What the teacher recovers", tables=tuple(tables)),
            history_section(run, histories, {"channels go": config.dense_epochs}),
            prediction_section(
                run,
                data.test,
                {name: o for name, o in outputs.items() if name.endswith("float32")},
                data.palette,
            ),
        ],
        compared(config),
        environment(),
    )
    run.print(comparisons[0].table(), comparisons[0].class_table(), *tables)
    return finish(run, comparisons[0], {"seeds": [c.to_dict() for c in comparisons]})


def _outside_teacher(config: Config, data: SegmentationData, run: Run) -> Any | None:
    """A teacher that is no U-Net of this run; None: the dense one of each seed teaches."""
    if config.teacher:
        teacher = load_model_file(config.teacher)
        check_classes(teacher, len(data.palette), "teacher", "use a teacher of this data")
        return teacher
    if not config.teacher_backbone:
        return None
    build = partial(_on_backbone, config, data)
    train_whole("teacher", build, config, data, run, config.seeds[0])
    return keras.saving.load_model(seed_file(run, config.seeds[0], "teacher"))


def _on_backbone(config: Config, data: SegmentationData) -> Any:
    """A segmentation_models U-Net with new weights."""
    shape = (config.patch, config.patch, data.train.images.shape[-1])
    try:
        return segmentation_model("Unet", config.teacher_backbone, shape, len(data.palette))
    except ValueError as error:
        raise ConfigError(
            "teacher_backbone", str(error)[:300], "use a backbone of segmentation_models"
        ) from None


def _train(
    config: Config, run: Run, data: SegmentationData, seed: int, outside: Any | None
) -> dict[str, History]:
    build = partial(build_model, config, data)
    histories = {"dense": train_whole("dense", build, config, data, run, seed, config.dense_epochs)}
    teacher = (
        outside if outside is not None else keras.saving.load_model(seed_file(run, seed, "dense"))
    )
    rounds = Rounds(f"dense-seed{seed}", config.dense_epochs, config.dense_epochs, 1)

    def taught(student: Any) -> Any:
        return Distiller(teacher, student, config.objectives(), task_weight=config.task_weight)

    wraps: dict[str, Callable[[Any], Any]] = {ALONE: lambda model: model, TAUGHT: taught}
    for name, wrap in wraps.items():
        _, histories[name] = train_pruned(
            name, config.pruning(), rounds, config, data, run, seed, wrap
        )
    return histories


def _measure(
    config: Config, run: Run, data: SegmentationData, seed: int
) -> tuple[dict[str, np.ndarray], Comparison]:
    """Load the saved U-Nets, convert them, and measure the finished files."""
    files = write_formats(run, seed, data, {name: name for name in ("dense", ALONE, TAUGHT)})
    return compare_lite(list(files.values()), list(files), config, data, run)


def _recovered(config: Config, comparisons: list[Comparison]) -> Table:
    """Of what shrinking lost, what the teacher brought back."""
    table = Table(
        ("seed", "dense", ALONE, TAUGHT, "lost", "brought back"),
        title="Mean IoU of the float32 files",
    )
    values = []
    for seed, comparison in zip(config.seeds, comparisons, strict=True):
        rows = {row.name: row.quality["mean_iou"] for row in comparison.rows}
        values.append([rows[f"{name} float32"] for name in ("dense", ALONE, TAUGHT)])
        dense, alone, taught = values[-1]
        cells = [f"{value:.4f}" for value in values[-1]]
        table.add(str(seed), *cells, f"{dense - alone:+.4f}", f"{taught - alone:+.4f}")
    dense, alone, taught = np.mean(values, axis=0)
    cells = [f"{value:.4f}" for value in (dense, alone, taught)]
    table.total("mean", *cells, f"{dense - alone:+.4f}", f"{taught - alone:+.4f}")
    return table


DISTILL_SMOKE = {**SMOKE, "dense_epochs": 1, "epochs": 2, "filters": (8, 16), "target_macs": 0.5}

if __name__ == "__main__":
    run_experiment(Config, main, DISTILL_SMOKE)

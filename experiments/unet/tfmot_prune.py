"""make unet-tfmot-prune: TFMOT's pruning and LevelPruner side by side on the U-Net.

A dense U-Net is trained for EPOCHS. After `dense_epochs` two others branch off with the same
weights: one is pruned by TensorFlow Model Optimization on a tf_keras twin, one by `LevelPruner`,
along the same cubic schedule, layer by layer, to the same sparsity; both train on to the same
number of epochs. All are chosen on validation, converted to LiteRT, and measured as finished files.

Takes about 8 minutes on two CPU cores (100 epochs of 4 s in all, on generated tiles). Prints mean
IoU and zeros of every file, and the seconds of an epoch. Over three seeds the two were a draw
(docs/measurements.md, "TFMOT, int8 in training, and each form's cost").
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from experiments.common.program import Program
from experiments.common.report import (
    History,
    Report,
    history_section,
    quality_by_name,
    write_histories,
)
from experiments.unet import level_prune
from experiments.unet.study import Study
from experiments.unet.twin_fit import fit_twin
from tfcompress.errors import ConfigError
from tfcompress.graph.saving import save_plain
from tfcompress.pruning.schedules import Constant, Polynomial, Schedule
from tfcompress.pruning.tfmot.prune import tfmot_prune
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

TITLES = {"dense": "dense", "pruned": "LevelPruner", "tfmot": "TFMOT"}


@dataclass(frozen=True, kw_only=True)
class Config(level_prune.Config):
    """Prune by TFMOT and by LevelPruner."""

    scope: Literal["layer", "global"] = "layer"
    """Scope of a target: TFMOT has targets for single layers only."""
    unpruned: tuple[str, ...] = ("head",)
    """Layers that keep all their weights. At 80% of a head of 64, a class may be left with one."""
    channel_macs: float = 0.0
    seeds: tuple[int, ...] = (0,)
    """Seed; only the first one is used."""

    def check(self) -> None:
        """Check what TFMOT cannot do."""
        super().check()
        if "x" in self.granularity:
            raise ConfigError(
                "granularity",
                f"TFMOT lays blocks over Dense kernels only, and a U-Net has none: "
                f"{self.granularity!r}",
                "use 'unstructured' or '2:4'",
            )


def main(config: Config, run: Run) -> Report:
    """Train, prune by both, convert, compare."""
    study, seed = Study.of(config, run), config.seeds[0]
    level_prune.pruner_of(study, study.build())
    schedule = _schedule(study)
    histories = level_prune.train_all(study, seed)
    shown = dict(histories)
    histories["tfmot"] = _train_tfmot(study, seed, schedule)
    write_histories(run, histories)
    files = study.write_formats(
        seed, TITLES, sparse=lambda name: config.sparse_encoding and name != "dense"
    )
    outputs, comparison = study.compare(files)
    times = _times(histories)
    iou = quality_by_name(comparison)
    float32 = {name: output for name, output in outputs.items() if name.endswith("float32")}
    report = study.report(
        comparison,
        "LevelPruner and TFMOT on a U-Net",
        f"{config.sparsity:.0%} of the weights pruned along one schedule: mean IoU "
        f"{iou['dense float32']:.4f} dense, {iou['LevelPruner float32']:.4f} by LevelPruner, "
        f"{iou['TFMOT float32']:.4f} by TFMOT.",
        [
            Section("Time of an epoch", tables=(times,)),
            history_section(run, shown),
            study.predictions(float32),
        ],
        (times,),
    )
    return replace(report, seeds=(seed,))


def _schedule(study: Study) -> Schedule:
    """LevelPruner's schedule, ending at a multiple of its frequency, when TFMOT updates masks."""
    config = study.config
    if ":" in config.granularity:
        return Constant(0, frequency=1)
    growing = (config.sparse_epoch - config.dense_epochs) * study.steps
    growing -= growing % config.mask_frequency
    if not growing:
        raise ConfigError(
            "mask_frequency",
            f"{config.mask_frequency} steps are more than sparsity has to grow in",
            "use a smaller one",
        )
    return Polynomial(0, growing, frequency=config.mask_frequency)


def _train_tfmot(study: Study, seed: int, schedule: Schedule) -> History:
    """Train and save the U-Net that TFMOT prunes; its history."""
    config = study.config

    def training(path: Path) -> History:
        model = study.branch(seed)
        history: History = []

        def train(twin: Any) -> None:
            original = keras.models.clone_model(model)
            first, choose_from = config.dense_epochs, config.sparse_epoch + 1
            history.extend(
                fit_twin(study, twin, original, "tfmot", f"tfmot-seed{seed}", seed, first,
                         config.epochs, choose_from)
            )  # fmt: skip

        result = tfmot_prune(
            model, schedule, config.selection(), granularity=config.granularity, train=train
        )
        save_plain(result.model, path, training_state=False)
        return history

    return study.once("tfmot", seed, training)


def _times(histories: dict[str, History]) -> Table:
    """Seconds of an epoch; `make bench` has the ratio of the two, alternated."""
    table = Table(("U-Net", "epochs", "median seconds", "over dense"), title="Time of an epoch")
    seconds = {name: np.median([row["seconds"] for row in histories[name]]) for name in TITLES}
    for name, title in TITLES.items():
        ratio = seconds[name] / seconds["dense"]
        table.add(title, f"{len(histories[name])}", f"{seconds[name]:.1f} s", f"{ratio:.2f}x")
    table.note(
        "measured one after the other, so a machine that slows down distorts the ratios; "
        "`make bench` alternates the two"
    )
    table.note("Keras 3's epochs also compute metrics on training batches; TFMOT's do not")
    return table


PROGRAM = Program("unet-tfmot-prune", Config, main, level_prune.LEVEL_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

"""make unet-tfmot-prune: TFMOT's pruning and LevelPruner side by side on the U-Net.

A dense U-Net is trained for EPOCHS. After `dense_epochs` two others branch off with the same
weights: one is pruned by TensorFlow Model Optimization on a tf_keras twin, one by `LevelPruner`,
along the same cubic schedule, layer by layer, to the same sparsity; both train on to the same
number of epochs. All are chosen on validation, converted to LiteRT, and measured as finished files.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import keras
import numpy as np

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seed_file
from experiments.common.training import BRANCH
from experiments.unet import level_prune as unet_level_prune
from experiments.unet.lite_files import compare_lite, write_formats
from experiments.unet.segmentation import (
    CARD_NAME,
    build_model,
    card_of,
    comparison_section,
    compile_model,
    load_data,
    prediction_section,
)
from experiments.unet.twin_fit import TwinTraining, fit_twin
from tfcompress.data.folder import SegmentationData
from tfcompress.errors import ConfigError
from tfcompress.graph.saving import save_plain
from tfcompress.pruning.schedules import Constant, Polynomial, Schedule
from tfcompress.pruning.tfmot.prune import tfmot_prune
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.run import Run, environment, open_run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(unet_level_prune.Config):
    """Prune by TFMOT and by LevelPruner."""

    scope: Literal["layer", "global"] = "layer"
    """TFMOT knows targets of layers only."""
    unpruned: tuple[str, ...] = ("head",)
    """Layers that keep all their weights. At 80% of a head of 64, a class may be left with one."""
    channel_macs: float = 0.0
    seeds: tuple[int, ...] = (0,)
    """The first one is used."""

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


def main(config: Config) -> dict[str, Any]:
    """Train, prune by both, convert, compare; the metrics."""
    run = open_run(config.root, "unet-tfmot-prune", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    seed = config.seeds[0]
    data = load_data(config, run)
    unet_level_prune.pruner_of(config, build_model(config, data), data)
    schedule = _schedule(config, data)
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    histories = unet_level_prune.train_all(config, run, data, seed)
    histories["tfmot"] = _train_tfmot(config, run, data, seed, schedule)
    names = {"dense": "dense", "pruned": "LevelPruner", "tfmot": "TFMOT"}
    files = write_formats(
        run, seed, data, names, sparse=lambda name: config.sparse_encoding and name != "dense"
    )
    outputs, comparison = compare_lite(list(files.values()), list(files), config, data, run)
    times = _times(histories, names)
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    rows = {row.name: row for row in comparison.rows}
    write_page(
        run.path("report.html"),
        "LevelPruner and TFMOT on a U-Net",
        f"{config.sparsity:.0%} of the weights pruned along one schedule: mean IoU "
        f"{rows['dense float32'].quality['mean_iou']:.4f} dense, "
        f"{rows['LevelPruner float32'].quality['mean_iou']:.4f} by LevelPruner, "
        f"{rows['TFMOT float32'].quality['mean_iou']:.4f} by TFMOT.",
        [
            comparison_section(run, comparison),
            Section("Time of an epoch", tables=(times,)),
            history_section(run, {n: r for n, r in histories.items() if n != "tfmot"}),
            prediction_section(run, data.test, _float_outputs(outputs), data.palette),
        ],
        compared(config),
        environment(),
    )
    run.print(comparison.table(), comparison.class_table(), times)
    return finish(run, comparison, {})


def _float_outputs(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: output for name, output in outputs.items() if name.endswith("float32")}


def _schedule(config: Config, data: SegmentationData) -> Schedule:
    """That of the LevelPruner, in the whole multiples of its frequency at which TFMOT acts."""
    if ":" in config.granularity:
        return Constant(0, frequency=1)
    growing = (config.sparse_epoch - config.dense_epochs) * -(-len(data.train) // config.batch)
    growing -= growing % config.mask_frequency
    if not growing:
        raise ConfigError(
            "mask_frequency",
            f"{config.mask_frequency} steps are more than sparsity has to grow in",
            "use a smaller one",
        )
    return Polynomial(0, growing, frequency=config.mask_frequency)


def _train_tfmot(
    config: Config, run: Run, data: SegmentationData, seed: int, schedule: Schedule
) -> list[dict[str, float]]:
    """Train and save the U-Net that TFMOT prunes; its history."""
    saved = run.read_json(f"checkpoints/tfmot-seed{seed}.json")
    if saved is not None:
        return saved
    model = build_model(config, data)
    compile_model(model, config, data, config.epochs)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(run.path("checkpoints", f"dense-seed{seed}", BRANCH))
    how = TwinTraining(
        "tfmot",
        f"tfmot-seed{seed}",
        config.dense_epochs,
        config.epochs,
        choose_from=config.sparse_epoch + 1,
        seed=seed,
    )
    history: list[dict[str, float]] = []

    def train(twin: Any) -> None:
        fit = partial(fit_twin, config=config, data=data, run=run)
        history.extend(fit(twin, keras.models.clone_model(model), how))

    result = tfmot_prune(
        model,
        schedule,
        config.selection(),
        granularity=config.granularity,
        train=train,
    )
    save_plain(result.model, seed_file(run, seed, "tfmot"), training_state=False)
    run.write_json(f"checkpoints/tfmot-seed{seed}.json", history)
    return history


def _times(histories: dict[str, list[dict[str, float]]], names: dict[str, str]) -> Table:
    """Seconds of an epoch; `make bench` has the ratio of the two, alternated."""
    table = Table(("U-Net", "epochs", "median seconds", "over dense"), title="Time of an epoch")
    seconds = {name: np.median([row["seconds"] for row in histories[name]]) for name in names}
    for name, title in names.items():
        ratio = seconds[name] / seconds["dense"]
        table.add(title, f"{len(histories[name])}", f"{seconds[name]:.1f} s", f"{ratio:.2f}x")
    table.note("one after the other, so a drifting machine shows; `make bench` alternates the two")
    table.note("Keras 3's epochs compute metrics on training batches as well, TFMOT's do not")
    return table


if __name__ == "__main__":
    run_experiment(Config, main, unet_level_prune.LEVEL_SMOKE)

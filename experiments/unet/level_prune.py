"""make unet-level-prune: level-prune the U-Net while it trains, beside a dense one.

A dense U-Net is trained for EPOCHS. A second one branches off after `dense_epochs`, with the same
weights, optimizer and learning-rate schedule; from there its sparsity grows along a cubic schedule
until `sparse_epoch`, and it trains on to the same number of epochs. Both are chosen on validation
(the pruned one among epochs of full sparsity), converted to LiteRT, and measured as finished
files on the test images. Several seeds give mean and spread.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal

import keras
import numpy as np

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seed_file, seeds_table
from experiments.common.training import BRANCH, Training, train
from experiments.unet.lite_files import LiteFile, compare_lite, write_lite
from experiments.unet.segmentation import (
    CARD_NAME,
    SMOKE,
    SegmentationConfig,
    augmentation_of,
    build_model,
    card_of,
    comparison_section,
    compile_model,
    load_data,
    prediction_section,
)
from experiments.unet.variants import Rounds, group_selection, train_pruned, train_whole
from tfcompress.comparison import Comparison, predict
from tfcompress.data.folder import SegmentationData
from tfcompress.errors import ConfigError
from tfcompress.evaluation.sparsity import count_zeros
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.level.report import PruneReport
from tfcompress.pruning.schedules import Polynomial
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import plot_layer_sparsity, save_figure
from tfcompress.reporting.run import Run, environment, open_run

FILES: tuple[tuple[str, str, str], ...] = (
    ("dense", "dense", "dense float32"),
    ("pruned", "pruned", "pruned float32"),
    ("pruned-int8", "pruned", "pruned int8"),
)
DIFFERENCES = ((1, 0), (2, 1), (3, 0), (4, 3))
"""Rows whose difference is of interest over seeds."""


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Train dense and pruned U-Nets side by side."""

    epochs: int = 40
    dense_epochs: int = 10
    """Epochs before the pruned U-Net branches off and its sparsity starts to grow."""
    sparse_epoch: int = 25
    """Epoch after which the final sparsity is reached."""
    sparsity: float = 0.8
    granularity: str = "unstructured"
    """'unstructured', a block such as '1x4', or a pattern such as '2:4'."""
    scope: Literal["layer", "global"] = "global"
    """One target per layer, or one for all: small layers then keep more, large ones less."""
    group_sparsity: dict[str, float] = field(default_factory=dict)
    """Sparsity of groups of layers by glob, as {down1*: 0.5, bottom*: 0.9}, in place of
    `sparsity`; what no glob names stays whole. Searches write it."""
    unpruned: tuple[str, ...] = ()
    """Layers that keep all their weights (names or globs)."""
    mask_frequency: int = 20
    """Training steps between two mask updates while sparsity grows."""
    sparse_encoding: bool = True
    """Store the zeros sparsely in the LiteRT file."""
    channel_macs: float = 0.0
    """Also prune channels to this share of the MACs, for comparison; 0: no such U-Net."""
    seeds: tuple[int, ...] = (0,)
    """One set of U-Nets per seed; the report's pictures show the first."""

    def check(self) -> None:
        """Check what a wrong order of epochs would only show after hours."""
        if not 0 < self.dense_epochs < self.sparse_epoch < self.epochs:
            raise ConfigError(
                "dense_epochs, sparse_epoch, epochs",
                f"{self.dense_epochs}, {self.sparse_epoch} and {self.epochs} are not in order",
                "let 0 < dense_epochs < sparse_epoch < epochs",
            )
        if not self.seeds:
            raise ConfigError("seeds", "there is none", "give at least one")
        if self.channel_macs:
            self.channel_pruning()

    def channel_pruning(self) -> ChannelConfig:
        """How the U-Net with fewer channels is pruned."""
        return ChannelConfig(target_macs=self.channel_macs, scope="group", round_to=4)

    def selection(self) -> list[dict[str, Any]]:
        """What is pruned, in the vocabulary of `config_list`."""
        chosen: list[dict[str, Any]] = [{"sparsity": self.sparsity, "op_types": ["default"]}]
        if self.group_sparsity:
            chosen = group_selection(self.group_sparsity)
        if self.unpruned:
            chosen.append({"exclude": True, "op_names": list(self.unpruned)})
        return chosen

    def files(self) -> tuple[tuple[str, str, str], ...]:
        """(name of the LiteRT file, name of the Keras file, title) of what is compared."""
        found = FILES
        if self.channel_macs:
            title = f"{self.channel_macs:.0%} of the MACs"
            found += (("channels", "channels", f"{title} float32"),)
            found += (("channels-int8", "channels", f"{title} int8"),)
        return found


@dataclass(frozen=True)
class Outcome:
    """The finished models of one seed and what they predict on the test patches."""

    dense: Any
    pruned: Any
    outputs: dict[str, np.ndarray]
    comparison: Comparison


def main(config: Config, experiment: str = "unet-level-prune") -> dict[str, Any]:
    """Train, prune, convert, compare; the metrics."""
    run = open_run(config.root, experiment, config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_data(config, run)
    untrained = build_model(config, data)
    if config.channel_macs:  # a bad setting shows before any training
        plan_channels(untrained, config.channel_pruning())
    pruner_of(config, untrained, data)
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    outcomes, histories = [], []
    for seed in config.seeds:
        if len(config.seeds) > 1:
            run.print(f"seed {seed}", style="bold")
        histories.append(train_all(config, run, data, seed))
        outcomes.append(_measure(config, run, data, seed))
    first = outcomes[0]
    pruner = LevelPruner.hold(first.pruned)
    _write_report(config, run, data, outcomes, histories[0], pruner.report())
    run.print(pruner.report().table(), first.comparison.table(), first.comparison.class_table())
    if len(outcomes) > 1:
        run.print(seeds_table(config.seeds, [o.comparison for o in outcomes], _differences(config)))
    per_seed = {
        str(seed): outcome.comparison.to_dict()
        for seed, outcome in zip(config.seeds, outcomes, strict=True)
    }
    more = {"pruning": pruner.report().to_dict(), "seeds": per_seed}
    return finish(run, first.comparison, more)


def train_all(
    config: Config, run: Run, data: SegmentationData, seed: int
) -> dict[str, list[dict[str, float]]]:
    """Train and save the U-Nets of a seed; their histories."""
    saved = run.read_json(f"seed{seed}-history.json")
    if saved is not None:
        run.print(f"seed {seed}: its U-Nets are trained already")
        return saved
    build = partial(build_model, config, data)
    histories = {"dense": train_whole("dense", build, config, data, run, seed, config.dense_epochs)}
    pruned = build_model(config, data)
    compile_model(pruned, config, data, config.epochs)
    pruned.optimizer.build(pruned.trainable_variables)
    pruned.load_weights(run.path("checkpoints", f"dense-seed{seed}", BRANCH))
    pruner = pruner_of(config, pruned, data)
    pruner.compress()
    how = Training(
        "pruned",
        f"pruned-seed{seed}",
        config.epochs,
        config.batch,
        seed,
        first_epoch=config.dense_epochs,
        choose_from=config.sparse_epoch + 1,
    )
    histories["pruned"] = train(
        pruned, data, augmentation_of(config), how, run, callbacks=[pruner.callback()]
    )
    pruner.save(seed_file(run, seed, "pruned"), training_state=False)
    if config.channel_macs:
        rounds = Rounds(f"dense-seed{seed}", config.dense_epochs, config.dense_epochs, 1)
        _, histories["channels"] = train_pruned(
            "channels", config.channel_pruning(), rounds, config, data, run, seed
        )
    run.write_json(f"seed{seed}-history.json", histories)
    return histories


def pruner_of(config: Config, model: Any, data: SegmentationData) -> LevelPruner:
    """The pruner of a config: cubic growth in steps; a pattern such as 2:4 comes at once."""
    schedule = None
    if ":" not in config.granularity:
        steps = -(-len(data.train) // config.batch)
        growing = (config.sparse_epoch - config.dense_epochs) * steps
        schedule = Polynomial(0, growing, frequency=config.mask_frequency)
    return LevelPruner(
        model,
        config.selection(),
        granularity=config.granularity,
        scope="layer" if config.group_sparsity else config.scope,
        schedule=schedule,
    )


def _measure(config: Config, run: Run, data: SegmentationData, seed: int) -> Outcome:
    """Load the saved U-Nets, convert them, and measure the finished files."""
    keras_models = {
        name: keras.saving.load_model(seed_file(run, seed, name))
        for name in dict.fromkeys(name for _, name, _ in config.files())
    }
    lite, titles = [], []
    for name, source, title in config.files():
        file = LiteFile(
            title,
            seed_file(run, seed, name, ".tflite"),
            keras_models[source],
            "int8" if name.endswith("int8") else "float32",
            config.sparse_encoding and source == "pruned",
        )
        lite.append(write_lite(file, data, run))
        titles.append(title)
    outputs, comparison = compare_lite(lite, titles, config, data, run)
    dense = keras_models["dense"]
    _check_keras_agrees(data, dense, outputs[FILES[0][2]])
    return Outcome(dense, keras_models["pruned"], outputs, comparison)


def _check_keras_agrees(data: SegmentationData, dense: Any, output: np.ndarray) -> None:
    """The float LiteRT file must compute what the Keras file computes."""
    difference = np.abs(predict(dense, data.test.images[:8]) - output[:8]).max()
    if difference > 1e-3:
        raise RuntimeError(f"the LiteRT file differs from its Keras model by {difference:.3g}")


def _differences(config: Config) -> list[tuple[int, int]]:
    return [pair for pair in DIFFERENCES if pair[0] < len(config.files())]


def _write_report(
    config: Config,
    run: Run,
    data: SegmentationData,
    outcomes: list[Outcome],
    histories: dict[str, list[dict[str, float]]],
    report: PruneReport,
) -> None:
    first = outcomes[0]
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    zeros = [count_zeros(model) for model in (first.dense, first.pruned)]
    figure = plot_layer_sparsity(
        {
            name: [(layer.name, layer.weights, layer.zeros) for layer in counted]
            for name, counted in zip(("dense", "pruned"), zeros, strict=True)
        }
    )
    rows = first.comparison.rows
    comparison = comparison_section(
        run,
        first.comparison,
        text=(
            "Every number is read back from the finished LiteRT file: zeros are counted in its "
            "weights, quality is that of its own predictions on images that neither training nor "
            "model choice has seen.",
            "Unstructured zeros make a file smaller, not faster: LiteRT's CPU kernels are dense. "
            "The speed comes from int8"
            + (" and from channels that are gone." if config.channel_macs else "."),
        ),
    )
    sections = [comparison]
    if len(outcomes) > 1:
        table = seeds_table(config.seeds, [o.comparison for o in outcomes], _differences(config))
        sections.append(Section("Seeds", tables=(table,)))
    marks = {"branch": config.dense_epochs, f"{config.sparsity:.0%} zeros": config.sparse_epoch}
    sections += [
        history_section(run, histories, marks),
        prediction_section(run, data.test, first.outputs, data.palette),
        Section(
            "Sparsity of each layer",
            tables=(report.table(),),
            pictures=(
                (
                    "Share of zeros of each layer",
                    save_figure(figure, run.path("plots", "layer_sparsity.png")),
                ),
            ),
        ),
    ]
    write_page(
        run.path("report.html"),
        "U-Net before and after compression",
        f"{rows[1].sparsity:.0%} of the weights pruned: mean IoU {rows[0].quality['mean_iou']:.4f} "
        f"dense, {rows[1].quality['mean_iou']:.4f} pruned, {rows[2].quality['mean_iou']:.4f} "
        f"pruned and int8; the file after gzip shrinks "
        f"{rows[0].gzip_bytes / rows[2].gzip_bytes:.1f}-fold.",
        sections,
        compared(config),
        environment(),
    )


LEVEL_SMOKE = {**SMOKE, "dense_epochs": 1, "sparse_epoch": 3, "mask_frequency": 1}

if __name__ == "__main__":
    run_experiment(Config, main, LEVEL_SMOKE)

"""make unet-level-prune: level-prune the U-Net while it trains, beside a dense one.

A dense U-Net is trained for EPOCHS. A second one branches off after `dense_epochs`, with the same
weights, optimizer and learning-rate schedule; from there its sparsity grows along a cubic schedule
until `sparse_epoch`, and it trains on to the same number of epochs. Both are chosen on validation
(the pruned one among epochs of full sparsity), converted to LiteRT, and measured as finished files
on the test images. Several SEEDS give mean and spread.

Takes about 5 minutes on two CPU cores (70 epochs of 4 s in all, on generated tiles). Prints zeros,
file size, latency and mean IoU of the dense, the pruned and the pruned int8 file.
docs/measurements.md ("Level pruning") has the numbers of three seeds on micro-CT slices: 80 % zeros
lost no mean IoU there.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from experiments.common.program import Program
from experiments.common.report import (
    History,
    Report,
    history_section,
    picture,
    quality_by_name,
    write_histories,
)
from experiments.common.seeds import seed_file
from experiments.unet.segmentation import SMOKE, SegmentationConfig
from experiments.unet.study import Rounds, Study, UnetChannels
from tfcompress.comparison import Comparison, predict
from tfcompress.errors import ConfigError
from tfcompress.evaluation.sparsity import count_zeros
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.planner import plan_channels
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.schedules import Polynomial
from tfcompress.reporting.page import Section
from tfcompress.reporting.plots import plot_layer_sparsity
from tfcompress.reporting.run import Run

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
    """Number of training epochs of each U-Net."""
    dense_epochs: int = 10
    """Epochs before the pruned U-Net branches off and its sparsity starts to grow."""
    sparse_epoch: int = 25
    """Epoch after which the final sparsity is reached."""
    sparsity: float = 0.8
    """Share of the weights that becomes zero."""
    granularity: str = "unstructured"
    """'unstructured', a block such as '1x4', or a pattern such as '2:4'."""
    scope: Literal["layer", "global"] = "global"
    """One target for each layer, or one for all: small layers then keep more, large ones less."""
    group_sparsity: dict[str, float] = field(default_factory=dict)
    """Sparsity of groups of layers by glob, as {down1*: 0.5, bottom*: 0.9}, in place of
    `sparsity`; layers that no glob matches stay dense. Searches write it."""
    unpruned: tuple[str, ...] = ()
    """Layers that keep all their weights (names or globs)."""
    mask_frequency: int = 20
    """Training steps between two mask updates while sparsity grows."""
    sparse_encoding: bool = True
    """Whether the LiteRT file stores the zeros sparsely."""
    channel_macs: float = 0.0
    """Share of the MACs to which a third U-Net is channel-pruned, for comparison; 0: none is."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, one set of U-Nets for each; the report's pictures show the first."""

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
        return UnetChannels(
            target_macs=self.channel_macs,
            min_kept=ChannelConfig.min_kept,  # as few as asked for; UnetChannels has 0.25
        )

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


def main(config: Config, run: Run) -> Report:
    """Train, prune, convert, compare."""
    study = Study.of(config, run)
    untrained = study.build()
    if config.channel_macs:  # a bad setting shows before any training
        plan_channels(untrained, config.channel_pruning())
    pruner_of(study, untrained)
    seeds = study.each_seed(lambda seed: (train_all(study, seed), *_measure(study, seed)))
    histories, outputs, comparison = seeds[0]
    comparisons = [each for *_, each in seeds]
    write_histories(run, histories)
    dense, pruned = (study.load(config.seeds[0], name) for name in ("dense", "pruned"))
    pruning = LevelPruner.hold(pruned).report()
    pairs = [pair for pair in DIFFERENCES if pair[0] < len(config.files())]
    over_seeds = study.over_seeds(comparisons, pairs)
    zeros = {
        name: [(layer.name, layer.weights, layer.zeros) for layer in count_zeros(model)]
        for name, model in (("dense", dense), ("pruned", pruned))
    }
    marks = {"branch": config.dense_epochs, f"{config.sparsity:.0%} zeros": config.sparse_epoch}
    iou = quality_by_name(comparison)
    rows = comparison.rows
    speed = " and from removed channels." if config.channel_macs else "."
    return study.report(
        comparison,
        "U-Net before and after compression",
        f"{rows[1].sparsity:.0%} of the weights pruned: mean IoU {iou['dense float32']:.4f} dense, "
        f"{iou['pruned float32']:.4f} pruned, {iou['pruned int8']:.4f} pruned and int8; the file "
        f"after gzip shrinks {rows[0].gzip_bytes / rows[2].gzip_bytes:.1f}-fold.",
        [
            *(Section("Seeds", tables=(table,)) for table in over_seeds),
            history_section(run, histories, marks),
            study.predictions(outputs),
            Section(
                "Sparsity of each layer",
                tables=(pruning.table(),),
                pictures=(
                    picture(run, "layer_sparsity", plot_layer_sparsity(zeros),
                            "Share of zeros of each layer"),
                ),
            ),
        ],
        (pruning.table(), *over_seeds),
        (
            "Every number is read back from the finished LiteRT file: zeros are counted in its "
            "weights, quality is that of its own predictions on images that neither training nor "
            "model choice has seen.",
            "Unstructured zeros make a file smaller, not faster: LiteRT's CPU kernels are dense. "
            f"The speed comes from int8{speed}",
        ),
        pruning=pruning.to_dict(),
        seeds={str(s): c.to_dict() for s, c in zip(config.seeds, comparisons, strict=True)},
    )  # fmt: skip


def group_selection(group_sparsity: dict[str, float]) -> list[dict[str, Any]]:
    """A `config_list` from the sparsity of each group of layers, by glob; 0 leaves one dense."""
    return [
        {"sparsity": sparsity, "op_types": ["default"], "op_names": [glob]}
        for glob, sparsity in group_sparsity.items()
        if sparsity > 0
    ]


def train_all(study: Study, seed: int) -> dict[str, History]:
    """Train and save the U-Nets of a seed; their histories."""
    config, run = study.config, study.run
    saved = run.read_json(f"seed{seed}-history.json")
    if saved is not None:
        run.print(f"seed {seed}: its U-Nets are trained already")
        return saved
    histories = {"dense": study.train_whole("dense", seed, keep_epoch=config.dense_epochs)}
    pruned = study.branch(seed)
    pruner = pruner_of(study, pruned)
    pruner.compress()
    histories["pruned"] = study.fit(
        pruned,
        "pruned",
        seed,
        callbacks=[pruner.callback()],
        first_epoch=config.dense_epochs,
        choose_from=config.sparse_epoch + 1,
    )
    pruner.save(seed_file(run, seed, "pruned"), training_state=False)
    if config.channel_macs:
        rounds = Rounds(config.dense_epochs, config.dense_epochs)
        _, histories["channels"] = study.train_pruned(
            "channels", seed, config.channel_pruning(), rounds
        )
    run.write_json(f"seed{seed}-history.json", histories)
    return histories


def pruner_of(study: Study, model: Any) -> LevelPruner:
    """The pruner of a config: cubic growth in steps; a pattern such as 2:4 comes at once."""
    config, schedule = study.config, None
    if ":" not in config.granularity:
        growing = (config.sparse_epoch - config.dense_epochs) * study.steps
        schedule = Polynomial(0, growing, frequency=config.mask_frequency)
    return LevelPruner(
        model,
        config.selection(),
        granularity=config.granularity,
        scope="layer" if config.group_sparsity else config.scope,
        schedule=schedule,
    )


def _measure(study: Study, seed: int) -> tuple[dict[str, np.ndarray], Comparison]:
    """Convert the saved U-Nets and measure the finished files."""
    models = {source: study.load(seed, source) for _, source, _ in study.config.files()}
    files = {
        title: study.write(
            models[source],
            seed_file(study.run, seed, name, ".tflite"),
            "int8" if name.endswith("int8") else "float32",
            study.config.sparse_encoding and source == "pruned",
        )
        for name, source, title in study.config.files()
    }
    outputs, comparison = study.compare(files)
    # The float LiteRT file must compute what the Keras file computes.
    few = predict(models["dense"], study.data.test.images[:8])
    difference = np.abs(few - outputs["dense float32"][:8]).max()
    if difference > 1e-3:
        raise RuntimeError(f"the LiteRT file differs from its Keras model by {difference:.3g}")
    return outputs, comparison


LEVEL_SMOKE = {**SMOKE, "dense_epochs": 1, "sparse_epoch": 3, "mask_frequency": 1}
PROGRAM = Program("unet-level-prune", Config, main, LEVEL_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

"""make unet-channel-prune: physically smaller U-Nets beside a dense one, to MACs budgets.

A dense U-Net is trained for EPOCHS. For each budget of TARGET_MACS another one branches off after
`dense_epochs`, loses channels in ROUNDS with training between them, and trains on to the same
number of epochs. Controls for each budget: channels chosen at random, and the same widths trained
from scratch. All are chosen on validation, converted to LiteRT (float32 and int8), and measured as
finished files on the test images.

Takes about 10 minutes on two CPU cores (30 epochs of 4 s and 148 of smaller U-Nets, on generated
tiles). Prints MACs, file size, latency and mean IoU of every file, and their shares of the dense
one's. docs/measurements.md ("Channel pruning") has the numbers on micro-CT slices.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import keras
import numpy as np
from rich.progress import Progress

from experiments.common.lite_files import FLOAT_AND_INT8
from experiments.common.program import Program
from experiments.common.report import (
    History,
    Report,
    history_section,
    picture,
    quality_by_name,
    write_histories,
)
from experiments.unet.segmentation import SMOKE, SegmentationConfig
from experiments.unet.study import Rounds, Study, UnetChannels
from tfcompress.comparison import Comparison
from tfcompress.errors import ConfigError
from tfcompress.evaluation.segmentation import confusion_matrices, iou_per_class
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.plan import ChannelPlan
from tfcompress.pruning.channels.core.scores import DATA_SCORES
from tfcompress.pruning.channels.planner import plan_channels
from tfcompress.pruning.channels.sensitivity import Sensitivity, sensitivity
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

Plans = dict[str, list[ChannelPlan]]


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Train dense, channel-pruned and control U-Nets side by side."""

    epochs: int = 30
    """Number of training epochs of each U-Net."""
    dense_epochs: int = 8
    """Epochs before the pruned U-Nets branch off and lose their first channels."""
    sparse_epoch: int = 14
    """Epoch of the last of several rounds; from there on the widths stay."""
    target_macs: tuple[float, ...] = (0.5, 0.25)
    """Shares of the MACs to keep, one U-Net each."""
    score: str = UnetChannels.score
    """Score that ranks channels: l1, l2, fpgm, gamma, apoz, mean_activation, taylor, random."""
    scope: Literal["global", "group"] = UnetChannels.scope
    """Whether scores are compared between layers (global), or each layer loses the same share."""
    rounds: int = 1
    """Number of prunings between dense_epochs and sparse_epoch; one is at dense_epochs."""
    round_to: int = UnetChannels.round_to
    """Multiple of channels that a layer keeps."""
    min_kept: float = UnetChannels.min_kept
    """Smallest share of its channels that a layer keeps."""
    controls: bool = True
    """Whether random choices and the same widths from scratch are trained too."""
    levels: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of channels for the sensitivity curves."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, one set of U-Nets for each; the report's pictures show the first."""

    def check(self) -> None:
        """Check what would only show after hours."""
        if not 0 < self.dense_epochs <= self.sparse_epoch < self.epochs:
            raise ConfigError(
                "dense_epochs, sparse_epoch, epochs",
                f"{self.dense_epochs}, {self.sparse_epoch} and {self.epochs} are not in order",
                "let 0 < dense_epochs <= sparse_epoch < epochs",
            )
        if not self.seeds or not self.target_macs:
            raise ConfigError("seeds, target_macs", "there is none", "give at least one of each")
        if not 1 <= self.rounds <= 1 + self.sparse_epoch - self.dense_epochs:
            raise ConfigError(
                "rounds", f"it is {self.rounds}", "use at least 1, and an epoch for each"
            )
        for target in self.target_macs:
            self.pruning(target)

    def pruning(self, target: float, score: str = "") -> ChannelConfig:
        """The library's config of one budget."""
        return UnetChannels(
            target_macs=target,
            score=score or self.score,
            scope=self.scope,
            round_to=self.round_to,
            min_kept=self.min_kept,
        )


@dataclass(frozen=True)
class Variant:
    """One U-Net besides the dense one."""

    slug: str
    title: str
    target: float
    kind: Literal["pruned", "random", "scratch"]


def variants_of(config: Config) -> list[Variant]:
    """The U-Nets to train: those of every budget, then their controls."""
    found = [
        Variant(f"macs{target:.0%}".rstrip("%"), f"{target:.0%} MACs", target, "pruned")
        for target in config.target_macs
    ]
    if config.controls:
        for kind, words in (("random", "random channels"), ("scratch", "from scratch")):
            found += [
                Variant(f"{v.slug}-{kind}", f"{v.title}, {words}", v.target, kind)
                for v in found[: len(config.target_macs)]
            ]
    return found


def main(config: Config, run: Run) -> Report:
    """Train, prune, convert, compare."""
    study = Study.of(config, run)
    from_data = config.score in DATA_SCORES
    for target in config.target_macs:  # what cannot be reached shows before any training
        plan_channels(study.build(), config.pruning(target, "l2" if from_data else config.score))
    seeds = study.each_seed(lambda seed: (*_train(study, seed), *_measure(study, seed)))
    plans, histories, outputs, comparison = seeds[0]
    comparisons = [each for *_, each in seeds]
    write_histories(run, histories)
    curves = _sensitivity(study)
    ratios = ratio_table(config, comparison)
    over_seeds = study.over_seeds(comparisons, _differences(comparison))
    pruned = [v for v in variants_of(config) if v.kind == "pruned"]
    shown = ["dense float32", *(f"{v.title} {form}" for v in pruned for form in FLOAT_AND_INT8)]
    marks = {"channels removed": config.dense_epochs}
    if config.rounds > 1:
        marks = {"first round": config.dense_epochs, "last round": config.sparse_epoch}
    curve = picture(run, "sensitivity", curves.figure("mean IoU"),
                    "Mean IoU against the share of channels removed")  # fmt: skip
    iou = quality_by_name(comparison)
    words = ", ".join(f"{iou[f'{v.title} float32']:.4f} with {v.title}" for v in pruned)
    return study.report(
        comparison,
        "U-Net with fewer channels",
        f"Mean IoU {iou['dense float32']:.4f} dense, {words}.",
        [
            Section("MACs against latency", tables=(ratios,)),
            *(Section("Seeds", tables=(table,)) for table in over_seeds),
            history_section(
                run, {n: histories[n] for n in ("dense", *(v.slug for v in pruned))}, marks
            ),
            study.predictions({name: outputs[name] for name in shown}),
            Section(
                "Sensitivity of each group",
                text=("The dense U-Net with one group pruned at a time, on validation patches.",),
                tables=(curves.table(),),
                pictures=(curve,),
            ),
            Section(
                "Plans",
                text=("What each round of the first seed removed, relative to the round before.",),
                tables=tuple(plan.table() for v in pruned for plan in plans[v.slug]),
            ),
        ],
        (ratios, *over_seeds),
        (
            "Every number is read back from the finished LiteRT file. Removed channels make a "
            "model smaller and faster on any CPU: no sparse kernel is needed. Quality is that of "
            "the file's own predictions on images that neither training nor model choice has "
            "seen.",
        ),
        plans={slug: [plan.to_dict() for plan in rounds] for slug, rounds in plans.items()},
        sensitivity=curves.to_dict(),
        seeds={str(s): c.to_dict() for s, c in zip(config.seeds, comparisons, strict=True)},
    )


def _train(study: Study, seed: int) -> tuple[Plans, dict[str, History]]:
    """Train and save the U-Nets of a seed; their plans and histories."""
    config = study.config
    histories = {"dense": study.train_whole("dense", seed, keep_epoch=config.dense_epochs)}
    rounds = Rounds(config.dense_epochs, config.sparse_epoch, config.rounds)
    plans: Plans = {}
    for variant in variants_of(config):
        if variant.kind == "scratch":
            like = study.load(seed, variant.slug.removesuffix("-scratch"))
            build = partial(keras.models.clone_model, like)
            histories[variant.slug] = study.train_whole(variant.slug, seed, build)
            continue
        pruning = config.pruning(variant.target, "random" if variant.kind == "random" else "")
        plans[variant.slug], histories[variant.slug] = study.train_pruned(
            variant.slug, seed, pruning, rounds
        )
    return plans, histories


def _measure(study: Study, seed: int) -> tuple[dict[str, np.ndarray], Comparison]:
    """Convert the saved U-Nets and measure the finished files."""
    titles = {"dense": "dense", **{v.slug: v.title for v in variants_of(study.config)}}
    both = {"dense", *(v.slug for v in variants_of(study.config) if v.kind == "pruned")}
    return study.compare(
        study.write_formats(
            seed, titles, lambda slug: FLOAT_AND_INT8 if slug in both else FLOAT_AND_INT8[:1]
        )
    )


def ratio_table(config: Config, comparison: Comparison) -> Table:
    """What a share of the MACs becomes in measured latency and size."""
    rows = {row.name: row for row in comparison.rows}
    table = Table(
        ("U-Net", "MACs", "latency float32", "latency int8", "file float32", "file int8"),
        title="Shares of the dense U-Net in the same format",
    )
    for variant in variants_of(config):
        if variant.kind != "pruned":
            continue
        cells = []
        for attribute in (lambda row: row.latency.median_ms, lambda row: row.size_bytes):
            for format in FLOAT_AND_INT8:
                ours, dense = rows[f"{variant.title} {format}"], rows[f"dense {format}"]
                cells.append(f"{attribute(ours) / attribute(dense):.1%}")
        macs = rows[f"{variant.title} float32"].macs / rows["dense float32"].macs
        table.add(variant.title, f"{macs:.1%}", *cells)
    return table


def _sensitivity(study: Study) -> Sensitivity:
    """How much each group of the first seed's dense U-Net matters, on validation patches."""
    data, run = study.data, study.run

    def mean_iou(labels: np.ndarray, outputs: np.ndarray) -> float:
        found = confusion_matrices(labels, outputs.argmax(axis=-1), len(data.palette)).sum(axis=0)
        return float(np.nanmean(iou_per_class(found)))

    with Progress(console=run.console, transient=True) as progress:
        task = progress.add_task("sensitivity of each group", total=None)
        return sensitivity(
            study.load(study.config.seeds[0], "dense"),
            (data.val.images, data.val.labels),
            metric=mean_iou,
            levels=study.config.levels,
            at_most=32,
            progress=lambda done, of: progress.update(task, completed=done, total=of),
        )


def _differences(comparison: Comparison) -> list[tuple[int, int]]:
    """Pairs of rows whose difference over seeds is of interest."""
    names = [row.name for row in comparison.rows]
    differences = [(i, 0) for i, name in enumerate(names) if i and "float32" in name]
    int8 = [i for i, name in enumerate(names) if name.endswith("int8") and "MACs" in name]
    return [*differences, *((i, i - 1) for i in int8)]


CHANNEL_SMOKE = {
    **SMOKE,
    "dense_epochs": 1,
    "sparse_epoch": 2,
    "rounds": 2,
    "filters": (8, 16),
    "levels": (0.5,),
    "round_to": 2,  # 8 and 16 filters: multiples of 4 leave too few widths; ChannelOptions has 1
    "target_macs": (0.5,),
}
PROGRAM = Program("unet-channel-prune", Config, main, CHANNEL_SMOKE)

if __name__ == "__main__":
    PROGRAM.start()

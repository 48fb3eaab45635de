"""make unet-channel-prune: physically smaller U-Nets beside a dense one, to MACs budgets.

A dense U-Net is trained for EPOCHS. For each budget of TARGET_MACS another one branches off after
`dense_epochs`, loses channels in ROUNDS with training between them, and trains on to the same
number of epochs. Controls for each budget: channels chosen at random, and the same widths trained
from scratch. All are chosen on validation, converted to LiteRT (float32 and int8), and measured as
finished files on the test images.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal

import keras
import numpy as np
from rich.progress import Progress

from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, finish, history_section
from experiments.common.seeds import seed_file, seeds_table
from experiments.unet.lite_files import FLOAT_AND_INT8, compare_lite, write_formats
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
from tfcompress.comparison import Comparison
from tfcompress.data.folder import SegmentationData
from tfcompress.errors import ConfigError
from tfcompress.evaluation.segmentation import confusion_matrices, iou_per_class
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.plan import ChannelPlan
from tfcompress.pruning.channels.core.scores import ACTIVATION_SCORES, GRADIENT_SCORES
from tfcompress.pruning.channels.planner import plan_channels
from tfcompress.pruning.channels.sensitivity import Sensitivity, sensitivity
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import save_figure
from tfcompress.reporting.run import Run, environment, open_run
from tfcompress.reporting.tables import Table


@dataclass(frozen=True, kw_only=True)
class Config(SegmentationConfig):
    """Train dense, channel-pruned and control U-Nets side by side."""

    epochs: int = 30
    dense_epochs: int = 8
    """Epochs before the pruned U-Nets branch off and lose their first channels."""
    sparse_epoch: int = 14
    """Epoch of the last of several rounds; from there on the widths stay."""
    target_macs: tuple[float, ...] = (0.5, 0.25)
    """Shares of the MACs to keep, one U-Net each."""
    score: str = "l2"
    """How channels are chosen: l1, l2, fpgm, gamma, apoz, mean_activation, taylor, random."""
    scope: Literal["global", "group"] = "group"
    """Compare scores between layers, or take the same share of each."""
    rounds: int = 1
    """Prunings between dense_epochs and sparse_epoch; one is at dense_epochs."""
    round_to: int = 4
    """Keep multiples of this many channels."""
    min_kept: float = 0.25
    """Share of each layer's channels that stays at least."""
    controls: bool = True
    """Also train random choices and the same widths from scratch."""
    levels: tuple[float, ...] = (0.25, 0.5, 0.75)
    """Shares of channels for the sensitivity curves."""
    seeds: tuple[int, ...] = (0,)
    """One set of U-Nets per seed; the report's pictures show the first."""

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
        return ChannelConfig(
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


@dataclass(frozen=True)
class Outcome:
    """The finished files of one seed."""

    outputs: dict[str, np.ndarray]
    comparison: Comparison
    plans: dict[str, list[ChannelPlan]]
    histories: dict[str, History]


def main(config: Config) -> dict[str, Any]:
    """Train, prune, convert, compare; the metrics."""
    run = open_run(config.root, "unet-channel-prune", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_data(config, run)
    from_data = config.score in {**ACTIVATION_SCORES, **GRADIENT_SCORES}
    for target in config.target_macs:  # what cannot be reached shows before any training
        pruning = config.pruning(target, "l2" if from_data else config.score)
        plan_channels(build_model(config, data), pruning)
    run.write_json(CARD_NAME, asdict(card_of(config, data)))
    outcomes = []
    for seed in config.seeds:
        if len(config.seeds) > 1:
            run.print(f"seed {seed}", style="bold")
        plans, histories = _train(config, run, data, seed)
        outcomes.append(_measure(config, run, data, seed, plans, histories))
    first = outcomes[0]
    curves = _sensitivity(config, run, data)
    _write_report(config, run, data, outcomes, curves)
    run.print(first.comparison.table(), first.comparison.class_table())
    run.print(ratio_table(config, first.comparison))
    if len(outcomes) > 1:
        run.print(_over_seeds(config, outcomes))
    more = {
        "plans": {slug: [p.to_dict() for p in plans] for slug, plans in first.plans.items()},
        "sensitivity": curves.to_dict(),
        "seeds": {
            str(seed): outcome.comparison.to_dict()
            for seed, outcome in zip(config.seeds, outcomes, strict=True)
        },
    }
    return finish(run, first.comparison, more)


def _train(
    config: Config, run: Run, data: SegmentationData, seed: int
) -> tuple[dict[str, list[ChannelPlan]], dict[str, History]]:
    build = partial(build_model, config, data)
    histories = {"dense": train_whole("dense", build, config, data, run, seed, config.dense_epochs)}
    rounds = Rounds(f"dense-seed{seed}", config.dense_epochs, config.sparse_epoch, config.rounds)
    plans: dict[str, list[ChannelPlan]] = {}
    for variant in variants_of(config):
        if variant.kind == "scratch":
            like = keras.saving.load_model(
                seed_file(run, seed, variant.slug.removesuffix("-scratch"))
            )
            build = partial(keras.models.clone_model, like)
            histories[variant.slug] = train_whole(variant.slug, build, config, data, run, seed)
            continue
        pruning = config.pruning(variant.target, "random" if variant.kind == "random" else "")
        plans[variant.slug], histories[variant.slug] = train_pruned(
            variant.slug, pruning, rounds, config, data, run, seed
        )
    return plans, histories


def _measure(
    config: Config,
    run: Run,
    data: SegmentationData,
    seed: int,
    plans: dict[str, list[ChannelPlan]],
    histories: dict[str, History],
) -> Outcome:
    """Load the saved U-Nets, convert them, and measure the finished files."""
    titles = {"dense": "dense", **{v.slug: v.title for v in variants_of(config)}}
    both = {"dense", *(v.slug for v in variants_of(config) if v.kind == "pruned")}
    files = write_formats(
        run, seed, data, titles, lambda slug: FLOAT_AND_INT8 if slug in both else FLOAT_AND_INT8[:1]
    )
    outputs, comparison = compare_lite(list(files.values()), list(files), config, data, run)
    return Outcome(outputs, comparison, plans, histories)


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
            for format in ("float32", "int8"):
                ours, dense = rows[f"{variant.title} {format}"], rows[f"dense {format}"]
                cells.append(f"{attribute(ours) / attribute(dense):.1%}")
        macs = rows[f"{variant.title} float32"].macs / rows["dense float32"].macs
        table.add(variant.title, f"{macs:.1%}", *cells)
    return table


def _sensitivity(config: Config, run: Run, data: SegmentationData) -> Sensitivity:
    """Of the first seed's dense U-Net, on validation patches."""
    model = keras.saving.load_model(seed_file(run, config.seeds[0], "dense"))
    n_classes = len(data.palette)

    def mean_iou(labels: np.ndarray, outputs: np.ndarray) -> float:
        confusion = confusion_matrices(labels, outputs.argmax(axis=-1), n_classes).sum(axis=0)
        return float(np.nanmean(iou_per_class(confusion)))

    with Progress(console=run.console, transient=True) as progress:
        task = progress.add_task("sensitivity of each group", total=None)
        return sensitivity(
            model,
            (data.val.images, data.val.labels),
            metric=mean_iou,
            levels=config.levels,
            at_most=32,
            progress=lambda done, of: progress.update(task, completed=done, total=of),
        )


def _over_seeds(config: Config, outcomes: list[Outcome]) -> Table:
    names = [row.name for row in outcomes[0].comparison.rows]
    differences = [(i, 0) for i, name in enumerate(names) if i and "float32" in name]
    differences += [
        (i, i - 1) for i, name in enumerate(names) if name.endswith("int8") and "MACs" in name
    ]
    return seeds_table(config.seeds, [o.comparison for o in outcomes], differences)


def _write_report(
    config: Config,
    run: Run,
    data: SegmentationData,
    outcomes: list[Outcome],
    curves: Sensitivity,
) -> None:
    first = outcomes[0]
    run.write_history(
        [{"model": name, **row} for name, rows in first.histories.items() for row in rows]
    )
    pruned = [v for v in variants_of(config) if v.kind == "pruned"]
    shown = ["dense float32"]
    shown += [f"{v.title} {format}" for v in pruned for format in ("float32", "int8")]
    text = (
        "Every number is read back from the finished LiteRT file. Channels that go make a model "
        "smaller and faster on any CPU: no sparse kernel is needed. Quality is that of the "
        "file's own predictions on images that neither training nor model choice has seen.",
    )
    sections = [
        comparison_section(run, first.comparison, text=text),
        Section("MACs against latency", tables=(ratio_table(config, first.comparison),)),
    ]
    if len(outcomes) > 1:
        sections.append(Section("Seeds", tables=(_over_seeds(config, outcomes),)))
    compared_histories = {
        name: rows
        for name, rows in first.histories.items()
        if name == "dense" or name in {v.slug for v in pruned}
    }
    marks = {"channels go": config.dense_epochs}
    if config.rounds > 1:
        marks = {"first round": config.dense_epochs, "last round": config.sparse_epoch}
    sections += [
        history_section(run, compared_histories, marks),
        prediction_section(
            run, data.test, {name: first.outputs[name] for name in shown}, data.palette
        ),
        Section(
            "Sensitivity of each group",
            text=("The dense U-Net with one group pruned at a time, on validation patches.",),
            tables=(curves.table(),),
            pictures=(
                (
                    "Mean IoU against the share of channels removed",
                    save_figure(curves.figure("mean IoU"), run.path("plots", "sensitivity.png")),
                ),
            ),
        ),
        Section(
            "Plans",
            text=("What each round of the first seed removed, relative to the round before.",),
            tables=tuple(plan.table() for v in pruned for plan in first.plans[v.slug]),
        ),
    ]
    rows = {row.name: row for row in first.comparison.rows}
    words = ", ".join(
        f"{rows[f'{v.title} float32'].quality['mean_iou']:.4f} with {v.title}" for v in pruned
    )
    write_page(
        run.path("report.html"),
        "U-Net with fewer channels",
        f"Mean IoU {rows['dense float32'].quality['mean_iou']:.4f} dense, {words}.",
        sections,
        compared(config),
        environment(),
    )


CHANNEL_SMOKE = {
    **SMOKE,
    "dense_epochs": 1,
    "sparse_epoch": 2,
    "rounds": 2,
    "filters": (8, 16),
    "levels": (0.5,),
    "round_to": 2,
    "target_macs": (0.5,),
}

if __name__ == "__main__":
    run_experiment(Config, main, CHANNEL_SMOKE)

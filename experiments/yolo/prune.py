"""make yolo-prune: a physically smaller YOLOv5 detector, beside its controls, at equal epochs.

From one detector (WEIGHTS, or one that is trained first), each for EPOCHS more:

    dense       the detector itself
    one-shot    pruned once to the target, then trained
    iterative   pruned in ROUNDS with training in between
    random      as the pruned one, with randomly chosen channels

and, with a TEACHER, the same ones taught by it ("dense+teacher"): a detector's file, or "start",
the detector that all of them come from. Without `--variants`, ROUNDS and TEACHER decide which are
trained; `--variants all` trains every one. All numbers are of the finished files, read back.

Takes about 90 minutes on two CPU cores (80 epochs of 16 s on 200 generated images, and 303 of the
three variants). Prints mAP, parameters, MACs and latency of every variant; docs/measurements.md
("Half a detector") has them for blood cells: half the MACs cost 1 point of mAP50 with a teacher.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Literal

from bridges.yolov5.detector.cost import measure_torch_latency
from bridges.yolov5.detector.extra_loss import ExtraLoss
from bridges.yolov5.detector.plots import plot_kept_channels, plot_rounds
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.planner import DetectorPlan, plan_detector
from bridges.yolov5.prune.rounds import (
    PruneRounds,
    epochs_of_rounds,
    prune_in_rounds,
    settings_of_round,
    step_of_round,
)
from bridges.yolov5.prune.slim import GammaPenalty
from experiments.common.program import Program
from experiments.common.report import Report, picture, write_histories
from experiments.yolo.detection import BAD_INPUT, DETECTION_SMOKE, SMALL
from experiments.yolo.study import Study, epoch_printer
from experiments.yolo.teaching import TaughtConfig, taught_by
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError
from tfcompress.pruning.channels.core.scores import DATA_SCORES
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run

KINDS = ("dense", "one-shot", "iterative", "random")
TAUGHT = "+teacher"


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Prune a detector, and train it and its controls."""

    own_teachers: ClassVar[tuple[str, ...]] = ("start",)
    RENAMED: ClassVar[Mapping[str, str]] = {"method": "score"}

    weights: str = ""
    """Detector's .pt file; empty: MODEL is trained first, for `start_epochs`."""
    start_epochs: int = 80
    """Number of training epochs of the detector that is trained first."""
    epochs: int = 101
    """Number of epochs after that, of every variant, all rounds together."""
    rounds: int = 4
    """Number of prunings; each but the last is followed by 5 of 101 epochs, the last by all
    others."""
    sparsity: float = 0.3439
    """Share of all channels to remove in the end; the default is 4 rounds of 10 %."""
    target_macs: float = 0.0
    """Share of the MACs to keep, in place of `sparsity`."""
    target_latency_ms: float = 0.0
    """Milliseconds per image on one thread of this machine, in place of `sparsity`."""
    score: str = PruneConfig.score
    """Score that ranks channels: l1, l2, fpgm, gamma, apoz, mean_activation, taylor, random."""
    scope: Literal["global", "group"] = PruneConfig.scope
    """Whether scores are compared between layers (global), or each layer loses the same share."""
    round_to: int = PruneConfig.round_to
    """Multiple of channels that a layer keeps."""
    min_kept: float = PruneConfig.min_kept
    """Smallest share of its channels that a layer keeps."""
    exclude: tuple[str, ...] = PruneConfig.exclude
    """Patterns of layers that stay whole, such as "model.0.*"."""
    slim: float = 0.0
    """L1 penalty on the gammas of BatchNorm until the last pruning (1e-4), for score gamma."""
    variants: tuple[str, ...] = ()
    """Variants to train: dense, one-shot, iterative, random, each also with +teacher; or all."""

    def check(self) -> None:
        """Check what would only show after hours."""
        super().check()
        epochs_of_rounds(self.epochs, self.rounds)
        self.settings(self.start_epochs)
        if self.backbone:
            raise ConfigError("backbone", "it is of yolo-train", "give WEIGHTS of what that trains")
        if self.slim:
            GammaPenalty(self.slim)
        self.pruning()
        for name in self.named():
            if name.removesuffix(TAUGHT) not in KINDS:
                known = ", ".join(KINDS)
                raise ConfigError("variants", f"{name!r} is unknown", f"use {known}, or all")
            if name.endswith(TAUGHT) and not self.teacher:
                raise ConfigError(
                    "variants", f"there is no teacher for {name}", "give TEACHER=start, or a file"
                )

    def pruning(self, score: str = "") -> PruneConfig:
        """The target of the whole run.

        Raises:
            ConfigError: A field is out of its range, or there are two targets.
        """
        other = {
            name: value
            for name in ("target_macs", "target_latency_ms")
            if (value := getattr(self, name))
        }
        return PruneConfig(
            **(other or {"sparsity": self.sparsity}),
            score=score or self.score,
            scope=self.scope,
            min_kept=self.min_kept,
            round_to=self.round_to,
            exclude=self.exclude,
            side=self.side,
            seed=self.seed,
        )

    def named(self) -> tuple[str, ...]:
        """The variants, in order."""
        if self.variants and self.variants != ("all",):
            return self.variants
        kinds = KINDS
        if not self.variants:
            kinds = ("dense", "one-shot" if self.rounds == 1 else "iterative", "random")
        taught = [name + TAUGHT for name in kinds if self.variants or name == kinds[1]]
        return (*kinds, *(taught if self.teacher else ()))


def main(config: Config, run: Run) -> Report:
    """Train, prune, compare."""
    study = Study.of(config, run)
    start = _start(study)
    teacher = None
    if config.teacher:
        teacher = start if config.teacher == "start" else study.read(config.teacher, "teacher")
        taught_by(teacher, start, config)  # whether they fit shows before any training
    pruned: dict[str, PruneRounds] = {}
    histories: dict[str, list[dict[str, float]]] = {}
    for name in config.named():
        run.print(f"{name}: {config.epochs} epochs", style="bold")
        taught = teacher if name.endswith(TAUGHT) else None
        if name.removesuffix(TAUGHT) == "dense":
            settings = settings_of_round(config.settings(), config.epochs)
            extra = [taught_by(taught, start, config)] if taught else ()
            result = study.train(start, name, settings=settings, extra_losses=extra)
            histories[name] = list(result.history)
        else:
            pruned[name] = _prune(study, name, start, taught)
            histories[name] = pruned[name].history
    return replace(_report(study, histories, pruned), clean_up=partial(_clean_up, run))


def _clean_up(run: Run) -> None:
    """Remove the rounds' checkpoints, which a finished run does not resume from."""
    for file in run.path("rounds").rglob("*_checkpoint.pt"):
        file.unlink()


def _start(study: Study) -> Detector:
    """The detector that all variants come from, read back from its file."""
    config = study.config
    if config.weights:
        start = study.read(config.weights, "weights")
        _can_be_pruned(start, config)
        study.save("start", start, {"from": config.weights})
        return start
    start = study.start()
    _can_be_pruned(start, config)
    extra = [GammaPenalty(config.slim)] if config.slim else ()
    study.train(start, "start", settings=config.settings(config.start_epochs), extra_losses=extra)
    return study.load("start")


def _can_be_pruned(detector: Detector, config: Config) -> None:
    """Raise before any training where the target, or the first step to it, cannot be reached."""
    pruning = config.pruning("l2" if config.score in DATA_SCORES else "")
    if pruning.target_latency_ms is None:
        plan_detector(detector, pruning)
        if config.rounds > 1:
            plan_detector(detector, step_of_round(pruning, (), 1 / config.rounds, detector))


def _prune(study: Study, name: str, start: Detector, teacher: Detector | None) -> PruneRounds:
    """One variant, its rounds printed; its detector is written."""
    config, run = study.config, study.run
    kind = name.removesuffix(TAUGHT)
    rounds = 1 if kind == "one-shot" else config.rounds
    epochs = epochs_of_rounds(config.epochs, rounds)

    def milliseconds(detector: Detector) -> float:
        shape = (3, config.side, config.side)
        return measure_torch_latency([detector], shape, repeats=15)[0].median_ms

    def extra_losses(number: int, detector: Detector) -> list[ExtraLoss]:
        extra: list[ExtraLoss] = []
        if teacher is not None:
            extra.append(taught_by(teacher, detector, config))
        if config.slim and number < rounds:
            extra.append(GammaPenalty(config.slim))
        return extra

    def show_plan(number: int, plan: DetectorPlan, score: float) -> None:
        (macs, fewer), kept = plan.macs, 1 - plan.sparsity
        run.print(
            f"{name}, round {number} of {rounds}: {kept:.1%} of the channels stay, MACs {macs:,} "
            f"-> {fewer:,}, val mAP50-95 {score:.4f}; {epochs[number - 1]} epochs follow"
        )
        for note in plan.notes:
            run.print(f"  {note}")

    def show(number: int, row: dict[str, float], best: bool) -> None:
        epoch_printer(run, f"{name} {number}", epochs[number - 1])(row, best)

    result = prune_in_rounds(
        start,
        study.data,
        config.pruning("random" if kind == "random" else ""),
        config.settings(),
        epochs,
        run.path("rounds", name),
        show,
        show_plan,
        extra_losses,
        milliseconds if config.target_latency_ms else None,
    )
    last = result.rounds[-1]
    details = {"val_map": last.trained_map, "rounds": rounds, "score": last.plan.config["score"]}
    study.save(name, result.detector, details)
    return result


def _report(
    study: Study, histories: dict[str, list[dict[str, float]]], pruned: dict[str, PruneRounds]
) -> Report:
    """Measure the files and compare them."""
    config, run = study.config, study.run
    write_histories(run, histories)
    measured = study.measure(("start", *config.named()), reference="start")
    text = (
        "Every detector but the first was trained for the same number of epochs after it. Random "
        "channels at the same target show what the choice of channels is worth; the dense one, "
        "what the epochs are worth.",
    )
    plans = [
        done.plan.table()
        for name, result in pruned.items()
        if not name.startswith("random")
        for done in result.rounds
    ]
    removed = "What each round removed, relative to the round before."
    return Report(
        "A smaller YOLOv5 detector",
        f"mAP50-95 {measured.scores['start'].map:.4f} before; after {config.epochs} more epochs "
        f"{measured.words(config.named())}, on {measured.images}.",
        (*(result.table(name) for name, result in pruned.items()), measured.table),
        (
            measured.section(run, text),
            *([_rounds_section(run, pruned)] if pruned else []),
            study.training(histories),
            Section("Plans", text=(removed,), tables=plans),
        ),
        {
            **measured.metrics(),
            "rounds": {
                name: [
                    {"pruned_map": done.pruned_map, "trained_map": done.trained_map,
                     "macs": done.plan.macs, "parameters": done.plan.parameters}
                    for done in result.rounds
                ]
                for name, result in pruned.items()
            },
        },
    )  # fmt: skip


def _rounds_section(run: Run, pruned: dict[str, PruneRounds]) -> Section:
    """Quality by round, and the channels that each layer keeps."""
    widths = {}
    for name, result in pruned.items():
        first, last = result.rounds[0].plan.groups, result.rounds[-1].plan.groups
        widths[name] = [
            (group.name, group.width, now.kept_width)
            for group, now in zip(first, last, strict=True)
            if not group.frozen
        ]
    maps = {name: [(r.pruned_map, r.trained_map) for r in p.rounds] for name, p in pruned.items()}
    by_round = plot_rounds(maps, next(iter(pruned.values())).start_map)
    return Section(
        "Rounds",
        tables=[result.table(name) for name, result in pruned.items()],
        pictures=(
            picture(run, "rounds", by_round, "mAP50-95 on validation by round"),
            picture(run, "channels", plot_kept_channels(widths), "Channels kept per layer"),
        ),
    )


PRUNE_SMOKE = {**DETECTION_SMOKE, **SMALL, "start_epochs": 2, "epochs": 2, "rounds": 2}
PROGRAM = Program("yolo-prune", Config, main, PRUNE_SMOKE, user_errors=BAD_INPUT)

if __name__ == "__main__":
    PROGRAM.start()

"""make yolo-prune: a physically smaller YOLOv5 detector, beside its controls, at equal epochs.

From one detector (WEIGHTS, or one that is trained first) branch off, each for EPOCHS more:

    dense       the detector itself, trained on
    one-shot    pruned once to the target, then trained
    iterative   pruned in ROUNDS with training in between
    random      as the pruned one, but the channels are drawn by lot

and, with a TEACHER, the same ones taught by it ("dense+teacher"): a detector's file, or "start",
the detector that all of them come from. Without `--variants` those are trained that ROUNDS and
TEACHER ask for; `--variants all` trains every one. All numbers are of the finished files, read
back. A run that was killed goes on with RESUME=1 from the last epoch that it finished.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.detector.cost import measure_torch_latency
from bridges.yolov5.detector.extra_loss import ExtraLoss
from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.detector.plots import plot_kept_channels, plot_rounds
from bridges.yolov5.detector.train import TrainResult
from bridges.yolov5.prune.config import FROM_DATA, PruneConfig
from bridges.yolov5.prune.planner import DetectorPlan, plan_detector
from bridges.yolov5.prune.rounds import (
    PruneRounds,
    epochs_of_rounds,
    prune_in_rounds,
    settings_of_round,
    step_of_round,
)
from bridges.yolov5.prune.slim import GammaPenalty
from experiments.common.program import compared, run_experiment
from experiments.common.report import already_finished, end_run, history_section
from experiments.yolo.detection import (
    BAD_INPUT,
    DETECTION_SMOKE,
    comparison_table,
    cost_of,
    epoch_printer,
    load_detection,
    score_file,
    start_detector,
    train_and_save,
)
from experiments.yolo.teaching import TaughtConfig, read_detector, taught_by
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.plots import plot_tradeoff, save_figure
from tfcompress.reporting.run import Run, environment, open_run

KINDS = ("dense", "one-shot", "iterative", "random")
TAUGHT = "+teacher"


@dataclass(frozen=True, kw_only=True)
class Config(TaughtConfig):
    """Prune a detector, and train it and its controls."""

    own_teachers: ClassVar[tuple[str, ...]] = ("start",)

    weights: str = ""
    """The detector's .pt file; empty: MODEL is trained first, for `start_epochs`."""
    start_epochs: int = 80
    """Epochs of the detector that is trained first."""
    epochs: int = 101
    """Epochs after that, of every variant, all rounds together."""
    rounds: int = 4
    """Prunings; each but the last is followed by 5 of 101 epochs, the last by the rest."""
    sparsity: float = 0.3439
    """Share of all channels to remove in the end: 4 rounds of 10 %."""
    target_macs: float = 0.0
    """Instead: share of the MACs to keep."""
    target_latency_ms: float = 0.0
    """Instead: milliseconds for an image, one thread of this machine."""
    method: str = "l2"
    """l1, l2, fpgm, gamma, apoz, mean_activation, taylor, random."""
    scope: Literal["global", "group"] = "global"
    """global compares scores between layers, group takes the same share of each."""
    round_to: int = 8
    """Keep multiples of this many channels."""
    min_kept: float = 0.1
    """Share of each layer's channels that stays at least."""
    exclude: tuple[str, ...] = ()
    """Patterns of layers that stay whole, such as "model.0.*"."""
    slim: float = 0.0
    """L1 penalty on the gammas of BatchNorm until the last pruning (1e-4), for method gamma."""
    variants: tuple[str, ...] = ()
    """What is trained: dense, one-shot, iterative, random, each also with +teacher; or all."""

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

    def pruning(self, method: str = "") -> PruneConfig:
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
            method=method or self.method,
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


def main(config: Config) -> dict[str, Any]:
    """Train, prune, compare, report; the metrics."""
    run = open_run(config.root, "yolo-prune", config.run, compared(config), config.resume)
    if run.finished:
        return already_finished(run)
    data = load_detection(config, run)
    start = _start(config, data, run)
    teacher = None
    if config.teacher:
        own = config.teacher == "start"
        teacher = (
            start if own else read_detector(config.teacher, data.names, "teacher", config, run)
        )
        taught_by(teacher, start, config)  # whether they fit shows before any training
    pruned: dict[str, PruneRounds] = {}
    trained: dict[str, TrainResult] = {}
    for name in config.named():
        run.print(f"{name}: {config.epochs} epochs", style="bold")
        taught = teacher if name.endswith(TAUGHT) else None
        if name.removesuffix(TAUGHT) == "dense":
            trained[name] = train_and_save(
                start,
                data,
                config,
                run,
                name,
                f"{name}.pt",
                settings_of_round(config.settings(), config.epochs),
                [taught_by(taught, start, config)] if taught else (),
            )
        else:
            pruned[name] = _prune(name, start, taught, config, data, run)
    metrics = _report(config, run, data, trained, pruned)
    for file in run.path("rounds").rglob("*_checkpoint.pt"):
        file.unlink()  # nothing goes on from here; the files of every round stay
    return metrics


def _start(config: Config, data: DetectionData, run: Run) -> Detector:
    """The detector that all variants come from, read back from its file."""
    if config.weights:
        start = read_detector(config.weights, data.names, "weights", config, run)
        _can_be_pruned(start, config)
        save_detector(run.path("start.pt"), start, config.side, {"from": config.weights})
        return start
    start = start_detector(config, data.names, run)
    _can_be_pruned(start, config)
    train_and_save(
        start,
        data,
        config,
        run,
        "start",
        "start.pt",
        config.settings(config.start_epochs),
        [GammaPenalty(config.slim)] if config.slim else (),
    )
    return load_detector(run.path("start.pt")).detector


def _can_be_pruned(detector: Detector, config: Config) -> None:
    """Raise before any training where the target cannot be reached, or the first step is none."""
    pruning = config.pruning("l2" if config.method in FROM_DATA else "")
    if pruning.target_latency_ms is None:
        plan_detector(detector, pruning)
        if config.rounds > 1:
            plan_detector(detector, step_of_round(pruning, (), 1 / config.rounds, detector))


def _prune(
    name: str,
    start: Detector,
    teacher: Detector | None,
    config: Config,
    data: DetectionData,
    run: Run,
) -> PruneRounds:
    """One variant, its rounds printed; its detector is written."""
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
        data,
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
    details = {"val_map": last.trained_map, "rounds": rounds, "method": last.plan.config["method"]}
    save_detector(run.path(f"{name}.pt"), result.detector, config.side, details)
    return result


def _report(
    config: Config,
    run: Run,
    data: DetectionData,
    trained: dict[str, TrainResult],
    pruned: dict[str, PruneRounds],
) -> dict[str, Any]:
    """Measure the files, write the page, print the table; the metrics."""
    names = ("start", *config.named())
    with run.console.status("measuring the files on the test images"):
        scores = {name: score_file(run, f"{name}.pt", data, data.test_split) for name in names}
        detectors = {name: load_detector(run.path(f"{name}.pt")).detector for name in names}
        costs, numbers = cost_of(detectors, config.side)
    table = comparison_table(scores, numbers, data.test_split, reference="start")
    histories = {
        name: list(trained[name].history) if name in trained else pruned[name].history
        for name in config.named()
    }
    run.write_history([{"model": name, **row} for name, rows in histories.items() for row in rows])
    points = [(n, numbers[n]["macs"] / 1e6, scores[n].map) for n in names]
    tradeoff = plot_tradeoff(points, "million MACs", "mAP50-95 on the test images")
    sections = [
        Section(
            "Comparison",
            text=(
                "Every detector but the first was trained for the same number of epochs after it. "
                "Random channels at the same target show what the choice of channels is worth; the "
                "dense one, what the epochs are worth.",
            ),
            tables=(table, costs),
            pictures=(
                ("Quality against cost", save_figure(tradeoff, run.path("plots", "cost.png"))),
            ),
        )
    ]
    if pruned:
        sections.append(_rounds_section(run, pruned))
    sections.append(
        history_section(
            run, histories, metrics={"map": "mAP50-95", "map50": "mAP50", "loss": "loss"}
        )
    )
    sections.append(
        Section(
            "Plans",
            text=("What each round removed, relative to the round before.",),
            tables=[
                done.plan.table()
                for name, result in pruned.items()
                if not name.startswith("random")
                for done in result.rounds
            ],
        )
    )
    write_page(
        run.path("report.html"),
        "A smaller YOLOv5 detector",
        f"mAP50-95 {scores['start'].map:.4f} before; after {config.epochs} more epochs "
        + ", ".join(f"{scores[name].map:.4f} {name}" for name in config.named())
        + f", on {scores['start'].images} {data.test_split} images.",
        sections,
        compared(config),
        environment(),
    )
    run.print(*(result.table(name) for name, result in pruned.items()), table)
    return end_run(
        run,
        {
            "test": {name: score.to_dict() for name, score in scores.items()},
            "cost": numbers,
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
            (
                "mAP50-95 on validation by round",
                save_figure(by_round, run.path("plots", "rounds.png")),
            ),
            (
                "Channels kept per layer",
                save_figure(plot_kept_channels(widths), run.path("plots", "channels.png")),
            ),
        ),
    )


PRUNE_SMOKE = {
    **DETECTION_SMOKE,
    "start_epochs": 2,
    "epochs": 2,
    "rounds": 2,
    "side": 64,
    "shape_side": 64,
}

if __name__ == "__main__":
    run_experiment(Config, main, PRUNE_SMOKE, user_errors=BAD_INPUT)

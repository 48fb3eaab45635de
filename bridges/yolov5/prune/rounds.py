"""Pruning in rounds: a few channels are removed at a time, with training in between.

config = PruneConfig(sparsity=0.3439)
result = prune_in_rounds(detector, data, config, settings, (5, 5, 5, 86), "folder")

Every round starts from all weights of the one before, neck and head included. Rounds are kept in
the folder: a killed run resumes from the last finished epoch and ends with the same result.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from bridges.yolov5.data.batches import plain_loader
from bridges.yolov5.data.dataset import DetectionData
from bridges.yolov5.detector.evaluate import evaluate_detector
from bridges.yolov5.detector.extra_loss import ExtraLoss
from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.detector.train import TrainSettings, pick_device, train_detector
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.planner import (
    DetectorPlan,
    plan_detector,
    prune_detector,
)
from bridges.yolov5.prune.scores import Batches
from models.yolov5.build import Detector
from tfcompress.errors import ConfigError, NothingToRemove
from tfcompress.pruning.channels.core.latency import require_measure
from tfcompress.pruning.channels.core.scores import DATA_SCORES
from tfcompress.reporting.tables import Table

SCHEDULE = (5, 5, 5, 86)
"""Epochs after each of four rounds of 10 % each (1 - 0.9^4 = 34.39 %)."""


@dataclass(frozen=True)
class PruneRound:
    """One round.

    Attributes:
        plan: Plan of the removed channels.
        pruned_map: mAP50-95 on the validation set before training.
        trained_map: mAP50-95 on the validation set of the best epoch.
        history: One row per training epoch.
    """

    plan: DetectorPlan
    pruned_map: float
    trained_map: float
    history: tuple[dict[str, float], ...]


@dataclass(frozen=True)
class PruneRounds:
    """Result of pruning in rounds.

    Attributes:
        detector: Detector of the last round's best epoch, in evaluation mode.
        start_map: mAP50-95 of the given detector on the validation set.
        rounds: Rounds in order.
    """

    detector: Detector
    start_map: float
    rounds: tuple[PruneRound, ...]

    @property
    def history(self) -> list[dict[str, float]]:
        """Rows of all rounds with consecutive epochs, each with its "round"."""
        rows: list[dict[str, float]] = []
        for number, part in enumerate(self.rounds, 1):
            done = len(rows)
            rows += [{**row, "epoch": done + row["epoch"], "round": number} for row in part.history]
        return rows

    def table(self, name: str = "") -> Table:
        """A table with one row per round; `name` is part of the title."""
        table = Table(
            ("round", "channels", "MACs", "parameters", "epochs", "mAP pruned", "mAP trained"),
            title=f"Rounds{' of ' if name else ''}{name}, mAP50-95 on validation",
        )
        first = self.rounds[0].plan
        width = sum(group.width for group in first.groups)
        table.add(
            "start", str(width), f"{first.macs[0]:,}", f"{first.parameters[0]:,}", "", "",
            f"{self.start_map:.4f}",
        )  # fmt: skip
        for number, part in enumerate(self.rounds, 1):
            table.add(
                str(number),
                str(sum(group.kept_width for group in part.plan.groups)),
                f"{part.plan.macs[1]:,}",
                f"{part.plan.parameters[1]:,}",
                str(len(part.history)),
                f"{part.pruned_map:.4f}",
                f"{part.trained_map:.4f}",
            )
        return table

    def __str__(self) -> str:
        return str(self.table())


def epochs_of_rounds(total: int, rounds: int) -> tuple[int, ...]:
    """Epochs after each round: early ones have a part as in `SCHEDULE`, the last one the rest.

    Raises:
        ConfigError: There are more rounds than epochs.
    """
    if rounds < 1 or total < rounds:
        raise ConfigError(
            "rounds", f"{rounds} rounds in {total} epochs", "give 1 or more, and an epoch for each"
        )
    early = max(round(total * SCHEDULE[0] / sum(SCHEDULE)), 1)
    return (early,) * (rounds - 1) + (total - early * (rounds - 1),)


def prune_in_rounds(
    detector: Detector,
    data: DetectionData,
    config: PruneConfig,
    settings: TrainSettings,
    epochs: Sequence[int],
    folder: str | Path,
    on_epoch: Callable[[int, dict[str, float], bool], None] = lambda number, row, best: None,
    on_plan: Callable[[int, DetectorPlan, float], None] = lambda number, plan, score: None,
    extra_losses: Callable[[int, Detector], Sequence[ExtraLoss]] = lambda number, detector: (),
    measure: Callable[[Detector], float] | None = None,
    score_batches: int = 8,
) -> PruneRounds:
    """Prune to the target in equal steps, one for each entry of `epochs`.

    After round k of n a share (1 - sparsity)^(k/n) of the channels is left, or target_macs^(k/n) of
    the MACs; a latency target falls in the same way.

    Args:
        detector: Trained detector; not changed.
        data: Detection data, of which the splits "train" and "val" are used.
        config: Options whose target holds after the last round. Scores that look at data are
            computed on training images.
        settings: Settings of the trainings, apart from the epochs. The anchors are not fitted.
        epochs: Number of training epochs after each round.
        folder: Folder in which every round is kept; another target or other settings need another
            folder.
        on_epoch: Function called with the round (from 1), the epoch's row, and whether it is the
            best so far.
        on_plan: Function called with the round, its plan, and mAP50-95 on the validation set before
            training.
        extra_losses: Function from the round and its detector to the losses that are added.
        measure: Function from a detector to milliseconds, needed for a latency target.
        score_batches: Number of batches of training images for the scores that look at data.

    Raises:
        ConfigError: A step removes nothing or cannot be reached, or the folder was made with other
            options.
    """
    folder = Path(folder)
    start_map = _validate(detector, data, settings)
    rounds: list[PruneRound] = []
    for number, count in enumerate(epochs, 1):
        plans = [done.plan for done in rounds]
        step = step_of_round(config, plans, number / len(epochs), detector, measure)
        plan_file, pruned_file = (folder / f"round{number}_{n}" for n in ("plan.json", "pruned.pt"))
        if not pruned_file.is_file():
            batches = _batches(step, data, settings, score_batches)
            plan = plan_detector(detector, step, batches, measure)
            small = prune_detector(detector, plan)
            score = _validate(small, data, settings)
            plan.save(plan_file)
            save_detector(pruned_file, small, settings.side, {"val_map": score})
        plan, pruned = DetectorPlan.load(plan_file), load_detector(pruned_file)
        if _comparable(plan.config) != _comparable(asdict(step)):
            raise ConfigError(
                str(plan_file), "it was made for another target or score", "use another folder"
            )
        score = pruned.details["val_map"]
        on_plan(number, plan, score)
        result = train_detector(
            pruned.detector,
            data,
            settings_of_round(settings, count, last=number == len(epochs)),
            folder / f"round{number}_checkpoint.pt",
            lambda row, best, number=number: on_epoch(number, row, best),
            extra_losses(number, pruned.detector),
        )
        detector = result.detector
        details = {"val_map": result.best_map}
        save_detector(folder / f"round{number}_trained.pt", detector, settings.side, details)
        rounds.append(PruneRound(plan, score, result.best_map, result.history))
    return PruneRounds(detector, start_map, tuple(rounds))


def settings_of_round(settings: TrainSettings, epochs: int, last: bool = True) -> TrainSettings:
    """Settings to continue from trained weights: a short warm-up, anchors unchanged.

    Args:
        settings: Settings of a whole training.
        epochs: Number of epochs of this training.
        last: Whether mosaics stop before its end.
    """
    return replace(
        settings,
        epochs=epochs,
        warmup_epochs=min(settings.warmup_epochs, epochs / 5),
        plain_epochs=min(settings.plain_epochs, epochs // 2) if last else 0,
        fit_anchors=False,
    )


def step_of_round(
    config: PruneConfig,
    plans: Sequence[DetectorPlan],
    part: float,
    detector: Detector,
    measure: Callable[[Detector], float] | None = None,
) -> PruneConfig:
    """Options of the next round, relative to the detector that it starts from.

    Args:
        config: Options with the target of all rounds.
        plans: Plans of the rounds before.
        part: Share of all rounds that is completed by the next one, in (0, 1].
        detector: Detector before the next round.
        measure: Function from a detector to milliseconds, needed for a latency target.

    Raises:
        NothingToRemove: The rounds before have removed as much already.
        ConfigError: A latency target without `measure`.
    """
    seed = config.seed + len(plans)
    if config.target_latency_ms is not None:
        start = plans[0].latency_ms[0] if plans else float(require_measure(measure)(detector))
        wanted = start * (config.target_latency_ms / start) ** part
        return replace(config, target_latency_ms=wanted, seed=seed)
    name = config.given_targets[0]
    left = 1.0
    if name in ("target_macs", "target_parameters"):
        if plans:
            cost = name.removeprefix("target_")
            left = getattr(plans[-1], cost)[1] / getattr(plans[0], cost)[0]
        share = getattr(config, name) ** part / left
    else:
        for plan in plans:
            left *= 1 - plan.sparsity
        share = (1 - config.sparsity) ** part / left
    if share >= 1:
        raise NothingToRemove(
            f"round {len(plans) + 1}",
            "the rounds before have removed as much already",
            "use fewer rounds, or lower round_to",
        )
    return replace(config, **{name: 1 - share if name == "sparsity" else share}, seed=seed)


def _comparable(config: Mapping[str, Any]) -> Any:
    """The options that decide a plan, without the latency, which starts from a measurement.

    An option that is missing did not exist yet when the plan was made: it had its default.
    """
    defaults = {field.name: field.default for field in fields(PruneConfig)}
    return json.loads(json.dumps({**defaults, **config, "target_latency_ms": None}))


def _batches(
    config: PruneConfig, data: DetectionData, settings: TrainSettings, count: int
) -> Batches | None:
    """Unaugmented training images, evenly from the whole split, if the score looks at data."""
    if config.score not in DATA_SCORES:
        return None
    images = data.splits["train"]
    wanted = min(count * settings.batch, len(images))
    chosen = [images[round(i * (len(images) - 1) / max(wanted - 1, 1))] for i in range(wanted)]
    return plain_loader(chosen, settings.side, settings.batch)


def _validate(detector: Detector, data: DetectionData, settings: TrainSettings) -> float:
    """mAP50-95 on the validation set."""
    device = pick_device(settings.device)
    model = copy.deepcopy(detector).to(device).eval()
    return evaluate_detector(
        lambda x: model.decode(model(x)),
        data.splits["val"],
        data.names,
        settings.side,
        settings.batch,
        device=device,
    ).map

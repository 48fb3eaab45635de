"""Configurations of the searches, and the training functions that keras-tuner and NNI both call.

They are in a module of their own because a trial's process imports them by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras

from experiments.common.inputs import check_file
from experiments.common.program import compared
from experiments.search.spaces import (
    GROUPS,
    group_sparsities,
    pruning_space,
    trash_fields,
    trash_space,
    unet_fields,
    unet_space,
)
from experiments.trash.classification import (
    ClassificationConfig,
    build_classifier,
    compile_classifier,
    read_images,
    train_classifier,
)
from experiments.unet.level_prune import group_selection
from experiments.unet.segmentation import (
    SegmentationConfig,
    build_model,
    compile_model,
    load_data,
)
from experiments.unet.study import Study
from tfcompress.data.folder import SegmentationData
from tfcompress.errors import ConfigError
from tfcompress.evaluation.classification import trash_score
from tfcompress.evaluation.cost import count_cost
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.reporting.run import Run, open_run
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import SearchObjective, TrainingFunction, Trial

SEGMENTATION = {
    "mean_iou": SearchObjective("val_mean_iou", "max", ("val_accuracy",)),
    "accuracy": SearchObjective("val_accuracy", "max", ("val_mean_iou",)),
}
SCORE = SearchObjective("val_score", "min", ("val_macro_f1", "val_accuracy"))
F1 = SearchObjective("val_macro_f1", "max", ("val_accuracy",))


@dataclass(frozen=True, kw_only=True)
class SearchFields:
    """Fields of every search."""

    trials: int = 12
    """Number of trials."""
    tuner: str = ""
    """Tuner of keras-tuner (random, bayesian, hyperband, grid) or of NNI (TPE, Random, GridSearch,
    Evolution, GP, Metis, Hyperband); empty: bayesian or TPE."""
    concurrency: int = 1
    """Number of trials at a time."""
    port: int = 0
    """Port of NNI's web page, or of keras-tuner's chief, on loopback; 0: a free one."""
    early_stop: Literal["halving", "median", "no"] = "halving"
    """Rule that stops trials: halving keeps the better half at 1/8, 1/4 and 1/2 of the epochs;
    median stops those worse than the median of the others, from 1/4 of the epochs on."""
    trial_minutes: float = 60.0
    """Minutes after which a trial is killed and counts as failed."""
    hours: float = 24.0
    """Hours after which no trial starts; NNI ends running ones, too."""
    seed: int = 0
    """Seed of the search and of the trainings after it."""

    def check(self) -> None:
        """Check what would only show later."""
        if self.trials < 1 or self.concurrency < 1:
            raise ConfigError(
                "trials, concurrency", f"{self.trials} and {self.concurrency}", "use at least 1"
            )
        if self.trial_minutes <= 0 or self.hours <= 0:
            raise ConfigError(
                "trial_minutes, hours", f"{self.trial_minutes} and {self.hours}", "use more than 0"
            )
        if not 0 <= self.port < 65536:
            raise ConfigError("port", f"it is {self.port}", "use 1 to 65535, or 0 for a free one")


@dataclass(frozen=True, kw_only=True)
class UnetSearch(SearchFields, SegmentationConfig):
    """Search the U-Net's training, or where it is pruned."""

    what: Literal["training", "pruning"] = "training"
    """Subject of the search. 'pruning': a U-Net is trained once; each trial prunes and tunes it for
    `tune_epochs`."""
    objective: Literal["mean_iou", "accuracy"] = "mean_iou"
    """Metric that trials are compared by; the other is reported beside it."""
    sparsity: float = 0.9
    """Sparsity of the pruned U-Net, over all its levels."""
    tune_epochs: int = 6
    """Number of epochs after pruning."""
    dense: str = ""
    """Trained U-Net of 'pruning', as a .keras file; empty: it is trained first."""

    def check(self) -> None:
        """Check what would only show after the U-Net is trained."""
        super().check()
        if not 0 < self.sparsity < 1:
            raise ConfigError("sparsity", f"it is {self.sparsity}", "use a share, 0 to 1")
        check_file(self.dense, "dense", "give a .keras file")

    @property
    def trial_epochs(self) -> int:
        """Epochs of a trial that is not stopped."""
        return self.epochs if self.what == "training" else self.tune_epochs


@dataclass(frozen=True, kw_only=True)
class TrashSearch(SearchFields, ClassificationConfig):
    """Search the trash classifier's training."""

    tool: Literal["keras-tuner", "nni"] = "keras-tuner"
    """Tool that searches."""
    objective: Literal["score", "macro_f1"] = "score"
    """The competition's score (MACs and F1, lower is better), or macro F1 alone."""

    def check(self) -> None:
        """Check both halves."""
        SearchFields.check(self)
        ClassificationConfig.check(self)

    @property
    def trial_epochs(self) -> int:
        """Epochs of a trial that is not stopped."""
        return self.epochs


@dataclass(frozen=True)
class Task:
    """A search without its tool.

    Attributes:
        space: Search space.
        objective: Objective.
        function: Training function, of a module that other processes find.
        fields: Function from a trial's parameters to fields of a program's config.
        epochs: Epochs of a trial that is not stopped.
    """

    space: SearchSpace
    objective: SearchObjective
    function: TrainingFunction
    fields: Callable[[Mapping[str, Any]], dict[str, Any]]
    epochs: int


def unet_task(config: UnetSearch, data: SegmentationData) -> Task:
    """The U-Net's search: of its training, or of its pruning (`config.dense` is there by then)."""
    objective = SEGMENTATION[config.objective]
    if config.what == "training":
        space = unet_space(config, data.palette.names)
        fields = partial(unet_fields, config)
        return Task(space, objective, partial(train_unet, config), fields, config.trial_epochs)
    model = build_model(config, data)
    weights = weights_by_group(model)
    return Task(
        pruning_space(list(weights)),
        objective,
        partial(prune_unet, config),
        partial(pruning_fields, weights, config.sparsity),
        config.trial_epochs,
    )


def trash_task(config: TrashSearch) -> Task:
    """The classifier's search."""
    objective = SCORE if config.objective == "score" else F1
    function = partial(train_trash, config)
    return Task(trash_space(config), objective, function, trash_fields, config.trial_epochs)


def train_unet(config: UnetSearch, params: Mapping[str, Any], trial: Trial) -> dict[str, float]:
    """A trial: a U-Net from new weights."""
    chosen = replace(config, **unet_fields(config, params))
    study = _study_of(trial, chosen)
    model = study.build()
    study.compile(model)
    return _train(model, study, trial, trial.epochs or chosen.epochs)


def prune_unet(config: UnetSearch, params: Mapping[str, Any], trial: Trial) -> dict[str, float]:
    """A trial: the trained U-Net, pruned level by level, and tuned."""
    study = _study_of(trial, config)
    model, _ = pruned_unet(config, study.data, params)
    return _train(model, study, trial, trial.epochs or config.tune_epochs)


def train_trash(config: TrashSearch, params: Mapping[str, Any], trial: Trial) -> dict[str, float]:
    """A trial: a classifier from new weights."""
    chosen = replace(config, **trash_fields(params))
    run = _run_of(trial, chosen)
    images = read_images(chosen, Path(chosen.data) if chosen.data else Path())
    model = build_classifier(chosen, len(images.classes))
    compile_classifier(model, chosen)
    macs = count_cost(model).macs

    def scored(row: Mapping[str, float]) -> dict[str, float]:
        return {**row, "val_score": trash_score(macs, row["val_macro_f1"])}

    history = train_classifier(
        model,
        chosen,
        images,
        run,
        f"trial {trial.number}",
        trial.seed,
        trial.epochs or chosen.epochs,
        lambda row: trial.epoch(int(row["epoch"]), scored(_metrics(row))),
        folder="classifier",
    )
    return _best([scored(row) for row in history], trial.objective)


def pruning_fields(
    weights: Mapping[str, int], sparsity: float, params: Mapping[str, Any]
) -> dict[str, Any]:
    """Field `group_sparsity` of unet-level-prune from a trial's parameters."""
    found = group_sparsities(params, weights, sparsity)
    return {"group_sparsity": {f"{name}*": value for name, value in found.items()}}


def weights_by_group(model: Any) -> dict[str, int]:
    """Weights that level pruning can take, by level of a U-Net."""
    pruner = LevelPruner(model, [{"sparsity": 0.5, "op_types": ["default"]}])
    counts = dict.fromkeys(GROUPS, 0)
    for row in pruner.report().rows:
        for name in GROUPS:
            if row.path.startswith(name):
                counts[name] += row.weights
    return {name: count for name, count in counts.items() if count}


def pruned_unet(
    config: UnetSearch, data: SegmentationData, params: Mapping[str, Any]
) -> tuple[Any, LevelPruner]:
    """The trained U-Net, pruned level by level and compiled to be tuned; and its pruner."""
    model = keras.saving.load_model(config.dense, compile=False)
    fields = pruning_fields(weights_by_group(model), config.sparsity, params)
    pruner = LevelPruner(model, group_selection(fields["group_sparsity"]), scope="layer")
    pruner.compress()
    compile_model(model, config, data, config.tune_epochs)
    return model, pruner


def _train(model: Any, study: Study, trial: Trial, epochs: int) -> dict[str, float]:
    """Train a trial's U-Net; the metrics of its best epoch."""
    objective = study.config.objective
    history = study.fit(
        model,
        f"trial {trial.number}",
        trial.seed,
        epochs,
        after_epoch=lambda row: trial.epoch(int(row["epoch"]), _metrics(row)),
        folder="unet",
        metric=objective,
        title="mIoU" if objective == "mean_iou" else "accuracy",
    )
    return _best(history, trial.objective)


def _study_of(trial: Trial, config: UnetSearch) -> Study:
    """The trial's run folder and its data."""
    run = _run_of(trial, config)
    return Study(config, load_data(config, run), run)


def _run_of(trial: Trial, config: Any) -> Run:
    """A run folder inside the trial's, with the checkpoints of the trial that it continues."""
    run = open_run(trial.folder.parent, trial.folder.name, "run", compared(config), resume=True)
    if trial.continues is not None and not run.path("checkpoints").exists():
        before = trial.continues / "run" / "checkpoints"
        if before.is_dir():
            shutil.copytree(before, run.path("checkpoints"))
    return run


def _metrics(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("epoch", "seconds")}


def _best(history: list[dict[str, float]], objective: SearchObjective) -> dict[str, float]:
    """The row of the best epoch, whose weights the model has."""
    values = [row[objective.metric] for row in history]
    return _metrics(history[values.index(objective.best(values))])

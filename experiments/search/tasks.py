"""What a search trains: configurations, and training functions that keras-tuner and NNI both call.

They stand in a module of their own because a trial's process imports them by name.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import keras

from experiments.common.program import compared
from experiments.common.training import Training, train
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
from experiments.unet.segmentation import (
    SegmentationConfig,
    augmentation_of,
    build_model,
    compile_model,
    load_data,
)
from experiments.unet.variants import group_selection
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
    tuner: str = ""
    """keras-tuner: random, bayesian, hyperband, grid; NNI: TPE, Random, GridSearch, Evolution, GP,
    Metis, Hyperband. Empty: bayesian or TPE."""
    concurrency: int = 1
    """Trials at a time."""
    port: int = 0
    """Of NNI's web page, or of keras-tuner's chief; on loopback. 0: a free one."""
    early_stop: Literal["halving", "median", "no"] = "halving"
    """Stop trials at 1/8, 1/4 and 1/2 of their epochs unless they are in the better half there
    (halving), or from 1/4 on where they are worse than the median of the others."""
    trial_minutes: float = 60.0
    """After which a trial is killed and counts as failed."""
    hours: float = 24.0
    """After which no trial starts; NNI ends those that run, too."""
    seed: int = 0

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
    """Search how the U-Net is best trained, or where it is best pruned."""

    what: Literal["training", "pruning"] = "training"
    """'pruning': a U-Net is trained once; each trial prunes and tunes it for `tune_epochs`."""
    objective: Literal["mean_iou", "accuracy"] = "mean_iou"
    """What trials are compared by; the other is reported beside it."""
    sparsity: float = 0.9
    """Of the pruned U-Net, over all its levels."""
    tune_epochs: int = 6
    dense: str = ""
    """The trained U-Net of 'pruning', as a .keras file; empty: it is trained first."""

    def check(self) -> None:
        """Check what would only show after the U-Net is trained."""
        super().check()
        if not 0 < self.sparsity < 1:
            raise ConfigError("sparsity", f"it is {self.sparsity}", "use a share, 0 to 1")
        if self.dense and not Path(self.dense).is_file():
            raise ConfigError("dense", f"there is no {self.dense}", "give a .keras file")

    @property
    def trial_epochs(self) -> int:
        """Epochs of a trial that is not stopped."""
        return self.epochs if self.what == "training" else self.tune_epochs


@dataclass(frozen=True, kw_only=True)
class TrashSearch(SearchFields, ClassificationConfig):
    """Search how the trash classifier is best trained."""

    tool: Literal["keras-tuner", "nni"] = "keras-tuner"
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
        space: What to search.
        objective: What for.
        function: Trains; of a module that other processes find.
        fields: Fields of an experiment's config from a trial's parameters.
        epochs: Of a trial that is not stopped.
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
    run = _run_of(trial, chosen)
    data = load_data(chosen, run)
    model = build_model(chosen, data)
    compile_model(model, chosen, data, chosen.epochs)
    history = _train(model, chosen, data, trial, run, trial.epochs or chosen.epochs)
    return _best(history, trial.objective)


def prune_unet(config: UnetSearch, params: Mapping[str, Any], trial: Trial) -> dict[str, float]:
    """A trial: the trained U-Net, pruned level by level, and tuned."""
    run = _run_of(trial, config)
    data = load_data(config, run)
    model, _ = pruned_unet(config, data, params)
    history = _train(model, config, data, trial, run, trial.epochs or config.tune_epochs)
    return _best(history, trial.objective)


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


def _train(
    model: Any,
    config: UnetSearch,
    data: SegmentationData,
    trial: Trial,
    run: Run,
    epochs: int,
) -> list[dict[str, float]]:
    how = Training(
        f"trial {trial.number}",
        "unet",
        epochs,
        config.batch,
        trial.seed,
        metric=config.objective,
        title="mIoU" if config.objective == "mean_iou" else "accuracy",
    )
    return train(
        model,
        data,
        augmentation_of(config),
        how,
        run,
        after_epoch=lambda row: trial.epoch(int(row["epoch"]), _metrics(row)),
    )


def _run_of(trial: Trial, config: Any) -> Run:
    """A run folder in the trial's; with the checkpoints of the trial that it takes up."""
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

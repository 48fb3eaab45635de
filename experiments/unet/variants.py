"""Training U-Nets that are compared: dense, channel-pruned from its branch, or from scratch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import keras

from experiments.common.seeds import seed_file
from experiments.common.training import BRANCH, Training, train
from experiments.unet.segmentation import (
    SegmentationConfig,
    augmentation_of,
    build_model,
    compile_model,
)
from tfcompress.data.folder import SegmentationData
from tfcompress.graph.saving import save_plain
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.plan import ChannelPlan
from tfcompress.pruning.channels.rounds import prune_in_rounds
from tfcompress.reporting.run import Run

History = list[dict[str, float]]


@dataclass(frozen=True)
class Rounds:
    """When a U-Net loses channels.

    Attributes:
        branch: Folder of the dense training below `checkpoints/`, whose branch is the start.
        first_epoch: Epochs that the branch has seen.
        last_epoch: Epoch at which the last round prunes; from there it only trains.
        rounds: Prunings between them, the first at `first_epoch`.
    """

    branch: str
    first_epoch: int
    last_epoch: int
    rounds: int

    def starts(self) -> list[int]:
        """Epoch at which each round prunes."""
        span = self.last_epoch - self.first_epoch
        steps = max(1, self.rounds - 1)
        return [self.first_epoch + round(i * span / steps) for i in range(self.rounds)]


def group_selection(group_sparsity: Mapping[str, float]) -> list[dict[str, Any]]:
    """A `config_list` from the sparsity of each group of layers, by glob; 0 leaves one whole."""
    return [
        {"sparsity": sparsity, "op_types": ["default"], "op_names": [glob]}
        for glob, sparsity in group_sparsity.items()
        if sparsity > 0
    ]


def train_pruned(
    name: str,
    pruning: ChannelConfig,
    rounds: Rounds,
    config: SegmentationConfig,
    data: SegmentationData,
    run: Run,
    seed: int,
    wrap: Callable[[Any], Any] = lambda model: model,
) -> tuple[list[ChannelPlan], History]:
    """Prune in rounds with training between, for as many epochs in all as the dense U-Net.

    Writes `name-seedN.keras`; what is there already is not done again.

    Args:
        name: Of the U-Net.
        pruning: Its budget and score.
        rounds: When it loses channels, and from which branch it starts.
        config: The experiment's.
        data: Patches.
        run: The run.
        seed: Of the order of the patches.
        wrap: What trains the U-Net: itself, or a Distiller around it.

    Returns:
        The plans of the rounds and the history.
    """
    path = seed_file(run, seed, name)
    folder = run.path("checkpoints", f"{name}-seed{seed}")
    starts = [*rounds.starts(), config.epochs]
    model = build_model(config, data)
    compile_model(model, config, data, config.epochs)
    model.optimizer.build(model.trainable_variables)
    model.load_weights(run.path("checkpoints", rounds.branch, BRANCH))

    def fine_tune(small: Any, number: int) -> None:
        first, last = starts[number - 1], starts[number]
        trainer = wrap(small)
        compile_model(trainer, config, data, config.epochs)
        trainer.optimizer.build(trainer.trainable_variables)
        trainer.optimizer.iterations.assign(first * -(-len(data.train) // config.batch))
        run.print(f"{name}: round {number}, {small.count_params():,} parameters")
        how = Training(
            name,
            f"{name}-seed{seed}/round{number}",
            last,
            config.batch,
            seed,
            first_epoch=first,
        )
        history = train(trainer, data, augmentation_of(config), how, run)
        run.write_json(f"checkpoints/{name}-seed{seed}/round{number}.json", history)

    result = prune_in_rounds(
        model,
        replace(pruning, seed=seed),
        fine_tune,
        rounds=rounds.rounds,
        folder=folder,
        data=(data.train.images, data.train.labels),
        loss=model.loss,
    )
    if not path.is_file():
        save_plain(result.model, path, training_state=False)
    history: History = []
    for number in range(1, rounds.rounds + 1):
        history += run.read_json(f"checkpoints/{name}-seed{seed}/round{number}.json") or []
    return list(result.plans), history


def train_whole(
    name: str,
    build: Callable[[], Any],
    config: SegmentationConfig,
    data: SegmentationData,
    run: Run,
    seed: int,
    keep_epoch: int | None = None,
) -> History:
    """Train a U-Net from new weights for all epochs.

    Writes `name-seedN.keras`; what is there already is not done again.

    Args:
        name: Of the U-Net: "dense", or a control's.
        build: Makes it, uncompiled, after the seed is set.
        config: The experiment's.
        data: Patches.
        run: The run.
        seed: Of weights and order.
        keep_epoch: Keep the state after this epoch for those that branch off.
    """
    path = seed_file(run, seed, name)
    saved = run.read_json(f"checkpoints/{name}-seed{seed}.json")
    if path.is_file() and saved is not None:
        return saved
    keras.utils.set_random_seed(seed)
    model = build()
    compile_model(model, config, data, config.epochs)
    how = Training(
        name, f"{name}-seed{seed}", config.epochs, config.batch, seed, keep_epoch=keep_epoch
    )
    history = train(model, data, augmentation_of(config), how, run)
    save_plain(model, path, training_state=False)
    run.write_json(f"checkpoints/{name}-seed{seed}.json", history)
    return history

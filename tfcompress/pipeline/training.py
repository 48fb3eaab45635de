"""Training in a recipe: compiled as the original model, zeros held, best epoch kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tfcompress.graph.rebuild import carry_compile_state
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.step import Fit, Fitting, History
from tfcompress.pruning.level.pruner import LevelPruner


def fit_keras(model: Any, data: CompressionData, how: Fitting) -> History:
    """Train with Keras' `fit`, and keep the weights of the epoch with the lowest validation loss.

    A step that is killed starts its training again.
    """
    keras.utils.set_random_seed(how.seed)
    best = keras.callbacks.EarlyStopping(
        "val_loss",
        mode="min",
        patience=how.epochs,  # never stops early
        restore_best_weights=True,
        start_from_epoch=how.choose_from,
    )
    done = model.fit(
        data.training_batches(),
        validation_data=data.validation_batches(),
        epochs=how.epochs,
        verbose=0,
        shuffle=False,  # the batches are shuffled already
        callbacks=[*how.callbacks, best],
    )
    names = list(done.history)
    return [
        {"epoch": epoch + 1, **{name: float(done.history[name][epoch]) for name in names}}
        for epoch in range(len(done.epoch))
    ]


@dataclass(frozen=True)
class Trainer:
    """The training function that steps are given.

    Attributes:
        base: Original model, whose losses, metrics and optimizer are used.
        data: Samples of all splits.
        fit: Function that trains: the user's, or `fit_keras`.
        folder: Folder of the step.
        name: Name of the step.
        seed: Seed of the order of the samples.
        has_zeros: Whether the zeros of a model have to stay zero.
    """

    base: Any
    data: CompressionData
    fit: Fit
    folder: Path
    name: str
    seed: int
    has_zeros: bool = False

    def __call__(
        self,
        model: Any,
        epochs: int,
        *,
        callbacks: tuple[Any, ...] = (),
        choose_from: int = 0,
        part: str = "training",
        student: Any = None,
        masked: bool = False,
    ) -> History:
        """Train a model in place.

        Args:
            model: Model to fit, or a `Distiller` around it.
            epochs: Number of training epochs; 0 does not train.
            callbacks: Keras callbacks that the technique needs.
            choose_from: First epoch, counted from 0, that may be chosen as the best.
            part: Name of the subfolder for checkpoints.
            student: Model inside, if `model` is a `Distiller`.
            masked: Whether the model already holds its zeros by masks.

        Returns:
            One row per epoch; empty for 0 epochs.
        """
        if epochs == 0:
            return []
        carry_compile_state(self.base, model)
        if self.has_zeros and not masked:
            LevelPruner.hold(model if student is None else student)
        how = Fitting(epochs, self.folder / part, self.name, self.seed, callbacks, choose_from)
        return self.fit(model, self.data, how)

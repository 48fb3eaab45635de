"""Training inside a recipe: compiled as the first model is, zeros held, best epoch kept."""

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
    """Keras' own `fit`; the weights of the epoch with the least validation loss stay.

    A step that is killed trains anew from its start.
    """
    keras.utils.set_random_seed(how.seed)
    best = keras.callbacks.EarlyStopping(
        "val_loss",
        mode="min",
        patience=how.epochs,  # never ends early
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
    """What steps train with.

    Attributes:
        base: Losses, metrics and optimizer are its.
        data: Samples.
        fit: The user's function, or `fit_keras`.
        folder: Of the step.
        name: Of the step.
        seed: Of the order of the samples.
        has_zeros: Whether zeros that a model has are to stay.
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
        """Train in place.

        Args:
            model: What is fitted: a model, or a Distiller around one.
            epochs: How many; 0 trains nothing.
            callbacks: That the technique needs.
            choose_from: First epoch (from 0) that may be chosen.
            part: Folder of the checkpoints, below the step's.
            student: The model inside, where `model` is a Distiller.
            masked: Whether the model carries its masks already.
        """
        if epochs == 0:
            return []
        carry_compile_state(self.base, model)
        if self.has_zeros and not masked:
            LevelPruner.hold(model if student is None else student)
        how = Fitting(epochs, self.folder / part, self.name, self.seed, callbacks, choose_from)
        return self.fit(model, self.data, how)

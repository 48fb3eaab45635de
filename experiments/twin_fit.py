"""Training a tf_keras twin as the Keras 3 U-Nets are trained: loss, data, learning rate, choice.

tf_keras takes neither Keras 3's callbacks nor its metrics, so the epoch's line, the choice on
validation and the checkpoint are made here; the resuming is tf_keras' own `BackupAndRestore`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import tf_keras

from experiments.segmentation import (
    SegmentationConfig,
    augmentation_of,
    compile_model,
    mean_iou_on,
)
from tfcompress.atomic import atomic_path
from tfcompress.data.augment import training_batches
from tfcompress.data.folder import SegmentationData
from tfcompress.reporting.run import Run


@dataclass(frozen=True)
class TwinTraining:
    """How to train.

    Attributes:
        name: Shown with each epoch.
        folder: Of the checkpoints, below `run/checkpoints/`.
        first_epoch: Epochs that the model has seen already.
        last_epoch: Epochs that it has seen in the end.
        choose_from: First epoch (from 1) whose weights may be chosen as the best.
        seed: Of the order of the patches.
        learning_rate: Peak; default the config's, which goes on along the config's cosine.
    """

    name: str
    folder: str
    first_epoch: int
    last_epoch: int
    choose_from: int
    seed: int = 0
    learning_rate: float | None = None


def fit_twin(
    twin: Any,
    original: Any,
    how: TwinTraining,
    config: SegmentationConfig,
    data: SegmentationData,
    run: Run,
) -> list[dict[str, float]]:
    """Compile and train a twin, wrapped or not, and leave it with its best weights on validation.

    Args:
        twin: The tf_keras model.
        original: The Keras 3 model whose loss it takes.
        how: How to train.
        config: The experiment's.
        data: Patches.
        run: Where checkpoints go and progress is shown.

    Returns:
        The history: one row per epoch with "epoch" from 1.
    """
    steps = -(-len(data.train) // config.batch)
    compile_model(original, config, data, config.epochs)
    loss = original.loss
    if how.learning_rate is None:
        peak, total, done = config.learning_rate, config.epochs, how.first_epoch
    else:
        peak, total, done = how.learning_rate, how.last_epoch - how.first_epoch, 0
    schedule = tf_keras.optimizers.schedules.CosineDecay(peak, total * steps, alpha=0.01)
    twin.compile(tf_keras.optimizers.Adam(schedule), lambda y_true, y_pred: loss(y_true, y_pred))
    twin.optimizer.build(twin.trainable_variables)
    twin.optimizer.iterations.assign(done * steps)
    folder = run.path("checkpoints", how.folder)
    folder.mkdir(parents=True, exist_ok=True)
    watcher = _Watcher(folder, how, data, run)
    twin.fit(
        training_batches(
            data.train.images,
            data.train.labels,
            config.batch,
            augmentation_of(config),
            1000 * how.seed + how.first_epoch,
        ),
        epochs=how.last_epoch - how.first_epoch,
        verbose=0,
        callbacks=[
            watcher,
            tf_keras.callbacks.BackupAndRestore(str(folder / "backup"), delete_checkpoint=False),
        ],
    )
    watcher.restore_best()
    return watcher.history


class _Watcher(tf_keras.callbacks.Callback):
    """Notes each epoch, keeps the best weights in a file; runs before the backup is made."""

    def __init__(self, folder: Any, how: TwinTraining, data: SegmentationData, run: Run) -> None:
        super().__init__()
        self.best_path = folder / "best.npz"
        self.history_path = folder / "history.json"
        self.how, self.data, self.run = how, data, run
        self.history: list[dict[str, float]] = []
        if self.history_path.is_file():
            self.history = json.loads(self.history_path.read_text(encoding="utf-8"))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.monotonic()
        # What a kill left undone is done again, and noted again.
        self.history = [row for row in self.history if row["epoch"] <= self._seen(epoch) - 1]

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        quality, _ = mean_iou_on(self.model, self.data.val, len(self.data.palette))
        seconds = time.monotonic() - self.began  # with validation, as Keras 3's epochs count
        seen = self._seen(epoch)
        row = {"epoch": seen, "loss": float((logs or {})["loss"]), "val_mean_iou": quality}
        row["seconds"] = round(seconds, 2)
        eligible = [r["val_mean_iou"] for r in self.history if r["epoch"] >= self.how.choose_from]
        is_best = seen >= self.how.choose_from and quality > max(eligible, default=-1.0)
        self.history.append(row)
        if is_best:
            with atomic_path(self.best_path) as temporary:
                np.savez(temporary, *[variable.numpy() for variable in self.model.variables])
        with atomic_path(self.history_path) as temporary:
            temporary.write_text(json.dumps(self.history), encoding="utf-8")
        self.run.print(
            f"{self.how.name:<6} {seen:3.0f}/{self.how.last_epoch}  loss {row['loss']:.4f}  "
            f"val mIoU {quality:.4f}  {seconds:.1f} s" + ("  *" if is_best else "")
        )

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""
        with np.load(self.best_path) as best:
            for variable, name in zip(self.model.variables, best.files, strict=True):
                variable.assign(best[name])

    def _seen(self, epoch: int) -> int:
        return self.how.first_epoch + epoch + 1

"""Training a tf_keras twin as the Keras 3 U-Nets are trained: loss, data, learning rate, choice.

tf_keras takes neither Keras 3's callbacks nor its metrics, so the epoch's line, the choice on
validation and the checkpoint are made here; the resuming is tf_keras' own `BackupAndRestore`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from experiments.unet.segmentation import (
    SegmentationConfig,
    augmentation_of,
    compile_model,
    mean_iou_on,
)
from tfcompress.atomic import atomic_path, write_text
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
    schedule = _CosineFrom(done * steps, peak, total * steps, alpha=0.01)
    twin.compile(tf_keras.optimizers.Adam(schedule), lambda y_true, y_pred: loss(y_true, y_pred))
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


class _CosineFrom(tf_keras.optimizers.schedules.CosineDecay):
    """A cosine from a later step on.

    The optimizer's own count starts at 0: its moments are new, and Adam corrects their bias by it.
    """

    def __init__(self, first_step: int, *args: float, **kwargs: float) -> None:
        super().__init__(*args, **kwargs)
        self.first_step = first_step

    def __call__(self, step: Any) -> Any:
        return super().__call__(step + self.first_step)


class _Watcher(tf_keras.callbacks.Callback):
    """Notes each epoch and keeps the best weights; runs before the backup is made.

    What an epoch wrote that a kill left without a backup is passed over: the epoch is done again.
    """

    def __init__(self, folder: Path, how: TwinTraining, data: SegmentationData, run: Run) -> None:
        super().__init__()
        self.folder = folder
        self.how, self.data, self.run = how, data, run
        self.history: list[dict[str, float]] = []
        path = folder / "history.json"
        if path.is_file():
            self.history = json.loads(path.read_text(encoding="utf-8"))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.monotonic()
        seen = self.how.first_epoch + epoch
        self.history = [row for row in self.history if row["epoch"] <= seen]
        best = self._best()
        for path in self.folder.glob("best-*.npz"):
            if path != self._path(best):
                path.unlink()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        quality, _ = mean_iou_on(self.model, self.data.val, len(self.data.palette))
        seconds = time.monotonic() - self.began  # with validation, as Keras 3's epochs count
        seen = self.how.first_epoch + epoch + 1
        row = {"epoch": seen, "loss": float((logs or {})["loss"]), "val_mean_iou": quality}
        self.history.append({**row, "seconds": round(seconds, 2)})
        is_best = self._best() == seen
        if is_best:
            with atomic_path(self._path(seen)) as temporary:
                np.savez(temporary, *[variable.numpy() for variable in self.model.variables])
        write_text(self.folder / "history.json", json.dumps(self.history))
        self.run.print(
            f"{self.how.name:<6} {seen:3.0f}/{self.how.last_epoch}  loss {row['loss']:.4f}  "
            f"val mIoU {quality:.4f}  {seconds:.1f} s" + ("  *" if is_best else "")
        )

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""
        with np.load(self._path(self._best())) as best:
            for variable, name in zip(self.model.variables, best.files, strict=True):
                variable.assign(best[name])

    def _best(self) -> int:
        """The epoch that is best on validation so far; 0 where none may be chosen yet."""
        eligible = [row for row in self.history if row["epoch"] >= self.how.choose_from]
        best = max(eligible, key=lambda row: row["val_mean_iou"], default={"epoch": 0})
        return int(best["epoch"])

    def _path(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:04d}.npz"

"""Training a tf_keras twin as the Keras 3 U-Nets are trained: loss, data, learning rate, choice.

tf_keras takes neither Keras 3's callbacks nor its metrics, so the epoch's line, the choice on
validation and the checkpoint are made here; tf_keras' own `BackupAndRestore` resumes a training.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import tf_keras

from experiments.common.report import History
from experiments.unet.segmentation import augmentation_of, mean_iou_on
from experiments.unet.study import Study
from tfcompress.atomic import atomic_path, write_text
from tfcompress.data.augment import training_batches


def fit_twin(
    study: Study,
    twin: Any,
    original: Any,
    name: str,
    folder: str,
    seed: int,
    first_epoch: int,
    last_epoch: int,
    choose_from: int = 1,
    learning_rate: float | None = None,
) -> History:
    """Compile and train a twin, wrapped or not, and leave it with its best weights on validation.

    Args:
        study: Config, data and run.
        twin: tf_keras model.
        original: Keras 3 model whose loss the twin takes.
        name: Name shown with each epoch.
        folder: Folder of the checkpoints below `run/checkpoints/`.
        seed: Seed of the order of the patches.
        first_epoch: Epochs that the model has seen before.
        last_epoch: Epochs that it has seen in the end.
        choose_from: First epoch (from 1) whose weights may be chosen as the best.
        learning_rate: Peak of a cosine of its own; default: the config's cosine, continued.
    """
    config, data = study.config, study.data
    study.compile(original)
    loss = original.loss
    if learning_rate is None:
        peak, total, done = config.learning_rate, config.epochs, first_epoch
    else:
        peak, total, done = learning_rate, last_epoch - first_epoch, 0
    schedule = _CosineFrom(done * study.steps, peak, total * study.steps, alpha=0.01)
    twin.compile(tf_keras.optimizers.Adam(schedule), lambda y_true, y_pred: loss(y_true, y_pred))
    place = study.run.path("checkpoints", folder)
    place.mkdir(parents=True, exist_ok=True)
    watcher = _Watcher(place, study, name, (first_epoch, last_epoch, choose_from))
    backup = tf_keras.callbacks.BackupAndRestore(str(place / "backup"), delete_checkpoint=False)
    twin.fit(
        training_batches(
            data.train.images,
            data.train.labels,
            config.batch,
            augmentation_of(config),
            1000 * seed + first_epoch,
        ),
        epochs=last_epoch - first_epoch,
        verbose=0,
        callbacks=[watcher, backup],
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
    """Records each epoch and keeps the best weights; runs before the backup is made.

    What an epoch wrote before a kill left it without a backup is ignored: the epoch is repeated.
    """

    def __init__(self, folder: Path, study: Study, name: str, epochs: tuple[int, int, int]) -> None:
        super().__init__()
        self.folder, self.study, self.name = folder, study, name
        self.first, self.last, self.choose_from = epochs
        self.history: History = []
        path = folder / "history.json"
        if path.is_file():
            self.history = json.loads(path.read_text(encoding="utf-8"))

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self.began = time.monotonic()
        seen = self.first + epoch
        self.history = [row for row in self.history if row["epoch"] <= seen]
        best = self._best()
        for path in self.folder.glob("best-*.npz"):
            if path != self._path(best):
                path.unlink()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        quality, _ = mean_iou_on(self.model, self.study.data.val, len(self.study.data.palette))
        seconds = time.monotonic() - self.began  # with validation, as Keras 3's epochs count
        seen = self.first + epoch + 1
        row = {"epoch": seen, "loss": float((logs or {})["loss"]), "val_mean_iou": quality}
        self.history.append({**row, "seconds": round(seconds, 2)})
        is_best = self._best() == seen
        if is_best:
            with atomic_path(self._path(seen)) as temporary:
                np.savez(temporary, *[variable.numpy() for variable in self.model.variables])
        write_text(self.folder / "history.json", json.dumps(self.history))
        self.study.run.print(
            f"{self.name:<6} {seen:3.0f}/{self.last}  loss {row['loss']:.4f}  "
            f"val mIoU {quality:.4f}  {seconds:.1f} s" + ("  *" if is_best else "")
        )

    def restore_best(self) -> None:
        """Give the model the weights of its best epoch."""
        with np.load(self._path(self._best())) as best:
            for variable, name in zip(self.model.variables, best.files, strict=True):
                variable.assign(best[name])

    def _best(self) -> int:
        """The epoch that is best on validation so far; 0 where none may be chosen yet."""
        eligible = [row for row in self.history if row["epoch"] >= self.choose_from]
        best = max(eligible, key=lambda row: row["val_mean_iou"], default={"epoch": 0})
        return int(best["epoch"])

    def _path(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch:04d}.npz"

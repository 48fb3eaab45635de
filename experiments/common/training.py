"""Training that resumes after a kill: each epoch writes a checkpoint, whole or not at all."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tfcompress.atomic import atomic_path, write_text
from tfcompress.data.augment import Augmentation, evaluation_batches, training_batches
from tfcompress.data.folder import SegmentationData
from tfcompress.reporting.run import Run, to_json

WEIGHTS = "state.weights.h5"
BEST = "best.weights.h5"
BRANCH = "branch.weights.h5"
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        name: Name shown with each epoch.
        folder: Folder of the checkpoints below `run/checkpoints/`.
        epochs: Epochs in total, those before a resume included.
        batch: Samples per batch.
        seed: Seed of the order of the samples.
        first_epoch: Epochs that the model has seen when this training starts.
        choose_from: First epoch (from 1) whose weights may be chosen as the best.
        keep_epoch: Epoch after which the state is kept as `BRANCH`.
        metric: Validation metric that the best epoch is chosen by.
        title: Name of the metric in the console.
    """

    name: str
    folder: str
    epochs: int
    batch: int
    seed: int = 0
    first_epoch: int = 0
    choose_from: int = 1
    keep_epoch: int | None = None
    metric: str = "mean_iou"
    title: str = "mIoU"


def train(
    model: Any,
    data: SegmentationData,
    augmentation: Augmentation,
    how: Training,
    run: Run,
    callbacks: Sequence[Any] = (),
    after_epoch: Callable[[dict[str, float]], bool] | None = None,
) -> list[dict[str, float]]:
    """Train a compiled U-Net on patches, as `fit_resumable` does.

    Args:
        model: Compiled model whose metrics include "mean_iou".
        data: Patches.
        augmentation: Augmentation of the training patches.
        how: How to train.
        run: Run that keeps the checkpoints and shows the progress.
        callbacks: Further Keras callbacks; they see each epoch before the checkpoint does.
        after_epoch: Callback of `fit_resumable`.
    """
    patches = data.train
    return fit_resumable(
        model,
        lambda first: training_batches(
            patches.images, patches.labels, how.batch, augmentation, 1000 * how.seed + first
        ),
        evaluation_batches(data.val.images, data.val.labels, 16),
        how,
        run,
        callbacks,
        after_epoch,
    )


def fit_resumable(
    model: Any,
    batches: Callable[[int], Any],
    validation: Any,
    how: Training,
    run: Run,
    callbacks: Sequence[Any] = (),
    after_epoch: Callable[[dict[str, float]], bool] | None = None,
) -> list[dict[str, float]]:
    """Train a compiled model and leave it with its best weights on validation.

    A killed training resumes from the last completed epoch, with the optimizer's state and, where
    a pruner is attached to the model, its masks.

    Args:
        model: Compiled model whose metrics include `how.metric`.
        batches: Function from the number of epochs seen to the shuffled training batches.
        validation: Validation batches.
        how: How to train.
        run: Run that keeps the checkpoints (`run/checkpoints/<folder>/`) and shows the progress.
        callbacks: Further Keras callbacks; they see each epoch before the checkpoint does.
        after_epoch: Called with each row of the history, first with those before a resume; the
            training ends where it returns True.

    Returns:
        The history: one row per epoch with "epoch" from 1.
    """
    folder = run.path("checkpoints", how.folder)
    model.optimizer.build(model.trainable_variables)  # so that its state can be loaded
    checkpoint = EpochCheckpoint(folder, how, run, after_epoch)
    first = checkpoint.restore(model)
    over = [after_epoch(row) for row in checkpoint.history] if after_epoch else []
    if first < how.epochs and not any(over):
        if first > how.first_epoch:
            run.print(f"{how.name}: resuming after epoch {first}")
        model.fit(
            batches(first),
            validation_data=validation,
            initial_epoch=first,
            epochs=how.epochs,
            verbose=0,
            shuffle=False,  # the batches are shuffled already
            callbacks=[*callbacks, checkpoint],
        )
    if checkpoint.history:  # without an epoch, the model stays what it is
        model.load_weights(checkpoint.best_path())
    return checkpoint.history


class EpochCheckpoint(keras.callbacks.Callback):
    """Writes `epoch-0007/` with weights, optimizer, masks, history; keeps the newest and the best.

    The folder appears by a rename, so a kill at any moment leaves the previous one.
    """

    def __init__(
        self,
        folder: Path,
        how: Training,
        run: Run,
        after_epoch: Callable[[dict[str, float]], bool] | None = None,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.how = how
        self.run = run
        self.after_epoch = after_epoch
        self.history: list[dict[str, float]] = []
        self.best: dict[str, float] = {}
        self._progress: Progress | None = None

    def restore(self, model: Any) -> int:
        """Load the newest whole checkpoint into the model; the number of epochs it has seen."""
        for leftover in self.folder.glob(".*.tmp"):
            shutil.rmtree(leftover, ignore_errors=True)
        newest = self._newest()
        if newest is None:
            return self.how.first_epoch
        state = json.loads((newest / PROGRESS).read_text(encoding="utf-8"))
        self.history, self.best = state["history"], state["best"]
        model.load_weights(newest / WEIGHTS)
        return int(state["epoch"])

    def best_path(self) -> Path:
        """Weights of the best epoch."""
        newest = self._newest()
        if newest is None:
            raise FileNotFoundError(f"no checkpoint in {self.folder}")
        return newest / BEST

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Start the progress bar."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("epoch {task.fields[epoch]}"),
            TimeRemainingColumn(),
            console=self.run.console,
            transient=True,
            disable=not self.run.console.is_terminal,
        )
        self._steps = self.params["steps"] or 0
        self._progress.start()
        done = len(self.history) * self._steps
        total = (self.how.epochs - self.how.first_epoch) * self._steps
        self._task = self._progress.add_task(self.how.name, total=total, completed=done, epoch="")

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._progress.update(self._task, epoch=f"{epoch + 1}/{self.how.epochs}")

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Move the progress bar."""
        self._progress.update(self._task, completed=len(self.history) * self._steps + batch + 1)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Stop the progress bar."""
        self._progress.stop()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Note the epoch and write its checkpoint."""
        row = {"epoch": epoch + 1, **{key: float(value) for key, value in (logs or {}).items()}}
        row["seconds"] = round(time.monotonic() - self._began, 2)
        self.history.append(row)
        eligible = epoch + 1 >= self.how.choose_from
        key = f"val_{self.how.metric}"
        is_best = eligible and row[key] > self.best.get(key, -1.0)
        if is_best:
            self.best = row
        self._write(epoch + 1, is_best or not self.best)
        self.run.print(self._line(row, is_best))
        if self.after_epoch is not None and self.after_epoch(row):
            self.model.stop_training = True

    def _write(self, epoch: int, is_best: bool) -> None:
        newest = self._newest()
        with atomic_path(self.folder / f"epoch-{epoch:04d}") as temporary:
            temporary.mkdir()
            self.model.save_weights(temporary / WEIGHTS)
            if is_best or newest is None:
                shutil.copyfile(temporary / WEIGHTS, temporary / BEST)
            else:
                shutil.copyfile(newest / BEST, temporary / BEST)
            state = {"epoch": epoch, "history": self.history, "best": self.best}
            write_text(temporary / PROGRESS, to_json(state))
            if epoch == self.how.keep_epoch:
                with atomic_path(self.folder / BRANCH) as branch:
                    shutil.copyfile(temporary / WEIGHTS, branch)
        if newest is not None:
            shutil.rmtree(newest)

    def _newest(self) -> Path | None:
        return max(self.folder.glob("epoch-*"), default=None)

    def _line(self, row: dict[str, float], is_best: bool) -> str:
        parts = [f"{self.how.name:<6} {row['epoch']:3.0f}/{self.how.epochs}"]
        parts += [f"loss {row['loss']:.4f}", f"val loss {row['val_loss']:.4f}"]
        for prefix, what in (("", ""), ("val ", "val_")):
            parts.append(f"{prefix}{self.how.title} {row[what + self.how.metric]:.4f}")
        if "sparsity" in row:
            parts.append(f"zeros {row['sparsity']:.1%}")
        parts.append(f"{row['seconds']:.1f} s")
        return "  ".join(parts) + ("  *" if is_best else "")

"""The Keras callback that moves a LevelPruner's masks. It owns timing, not arithmetic."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfcompress.pruning.level.pruner import LevelPruner


def make_callback(pruner: LevelPruner) -> Any:
    """A callback of the flavor of the pruner's model (Keras refuses the other's).

    Put it before `BackupAndRestore` and `ModelCheckpoint` in the list, so that what they write at
    the end of a batch includes that batch's masks.
    """
    base: Any = importlib.import_module(pruner.flavor).callbacks.Callback

    class PruningSchedule(base):
        """Masks follow the schedule; the sparsity reached is logged as `sparsity`."""

        def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            self._last_batch = -1
            pruner.start_epoch(epoch)

        def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
            # With steps_per_execution above 1 this is called once per execution.
            pruner.advance(batch - self._last_batch)
            self._last_batch = batch

        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            if logs is not None:
                logs["sparsity"] = pruner.sparsity

    return PruningSchedule()

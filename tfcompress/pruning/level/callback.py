"""The Keras callback that updates a LevelPruner's masks: it decides when, the pruner how."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfcompress.pruning.level.pruner import LevelPruner


def make_callback(pruner: LevelPruner) -> Any:
    """Make a callback of the model's flavor (Keras refuses callbacks of the other library).

    List it before `BackupAndRestore` and `ModelCheckpoint`, so that the files they write at the end
    of a batch include the masks of that batch.
    """
    base: Any = importlib.import_module(pruner.flavor).callbacks.Callback

    class PruningSchedule(base):
        """Updates masks along the schedule and logs the current sparsity as `sparsity`."""

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

"""Classification quality: macro F1 as a training metric, and the trash competition's score."""

from __future__ import annotations

from typing import Any

import keras

from tfcompress.errors import DataError
from tfcompress.losses import one_hot_labels

REFERENCE_MACS = 13_878_369
"""Multiply-accumulates of the competition's reference model, for one image."""
REFERENCE_F1 = 0.8367
"""Macro F1 of the competition's reference model."""


@keras.saving.register_keras_serializable(package="tfcompress")
class MacroF1(keras.metrics.F1Score):
    """Mean F1 score over the classes, as a streaming metric for `compile`.

    Counts are accumulated over the batches and F1 is computed from them; it is not an average of
    the batches' scores. A class that neither occurred nor was predicted has F1 = 0.

    Args:
        name: Name of the metric in the logs.
        dtype: Data type of the accumulated counts.
    """

    def __init__(self, name: str = "macro_f1", dtype: Any = None) -> None:
        super().__init__(average="macro", name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch to the counts.

        Args:
            y_true: Ground truth, class indices `(N,)` or one-hot `(N, classes)`.
            y_pred: Predicted scores `(N, classes)`.
            sample_weight: Sample weights `(N,)`.
        """
        super().update_state(one_hot_labels(y_true, y_pred), y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {"name": self.name, "dtype": self.dtype}


def trash_score(macs: float, macro_f1: float) -> float:
    """`MACs / reference MACs + penalty(F1)`: lower is better, and it can be negative.

    The penalty is 1 if F1 < 0.5, `1 - F1 / 0.8367` up to F1 = 0.8367, and half of that (a negative
    number) above. Source: rules of the trash-classification competition.

    Args:
        macs: Multiply-accumulates for one image.
        macro_f1: Macro F1, from 0 to 1.

    Returns:
        The score.

    Raises:
        DataError: The MACs are negative, or F1 is not between 0 and 1.
    """
    if macs < 0 or not 0 <= macro_f1 <= 1:
        raise DataError("score", f"MACs {macs}, F1 {macro_f1}", "use MACs >= 0, F1 from 0 to 1")
    short = 1 - macro_f1 / REFERENCE_F1
    if short < 0:
        short /= 2
    return macs / REFERENCE_MACS + (1.0 if macro_f1 < 0.5 else short)

"""Classification quality: macro F1 while training, and the score of the trash competition."""

from __future__ import annotations

from typing import Any

import keras

from tfcompress.errors import DataError
from tfcompress.losses import one_hot_labels

REFERENCE_MACS = 13_878_369
"""MACs of the competition's reference model."""
REFERENCE_F1 = 0.8367
"""Its macro F1."""


@keras.saving.register_keras_serializable(package="tfcompress")
class MacroF1(keras.metrics.F1Score):
    """Mean over the classes of the F1 score of all batches so far.

    A streaming metric for `compile`: counts are kept, scores are not averaged over batches. A
    class that never came and was never predicted counts with 0.

    Args:
        name: The metric's name.
        dtype: Of the counts.
    """

    def __init__(self, name: str = "macro_f1", dtype: Any = None) -> None:
        super().__init__(average="macro", name=name, dtype=dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Args:
            y_true: Class indices, or one-hot.
            y_pred: Scores `(N, classes)`.
            sample_weight: Weights of the samples.
        """
        super().update_state(one_hot_labels(y_true, y_pred), y_pred, sample_weight)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments, for saving."""
        return {"name": self.name, "dtype": self.dtype}


def trash_score(macs: float, macro_f1: float) -> float:
    """`MACs / reference MACs + penalty(F1)`: lower is better, below 0 is possible.

    The penalty is 1 below F1 = 0.5, `1 - F1 / 0.8367` up to 0.8367, and half of that (negative)
    above. It is the trash-classification competition's, from its rules.

    Args:
        macs: Multiply-accumulates of one image.
        macro_f1: From 0 to 1.

    Raises:
        DataError: Numbers out of range.
    """
    if macs < 0 or not 0 <= macro_f1 <= 1:
        raise DataError("score", f"MACs {macs}, F1 {macro_f1}", "use MACs >= 0, F1 from 0 to 1")
    short = 1 - macro_f1 / REFERENCE_F1
    if short < 0:
        short /= 2
    return macs / REFERENCE_MACS + (1.0 if macro_f1 < 0.5 else short)

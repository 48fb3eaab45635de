"""The samples that a recipe trains on, chooses by and reports on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from tfcompress.errors import ConfigError, DataError
from tfcompress.short_repr import short_repr

SPLITS = ("train", "val", "test")


@short_repr
@dataclass(frozen=True)
class CompressionData:
    """Labeled samples; each split is `(inputs, labels)` or a `tf.data.Dataset` of batches.

    Attributes:
        train: Training set; int8 is calibrated on its inputs.
        val: Validation set, on which epochs, steps and the final model are chosen.
        test: Test set of the last table. None uses `val`, and the table says so.
        calibration: Inputs for calibrating int8, in place of those of `train`.
        batch: Number of samples per training step, if `train` holds arrays.
    """

    train: Any
    val: Any
    test: Any = None
    calibration: Any = None
    batch: int = 32

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError("batch", f"it is {self.batch}", "use at least 1")
        for name in SPLITS:
            value = getattr(self, name)
            if value is None and name == "test":
                continue
            if isinstance(value, tf.data.Dataset):
                if value.cardinality() == tf.data.INFINITE_CARDINALITY:
                    raise DataError(name, "it never ends", "use take(steps) on the dataset")
                continue
            if not isinstance(value, tuple) or len(value) != 2:
                raise DataError(
                    name,
                    f"it is a {type(value).__name__}",
                    "give (inputs, labels) or a tf.data.Dataset of such batches",
                )
            if not len(value[0]) or len(value[0]) != len(value[1]):
                raise DataError(
                    name,
                    f"it has {len(value[0])} inputs and {len(value[1])} labels",
                    "give as many of each, and at least one",
                )

    @property
    def report_split(self) -> str:
        """Name of the split of the last table."""
        return "val" if self.test is None else "test"

    def training_batches(self) -> tf.data.Dataset:
        """Training batches; arrays are shuffled again in each epoch."""
        if isinstance(self.train, tf.data.Dataset):
            return self.train
        inputs, labels = map(np.asarray, self.train)
        whole = tf.data.Dataset.from_tensor_slices((inputs, labels))
        return whole.shuffle(len(inputs), reshuffle_each_iteration=True).batch(self.batch)

    def validation_batches(self) -> tf.data.Dataset:
        """Validation batches."""
        if isinstance(self.val, tf.data.Dataset):
            return self.val
        return tf.data.Dataset.from_tensor_slices(tuple(map(np.asarray, self.val))).batch(
            self.batch
        )

    def steps_per_epoch(self) -> int:
        """Number of optimizer steps per epoch.

        Raises:
            DataError: The length of the dataset is unknown.
        """
        steps = int(self.training_batches().cardinality())
        if steps < 0:
            raise DataError(
                "train",
                "its number of batches is unknown",
                "use tf.data.experimental.assert_cardinality(n) on the dataset",
            )
        return steps

    def calibration_inputs(self) -> Any:
        """Inputs for the calibration of int8 ranges."""
        if self.calibration is not None:
            return self.calibration
        if isinstance(self.train, tf.data.Dataset):
            return self.train.map(lambda inputs, *rest: inputs)
        return self.train[0]

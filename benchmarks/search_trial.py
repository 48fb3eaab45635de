"""The training that the search benchmarks run: three epochs of a small classifier on noise."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from tfcompress.tuning.space import LogUniform, SearchSpace
from tfcompress.tuning.trial import SearchObjective, Trial

SPACE = SearchSpace({"learning_rate": LogUniform(1e-4, 1e-2)})
OBJECTIVE = SearchObjective("val_accuracy")
EPOCHS = 3


def train(params: Mapping[str, Any], trial: Trial) -> dict[str, float]:
    """Train for three epochs; "train_seconds" is the time that they took."""
    import keras
    import numpy as np

    began = time.monotonic()
    rng = np.random.default_rng(0)
    images, labels = rng.random((512, 32, 32, 3), dtype=np.float32), rng.integers(0, 10, 512)
    layers = [keras.layers.Conv2D(16, 3, strides=2, activation="relu") for _ in range(3)]
    model = keras.Sequential(
        [keras.Input((32, 32, 3)), *layers, keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(params["learning_rate"]), loss, metrics=["accuracy"])
    history = model.fit(
        images,
        labels,
        validation_data=(images, labels),
        epochs=EPOCHS,
        batch_size=32,
        verbose=0,
        callbacks=[trial.callback()],
    ).history
    final = {name: values[-1] for name, values in history.items()}
    return {**final, "train_seconds": time.monotonic() - began}


if __name__ == "__main__":
    from tfcompress.tuning.nni.trial import run_nni_trial

    run_nni_trial(train, SPACE, OBJECTIVE)
    sys.exit(0)

"""One of two processes that train together: FLAVOR; prints its weights' sums and its zeros."""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import keras
import numpy as np
import tensorflow as tf

import tfcompress as tfc

STEPS, BATCH = 3, 16


def model_of(seed=0):
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, activation="relu", name="conv"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(3, activation="softmax", name="head"),
        ]
    )


def batches(distributed):
    rng = np.random.default_rng(0)
    images = rng.random((STEPS * BATCH, 8, 8, 1), dtype=np.float32)
    labels = rng.integers(0, 3, len(images))
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(BATCH)
    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return data.with_options(options) if distributed else data


def trained(distributed):
    """The tf_keras twin of a Keras 3 model, pruned, after three steps."""
    twin = tfc.to_tf_keras(model_of(), check=False)
    pruner = tfc.LevelPruner(twin, [{"sparsity": 0.5, "op_types": ["default"]}], scope="layer")
    pruner.compress()
    twin.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    history = twin.fit(batches(distributed), epochs=1, shuffle=False, verbose=0).history
    return twin, pruner, history


if __name__ == "__main__":
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        if sys.argv[1] == "keras":
            model = model_of()
            try:
                tfc.LevelPruner(model, [{"sparsity": 0.5, "op_types": ["default"]}]).compress()
            except tfc.CompressionError as error:
                print(json.dumps({"refused": str(error)}))
            model.compile("adam", "sparse_categorical_crossentropy")
            model.fit(batches(True), epochs=1, verbose=0)
            sys.exit(0)
        twin, pruner, history = trained(True)
    weights = [np.asarray(w).tolist() for w in twin.get_weights()]
    found = {"weights": weights, "zeros": pruner.report().zeros, "loss": history["loss"][0]}
    Path(sys.argv[2]).write_text(json.dumps(found))

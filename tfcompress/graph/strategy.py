"""Refuse distribution strategies under which a model cannot train, before training starts."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfcompress.errors import LayerError
from tfcompress.graph.layers import flavor_of


def check_strategy(model: Any) -> None:
    """Refuse to train a Keras 3 model on several workers, where its `fit` fails (Keras 3.15).

    MirroredStrategy (several devices of one machine) works with both flavors.

    Raises:
        LayerError: A Keras 3 model is in the scope of MultiWorkerMirroredStrategy.
    """
    strategy = tf.distribute.get_strategy()
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if several and flavor_of(model) == "keras":
        raise LayerError(
            f"model {model.name!r}",
            "Keras 3 cannot train under MultiWorkerMirroredStrategy",
            "train its tf_keras twin, made in the strategy's scope by "
            "tfcompress.to_tf_keras(model), and convert it back with tfcompress.to_keras3",
        )

"""Distribution strategies under which a model cannot train, said before it tries."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfcompress.errors import LayerError
from tfcompress.graph.layers import flavor_of


def check_strategy(model: Any) -> None:
    """Refuse several workers for a Keras 3 model: its `fit` fails under them (Keras 3.15).

    MirroredStrategy (several devices of one machine) is fine with both flavors.

    Raises:
        LayerError: It is a Keras 3 model in the scope of MultiWorkerMirroredStrategy.
    """
    strategy = tf.distribute.get_strategy()
    several = isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy)
    if several and flavor_of(model) == "keras":
        raise LayerError(
            f"model {model.name!r}",
            "Keras 3 cannot train under MultiWorkerMirroredStrategy",
            "train its twin, made in the scope: tfcompress.to_tf_keras(model); "
            "tfcompress.to_keras3 brings it back",
        )

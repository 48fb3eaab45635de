"""Network slimming: training with an L1 penalty on the gammas of normalization layers.

Reference: Liu, Li, Shen, Huang, Yan, Zhang: "Learning Efficient Convolutional Networks through
Network Slimming", ICCV 2017, equation 1. Then prune with `ChannelConfig(score="gamma")`.
"""

from __future__ import annotations

import importlib
from typing import Any

from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph.layers import flavor_of, own_weights, walk_layers
from tfcompress.internals.tf_keras import ADDED_LOSSES
from tfcompress.pruning.channels.trace.groups import find_groups


def slimmable(model: Any) -> list[tuple[str, Any]]:
    """(path, layer) of the normalization layers with a gamma whose channels may be removed.

    Raises:
        LayerError: The model has no such layer.
    """
    graph = find_groups(model)
    free = {
        unit
        for group in graph.groups
        for unit, locked in zip(group.units, group.locked, strict=True)
        if not locked
    }
    paths = {
        cut.key[0]
        for cut in graph.flow.cuts
        if cut.part == "follower" and cut.key[1] == "gamma" and free & set(cut.units.tolist())
    }
    found = [(placed.path, placed.layer) for placed in walk_layers(model) if placed.path in paths]
    if not found:
        raise LayerError(
            f"model {model.name!r}",
            "no normalization layer with a gamma follows channels that may be removed",
            "put BatchNormalization after the convolutions, or prune by another score",
        )
    return found


def slim(model: Any, strength: float = 1e-4) -> Any:
    """A callback for `fit` that adds strength * sum |gamma| to the loss during training.

    The penalty is removed when training ends, so that the saved model contains no trace of it.

    Args:
        model: Model to be trained, Keras 3 or tf_keras.
        strength: Factor of the penalty, above 0; the paper uses 1e-4 to 1e-5.

    Raises:
        ConfigError: The strength is not above zero.
        LayerError: The model has no gamma whose channel may be removed.
    """
    if not strength > 0:
        raise ConfigError("strength", f"it is {strength}", "use a number above 0, such as 1e-4")
    gammas = [(layer, dict(own_weights(layer))["gamma"]) for _, layer in slimmable(model)]
    keras3 = flavor_of(model) == "keras"
    base: Any = importlib.import_module(flavor_of(model)).callbacks.Callback

    class Slimming(base):
        """Installs the penalty before the training step is traced, and removes it at the end."""

        def set_model(self, trained: Any) -> None:
            super().set_model(trained)
            self._before = []
            for layer, gamma in gammas:
                if keras3:
                    self._before.append(gamma.regularizer)
                    gamma.regularizer = _Penalty(strength, gamma.regularizer)
                else:
                    penalty = _Penalty(strength, None)
                    layer.add_loss(lambda gamma=gamma, penalty=penalty: penalty(gamma))
                    self._before.append(ADDED_LOSSES.of(layer)[-1])
            trained.train_function = None

        def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
            for (layer, gamma), before in zip(gammas, self._before, strict=True):
                if keras3:
                    gamma.regularizer = before
                else:
                    ADDED_LOSSES.of(layer).remove(before)
            self._before = []
            self.model.train_function = None

    return Slimming()


class _Penalty:
    """L1 penalty, added to the regularizer that the variable had."""

    def __init__(self, strength: float, inner: Any) -> None:
        self.strength = strength
        self.inner = inner

    def __call__(self, gamma: Any) -> Any:
        import tensorflow as tf

        value = self.strength * tf.reduce_sum(tf.abs(tf.convert_to_tensor(gamma)))
        return value if self.inner is None else value + self.inner(gamma)

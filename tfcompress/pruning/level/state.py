"""Pruner state that is saved in a model's checkpoints.

The state is an attribute of the model. Keras saves it with the weights (`save_weights`,
`ModelCheckpoint`, `BackupAndRestore`; for tf_keras also TensorFlow checkpoints) and restores it, so
that a resumed run continues with its masks and its step. A model without a pruner ignores it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from tfcompress.errors import LayerError
from tfcompress.graph.constraint import MaskConstraint
from tfcompress.graph.layers import Flavor, Key
from tfcompress.graph.saving import STATE_PREFIX
from tfcompress.internals.keras import SAVEABLE
from tfcompress.internals.tensorflow import AUTO_TRACKABLE
from tfcompress.internals.tf_keras import TRACK

ATTRIBUTE = f"{STATE_PREFIX}pruning"


class PruningState:
    """Masks and step count of one model, in the two forms that Keras checkpoints support.

    Args:
        constraints: Installed masks, by (layer path, role).
        remask: Function that applies the masks to the weights.

    Attributes:
        constraints: Installed masks, by (layer path, role).
        step: Number of optimizer steps since `compress()`, as an int64 `tf.Variable`.
    """

    def __init__(
        self, constraints: Mapping[Key, MaskConstraint], remask: Callable[[], None]
    ) -> None:
        self.constraints = dict(constraints)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="pruning_step")
        self._remask = remask

    def masks(self) -> dict[Key, np.ndarray]:
        """The masks as boolean arrays, True where the weight is kept."""
        return {key: constraint.keep for key, constraint in self.constraints.items()}

    def to_store(self, store: Any) -> None:
        """Write masks (one bit per weight) and step into an HDF5-like mapping."""
        keys = [[*key, list(c.mask.shape)] for key, c in self.constraints.items()]
        store["keys"] = np.frombuffer(json.dumps(keys).encode("utf-8"), np.uint8)
        store["step"] = np.int64(self.step.numpy())
        for i, mask in enumerate(self.masks().values()):
            store[f"mask{i}"] = np.packbits(mask)

    def from_store(self, store: Any) -> None:
        """Read masks and step from a checkpoint; without masks in it, keep the current ones.

        Raises:
            LayerError: The checkpoint's masks belong to other weights.

        Warns:
            UserWarning: The checkpoint contains no masks.
        """
        if store is None or "keys" not in store.keys():  # noqa: SIM118 (an HDF5 store has no `in`)
            warnings.warn(
                "the loaded weights contain no pruning masks, so the model's current masks were "
                "applied to them; call compress() again for masks of the loaded weights",
                stacklevel=2,
            )
            self._remask()
            return
        saved = json.loads(bytes(np.asarray(store["keys"])))
        present = [[*key, list(c.mask.shape)] for key, c in self.constraints.items()]
        # Automatic layer names ("conv2d_7") differ from process to process, so masks are matched
        # by order and shape.
        if [shape for *_, shape in saved] != [shape for *_, shape in present]:
            raise LayerError(
                f"pruning masks in the checkpoint ({_differing(saved, present)})",
                "they belong to other weights than this model's pruner selected",
                "give LevelPruner the config_list that the checkpoint was made with",
            )
        for i, constraint in enumerate(self.constraints.values()):
            shape = tuple(constraint.mask.shape)
            bits = np.unpackbits(np.asarray(store[f"mask{i}"]), count=int(np.prod(shape)))
            constraint.mask.assign(bits.astype(bool).reshape(shape))
        self.step.assign(int(np.asarray(store["step"])))
        self._remask()


def attach(model: Any, flavor: Flavor, state: PruningState) -> None:
    """Attach the state to a model where checkpoints find it, replacing an earlier one."""
    carrier = _keras_carrier(state) if flavor == "keras" else _tf_keras_carrier(state)
    object.__setattr__(model, ATTRIBUTE, carrier)
    if flavor == "tf_keras":
        TRACK.of(model)(carrier, ATTRIBUTE, overwrite=True)


def state_of(model: Any) -> PruningState | None:
    """The pruning state that is attached to a model; None if there is none."""
    carrier = getattr(model, ATTRIBUTE, None)
    return None if carrier is None else carrier.state()


def _keras_carrier(state: PruningState) -> Any:
    base: Any = SAVEABLE.get()

    class PruningCarrier(base):
        """Object that Keras 3 finds when it saves a model's attributes."""

        def _obj_type(self) -> str:
            return "Operation"

        def state(self) -> PruningState:
            return state

        def save_own_variables(self, store: Any) -> None:
            state.to_store(store)

        def load_own_variables(self, store: Any) -> None:
            state.from_store(store)

    return PruningCarrier()


def _tf_keras_carrier(state: PruningState) -> Any:
    import tf_keras

    trackable: Any = AUTO_TRACKABLE.get()

    class PruningCarrier(tf_keras.losses.Loss, trackable):
        """A Loss, because tf_keras saves only its own classes; trackable for TF checkpoints."""

        def __init__(self) -> None:
            super().__init__(name=ATTRIBUTE)
            self.tracked_masks = [constraint.mask for constraint in state.constraints.values()]
            self.tracked_step = state.step

        def call(self, y_true: Any, y_pred: Any) -> Any:
            raise NotImplementedError("this object holds masks and computes no loss")

        def state(self) -> PruningState:
            return state

        def save_own_variables(self, store: Any) -> None:
            state.to_store(store)

        def load_own_variables(self, store: Any) -> None:
            state.from_store(store)

    return PruningCarrier()


def _differing(saved: list[list[Any]], present: list[list[Any]]) -> str:
    """Describe the first difference between two lists of `[path, role, shape]`."""
    for ours, theirs in zip(present, saved, strict=False):
        if ours[2] != theirs[2]:
            return f"{'/'.join(theirs[:2])} of shape {theirs[2]}, here {ours[2]}"
    return f"{len(saved)} weights, here {len(present)}"

"""Private names of Keras 3, and of tf_keras where it has them too."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from typing import Any

from tfcompress.internals.names import InnerName, PrivateAttribute

_KERAS, _BOTH = ("keras",), ("keras", "tf_keras")
_V3, _V = "keras 3.15.1", "keras 3.15.1, tf_keras 2.19.0"

HISTORY = PrivateAttribute(
    _BOTH, "symbolic tensor", "_keras_history", "tell symbolic tensors, and what made them", _V
)
NODES = PrivateAttribute(
    _BOTH, "functional model", "_nodes_by_depth", "read a model's graph in running order", _V
)
FUNCTIONAL = PrivateAttribute(
    _KERAS, "Sequential model", "_functional", "read the graph of a Sequential model", _V3
)
INPUTS = PrivateAttribute(
    _KERAS, "functional model", "_inputs_struct", "feed inputs in the model's own structure", _V3
)
OUTPUTS = PrivateAttribute(
    _KERAS, "functional model", "_outputs_struct", "give outputs in the model's own structure", _V3
)
TAKES_TRAINING = PrivateAttribute(
    _KERAS, "layer", "_call_has_training_arg", "pass `training` only where it is taken", _V3
)
FLATTEN_LAYERS = PrivateAttribute(
    _BOTH, "layer", "_flatten_layers", "find the layers inside a layer", _V
)
VALUE = PrivateAttribute(_KERAS, "variable", "_value", "reach the tf.Variable behind it", _V3)
COMPILE_CONFIG = PrivateAttribute(
    _BOTH, "compiled model", "_compile_config", "compile another model the same way", _V
)
FUNCTION_OPTIONS = PrivateAttribute(
    _BOTH, "loss or metric of a function", "_fn_kwargs", "carry options that no config holds", _V
)
LAMBDA_SHAPE = PrivateAttribute(
    _BOTH, "Lambda layer", "_output_shape", "make a Lambda again with its output shape", _V
)
ATTENTION = {
    part: PrivateAttribute(
        _BOTH, "MultiHeadAttention layer", f"_{part}_dense", "remove whole heads", _V
    )
    for part in ("query", "key", "value", "output")
}
SAVEABLE = InnerName(
    "keras",
    "keras.src.saving.keras_saveable",
    "KerasSaveable",
    "keep pruning masks in a model's checkpoints",
    _V3,
)
SAVEABLE_KIND = PrivateAttribute(
    _KERAS, "KerasSaveable", "_obj_type", "name the kind of a checkpointed object", _V3
)
BASE_OPTIMIZER = InnerName(
    "keras",
    "keras.src.optimizers.base_optimizer",
    "BaseOptimizer",
    "mask the moving averages of `use_ema` in every optimizer",
    _V3,
)
UPDATE_AVERAGES = PrivateAttribute(
    _BOTH,
    "optimizer class",
    "_update_model_variables_moving_average",
    "mask the moving averages of `use_ema` after each update",
    _V,
)
AVERAGES = PrivateAttribute(
    _BOTH,
    "built optimizer with use_ema",
    "_model_variables_moving_average",
    "mask the moving averages of `use_ema`",
    _V,
)


class _Hook:
    """What follows the updates of moving averages in one class of optimizers."""

    def __init__(self, kind: Any) -> None:
        self.kind = kind
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        self.before: Any = None
        self.now: Any = None

    def install(self, act: Callable[[Any, Any], None]) -> None:
        if self.now is not None:
            return
        before = UPDATE_AVERAGES.of(self.kind)

        @functools.wraps(before)
        def update_and_act(optimizer: Any, variables: Any) -> None:
            before(optimizer, variables)
            if optimizer.use_ema:
                act(optimizer, variables)

        UPDATE_AVERAGES.put(self.kind, update_and_act)
        self.before, self.now = before, update_and_act

    def leave(self) -> None:
        """Put the old method back if nobody needs ours, and nobody has replaced it since."""
        # Its list: a user that is going away may still be counted.
        if not list(self.users) and self.now is UPDATE_AVERAGES.of(self.kind):
            UPDATE_AVERAGES.put(self.kind, self.before)
            self.now = None


_hooks: dict[Any, _Hook] = {}


def after_averages(kind: Any, act: Callable[[Any, Any], None], user: object) -> None:
    """Let an action follow each update of the averages of `use_ema`, as long as its user lives.

    Args:
        kind: Base class of optimizers, of either Keras.
        act: Called with an optimizer and its variables, when the averages have been updated; the
            same function for every user of a class.
        user: Object that needs the action. When the last one is gone, the class is as it was.
    """
    hook = _hooks.setdefault(kind, _Hook(kind))
    if user not in hook.users:
        weakref.finalize(user, hook.leave).atexit = False
    hook.users.add(user)  # first, so that a user that goes away meanwhile leaves the hook in place
    hook.install(act)

"""Private names of tf_keras that Keras 3 does not have."""

from __future__ import annotations

from tfcompress.internals.names import PrivateAttribute

_PACKAGE, _V = ("tf_keras",), "tf_keras 2.19.0"

INPUTS = PrivateAttribute(
    _PACKAGE, "functional model", "_nested_inputs", "feed inputs in the model's own structure", _V
)
OUTPUTS = PrivateAttribute(
    _PACKAGE, "functional model", "_nested_outputs", "give outputs in the model's own structure", _V
)
TAKES_TRAINING = PrivateAttribute(
    _PACKAGE, "layer", "_expects_training_arg", "pass `training` only where it is taken", _V
)
CALLS = PrivateAttribute(
    _PACKAGE, "called layer", "_inbound_nodes", "find the tensors around a layer", _V
)
READERS = PrivateAttribute(
    _PACKAGE, "called layer", "_outbound_nodes", "see whether only one layer reads an output", _V
)
IS_COMPILED = PrivateAttribute(
    _PACKAGE, "model", "_is_compiled", "tell whether a model was compiled", _V
)
ADDED_LOSSES = PrivateAttribute(
    _PACKAGE, "layer", "_callable_losses", "take a loss off again that was added to a layer", _V
)
AUTOCAST = PrivateAttribute(
    _PACKAGE, "autocast variable", "_variable", "reach the tf.Variable behind it", _V
)
TRACK = PrivateAttribute(
    _PACKAGE, "model", "_track_trackable", "keep pruning masks in TensorFlow's checkpoints", _V
)
AVERAGE_INDEX = PrivateAttribute(
    _PACKAGE, "built optimizer", "_index_dict", "find the moving average of a variable", _V
)
VARIABLE_KEY = PrivateAttribute(
    _PACKAGE, "optimizer", "_var_key", "find the moving average of a variable", _V
)
STRATEGY = PrivateAttribute(
    _PACKAGE, "optimizer", "_distribution_strategy", "mask a moving average on each device", _V
)

"""Private names of TensorFlow."""

from __future__ import annotations

from tfcompress.internals.names import InnerName, PrivateAttribute

_V = "2.19.0"

CONSTRAINT = PrivateAttribute(
    ("tensorflow",), "tf.Variable", "_constraint", "hold masks on tf_keras variables", _V
)
REPLICAS = PrivateAttribute(
    ("tensorflow",), "mirrored variable", "_values", "set a constraint on each device", _V
)
FUNCTION = PrivateAttribute(
    ("tensorflow",), "graph", "_get_function", "count MACs inside called functions", _V
)
FREEZE = InnerName(
    "tensorflow",
    "tensorflow.python.framework.convert_to_constants",
    "convert_variables_to_constants_v2",
    "write weights into a LiteRT file as constants",
    _V,
)
WITH_PORTS = InnerName(
    "tensorflow",
    "tensorflow.lite.python.util",
    "modify_model_io_type",
    "give a LiteRT file integer inputs and outputs",
    _V,
)
FLATBUFFERS = InnerName(
    "tensorflow",
    "tensorflow.lite.tools.flatbuffer_utils",
    "",
    "edit the operators of a LiteRT file",
    _V,
)
AUTO_TRACKABLE = InnerName(
    "tensorflow",
    "tensorflow.python.trackable.autotrackable",
    "AutoTrackable",
    "keep pruning masks in TensorFlow's checkpoints",
    _V,
)

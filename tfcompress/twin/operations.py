"""Map bare operations between the libraries: `keras.ops` classes and tf_keras' lambda layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfcompress.internals.keras import HISTORY

# (Keras 3 operation class, TensorFlow function, keras.ops function) of operations whose positional
# arguments are all tensors or numbers.
_PLAIN: tuple[tuple[str, str, str], ...] = (
    ("Add", "math.add", "add"),
    ("Subtract", "math.subtract", "subtract"),
    ("Multiply", "math.multiply", "multiply"),
    ("TrueDivide", "math.truediv", "true_divide"),
    ("Divide", "math.divide", "divide"),
    ("Maximum", "math.maximum", "maximum"),
    ("Minimum", "math.minimum", "minimum"),
    ("Power", "math.pow", "power"),
    ("Negative", "math.negative", "negative"),
    ("Absolute", "math.abs", "absolute"),
    ("Square", "math.square", "square"),
    ("Sqrt", "math.sqrt", "sqrt"),
    ("Exp", "math.exp", "exp"),
    ("Log", "math.log", "log"),
    ("Tanh", "math.tanh", "tanh"),
    ("Sigmoid", "math.sigmoid", "sigmoid"),
    ("Softplus", "math.softplus", "softplus"),
    ("Relu", "nn.relu", "relu"),
    ("Relu6", "nn.relu6", "relu6"),
    ("Silu", "nn.silu", "silu"),
    ("Elu", "nn.elu", "elu"),
    ("Selu", "nn.selu", "selu"),
)
_ALIASES = {
    "__operators__.add": "math.add",
    "__operators__.sub": "math.subtract",
    "__operators__.mul": "math.multiply",
    "__operators__.truediv": "math.truediv",
    "__operators__.neg": "math.negative",
    "nn.sigmoid": "math.sigmoid",
    "nn.tanh": "math.tanh",
    "nn.softplus": "math.softplus",
    "nn.swish": "nn.silu",
}
_REDUCTIONS = {"Mean": "reduce_mean", "Max": "reduce_max", "Min": "reduce_min", "Sum": "reduce_sum"}


def crossing_function(op: Any, flavor: str, name: str) -> Callable[..., Any] | None:
    """Get a function (or layer) that computes a bare operation in the other library.

    Args:
        op: Operation of a wiring.
        flavor: Library of `op`, "keras" or "tf_keras".
        name: Name of the layer that the operation may become.

    Returns:
        A callable with the call arguments of `op`; None if `op` is a layer, or an operation that
        the other library lacks.
    """
    kind = type(op).__name__
    if flavor == "keras":
        import keras

        if isinstance(op, keras.Layer):
            return None
        layer = _as_layer(op, kind, name)
        return _to_tensorflow(op, kind) if layer is None else layer
    if kind == "SlicingOpLambda":
        return lambda x, key: x[tuple(_as_slice(k) for k in _as_tuple(key))]
    function = _to_keras3(op.symbol) if kind == "TFOpLambda" else None
    if function is None:
        return None
    return lambda *args, name=None, **kwargs: function(*args, **kwargs)


_MERGES = ("Add", "Subtract", "Multiply", "Maximum", "Minimum")
_ACTIVATIONS = {"Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "swish", "Elu": "elu"}


def _as_layer(op: Any, kind: str, name: str) -> Callable[..., Any] | None:
    """The tf_keras layer that computes an operation, if there is one; TFMOT needs layers."""
    import tf_keras

    layers = tf_keras.layers
    if kind in _MERGES:
        layer = getattr(layers, kind)(name=name)
        plain = _to_tensorflow(op, kind)

        def merge(*tensors: Any) -> Any:
            shapes = {tuple(getattr(x, "shape", ())) for x in tensors}
            symbolic = all(HISTORY.on(x) for x in tensors)
            alike = symbolic and len(shapes) == 1
            return layer(list(tensors)) if alike or plain is None else plain(*tensors)

        return merge
    if kind == "Relu":
        return layers.ReLU(name=name)
    if kind in _ACTIVATIONS:
        return layers.Activation(_ACTIVATIONS[kind], name=name)
    if kind == "Concatenate":
        return layers.Concatenate(axis=op.axis, name=name)
    return None


def _to_tensorflow(op: Any, kind: str) -> Callable[..., Any] | None:
    import tensorflow as tf

    for name, function, _ in _PLAIN:
        if kind == name:
            return lambda *args, **kwargs: _named(tf, function)(*args)
    if kind in _REDUCTIONS:
        reduce = getattr(tf, _REDUCTIONS[kind])
        return lambda x: reduce(x, axis=op.axis, keepdims=op.keepdims)
    if kind == "GetItem":
        return lambda x, key: x[key]
    if kind == "HardSigmoid":
        return lambda x: tf.nn.relu6(x + 3.0) * (1.0 / 6.0)
    if kind == "HardSilu":
        return lambda x: x * (tf.nn.relu6(x + 3.0) * (1.0 / 6.0))
    if kind == "Gelu":
        return lambda x: tf.nn.gelu(x, approximate=op.approximate)
    if kind == "Softmax":
        return lambda x: tf.nn.softmax(x, axis=op.axis)
    if kind == "Reshape":
        return lambda x: tf.reshape(x, [-1 if size is None else size for size in op.newshape])
    if kind == "Transpose":
        return lambda x: tf.transpose(x, op.axes)
    if kind == "Concatenate":
        return lambda xs: tf.concat(xs, op.axis)
    if kind == "ExpandDims":
        return lambda x: tf.expand_dims(x, op.axis)
    if kind == "Squeeze":
        return lambda x: tf.squeeze(x, op.axis)
    if kind == "Clip":
        return lambda x: tf.clip_by_value(x, op.x_min, op.x_max)
    return None


def _to_keras3(symbol: str) -> Callable[..., Any] | None:
    from keras import ops

    symbol = _ALIASES.get(symbol, symbol)
    for _, function, name in _PLAIN:
        if symbol == function:
            return lambda *args, **kwargs: getattr(ops, name)(*args)
    short = symbol.rsplit(".", 1)[-1]
    for kind, function in _REDUCTIONS.items():
        if short == function:
            reduce = getattr(ops, kind.lower())
            return lambda x, axis=None, keepdims=False: reduce(x, axis=axis, keepdims=keepdims)
    others: dict[str, Callable[..., Any]] = {
        "gelu": lambda x, approximate=False: ops.gelu(x, approximate),
        "softmax": lambda x, axis=-1: ops.softmax(x, axis),
        "reshape": lambda x, shape: ops.reshape(x, tuple(shape)),
        "transpose": lambda x, perm=None, conjugate=False: ops.transpose(x, perm),
        "concat": lambda values, axis: ops.concatenate(values, axis),
        "expand_dims": lambda x, axis: ops.expand_dims(x, axis),
        "squeeze": lambda x, axis=None: ops.squeeze(x, axis),
        "clip_by_value": lambda x, low, high: ops.clip(x, low, high),
    }
    return others.get(short)


def _named(library: Any, path: str) -> Any:
    room, name = path.split(".")
    return getattr(getattr(library, room), name)


def _as_tuple(key: Any) -> tuple[Any, ...]:
    return tuple(key) if isinstance(key, (list, tuple)) else (key,)


def _as_slice(key: Any) -> Any:
    return slice(key["start"], key["stop"], key["step"]) if isinstance(key, dict) else key

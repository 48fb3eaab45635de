"""The TensorFlow side of a LiteRT conversion: freeze the model, convert it, explain errors."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.errors import LayerError
from tfcompress.internals.tensorflow import FREEZE
from tfcompress.litert.formats import NumberFormat
from tfcompress.litert.integer_ports import with_integer_ports
from tfcompress.quiet import quiet_stderr


@dataclass(frozen=True)
class Signature:
    """Shapes and types of a model's inputs, and the batch size of the file.

    Attributes:
        shapes: Shape of each input, without the batch axis.
        dtypes: Type of each input.
        batch_size: Fixed batch size, or None for a free one.
    """

    shapes: tuple[tuple[int | None, ...], ...]
    dtypes: tuple[str, ...]
    batch_size: int | None


def input_specs(
    model: Any,
) -> tuple[list[str], list[tuple[int | None, ...]], list[str]]:
    """Names, shapes without batch, and types of a model's inputs.

    Raises:
        LayerError: The model has no known inputs, or one of free size.
    """
    tensors = getattr(model, "inputs", None)
    if not tensors:
        raise LayerError(
            f"model {model.name!r}",
            "its input shapes are not known",
            "use a functional or Sequential model with an Input, or wrap a subclassed model: "
            "keras.Model(x, model(x)) with x = keras.Input(shape)",
        )
    names = [tensor.name.split(":")[0] for tensor in tensors]
    shapes = [tuple(tensor.shape[1:]) for tensor in tensors]
    for name, shape in zip(names, shapes, strict=True):
        if None in shape:
            raise LayerError(
                f"input {name!r}",
                f"its shape {shape} has a free axis, and LiteRT wants fixed sizes",
                "build the model for one input size",
            )
    dtypes = [t.dtype if isinstance(t.dtype, str) else t.dtype.name for t in tensors]
    return names, shapes, dtypes


def convert(
    model: Any,
    format: NumberFormat,
    signature: Signature,
    samples: Sequence[Sequence[np.ndarray]] | None = None,
    sparse_encoding: bool = False,
    trained_ranges: bool = False,
    keep_float: Collection[str] = (),
) -> bytes:
    """Convert to a LiteRT file with one signature, from `input_0, ...` to `output_0, ...`.

    Args:
        model: A built Keras model.
        format: Number format of the file.
        signature: Inputs of the file.
        samples: Calibration samples, each input with a batch axis of 1.
        sparse_encoding: Whether zeros are stored sparsely.
        trained_ranges: Whether the model has fake quantization, whose ranges are used instead of
            calibration samples. Inputs and outputs become integers too.
        keep_float: Names of tensors in the file whose operators compute in float.

    Returns:
        The bytes of the file.

    Raises:
        LayerError: The converter refuses the model; the message has its reason.
    """
    import tensorflow as tf

    specs = [
        tf.TensorSpec((signature.batch_size, *shape), dtype, name=f"input_{i}")
        for i, (shape, dtype) in enumerate(zip(signature.shapes, signature.dtypes, strict=True))
    ]

    @tf.function(input_signature=specs)
    def serve(*tensors: Any) -> dict[str, Any]:
        outputs = model(tensors[0] if len(tensors) == 1 else list(tensors), training=False)
        return {f"output_{i}": tensor for i, tensor in enumerate(tf.nest.flatten(outputs))}

    # Keras 3 variables would end as runtime variables in the file; frozen, they are constants.
    with quiet_stderr():
        function = serve.get_concrete_function()
        frozen = _without_gradients(FREEZE.get()(function, lower_control_flow=False))

    @tf.function(input_signature=specs)
    def serve_frozen(*tensors: Any) -> dict[str, Any]:
        return {f"output_{i}": tensor for i, tensor in enumerate(frozen(*tensors))}

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [serve_frozen.get_concrete_function()], tf.Module()
    )
    converter.optimizations = _optimizations(tf, format, sparse_encoding)
    if format.weights == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if samples is not None:
        repeat = signature.batch_size or 1
        converter.representative_dataset = lambda: (
            {f"input_{i}": np.repeat(part, repeat, axis=0) for i, part in enumerate(sample)}
            for sample in samples
        )
        builtins = tf.lite.OpsSet
        converter.target_spec.supported_ops = [
            builtins.TFLITE_BUILTINS_INT8
            if format.activations == "int8"
            else builtins.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            builtins.TFLITE_BUILTINS,  # what has no integer kernel stays in float and is listed
        ]
    number = tf.int8 if format.ports == "int8" else tf.int16
    if samples is not None:
        converter.inference_input_type = converter.inference_output_type = number
    try:
        with quiet_stderr(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*tf.lite.Interpreter is deprecated.*")
            warnings.filterwarnings("ignore", message=".*Statistics for quantized inputs.*")
            if keep_float:
                return _with_floats(converter, keep_float)
            content = bytes(converter.convert())
            return with_integer_ports(content, number) if trained_ranges else content
    except Exception as error:  # the converter raises its own kind, plain ones, and RuntimeError
        raise LayerError(
            f"model {model.name!r}",
            f"LiteRT cannot express it: {_first_lines(error)}",
            "replace the operation by a Keras layer that LiteRT knows",
        ) from error


def _with_floats(converter: Any, names: Collection[str]) -> bytes:
    """An integer file in which some operators stay in float, by TensorFlow's debugger."""
    import tensorflow as tf

    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_nodes=list(names), fully_quantize=True
    )
    debugger = tf.lite.experimental.QuantizationDebugger(
        converter=converter,
        debug_dataset=converter.representative_dataset,
        debug_options=options,
    )
    return bytes(debugger.get_nondebug_quantized_model())


def _without_gradients(frozen: Any) -> Any:
    """The same function without custom gradients.

    The converter saves the function. TensorFlow cannot save the custom gradients of functions such
    as `silu`, and the converter would then go on without a signature.
    """
    import tensorflow as tf

    graph = frozen.graph.as_graph_def()
    for nodes in (graph.node, *(function.node_def for function in graph.library.function)):
        for node in nodes:
            node.attr.pop("_gradient_op_type", None)
    wrapped = tf.compat.v1.wrap_function(lambda: tf.graph_util.import_graph_def(graph, name=""), [])
    return wrapped.prune([t.name for t in frozen.inputs], [t.name for t in frozen.outputs])


def _optimizations(tf: Any, format: NumberFormat, sparse_encoding: bool) -> list[Any]:
    wanted = []
    if format.weights != "float32":
        wanted.append(tf.lite.Optimize.DEFAULT)
    if sparse_encoding:
        wanted.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    return wanted


def _first_lines(error: Exception, at_most: int = 400) -> str:
    return " ".join(str(error).split())[:at_most]

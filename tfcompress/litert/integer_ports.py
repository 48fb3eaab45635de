"""Integer inputs and outputs for a file with trained ranges.

TensorFlow's converter makes them by removing the DEQUANTIZE before each output. Another operator
that reads that output in float then lacks an operand, and LiteRT's interpreter crashes on the file.
Here each such operator first gets a DEQUANTIZE of its own.
"""

from __future__ import annotations

import copy
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfcompress.internals.tensorflow import FLATBUFFERS, WITH_PORTS


def with_integer_ports(content: bytes, number: Any) -> bytes:
    """Give a quantized file with float inputs and outputs integer ones.

    Args:
        content: Bytes of a file with quantized operators and float inputs and outputs.
        number: Type of the new inputs and outputs, `tf.int8` or `tf.int16`.

    Returns:
        The bytes of the new file.
    """
    flatbuffer_utils = FLATBUFFERS.get()
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for graph in model.subgraphs:
        _separate_outputs(model, graph)
    content = flatbuffer_utils.convert_object_to_bytearray(model)
    return bytes(WITH_PORTS.get()(bytes(content), number, number))


def _separate_outputs(model: Any, graph: Any) -> None:
    """Give readers of a dequantized output a DEQUANTIZE of their own."""
    operators = []
    for op in graph.operators:
        operators.append(op)
        code = model.operatorCodes[op.opcodeIndex]
        if max(code.builtinCode, code.deprecatedBuiltinCode) != schema.BuiltinOperator.DEQUANTIZE:
            continue
        output = op.outputs[0]
        readers = [other for other in graph.operators if output in _inputs(other)]
        if output not in graph.outputs or not readers:
            continue
        graph.tensors.append(copy.copy(graph.tensors[output]))
        mine = len(graph.tensors) - 1
        operators.append(copy.copy(op))
        operators[-1].outputs = [mine]
        for reader in readers:
            reader.inputs = [mine if index == output else index for index in reader.inputs]
    graph.operators = operators


def _inputs(op: Any) -> tuple[int, ...]:
    return () if op.inputs is None else tuple(op.inputs)

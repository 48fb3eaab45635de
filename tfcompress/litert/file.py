"""Operators, tensors and weights of a LiteRT file, read from its bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfcompress.errors import DataError
from tfcompress.short_repr import short_repr

# Input slots that hold weights, by operator. A constant in another slot (a shape, an axis, an added
# bias) is not a weight, and an activation has no data in the file.
WEIGHT_SLOTS: dict[str, tuple[int, ...]] = {
    "CONV_2D": (1,),
    "DEPTHWISE_CONV_2D": (1,),
    "TRANSPOSE_CONV": (1,),
    "CONV_3D": (1,),
    "CONV_3D_TRANSPOSE": (1,),
    "FULLY_CONNECTED": (1,),
    "BATCH_MATMUL": (0, 1),
    "EMBEDDING_LOOKUP": (1,),
    "GATHER": (0,),
    "PRELU": (1,),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": tuple(range(1, 9)),
}

# Operators whose first two inputs may be absent: gates that a variant does not have.
_OPTIONAL_OPERANDS = (
    "LSTM",
    "UNIDIRECTIONAL_SEQUENCE_LSTM",
    "BIDIRECTIONAL_SEQUENCE_LSTM",
)

_NUMPY_TYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
}
_TYPE_NAMES = {value: name for name, value in vars(schema.TensorType).items() if name.isupper()}
_OPERATOR_NAMES = {
    value: name for name, value in vars(schema.BuiltinOperator).items() if name.isupper()
}


@short_repr
@dataclass(frozen=True)
class LiteTensor:
    """A tensor of the main graph.

    Attributes:
        name: Name in the file.
        shape: Dense shape.
        dtype: Lower-case type name, such as "int8".
        data: The stored values, flat; None for an activation. A sparse-encoded tensor stores only
            part of its `size` values.
        is_sparse: Whether the file encodes it sparsely.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: np.ndarray | None
    is_sparse: bool

    @property
    def size(self) -> int:
        """Number of values of the dense tensor."""
        return math.prod(self.shape)

    @property
    def zeros(self) -> int:
        """Number of zeros in the dense tensor (integer weights have zero point 0).

        Values that a sparse encoding leaves out are zero; blocks that it stores may hold zeros too.
        """
        return 0 if self.data is None else self.size - int(np.count_nonzero(self.data))


@dataclass(frozen=True)
class LiteOperator:
    """An operator of the main graph: its kind and tensor indices (-1 for an absent input)."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@short_repr
@dataclass(frozen=True)
class LiteFile:
    """The main graph of a LiteRT file."""

    tensors: tuple[LiteTensor, ...]
    operators: tuple[LiteOperator, ...]

    def weights(self) -> list[tuple[str, LiteTensor]]:
        """`(operator kind, tensor)` of every weight once, also behind DENSIFY and DEQUANTIZE."""
        maker = {index: op for op in self.operators for index in op.outputs}
        found: dict[int, str] = {}
        for op in self.operators:
            for slot in WEIGHT_SLOTS.get(op.kind, ()):
                if slot >= len(op.inputs) or op.inputs[slot] < 0:
                    continue
                index = op.inputs[slot]
                while index in maker and maker[index].kind in ("DENSIFY", "DEQUANTIZE"):
                    index = maker[index].inputs[0]
                if self.tensors[index].data is not None:
                    found.setdefault(index, op.kind)
        return [(kind, self.tensors[index]) for index, kind in found.items()]

    def broken_operator(self) -> LiteOperator | None:
        """An operator that lacks an operand: LiteRT's interpreter crashes on it.

        The converter makes such files where an operator that stays in float reads a tensor that
        also leaves the model in integers (it removes the DEQUANTIZE between the two).
        """
        for op in self.operators:
            if op.kind not in _OPTIONAL_OPERANDS and -1 in op.inputs[:2]:
                return op
        return None

    def float_operators(self) -> list[str]:
        """Kinds of the operators that compute in floating point, such as "CONV_2D x3".

        QUANTIZE and DEQUANTIZE only convert between the number types and are not counted.
        """
        counts: dict[str, int] = {}
        for op in self.operators:
            if op.kind in ("QUANTIZE", "DEQUANTIZE", "DENSIFY"):
                continue
            if any(self.tensors[index].dtype.startswith("float") for index in op.outputs):
                counts[op.kind] = counts.get(op.kind, 0) + 1
        return [f"{kind} x{count}" if count > 1 else kind for kind, count in counts.items()]


def read_litert_file(content: bytes) -> LiteFile:
    """Parse the bytes of a LiteRT file.

    Raises:
        DataError: The bytes are not a LiteRT file.
    """
    if content[4:8] != b"TFL3":
        raise DataError("LiteRT file", "it does not start as one", "give the bytes of a .tflite")
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    tensors = tuple(_tensor(model, tensor) for tensor in graph.tensors)
    operators = tuple(
        LiteOperator(
            _operator_kind(model.operatorCodes[op.opcodeIndex]),
            () if op.inputs is None else tuple(int(i) for i in op.inputs),
            () if op.outputs is None else tuple(int(i) for i in op.outputs),
        )
        for op in graph.operators or ()
    )
    return LiteFile(tensors, operators)


def _tensor(model: schema.ModelT, tensor: schema.TensorT) -> LiteTensor:
    buffer = model.buffers[tensor.buffer]
    dtype = _NUMPY_TYPES.get(tensor.type)
    data = None
    if buffer.data is not None and len(buffer.data) and dtype is not None:
        data = np.frombuffer(np.asarray(buffer.data, np.uint8).tobytes(), dtype)
    return LiteTensor(
        name=(tensor.name or b"").decode(),
        shape=() if tensor.shape is None else tuple(int(n) for n in tensor.shape),
        dtype=_TYPE_NAMES[tensor.type].lower(),
        data=data,
        is_sparse=tensor.sparsity is not None,
    )


def _operator_kind(code: schema.OperatorCodeT) -> str:
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    if number == schema.BuiltinOperator.CUSTOM and code.customCode:
        return code.customCode.decode()
    return _OPERATOR_NAMES[number]

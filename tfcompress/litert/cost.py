"""Multiply-accumulates of a LiteRT file, read from its own operators."""

from __future__ import annotations

import math
from collections.abc import Sequence

from tfcompress.litert.file import LiteFile, LiteOperator, LiteTensor


def count_litert_macs(file: LiteFile) -> int:
    """Multiply-accumulates of one run, on the file's own batch, counted as in `count_cost`."""
    return sum(_macs(op, file.tensors) for op in file.operators)


def _macs(op: LiteOperator, tensors: Sequence[LiteTensor]) -> int:
    if op.kind in ("CONV_2D", "CONV_3D", "FULLY_CONNECTED"):
        outputs, *window = tensors[op.inputs[1]].shape  # (O, kh, kw, I) and (O, I)
        if op.kind == "CONV_3D":
            *window, outputs = tensors[op.inputs[1]].shape  # (kd, kh, kw, I, O)
        return tensors[op.outputs[0]].size * math.prod(window)
    if op.kind == "DEPTHWISE_CONV_2D":  # (1, kh, kw, O)
        return tensors[op.outputs[0]].size * math.prod(tensors[op.inputs[1]].shape[1:3])
    if op.kind == "TRANSPOSE_CONV":  # (O, kh, kw, I), spread from every input value
        outputs, *window, _ = tensors[op.inputs[1]].shape
        return tensors[op.inputs[2]].size * math.prod(window) * outputs
    if op.kind == "BATCH_MATMUL":
        left, output = tensors[op.inputs[0]].shape, tensors[op.outputs[0]].shape
        return math.prod(output) * left[-1]
    return 0

"""What a LiteRT file is, as a table: format, inputs and outputs, operators, weights, card."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tfcompress.reporting.tables import Table

if TYPE_CHECKING:
    from tfcompress.litert.model import LiteModel, Port

_ONLY_PASS_ON = ("QUANTIZE", "DEQUANTIZE", "DENSIFY")


def summary(lite: LiteModel) -> Table:
    """A row per input and output, and notes about the rest of the file."""
    title = f"LiteRT model, {lite.format or 'unknown format'}, {lite.size_bytes:,} bytes"
    table = Table(("", "name", "shape", "type", "one step", "zero point"), title=title)
    for what, ports in (("input", lite.inputs), ("output", lite.outputs)):
        for port in ports:
            table.add(what, port.name, shape_text(port), port.dtype, *_quantization(port))
    counts = Counter(op.kind for op in lite.file.operators)
    table.note(f"operators: {', '.join(_times(kind, n) for kind, n in counts.most_common())}")
    weights = [tensor for _, tensor in lite.file.weights()]
    by_type: Counter[str] = Counter()
    for tensor in weights:
        by_type[tensor.dtype] += tensor.size
    stored = ", ".join(f"{count:,} {dtype}" for dtype, count in by_type.most_common())
    zeros, size = sum(tensor.zeros for tensor in weights), sum(by_type.values())
    sparse = ", sparsely encoded" if any(tensor.is_sparse for tensor in weights) else ""
    table.note(f"weights: {stored or 'none'}; {zeros / max(1, size):.1%} of them zero{sparse}")
    table.note(f"in float: {_in_float(lite, counts)}")
    if lite.card:
        table.note(f"card: {', '.join(lite.card)}")
    return table


def shape_text(port: Port) -> str:
    """Its shape, as "1x32x32x3"; "?" where an axis is free."""
    return "x".join("?" if n < 0 else str(n) for n in port.shape) or "scalar"


def _quantization(port: Port) -> tuple[str, str]:
    return (f"{port.scale:.6g}", str(port.zero_point)) if port.scale else ("", "")


def _in_float(lite: LiteModel, counts: Counter[str]) -> str:
    computing = {_times(kind, n) for kind, n in counts.items() if kind not in _ONLY_PASS_ON}
    if lite.float_ops and set(lite.float_ops) == computing:
        return "every operator"
    return ", ".join(lite.float_ops) or "nothing"


def _times(kind: str, count: int) -> str:
    return f"{kind} x{count}" if count > 1 else kind

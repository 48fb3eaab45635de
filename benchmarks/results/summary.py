"""README's table of results, and the points of its chart: which rows of which records.

A new line is an entry of `RESULTS`; its numbers come from the record that it names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from benchmarks.results.printed import cell, main_table, number, tables_of
from tfcompress.errors import RunError
from tfcompress.reporting.machine import INSTRUCTION_SETS
from tfcompress.reporting.record import Record
from tfcompress.reporting.tables import Table


@dataclass(frozen=True)
class Row:
    """A row of a record's table.

    Attributes:
        record: Name of the record.
        name: Text of the first column.
        table: Title of the table; "" for the comparison of a run, or the only table.
    """

    record: str
    name: str
    table: str = ""


@dataclass(frozen=True)
class Result:
    """One line of the table: a model before and after.

    Attributes:
        what: Task and what was done, for the table.
        label: The same in a few words, for the chart; "" if it is not drawn.
        commands: Commands that a reader types for it, in order; the record has all flags.
        metric: Name of the quality.
        before: Row of the model before.
        after: Row of the finished model, whose record's machine is named.
        column: Column of the quality, where it is not called as the metric is.
        quality: Rows of the quality before and after, where they are others.
        drawn: Rows of the quality in the chart, where they are others again.
        macs: Rows of the MACs before and after, where they are others.
        note: What a reader would take wrongly otherwise.
    """

    what: str
    label: str
    commands: tuple[str, ...]
    metric: str
    before: Row
    after: Row
    column: str = ""
    quality: tuple[Row, Row] | None = None
    drawn: tuple[Row, Row] | None = None
    macs: tuple[Row, Row] | None = None
    note: str = ""


_SEEDS, _FILES = "Mean IoU over three seeds", "Files of seed 0"

RESULTS = (
    Result(
        "U-Net on micro-CT slices, a recipe: channels, teacher, int8",
        "U-Net, recipe to 20 % of the MACs",
        ("make unet-compress",),
        "mean IoU",
        Row("unet-compress-fifth", "dense float32"),
        Row("unet-compress-fifth", "20 % of the MACs"),
    ),
    Result(
        "the same, to 7 % of the MACs",
        "U-Net, recipe to 7 % of the MACs",
        ('make unet-compress ARGS="--further 0.07"',),
        "mean IoU",
        Row("unet-compress", "dense float32"),
        Row("unet-compress", "7 %"),
    ),
    Result(
        "U-Net on micro-CT slices, 80 % zeros, int8",
        "U-Net, 80 % zeros, int8",
        ("make unet-level-prune",),
        "mean IoU",
        Row("unet-level-prune", "dense float32", _FILES),
        Row("unet-level-prune", "80 % zeros, int8", _FILES),
        column="mean",
        quality=(
            Row("unet-level-prune", "dense float32", _SEEDS),
            Row("unet-level-prune", "80 % zeros, int8", _SEEDS),
        ),
    ),
    Result(
        "U-Net on generated tiles, half the MACs, int8",
        "U-Net (demo), half the MACs, int8",
        ("make demo",),
        "mean IoU",
        Row("demo", "dense float32"),
        Row("demo", "half the MACs, int8"),
    ),
    Result(
        "YOLOv5n on blood cells, half the MACs, distilled, int8",
        "Pruned YOLOv5n to int8",
        ("make yolo-prune", "make yolo-int8"),
        "mAP50",
        Row("yolo-int8", "PyTorch"),
        Row("yolo-int8", "LiteRT int8"),
        quality=(Row("yolo-prune", "dense, trained on"), Row("yolo-int8", "LiteRT int8")),
        drawn=(Row("yolo-int8", "PyTorch"), Row("yolo-int8", "LiteRT int8")),
        macs=(Row("yolo-prune", "dense, trained on"), Row("yolo-prune", "one-shot, taught")),
        note="YOLOv5n: file and latency are compared with the pruned detector in PyTorch",
    ),
    Result(
        "Tiny classifier of trash, distilled, factored, int8",
        "Tiny classifier, factored, int8",
        ("make trash-distill",),
        "macro F1",
        Row("trash-distill", "plain, int8"),
        Row("trash-distill", "both, int8"),
    ),
    Result(
        "Keras student of a PyTorch teacher, three seeds",
        "",
        ("make torch-teacher",),
        "macro F1",
        Row("torch-teacher", "alone, float32"),
        Row("torch-teacher", "taught, float32"),
        column="mean",
    ),
)


@dataclass(frozen=True)
class Numbers:
    """What a `Result` says, as numbers; None where its record has none.

    Attributes:
        quality: Quality before and after.
        macs: MACs before and after.
        size_bytes: Size of the file before and after, in bytes.
        latency_ms: Latency before and after, in milliseconds.
        speed: How many times as fast the finished model is.
    """

    quality: tuple[float, float]
    macs: tuple[float, float] | None
    size_bytes: tuple[float, float] | None
    latency_ms: tuple[float, float] | None
    speed: float | None


def numbers_of(result: Result, records: Mapping[str, Record]) -> Numbers:
    """The numbers of a line, read from its records.

    Raises:
        RunError: A record, table, row or column is missing.
    """
    rows = (result.before, result.after)
    quality = _pair(records, result.quality or rows, result.column or result.metric)
    if quality is None:
        raise RunError(result.after.record, "it has no quality", "correct summary.py")
    latency = _pair(records, rows, "latency")
    speed = _text(records, result.after, "speed")
    return Numbers(
        quality,
        _pair(records, result.macs or rows, "MACs"),
        _pair(records, rows, "file"),
        latency,
        number(speed) if speed else latency[0] / latency[1] if latency else None,
    )


def results_table(records: Mapping[str, Record]) -> Table:
    """README's table.

    Raises:
        RunError: A record, table, row or column is missing.
    """
    table = Table(("what, and the command", "quality", "MACs", "file", "latency, processor"))
    for result in RESULTS:
        found = numbers_of(result, records)
        table.add(
            f"{result.what}: {', '.join(f'`{command}`' for command in result.commands)}",
            f"{result.metric} {found.quality[0]:.4f} → {found.quality[1]:.4f}",
            _change(found.macs, (("M", 1e6, 0), ("k", 1e3, 0))),
            _change(found.size_bytes, (("MB", 1e6, 2), ("kB", 1e3, 0))),
            _latency(found, records[result.after.record]),
        )
        if result.note:
            table.note(result.note)
    return table


def _change(pair: tuple[float, float] | None, units: Sequence[tuple[str, float, int]]) -> str:
    """`754 → 151 M`: both in the first unit (name, size, digits) that the first one fills."""
    if pair is None:
        return ""
    unit, scale, digits = next((u for u in units if pair[0] >= u[1]), units[-1])
    before, after = (f"{value / scale:.{digits}f}" for value in pair)
    return f"{before} {unit}" if before == after else f"{before} → {after} {unit}"


def _latency(found: Numbers, record: Record) -> str:
    """`20.3 → 2.9 ms, 7.0x as fast; Intel CPU AVX512-VNNI`."""
    if found.speed is None:
        return ""
    factor = found.speed if found.speed >= 1 else 1 / found.speed
    text = f"{factor:.1f}x {'as fast' if found.speed >= 1 else 'slower'}"
    if found.latency_ms:
        text = f"{found.latency_ms[0]:.2f} → {found.latency_ms[1]:.2f} ms, {text}"
    return f"{text}; {processor(record)}"


def processor(record: Record) -> str:
    """The processor of a record, and whether LiteRT was kept from AMX."""
    machine = record.machine
    sets = [
        INSTRUCTION_SETS[flag]
        for flag in ("avx512_vnni", "avx_vnni")
        if flag in machine.instruction_sets
    ]
    parts = [machine.processor, *sets[:1]]
    if "TFCOMPRESS_AMX=0" in record.command:
        parts.append("without AMX")
    elif "amx_int8" in machine.instruction_sets:
        parts.append("with AMX")
    return ", ".join(parts)


def _pair(
    records: Mapping[str, Record], rows: tuple[Row, Row], column: str
) -> tuple[float, float] | None:
    """A column of the rows before and after; None where one has no such value."""
    before, after = (_text(records, row, column) for row in rows)
    return (number(before), number(after)) if before and after else None


def _text(records: Mapping[str, Record], row: Row, column: str) -> str:
    """A cell; "" where the table has no such column."""
    if row.record not in records:
        raise RunError(row.record, "there is no such record", f"use {', '.join(records)}")
    tables = tables_of(records[row.record], row.record)
    table = tables.get(row.table) if row.table else main_table(tables)
    if table is None:
        problem = f"it has no table {row.table!r}" if row.table else f"it has {len(tables)} tables"
        raise RunError(row.record, problem, f"name one in summary.py: {'; '.join(tables)}")
    return cell(table, row.name, column, row.record) if column in table.columns else ""

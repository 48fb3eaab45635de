"""Tables of a record: as a benchmark printed them, or from the rows of a comparison."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tfcompress.errors import RunError
from tfcompress.reporting.record import Record
from tfcompress.reporting.tables import UNITS, Table

COMPARISON = "comparison"
"""Name of the table that is made of a run's `comparison` in its `metrics.json`."""

_METRICS = {"mean_iou": "mean IoU", "macro_f1": "macro F1", "accuracy": "accuracy"}
_UNITS = {**UNITS, "ms": 1.0, "%": 0.01}  # latencies are compared, and shown, in milliseconds
_MINUS = re.compile(r"(?<![\w.-])-(?=\d)")  # of a number, not of "mAP50-95"
_TEXT = re.compile(r"[\[→;]")  # what makes a cell more than a number
_NUMBER = re.compile(r"\s*([+−-]?)(\d[\d,]*(?:\.\d+)?)\s?(kB|MB|GB|[kMG]|ms|s|x|%)?(?:\s.*)?")


def tables_of(record: Record, where: str) -> dict[str, Table]:
    """Every table that a record holds, by title; texts among them, as a run prints, are skipped.

    A title that occurs again gets a number: "Plan", "Plan (2)".

    Args:
        record: The record.
        where: Name of its file, for errors.

    Raises:
        RunError: It holds no table, or a broken one.
    """
    try:
        tables: dict[str, Table] = {}
        for printed in record.measured.get("tables", ()):
            if not isinstance(printed, str):
                table = Table.from_dict(printed)
                tables[_new_title(table.title, tables)] = table
        if COMPARISON in record.measured:
            tables[COMPARISON] = _comparison(record.measured[COMPARISON])
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            where, f"a table in it is broken ({error!r})", "run its command again"
        ) from None
    if not tables:
        raise RunError(
            where,
            "it holds no table",
            "give a record with 'tables' or 'comparison', such as metrics.json of a U-Net's run",
        )
    return tables


def main_table(tables: Mapping[str, Table]) -> Table | None:
    """The table that is meant where none is named: the comparison, or the only one."""
    if COMPARISON in tables:
        return tables[COMPARISON]
    return next(iter(tables.values())) if len(tables) == 1 else None


def cell(table: Table, row: str, column: str, where: str) -> str:
    """The cell of a named row and column.

    Raises:
        RunError: There is no such row or column.
    """
    rows = (*table.rows, *table.totals)
    for kind, name, known in (
        ("column", column, table.columns),
        ("row", row, [cells[0] for cells in rows]),
    ):
        if name not in known:
            raise RunError(where, f"it has no {kind} {name!r}", f"use {', '.join(known)}")
    found = next(cells for cells in rows if cells[0] == row)
    return found[table.columns.index(column)]


def number(text: str) -> float:
    """The first number of a cell in base units: "7.78 MB" is 7.78e6, "24.5 %" is 0.245.

    Milliseconds and ratios ("6.86x") stay what they are; "1/15.8" is the share that it says.

    Raises:
        ValueError: The cell starts with no number.
    """
    if text.startswith("1/"):
        return 1 / float(text[2:])
    match = _NUMBER.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} starts with no number")
    sign, digits, unit = match.groups()
    value = float(digits.replace(",", "")) * _UNITS.get(unit, 1.0)
    return -value if sign in ("-", "−") else value


def markdown(table: Table) -> str:
    """A table in Markdown: columns of numbers to the right, all others to the left."""
    columns, rows = table.columns, (*table.rows, *table.totals)
    sides = [
        "---:" if i and _numeric([row[i] for row in rows]) else "---" for i in range(len(columns))
    ]
    lines = [columns, sides, *rows]
    return "\n".join("|" + "|".join(map(_padded, line)) + "|" for line in lines)


def _numeric(cells: Sequence[str]) -> bool:
    """Whether most are numbers, with units or not; an interval or a change is text."""
    filled = [text for text in cells if text and text != "–"]
    numbers = [
        t for t in filled if t.startswith("1/") or (_NUMBER.fullmatch(t) and not _TEXT.search(t))
    ]
    return 2 * len(numbers) > len(filled)


def _padded(text: str) -> str:
    if not text:
        return " "
    text = _MINUS.sub("−", text.replace("|", "\\|"))
    return f" {text.replace('  ', '&nbsp; ', 1) if text.startswith('  ') else text} "


def _new_title(title: str, known: Mapping[str, Table]) -> str:
    """A title that is not taken: itself, else with a number."""
    numbered = (f"{title} ({number})" for number in itertools.count(2))
    return next(name for name in itertools.chain([title], numbered) if name not in known)


def _comparison(content: Mapping[str, Any]) -> Table:
    """The columns that a page shows, from `Comparison.to_dict()`."""
    rows: Sequence[Mapping[str, Any]] = content["rows"]
    first = rows[0]
    metric = next(iter(first["quality"]), None)
    columns = ["model", "zeros", "MACs", "file", "after gzip"]
    columns += ["latency", "speed"] if first["latency"] else []
    if metric:
        title = _METRICS.get(metric, metric)
        columns += [title, "− first [95 %]"]
    table = Table(columns, title=COMPARISON)
    for row in rows:
        cells = [row["name"], f"{100 * row['sparsity']:.1f} %", _short(row["macs"])]
        cells += [_short(row["size_bytes"], "B"), _short(row["gzip_bytes"], "B")]
        if first["latency"]:
            speed = first["latency"]["median_ms"] / row["latency"]["median_ms"]
            cells += [f"{row['latency']['median_ms']:.2f} ms", f"{speed:.2f}x"]
        if metric:
            gain = row["differences"].get(metric)
            cells += [f"{row['quality'][metric]:.4f}", _difference(gain) if gain else ""]
        table.add(*cells)
    return table


def _short(value: float | None, unit: str = "") -> str:
    """Three digits with a prefix: 7.78 MB, 427 M."""
    if value is None:
        return "–"
    prefix, scale = next(((p, s) for p, s in (("G", 1e9), ("M", 1e6)) if value >= s), ("k", 1e3))
    scaled = value / scale
    digits = 2 if scaled < 10 else 1 if scaled < 100 else 0
    return f"{scaled:.{digits}f} {prefix}{unit}"


def _difference(gain: Mapping[str, float]) -> str:
    value, low, high = (f"{gain[key]:+.4f}".replace("-", "−") for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"

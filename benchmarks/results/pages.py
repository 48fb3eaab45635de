"""Pages that hold tables of records, between markers that Markdown does not show.

    <!-- table:begin unet-compress -->               that run's comparison, or the only table
    <!-- table:begin forms | Forms of a U-Net -->    its table of that title
    <!-- table:end -->

    <!-- results:begin -->  <!-- results:end -->     README's table (see `summary.py`)

What stands between them is rendered: to change a number, measure it again and record it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.record import RECORDS
from benchmarks.results.printed import main_table, markdown, tables_of
from benchmarks.results.summary import results_table
from tfcompress.errors import RunError
from tfcompress.reporting.record import Record, read_record
from tfcompress.reporting.tables import Table

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
BENCHMARKS = (
    "level_pruner",
    "distiller",
    "search",
    "forms",
    "forms_amx",
    "growth",
    "channel_pruning",
    "quality",
    "nni_defects",
    "applications",
    "segmentation",
)
"""Records of benchmarks, in the order of RESULTS.md."""

_HEAD = """# Results

The last table that each benchmark recorded. Ratios are of runs in turn on one machine; absolute
times are of that machine alone. This page is rendered from `records/` by `make results`; change
nothing here by hand.
"""
_TABLE = re.compile(
    r"(?P<begin><!-- table:begin (?P<name>[\w-]+)(?: \| (?P<title>[^>]+?))? -->\n)"
    r"(?P<body>.*?)(?P<end><!-- table:end -->)",
    re.DOTALL,
)
_RESULTS = re.compile(
    r"(?P<begin><!-- results:begin -->\n)(?P<body>.*?)(?P<end><!-- results:end -->)", re.DOTALL
)


def read_records(folder: Path = RECORDS) -> dict[str, Record]:
    """Every record of a folder, by the file's name without suffix.

    Raises:
        RunError: A file is no record.
    """
    paths = sorted(folder.glob("*.json"), key=lambda path: path.stem)
    return {path.stem: read_record(path) for path in paths}


def rendered_pages(records: Mapping[str, Record], root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Each page with markers and what it should hold, RESULTS.md the last.

    Raises:
        RunError: A marker has no end, or names a record or table that is not there.
    """
    for path in (root / "README.md", *sorted((root / "docs").rglob("*.md"))):
        text = path.read_text(encoding="utf-8")
        new = rendered(text, records, str(path.relative_to(root)))
        if ":begin" in text and ("<!-- table:" in text or "<!-- results:" in text):
            yield path, new
    yield root / RESULTS.relative_to(ROOT), results_page(records)


def rendered(text: str, records: Mapping[str, Record], where: str) -> str:
    """A page's text with every marked part rendered from the records.

    Args:
        text: Markdown.
        records: Records by name.
        where: Name of the page, for errors.

    Raises:
        RunError: A marker has no end, or names a record or table that is not there.
    """

    def table_part(match: re.Match[str]) -> str:
        name, title = match["name"], match["title"]
        if name not in records:
            raise RunError(
                where, f"there is no record {name!r}", f"use {', '.join(records) or 'none'}"
            )
        table = _chosen(tables_of(records[name], name), title, f"{where}: {name}")
        body = f"{_with_notes(table)}\n\n{_origin(name, records[name])}\n"
        return match["begin"] + body + match["end"]

    def results_part(match: re.Match[str]) -> str:
        return f"{match['begin']}{_with_notes(results_table(records))}\n{match['end']}"

    for kind, pattern, part in (
        ("table", _TABLE, table_part),
        ("results", _RESULTS, results_part),
    ):
        text, count = pattern.subn(part, text)
        marks = text.count(f"<!-- {kind}:begin"), text.count(f"<!-- {kind}:end -->")
        if marks != (count, count):
            raise RunError(
                where,
                f"markers '{kind}:begin' and '{kind}:end' do not pair ({marks[0]} and {marks[1]})",
                "give each table its own pair, each on a line of its own",
            )
    return text


def results_page(records: Mapping[str, Record]) -> str:
    """RESULTS.md: every table of the benchmarks, then where all records come from."""
    parts = [_HEAD]
    for name in BENCHMARKS:
        if name in records:
            for title, table in tables_of(records[name], name).items():
                parts.append(f"## {title}\n\n{_about(records[name])}\n\n{_with_notes(table)}\n")
    others = {name: record for name, record in records.items() if name not in BENCHMARKS}
    if others:
        table = Table(("record", "command", "machine"))
        for name, record in others.items():
            table.add(f"`{name}`", f"`{record.command}`", str(record.machine))
        parts.append(
            "## Records of experiments\n\nTheir tables are in the pages of `docs/`.\n\n"
            f"{markdown(table)}\n"
        )
    return "\n".join(parts)


def _chosen(tables: Mapping[str, Table], title: str | None, where: str) -> Table:
    table = main_table(tables) if title is None else tables.get(title)
    if table is None:
        raise RunError(
            where,
            f"there is no table {title!r}" if title else f"it has {len(tables)} tables",
            f"write '| TITLE' into the marker: {'; '.join(tables)}",
        )
    return table


def _with_notes(table: Table) -> str:
    return "\n\n".join(
        [markdown(table), *(f"{note[0].upper()}{note[1:]}." for note in table.notes)]
    )


def _origin(name: str, record: Record) -> str:
    """One line below a table: its record, machine and commit."""
    parts = [f"Record `{name}`", f"{record.machine}"]
    if record.commit:
        parts.append(f"commit {record.commit}")
    if record.transcribed:
        parts.append("transcribed")
    return f"*{'; '.join(parts)}.*"


def _about(record: Record) -> str:
    """One line below the title of a benchmark's table: where it comes from."""
    parts = [str(record), ", ".join(f"{name} {v}" for name, v in record.versions.items())]
    if record.transcribed:
        parts.append("transcribed from an earlier version of this page")
    return "; ".join(part for part in parts if part) + "."

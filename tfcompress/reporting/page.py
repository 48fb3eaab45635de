"""A self-contained HTML page: tables, pictures, an inline script, and no outside resource.

It opens from a disk, without a network. Tables sort on a click of a heading, and turn into a block
per row where the window is too narrow for them; both need the script, and without it a wide table
scrolls.
"""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2

from tfcompress.atomic import write_text
from tfcompress.reporting.tables import Table, sort_value

_SHOWN_SIZE = 0.82  # of a picture: 110 dots per inch in the file, 90 on the page


@dataclass(frozen=True)
class Finding:
    """A result that stands at the top of the page.

    Attributes:
        label: What was found, such as "Best mean IoU".
        value: Number, with its unit.
        name: Name of the table's row that it is of; that row is marked.
    """

    label: str
    value: str
    name: str


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Heading.
        text: Paragraphs, in plain text.
        tables: Tables.
        pictures: Pairs of caption and PNG file.
        findings: Results for the top of the page, which shows those of the first section with any.
    """

    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[tuple[str, Path]] = field(default_factory=tuple)
    findings: Sequence[Finding] = ()


def write_page(
    path: str | Path,
    title: str,
    summary: str,
    sections: Sequence[Section],
    config: Mapping[str, Any],
    environment: Mapping[str, Any],
    facts: Mapping[str, str] | None = None,
    files: Sequence[str | Path] = (),
) -> None:
    """Write the page atomically.

    Args:
        path: HTML file to write.
        title: Heading of the page.
        summary: One sentence below it.
        sections: Parts of the page.
        config: Configuration of the run, shown at the end.
        environment: Versions and machine, shown at the end.
        facts: What stands near the top, such as {"Machine": "...", "Time": "38 s"}.
        files: Files and folders to link, below the folder of the page. One that does not exist yet
            is linked without its size.

    Raises:
        ValueError: A file is not below the page's folder: its link would break when the folder is
            moved.
    """
    source = resources.files("tfcompress.reporting").joinpath("templates/report.html.jinja")
    template = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).from_string(source.read_text(encoding="utf-8"))
    folder = Path(path).absolute().parent
    html = template.render(
        title=title,
        summary=summary,
        sections=sections,
        findings=next((each.findings for each in sections if each.findings), ()),
        facts=facts or {},
        files=[_link(folder, Path(file)) for file in files],
        rows=_rows,
        picture=lambda file: _picture(folder, file),
        config=json.dumps(config, indent=2, default=str) if config else "",
        environment=json.dumps(environment, indent=2, default=str) if environment else "",
    )
    write_text(path, html)


@dataclass(frozen=True)
class _Cell:
    """A cell of a table on the page.

    Attributes:
        parts: Text, in pieces that a line may be broken between.
        sort: What the column is sorted by; None where the text itself is.
        number: Whether it is aligned right.
        label: Heading of the column.
    """

    parts: tuple[str, ...]
    sort: str | None
    number: bool
    label: str


def _rows(table: Table, lines: Sequence[Sequence[str]]) -> list[list[_Cell]]:
    """Cells of a table's rows or totals, with what each column is sorted by."""
    columns = range(len(table.columns))
    numeric = [table.numeric(i) for i in columns]
    sorted_as_numbers = [_all_numbers([row[i] for row in table.rows]) for i in columns]
    return [
        [
            _Cell(
                _parts(row[i]) if numeric[i] else (row[i],),
                _sort_key(row[i]) if sorted_as_numbers[i] else None,
                numeric[i],
                table.columns[i],
            )
            for i in columns
        ]
        for row in lines
    ]


def _all_numbers(cells: Sequence[str]) -> bool:
    """Whether every cell that says something begins with a number, and one does."""
    said = [cell for cell in cells if cell not in ("", "–", "-", "nan")]
    return bool(said) and all(sort_value(cell) is not None for cell in said)


def _sort_key(cell: str) -> str:
    value = sort_value(cell)
    return "" if value is None else repr(value)


def _parts(cell: str) -> tuple[str, ...]:
    """A number and what stands in brackets behind it: a line may be broken between the two."""
    number, bracket, rest = cell.partition(" [")
    return (number, f"[{rest}") if bracket else (cell,)


@dataclass(frozen=True)
class _Link:
    """A link from the page: its text, where it leads, and the size of the file, if it is one."""

    name: str
    href: str
    size: str


def _link(folder: Path, file: Path) -> _Link:
    absolute = file.absolute()
    if not absolute.is_relative_to(folder):
        raise ValueError(f"{file} is not below {folder}, the folder of the page")
    name = absolute.relative_to(folder).as_posix() + ("/" if absolute.is_dir() else "")
    size = _size(absolute.stat().st_size) if absolute.is_file() else ""
    return _Link(name, quote(name), size)


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


@dataclass(frozen=True)
class _Picture:
    """A PNG inside the page: its data, its size on the page, and the link to its file, if any."""

    data: str
    width: int
    height: int
    href: str


def _picture(folder: Path, file: Path) -> _Picture:
    content = file.read_bytes()
    width, height = struct.unpack(">II", content[16:24])  # of the header chunk
    absolute = file.absolute()
    below = absolute.is_relative_to(folder)
    return _Picture(
        "data:image/png;base64," + base64.b64encode(content).decode("ascii"),
        round(_SHOWN_SIZE * width),
        round(_SHOWN_SIZE * height),
        quote(os.path.relpath(absolute, folder)) if below else "",
    )

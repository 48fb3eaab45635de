"""Tables that print in a terminal, in a log and in HTML from the same rows."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

_NUMBER = re.compile(r"[-+±<~–]? ?[\d,.]*( ?(%|x|ms|s|[kMG]?B|[kMG]|pp))?( ?[\[±].*)?")


class Table:
    """Columns, rows, an optional total row and notes below.

    Columns after the first are aligned right when every cell in them is a number, perhaps with a
    unit.
    """

    def __init__(self, columns: Sequence[str], title: str = "") -> None:
        self.columns = tuple(columns)
        self.title = title
        self.rows: list[tuple[str, ...]] = []
        self.totals: list[tuple[str, ...]] = []
        self.notes: list[str] = []

    def add(self, *cells: str) -> None:
        """Append a row."""
        self.rows.append(self._checked(cells))

    def total(self, *cells: str) -> None:
        """Append a row below a line."""
        self.totals.append(self._checked(cells))

    def note(self, text: str) -> None:
        """Append a line below the table."""
        self.notes.append(text)

    def note_skipped(self, skipped: Sequence[tuple[str, str]]) -> None:
        """One line per reason, with the first names of what was passed over for it."""
        by_reason: dict[str, list[str]] = {}
        for name, reason in skipped:
            by_reason.setdefault(reason, []).append(name)
        for reason, names in by_reason.items():
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            self.note(f"skipped ({reason}): {', '.join(names[:3])}{more}")

    def numeric(self, column: int) -> bool:
        """Whether a column is aligned right."""
        cells = [row[column] for row in (*self.rows, *self.totals) if row[column]]
        return column > 0 and bool(cells) and all(_NUMBER.fullmatch(cell) for cell in cells)

    def to_rich(self) -> RichTable:
        """The table for a rich console."""
        table = RichTable(
            box=box.SIMPLE_HEAD,
            title=self.title or None,
            title_justify="left",
            collapse_padding=True,
        )
        for i, column in enumerate(self.columns):
            table.add_column(column, justify="right" if self.numeric(i) else "left")
        for row in self.rows:
            table.add_row(*map(Text, row))
        if self.totals:
            table.add_section()
        for row in self.totals:
            table.add_row(*map(Text, row))
        return table

    def __str__(self) -> str:
        buffer = io.StringIO()
        console = Console(file=buffer, width=200, color_system=None)
        console.print(self.to_rich())
        for note in self.notes:
            console.print(Text(f"  {note}"), soft_wrap=True)
        return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()).strip("\n")

    def _checked(self, cells: Sequence[str]) -> tuple[str, ...]:
        if len(cells) != len(self.columns):
            raise ValueError(f"a row has {len(cells)} cells for {len(self.columns)} columns")
        return tuple(cells)

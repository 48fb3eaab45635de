"""Tables that print in a terminal, in a log and in HTML from the same rows.

A terminal is often narrower than a table. Nothing is cut off there: long text is wrapped, then
columns are left out in the order that the table states, then every row becomes a block of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

_NUMBER = re.compile(r"[-+±<~–]? ?[\d,.]*( ?(%|x|ms|s|[kMG]?B|[kMG]|pp))?( ?[\[±].*)?")
_FIRST_NUMBER = re.compile(r"[<~±]? ?([-+]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?) ?([A-Za-z%]*)")
UNITS = {"k": 1e3, "kB": 1e3, "M": 1e6, "MB": 1e6, "G": 1e9, "GB": 1e9, "ms": 1e-3}
"""What a unit behind a cell's number multiplies it by; other units, such as "B" and "s", by 1."""
_GAP = 2  # blanks between two columns, and before the first
_WRAPPED = 16  # a column of text is not wrapped to fewer characters than this


class Table:
    """Columns, rows, an optional total row and notes below.

    Columns after the first are aligned right when every cell in them is a number, perhaps with a
    unit.

    Args:
        columns: Column headings.
        title: Line above the table; empty for none.
        drop: Columns that a narrow terminal may leave out, the least important first. Headings that
            the table does not have are ignored.
    """

    def __init__(self, columns: Sequence[str], title: str = "", drop: Sequence[str] = ()) -> None:
        self.columns = tuple(columns)
        self.title = title
        self.drop = tuple(name for name in drop if self.columns[1:].count(name) == 1)
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

    def to_dict(self) -> dict[str, Any]:
        """The table as plain data for JSON; `from_dict` reads it back."""
        return {
            "title": self.title,
            "columns": list(self.columns),
            "drop": list(self.drop),
            "rows": [list(row) for row in self.rows],
            "totals": [list(row) for row in self.totals],
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Table:
        """The table that `to_dict` wrote; "drop", "totals" and "notes" may be missing.

        Raises:
            KeyError: "title", "columns" or "rows" is missing.
            ValueError: A row has another number of cells than there are columns.
        """
        table = cls(content["columns"], content["title"], content.get("drop", ()))
        for row in content["rows"]:
            table.add(*row)
        for row in content.get("totals", ()):
            table.total(*row)
        for note in content.get("notes", ()):
            table.note(note)
        return table

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

    @property
    def width(self) -> int:
        """Number of characters that a line of the whole table takes."""
        return self._needed(range(len(self.columns)), self._longest_cells())

    def fitted(self, width: int, elsewhere: str = "") -> RenderableType:
        """The table with its notes, for a console of a certain width; nothing is cut off.

        Args:
            width: Number of characters of a line.
            elsewhere: Where the whole table is to be found, for the note about columns left out.
        """
        longest = self._longest_cells()
        kept = list(range(len(self.columns)))
        left_out: list[str] = []
        for name in (None, *self.drop):
            if name is not None:
                kept.remove(self.columns.index(name))
                left_out.append(name)
            widths = self._wrapped_widths(kept, longest, width)
            if widths is not None:
                break
        notes = list(self.notes)
        if widths is None:
            shown: RenderableType = self._turned()
        else:
            shown = self._rich(kept, widths)
            if left_out:
                where = f"; all are in {elsewhere}" if elsewhere else ""
                notes.append(
                    f"left out at {width} columns: {', '.join(left_out)} "
                    f"(the whole table takes {self.width}{where})"
                )
        lines = [
            Padding(
                Text(note, style="dim", no_wrap=False, overflow="fold"),
                (0, 0, 0, _GAP),
                expand=False,
            )
            for note in notes
        ]
        return Group(shown, *lines)

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> Iterator[RenderableType]:
        """What `rich.print(table)` shows: the table as `fitted` to the console."""
        yield self.fitted(options.max_width)

    def __str__(self) -> str:
        """The whole table, however wide it is."""
        longest = max((len(note) for note in self.notes), default=0)
        # In memory and without colors; a record of what a terminal of this width would show.
        console = Console(
            width=max(self.width, longest + _GAP, len(self.title)) + 1, color_system=None
        )
        with console.capture() as captured:
            console.print(self.fitted(console.width))
        return "\n".join(line.rstrip() for line in captured.get().splitlines()).strip("\n")

    def _longest_cells(self) -> list[int]:
        """Number of characters of the longest cell of each column, its heading included."""
        lines = (self.columns, *self.rows, *self.totals)
        return [max(Text(line[i]).cell_len for line in lines) for i in range(len(self.columns))]

    def _needed(self, kept: Sequence[int], widths: Sequence[int]) -> int:
        return sum(widths[i] + _GAP for i in kept) + _GAP

    def _wrapped_widths(
        self, kept: Sequence[int], longest: Sequence[int], width: int
    ) -> list[int] | None:
        """Width of each column at which the kept ones fit, text wrapped; None if they do not."""
        widths = list(longest)
        text = [i for i in kept if not self.numeric(i)]
        least = {i: min(longest[i], max(self._longest_word(i), _WRAPPED)) for i in text}
        while (over := self._needed(kept, widths) - width) > 0:
            wide = max(text, key=lambda i: widths[i] - least[i], default=None)
            if wide is None or widths[wide] == least[wide]:
                return None
            # The widest column gives way first, down to the next widest one.
            second = max((widths[i] for i in text if i != wide), default=0)
            step = max(1, min(over, widths[wide] - max(second, least[wide])))
            widths[wide] -= step
        return widths

    def _longest_word(self, column: int) -> int:
        words = [
            word
            for line in (self.columns, *self.rows, *self.totals)
            for word in line[column].split()
        ]
        return max((Text(word).cell_len for word in words), default=0)

    def _rich(self, kept: Sequence[int], widths: Sequence[int]) -> RichTable:
        table = RichTable(
            box=box.SIMPLE_HEAD,
            title=Text(self.title) if self.title else None,
            title_justify="left",
            collapse_padding=True,
        )
        for i in kept:
            table.add_column(
                Text(self.columns[i]),
                justify="right" if self.numeric(i) else "left",
                # With collapsed padding, rich forgets the blank before the first column.
                width=widths[i] + (i == kept[0]),
                overflow="fold",
            )
        for row in self.rows:
            table.add_row(*(Text(row[i]) for i in kept))
        if self.totals:
            table.add_section()
        for row in self.totals:
            table.add_row(*(Text(row[i]) for i in kept))
        return table

    def _turned(self) -> RenderableType:
        """Each row as a block: its first cell on a line, then a line for each of the others."""
        widest = max(Text(name).cell_len for name in self.columns)
        parts: list[RenderableType] = [Text(self.title, style="italic")] if self.title else []
        for row in (*self.rows, *self.totals):
            block = RichTable.grid(padding=(0, _GAP))
            block.add_column(max_width=widest, overflow="fold", style="dim")
            block.add_column(overflow="fold")
            for heading, cell in zip(self.columns[1:], row[1:], strict=True):
                block.add_row(Text(heading), Text(cell))
            name = Text.assemble("\n", (f"{self.columns[0]} ".lstrip(), "dim"), (row[0], "bold"))
            parts += [name, Padding(block, (0, 0, 0, _GAP), expand=False)]
        return Group(*parts, Text(""))

    def _checked(self, cells: Sequence[str]) -> tuple[str, ...]:
        if len(cells) != len(self.columns):
            raise ValueError(f"a row has {len(cells)} cells for {len(self.columns)} columns")
        return tuple(cells)


def sort_value(cell: str) -> float | None:
    """The number that a cell begins with, its unit counted in; None where there is none.

    Numbers of one column compare whatever their units: "2 kB" is more than "900 B", "1.2 s" more
    than "900 ms". Of "-0.04 [-0.06, -0.02]" the number is -0.04.
    """
    found = _FIRST_NUMBER.match(cell.strip().replace("−", "-"))
    if found is None:
        return None
    number, unit = found.groups()
    return float(number.replace(",", "")) * UNITS.get(unit, 1.0)

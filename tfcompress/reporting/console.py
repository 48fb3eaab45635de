"""The console of every program: one width where nobody reads along, and tables that fit it."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console

from tfcompress.reporting.tables import Table

WIDTH_OF_A_FILE = 160
"""Characters per line where the output goes to a file or a pipe."""


def new_console(soft_wrap: bool = False) -> Console:
    """A console as wide as the terminal, or `WIDTH_OF_A_FILE` characters.

    Args:
        soft_wrap: Whether long lines of text are left to the terminal to wrap.
    """
    return Console(soft_wrap=soft_wrap, width=None if sys.stdout.isatty() else WIDTH_OF_A_FILE)


def show(console: Console, *lines: Any, style: str | None = None, elsewhere: str = "") -> None:
    """Print texts, and tables that are fitted to the console.

    Args:
        console: Where to print.
        *lines: Tables, and objects that are printed as their `str`.
        style: Style of rich, such as "bold"; None for none.
        elsewhere: Where the whole of a table is to be found, for its note about columns left out.
    """
    for line in lines:
        # Of another object rich would print every field, the bytes of a file among them.
        shown = line.fitted(console.width, elsewhere) if isinstance(line, Table) else str(line)
        console.print(shown, style=style, highlight=False)

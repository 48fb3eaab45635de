"""How a program speaks in a terminal: tables, warnings and errors in one line, an exit code."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console

from tfcompress.errors import CompressionError
from tfcompress.reporting.tables import Table


def show(console: Console, table: Table) -> None:
    """Print a table and the notes below it, fitted to the terminal."""
    console.print(table, highlight=False)


@contextmanager
def told_errors(
    user_errors: tuple[type[Exception], ...] = (), interrupted: str = "interrupted"
) -> Iterator[None]:
    """End the program with one line and an exit code where something went wrong.

    The exit code is 2 if the user's input is wrong, 1 if a file cannot be read or written, and 130
    after Ctrl-C.

    Args:
        user_errors: Errors of other packages that name the problem and the fix by themselves.
        interrupted: Text to print after Ctrl-C; it says how to go on.
    """
    console = Console(stderr=True, soft_wrap=True)
    told: tuple[type[Exception], ...] = (CompressionError, *user_errors)
    try:
        yield
    except told as error:
        console.print(f"[bold red]error:[/] {_escaped(error)}", highlight=False)
        raise SystemExit(2) from None
    except OSError as error:
        console.print(f"[bold red]error:[/] {_escaped(error)}", highlight=False)
        console.print("What was there before is untouched.", highlight=False)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print(interrupted, highlight=False, markup=False)
        raise SystemExit(130) from None


@contextmanager
def told_warnings() -> Iterator[None]:
    """Print warnings as one line, without the line of code that they come from."""

    def one_line(message: Warning | str, *place: Any, **more: Any) -> str:
        return f"warning: {message}\n"

    usual = warnings.formatwarning
    warnings.formatwarning = one_line
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _escaped(error: Exception) -> str:
    return str(error).replace("[", r"\[")

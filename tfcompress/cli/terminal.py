"""How a program ends in a terminal: an error in one line, and an exit code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

from tfcompress.errors import CompressionError


@contextmanager
def told_errors(user_errors: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """End the program with one line and exit code 2 where the user's input is wrong."""
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
        console.print("interrupted; go on with RESUME=1 (--resume)", highlight=False)
        raise SystemExit(130) from None


def _escaped(error: Exception) -> str:
    return str(error).replace("[", r"\[")

"""Old names of arguments and options: they work for one release, with a warning."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed_argument(old: str, new: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: the keyword argument `old` still works, as `new`, with a DeprecationWarning.

    Args:
        old: Former name of the argument.
        new: Present name of the argument.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
            if old in kwargs:
                name = function.__name__
                if new in kwargs:
                    raise TypeError(f"{name}() got {new!r} and also {old!r}, its old name")
                warn_renamed(f"the argument {old!r} of {name}()", new)
                kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return wrapped

    return decorate


def warn_renamed(what: str, new: str) -> None:
    """Warn that a name has changed; the warning points at the first line outside this package.

    Args:
        what: The old name and where it was used, such as "the argument 'recipe' of to_litert()".
        new: The name to use now.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{what} is now called {new!r}; the old name will be removed in the next release",
        DeprecationWarning,
        stacklevel=level,
    )


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("tfcompress", "bridges")

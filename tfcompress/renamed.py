"""Old names of arguments and options: they work for one release, with a warning."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


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


def renamed_fields(**names: str) -> Callable[[type[T]], type[T]]:
    """Decorator above `@dataclass`: old names of fields still work, with a DeprecationWarning.

    They work as keyword arguments and as attributes.

    Args:
        **names: Present name of each field by its former one.
    """

    def decorate(cls: type[T]) -> type[T]:
        build = cls.__init__

        @functools.wraps(build)
        def init(self: T, *args: Any, **kwargs: Any) -> None:
            for old in [name for name in kwargs if name in names]:
                new = names[old]
                if new in kwargs:
                    raise TypeError(f"{cls.__name__}() got {new!r} and also {old!r}, its old name")
                warn_renamed(f"the argument {old!r} of {cls.__name__}()", new)
                kwargs[new] = kwargs.pop(old)
            build(self, *args, **kwargs)

        def reading(old: str, new: str) -> property:
            def read(self: T) -> Any:
                warn_renamed(f"{cls.__name__}.{old}", new)
                return getattr(self, new)

            return property(read, doc=f"Old name of `{new}`.")

        type.__setattr__(cls, "__init__", init)
        for old, new in names.items():
            setattr(cls, old, reading(old, new))
        return cls

    return decorate


def warn_renamed(what: str, new: str, category: type[Warning] = DeprecationWarning) -> None:
    """Warn that a name has changed; the warning points at the first line outside this package.

    Args:
        what: The old name and where it was used, such as "the argument 'recipe' of to_litert()".
        new: The name to use now.
        category: Kind of warning. A file's reader is a user, and Python shows users a
            FutureWarning.
    """
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(
        f"{what} is now called {new!r}; the old name will be removed in the next release",
        category,
        stacklevel=level,
    )


def with_new_flags(
    argv: Sequence[str], names: Mapping[str, str], tell: Callable[[str, str], None]
) -> list[str]:
    """Arguments of a command with the present names of its flags.

    Args:
        argv: Arguments as they were typed: `--flag value` or `--flag=value`.
        names: Present name of each flag by its old one, with the dashes.
        tell: Function that is called with the old and the present name of each one found.
    """
    found = []
    for argument in argv:
        flag, equals, value = argument.partition("=")
        if flag in names:
            tell(flag, names[flag])
            argument = f"{names[flag]}{equals}{value}"
        found.append(argument)
    return found


def _is_ours(module: str) -> bool:
    return module.partition(".")[0] in ("tfcompress", "bridges")

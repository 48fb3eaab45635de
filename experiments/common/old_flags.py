"""Old names of flags: they work for one release, and say the new name on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence


def with_new_names(config_class: type, argv: Sequence[str]) -> list[str]:
    """The arguments with the present names of flags that the config lists in `RENAMED`.

    Args:
        config_class: The program's config; `RENAMED = {"old": "new"}` names its renamed fields.
        argv: Arguments as they were typed.
    """
    names: Mapping[str, str] = getattr(config_class, "RENAMED", {})
    flags = {_flag(old): _flag(new) for old, new in names.items()}
    found = []
    for argument in argv:
        flag, equals, value = argument.partition("=")
        if flag in flags:
            print(
                f"DeprecationWarning: {flag} is now called {flags[flag]}; the old name will be "
                "removed in the next release",
                file=sys.stderr,
            )
            argument = f"{flags[flag]}{equals}{value}"
        found.append(argument)
    return found


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

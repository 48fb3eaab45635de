"""Old names of flags: they work for one release, and say the new name on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from tfcompress.renamed import with_new_flags


def with_new_names(config_class: type, argv: Sequence[str]) -> list[str]:
    """The arguments with the present names of flags that the config lists in `RENAMED`.

    Args:
        config_class: The program's config; `RENAMED = {"old": "new"}` names its renamed fields.
        argv: Arguments as they were typed.
    """
    names: Mapping[str, str] = getattr(config_class, "RENAMED", {})
    flags = {_flag(old): _flag(new) for old, new in names.items()}

    def tell(old: str, new: str) -> None:
        print(
            f"DeprecationWarning: {old} is now called {new}; the old name will be removed in the "
            "next release",
            file=sys.stderr,
        )

    return with_new_flags(argv, flags, tell)


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"

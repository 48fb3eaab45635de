"""Model compression for Keras: the public names, loaded when they are first used."""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_PUBLIC = {
    "CompressionError": "tfcompress.errors",
    "LevelPruner": "tfcompress.pruning.level",
    "Polynomial": "tfcompress.pruning.schedules",
    "Constant": "tfcompress.pruning.schedules",
    "agp": "tfcompress.pruning.schedules",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'tfcompress' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

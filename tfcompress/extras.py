"""Packages that an extra brings, imported where they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from tfcompress.errors import ConfigError


def import_extra(module: str, extra: str) -> ModuleType:
    """A module of an extra.

    Args:
        module: Its name.
        extra: Of pyproject.toml: "tfmot", "keras-tuner", "nni", "bridge".

    Raises:
        ConfigError: It, or what it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            module, f"it cannot be imported ({error})", f"pip install 'tfcompress[{extra}]'"
        ) from None

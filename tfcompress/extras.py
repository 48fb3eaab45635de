"""Packages of optional extras, imported where they are needed."""

from __future__ import annotations

import importlib
from types import ModuleType

from tfcompress.errors import ConfigError


def import_extra(module: str, extra: str) -> ModuleType:
    """Import a module that an optional extra installs.

    Args:
        module: Name of the module.
        extra: Name of the extra in pyproject.toml: "tfmot", "keras-tuner", "nni" or "bridge".

    Returns:
        The module.

    Raises:
        ConfigError: The module, or a package that it needs, is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            module, f"it cannot be imported ({error})", f"pip install 'tfcompress[{extra}]'"
        ) from None

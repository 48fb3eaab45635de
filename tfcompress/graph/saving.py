"""Save plain Keras files, without tfcompress's state and, on request, without training state."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfcompress.atomic import atomic_path
from tfcompress.errors import ConfigError
from tfcompress.graph.layers import flavor_of
from tfcompress.internals.tf_keras import IS_COMPILED

STATE_PREFIX = "_tfcompress_"
"""Prefix of the attributes that tfcompress sets on a model to hold state."""


def save_plain(model: Any, path: str | os.PathLike[str], training_state: bool = True) -> None:
    """Write a `.keras` file atomically, without tfcompress's state.

    Args:
        model: Model of either flavor.
        path: Path of the file; must end in ".keras".
        training_state: Whether to keep the compile configuration and the optimizer's variables
            (with Adam, two thirds of the file). Inference needs neither.

    Raises:
        ConfigError: The path does not end in ".keras".
    """
    if not str(path).endswith(".keras"):
        raise ConfigError(f"path {str(path)!r}", "it does not end in .keras", "add the suffix")
    with _hidden(model, training_state), atomic_path(path) as temporary:
        model.save(temporary)


@contextmanager
def _hidden(model: Any, training_state: bool) -> Iterator[None]:
    """Remove attributes from a model while open, bypassing Keras' tracking of attributes."""
    replaced: dict[str, Any] = {}
    if not training_state:
        compiled = "compiled" if flavor_of(model) == "keras" else IS_COMPILED.name
        replaced = {"optimizer": None, compiled: False}
    kept = {name: getattr(model, name) for name in replaced if hasattr(model, name)}
    ours = {name: value for name, value in vars(model).items() if name.startswith(STATE_PREFIX)}
    for name in ours:
        object.__delattr__(model, name)
    for name in kept:
        object.__setattr__(model, name, replaced[name])
    try:
        yield
    finally:
        for name, value in {**kept, **ours}.items():
            object.__setattr__(model, name, value)

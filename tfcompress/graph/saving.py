"""Plain Keras files: what a stranger loads, without our state and, if asked, without training's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tfcompress.atomic import atomic_path
from tfcompress.errors import ConfigError
from tfcompress.graph.layers import flavor_of

STATE_PREFIX = "_tfcompress_"
"""Names of the attributes by which tfcompress hangs state on a model."""


def save_plain(model: Any, path: str | os.PathLike[str], training_state: bool = True) -> None:
    """Write a `.keras` file atomically, without tfcompress's state.

    Args:
        model: A model of either flavor.
        path: Ends in ".keras".
        training_state: Keep the compile configuration and the optimizer's variables (two thirds
            of the file with Adam). Without them the file is what inference needs.

    Raises:
        ConfigError: The name does not end in ".keras".
    """
    if not str(path).endswith(".keras"):
        raise ConfigError(f"path {str(path)!r}", "it does not end in .keras", "add the suffix")
    with _hidden(model, training_state), atomic_path(path) as temporary:
        model.save(temporary)


@contextmanager
def _hidden(model: Any, training_state: bool) -> Iterator[None]:
    """Take attributes off a model for a while, past Keras' own bookkeeping of attributes."""
    replaced: dict[str, Any] = {}
    if not training_state:
        compiled = "compiled" if flavor_of(model) == "keras" else "_is_compiled"
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

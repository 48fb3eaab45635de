"""JSON text of results: NumPy values, paths and tuples become plain data."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def to_json(content: Any) -> str:
    """JSON text of plain data, NumPy values included; NaN and infinity become null."""
    return json.dumps(plain(content), indent=2) + "\n"


def plain(value: Any) -> Any:
    """A value as what JSON knows: dictionaries, lists, strings, numbers, booleans and None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value

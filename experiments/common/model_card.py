"""The card of a model file: what one has to know to feed it, inside a LiteRT file or beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfcompress.litert.model import LiteModel


def card_of_file(path: str | Path, name: str) -> dict[str, Any]:
    """What a LiteRT file carries, else what lies beside a model file; empty where there is none.

    Args:
        path: The model file; empty for none.
        name: Of the JSON file beside it.
    """
    path = Path(path)
    if path.suffix == ".tflite" and path.is_file() and (inside := LiteModel.load(path).card):
        return inside
    beside = path.parent / name
    if path.name and beside.is_file():
        return json.loads(beside.read_text(encoding="utf-8"))
    return {}

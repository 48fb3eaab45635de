"""A card inside a LiteRT file: how to prepare its inputs, as JSON behind the model's bytes.

TensorFlow Lite keeps the files of a model's metadata the same way, as a zip archive after the flat
buffer. Runtimes do not read it, and `unzip -p model.tflite tfcompress.json` shows it.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from tfcompress.errors import DataError

NAME = "tfcompress.json"
LARGEST_BYTES = 1_000_000
"""Largest card: it is not meant for data, and a stranger's archive must not unpack to more."""


def with_card(content: bytes, card: Mapping[str, Any]) -> bytes:
    """Replace the card of a file; an empty card removes it.

    Args:
        content: Bytes of the file.
        card: Plain data.

    Returns:
        The bytes of the new file.

    Raises:
        DataError: The card is too large, or it is not plain data.
    """
    try:
        text = json.dumps(dict(card), sort_keys=True)
    except TypeError as error:
        raise DataError("card", str(error), "use text, numbers, lists and mappings") from None
    if len(text) > LARGEST_BYTES:
        raise DataError("card", f"it has {len(text):,} characters", f"use {LARGEST_BYTES:,}")
    bare = content[: _end_of_model(content)]
    if not card:
        return bare
    buffer = io.BytesIO(bare)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        # A fixed date: the same model gives the same bytes.
        entry = zipfile.ZipInfo(NAME, (1980, 1, 1, 0, 0, 0))
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, text)
    return buffer.getvalue()


def read_card(content: bytes) -> dict[str, Any]:
    """The card of a file; empty if it has none, or metadata of another program."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entry = archive.getinfo(NAME)
            if entry.file_size > LARGEST_BYTES:
                return {}
            card = json.loads(archive.read(entry))
    except (zipfile.BadZipFile, KeyError, ValueError):
        return {}
    return card if isinstance(card, dict) else {}


def _end_of_model(content: bytes) -> int:
    """Offset at which the archive of a card begins; the end if there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except zipfile.BadZipFile:
        return len(content)
    if [entry.filename for entry in entries] != [NAME]:
        return len(content)
    return entries[0].header_offset

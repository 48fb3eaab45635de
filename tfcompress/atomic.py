"""Atomic writes: files and folders appear complete or not at all.

Everything is written to a temporary name beside its destination and renamed when it is complete.
A full disk, an exception or a kill thus leaves the previous file as it was.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(destination: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path that is renamed to `destination` when the block succeeds.

    The temporary file or folder has the destination's name, in a hidden folder beside it (a rename
    cannot cross file systems). It is removed if the block raises. An existing destination, file or
    folder, is replaced.

    Args:
        destination: Path of the file or folder to write. Its parent folders are created.

    Yields:
        The temporary path to write to.

    Raises:
        OSError: The block or the rename failed, for instance with "No space left on device".
    """
    final = Path(destination)
    final.parent.mkdir(parents=True, exist_ok=True)
    workspace = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".tmp", dir=final.parent))
    temporary = workspace / final.name
    try:
        yield temporary
        if temporary.is_file():
            _flush_to_disk(temporary)
        if final.is_dir():
            final.rename(workspace / "previous")
        os.replace(temporary, final)
    finally:
        shutil.rmtree(workspace, ignore_errors=True)


def write_bytes(destination: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `destination` atomically."""
    with atomic_path(destination) as temporary:
        temporary.write_bytes(content)


def write_text(destination: str | os.PathLike[str], content: str) -> None:
    """Write `content` as UTF-8 to `destination` atomically."""
    write_bytes(destination, content.encode("utf-8"))


def remove_leftovers(folder: str | os.PathLike[str]) -> None:
    """Remove temporary files that killed writers left below a folder.

    Call it only while no other process writes to the folder.
    """
    for workspace in list(Path(folder).rglob(".*.tmp")):
        shutil.rmtree(workspace, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

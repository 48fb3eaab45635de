"""Files and folders that appear whole or not at all.

Everything the library writes goes to a temporary name beside its destination and is renamed when
it is complete, so that a full disk, an exception or a kill leaves the previous file as it was.
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
    """A temporary path of the same suffix that becomes `destination` when the block succeeds.

    The temporary file or folder lives in the destination's folder (a rename does not cross file
    systems) and is removed when the block raises. An existing destination *folder* is replaced.

    Raises:
        OSError: What the block or the rename raised, for instance "No space left on device".
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
    """Remove what killed writers left below a folder that nobody else is writing to."""
    for workspace in list(Path(folder).rglob(".*.tmp")):
        shutil.rmtree(workspace, ignore_errors=True)


def _flush_to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

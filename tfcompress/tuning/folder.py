"""The folder of a search: it belongs to one search, which continues only on request."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tfcompress.atomic import write_text
from tfcompress.reporting.run import to_json
from tfcompress.tuning.nni.space import to_nni
from tfcompress.tuning.results import SearchError
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import SearchObjective

STATE = "search.json"


def state_search(
    space: SearchSpace, objective: SearchObjective, tuner: str, epochs: int | None, seed: int
) -> dict[str, Any]:
    """The settings that must be equal when an interrupted search continues, as plain data."""
    return {
        "space": to_nni(space),
        "objective": [objective.metric, objective.direction],
        "tuner": tuner,
        "epochs": epochs,
        "seed": seed,
    }


@contextmanager
def claimed(
    folder: Path, stated: Mapping[str, Any], resume: bool
) -> Iterator[Mapping[str, Any] | None]:
    """Lock a folder for a new search, or for the search in it that continues.

    Args:
        folder: Folder of the search; created if it does not exist.
        stated: Settings of the search, from `state_search`.
        resume: Whether to continue the search in the folder.

    Yields:
        The content of the folder's `search.json`; None for a new search.

    Raises:
        SearchError: The folder holds another search, or a search although `resume` is off, or
            another process is working in it.
    """
    path = Path(folder) / STATE
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SearchError(
                str(folder), "another search is running in it", "wait for it, or choose another"
            ) from None
        wanted = json.loads(to_json(stated))
        if not path.is_file():
            write_text(path, to_json(wanted))
            yield None
            return
        old = json.loads(path.read_text(encoding="utf-8"))
        differing = [key for key in wanted if old.get(key) != wanted[key]]
        if differing:
            raise SearchError(
                str(folder),
                f"it holds a search with another {' and '.join(differing)}",
                "choose another folder, or delete it",
            )
        if not resume:
            raise SearchError(
                str(folder),
                "it holds a search already",
                "continue it with RESUME=1 (resume=True), or delete the folder",
            )
        yield old


def note(folder: Path, **more: Any) -> None:
    """Add keys to the `search.json` of a search's folder."""
    path = Path(folder) / STATE
    write_text(path, to_json({**json.loads(path.read_text(encoding="utf-8")), **more}))

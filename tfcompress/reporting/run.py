"""A run is a folder: configuration, log, history, metrics, models, plots and a page.

`runs/<experiment>/<name>/` holds `config.json`, `environment.json`, `status.json`, `log.txt`,
`history.csv`, `metrics.json`, `plots/*.png`, `report.html`, and the models. `metrics.json` is a
record (see `record.py`): what was measured, by which command, code and machine. Everything is
written atomically; a killed run keeps what it had and is continued with `resume`.
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
import os
import shutil
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfcompress.atomic import remove_leftovers, write_text
from tfcompress.errors import RunError
from tfcompress.reporting.console import new_console, show
from tfcompress.reporting.json_text import to_json as to_json
from tfcompress.reporting.machine import environment as environment
from tfcompress.reporting.machine import this_machine
from tfcompress.reporting.page import Section, write_page
from tfcompress.reporting.record import Start, new_record, seeds_of, this_command, write_record
from tfcompress.short_repr import one_line

# Data that experiments draw where they are given none.
_GENERATED = ("generated_tiles", "generated_shapes")
# What a run writes before it starts to work.
_BEFORE_WORK = {
    "config.json",
    "environment.json",
    "status.json",
    "log.txt",
    ".lock",
    "model_card.json",
    *_GENERATED,
}


class Run:
    """An open run folder. Made by `open_run`, which checks whether it may be used.

    Attributes:
        folder: The folder.
        finished: Whether the run was finished before it was opened.
        console: Where to print; `print` writes to the log too.
    """

    def __init__(self, folder: Path, finished: bool, lock: int, resumed: bool = False) -> None:
        self.folder = folder
        self.finished = finished
        self.console = new_console()
        # Of a run that is dropped without an end, too.
        self._release = weakref.finalize(self, os.close, lock)
        self._start = Start.now()
        self._resumed = resumed

    def __repr__(self) -> str:
        return one_line("Run", {"folder": str(self.folder), "finished": self.finished})

    def path(self, *parts: str) -> Path:
        """A path inside the folder."""
        return self.folder.joinpath(*parts)

    def print(self, *lines: Any, style: str | None = None) -> None:
        """Print to the terminal and to `log.txt`, with the seconds since the start there."""
        self.show(*lines, style=style)
        self.log(*lines)

    def show(self, *lines: Any, style: str | None = None) -> None:
        """Print to the terminal alone."""
        show(self.console, *lines, style=style, elsewhere="log.txt")

    def log(self, *lines: Any) -> None:
        """Append to `log.txt` alone."""
        elapsed = time.monotonic() - self._start.clock
        with self.path("log.txt").open("a", encoding="utf-8") as log:
            for line in lines:
                log.write(f"[{elapsed:8.1f} s] {line}\n")

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file into the folder."""
        write_text(self.path(name), to_json(content))

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the folder, or None if it is not there."""
        path = self.path(name)
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write_history(self, rows: Sequence[Mapping[str, Any]], name: str = "history.csv") -> None:
        """Write one row per epoch, the union of the keys as columns."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path(name), text.getvalue())

    def write_page(self, title: str, summary: str, sections: Sequence[Section]) -> None:
        """Write `report.html`: the sections, where the run was made, and links to its files.

        Call it once everything but the metrics is written; `metrics.json`, which `finish` writes,
        is linked too.

        Args:
            title: Heading of the page.
            summary: One sentence below it.
            sections: Parts of the page.
        """
        page = self.path("report.html")
        seconds = time.monotonic() - self._start.clock
        facts = {
            "Machine": str(this_machine()),
            "Time": f"{duration(seconds)}, from {self._start.when.replace('T', ' ')[:16]} UTC"
            + (" (of the last process: the run was resumed)" if self._resumed else ""),
            "Command": this_command(),
        }
        if self._start.commit is not None:
            facts["Commit"] = str(self._start.commit)
        there = {path for path in self.folder.iterdir() if not path.name.startswith(".")}
        files = sorted(
            (there | {self.path("metrics.json")}) - {page},
            key=lambda path: (path.is_dir(), path.name),
        )
        config, made_on = self.read_json("config.json"), self.read_json("environment.json")
        write_page(page, title, summary, sections, config or {}, made_on or {}, facts, files)

    def finish(self, metrics: Mapping[str, Any], seeds: Sequence[int] | None = None) -> None:
        """Write `metrics.json`, with a record of where it comes from, and mark the run as finished.

        Args:
            metrics: Numbers and tables by name; the record is put beside them under "record" (see
                `tfcompress.reporting.record`).
            seeds: Seeds of the trainings; default: those of the configuration (see `seeds_of`).

        Raises:
            RunError: A metric is called "record".
        """
        record = new_record(
            "/".join(self.folder.parts[-2:]),
            metrics,
            self._start,
            seeds_of(self.read_json("config.json") or {}) if seeds is None else seeds,
            "resumed: the time is that of the last process" if self._resumed else "",
        )
        write_record(self.path("metrics.json"), record)
        self.write_json("status.json", {"state": "finished"})
        self.finished = True
        self.close()

    def close(self) -> None:
        """Let another process open the folder."""
        self._release()


def open_run(
    root: str | os.PathLike[str],
    experiment: str,
    name: str,
    config: Mapping[str, Any],
    resume: bool = False,
    renamed: Mapping[str, str] | None = None,
) -> Run:
    """Open `root/experiment/name`, making it if it is new.

    Args:
        root: Folder of all runs.
        experiment: Name of the experiment.
        name: Name of the run.
        config: Everything that decides the result; compared with what the folder was made with.
        resume: Whether to continue an unfinished run.
        renamed: Present name of each renamed field by its former one, for folders made before.

    Returns:
        The run; `finished` says that there is nothing to do.

    Raises:
        RunError: The folder belongs to another configuration, is unfinished and `resume` is off,
            or is in use by another process.
    """
    folder = Path(root) / experiment / name
    wanted = json.loads(to_json(config))
    existing = _read(folder / "config.json")
    if existing is not None:
        existing = {(renamed or {}).get(key, key): value for key, value in existing.items()}
    if existing is None and folder.is_dir() and any(folder.iterdir()):
        raise RunError(
            str(folder), "it holds files that are no run", "choose another RUN, or clear the folder"
        )
    folder.mkdir(parents=True, exist_ok=True)
    lock = _locked(folder)
    try:
        finished = _may_be_used(folder, existing, wanted, resume)
    except RunError:
        os.close(lock)
        raise
    run = Run(folder, finished, lock, resumed=existing is not None and not _unworked(folder))
    if not finished:
        remove_leftovers(folder)
        run.write_json("config.json", wanted)
        run.write_json("environment.json", environment())
        run.write_json("status.json", {"state": "running"})
    return run


def _may_be_used(
    folder: Path, existing: Mapping[str, Any] | None, wanted: Mapping[str, Any], resume: bool
) -> bool:
    """Whether the run is finished; raises where it may not be touched."""
    if existing is None:
        return False
    finished = (_read(folder / "status.json") or {}).get("state") == "finished"
    if not finished and _unworked(folder):
        # It ended on bad input before any work: nothing to continue, nothing to lose.
        if existing != wanted:
            for generated in _GENERATED:
                shutil.rmtree(folder / generated, ignore_errors=True)
        return False
    if existing != wanted:
        raise RunError(
            str(folder),
            f"it was made with another configuration ({_differing(existing, wanted)})",
            "choose another RUN, or delete the folder",
        )
    if not finished and not resume:
        raise RunError(
            str(folder),
            "it is unfinished",
            "resume it with RESUME=1 (--resume), or delete the folder",
        )
    return finished


def duration(seconds: float) -> str:
    """Seconds as a person writes them: "38 s", "12 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min"


def _unworked(folder: Path) -> bool:
    """Whether the folder holds only what is written before the work starts."""
    return {path.name for path in folder.iterdir()} <= _BEFORE_WORK


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _differing(existing: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    keys = [key for key in {**existing, **wanted} if existing.get(key) != wanted.get(key)]
    shown = [f"{key}: {existing.get(key)!r}, now {wanted.get(key)!r}" for key in keys[:3]]
    return "; ".join(shown) + (" ..." if len(keys) > 3 else "")


def _locked(folder: Path) -> int:
    """A descriptor that holds the folder until it is closed."""
    lock = os.open(folder / ".lock", os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise RunError(
            str(folder), "another process is working in it", "wait for it, or choose another RUN"
        ) from None
    return lock

"""A record: what was measured, and by which command, code, machine and seeds.

`metrics.json` of a run and `benchmarks/records/*.json` have one form: what was measured at the top
level, and under `record` where it comes from:

```json
{"record": {"format": "tfcompress.record", "version": 1, "name": "unet-train/default",
            "command": "python -m experiments.unet.train", "started": "2026-01-31T12:00:00Z",
            "seconds": 61.5, "commit": {"hash": "0123...", "dirty": false},
            "machine": {"processor": "...", "cores": 2, ...},
            "versions": {"python": "3.11.9", "tensorflow": "2.19.0", ...}, "seeds": [0],
            "conditions": "", "transcribed": false},
 "comparison": ...}
```

`write_record` writes such a file, `read_record` reads it back and checks it.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcompress.atomic import write_text
from tfcompress.config import checked_fields
from tfcompress.errors import ConfigError, RunError
from tfcompress.reporting.json_text import plain, to_json
from tfcompress.reporting.machine import (
    Commit,
    Machine,
    installed_versions,
    this_commit,
    this_machine,
)
from tfcompress.short_repr import short_repr

FORMAT = "tfcompress.record"
VERSION = 1
KEY = "record"
"""Key of a record's file under which everything but what was measured stands."""

# Environment variables that change what is measured; they are part of the command.
_SETTINGS = (
    "TFCOMPRESS_AMX",
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_ENABLE_ONEDNN_OPTS",
    "CUDA_VISIBLE_DEVICES",
)
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@short_repr
@dataclass(frozen=True)
class Record:
    """What was measured, and everything needed to measure it again.

    Attributes:
        name: Name of what was run, such as "unet-train/default" or "bench-forms".
        command: Command line, with the environment variables that change the result before it.
        started: Date and time in UTC at which the work began, as "2026-01-31T12:00:00Z"; a
            transcribed record may have the date alone, or "" where it is not known.
        seconds: Wall time from then until the record was made; None where it is not known.
        machine: Computer that it was measured on.
        commit: Commit of the code; None in an installed package, and where it is not known.
        versions: Version of Python and of each package, by name.
        seeds: Seeds of the trainings and of generated data.
        conditions: What else a reader has to know, such as other load on the machine.
        transcribed: Whether the numbers were copied from a page that was written before there were
            records, rather than written by the command itself.
        measured: Numbers and tables, as plain data by name. No name is "record".
    """

    name: str
    command: str
    started: str
    seconds: float | None
    machine: Machine
    commit: Commit | None = None
    versions: dict[str, str] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()
    conditions: str = ""
    transcribed: bool = False
    measured: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The file's content: `measured` at the top level, all other fields under "record".

        Raises:
            RunError: Something measured is called "record".
        """
        if KEY in self.measured:
            raise RunError(self.name, f"a measured value is called {KEY!r}", "give it another name")
        head = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del head["measured"]
        head["machine"] = dataclasses.asdict(self.machine)
        head["commit"] = dataclasses.asdict(self.commit) if self.commit else None
        header = {"format": FORMAT, "version": VERSION, **head}
        return {KEY: plain(header), **plain(self.measured)}

    def __str__(self) -> str:
        """One line for a page: command, date, machine, commit."""
        parts = [f"`{self.command}`"]
        if self.started:
            parts.append(self.started[:10])
        parts.append(str(self.machine))
        if self.commit:
            parts.append(f"commit {self.commit}")
        if self.conditions:
            parts.append(self.conditions)
        return "; ".join(parts)


@dataclass(frozen=True)
class Start:
    """The moment at which a measurement begins, and the code that it begins with.

    Attributes:
        when: Date and time in UTC, as "2026-01-31T12:00:00Z".
        clock: Seconds of `time.monotonic`.
        commit: Commit of the code; None in an installed package.
    """

    when: str
    clock: float
    commit: Commit | None

    @classmethod
    def now(cls) -> Start:
        """This moment."""
        when = datetime.datetime.now(datetime.UTC).strftime(_TIME)
        return cls(when, time.monotonic(), this_commit())


def new_record(
    name: str,
    measured: Mapping[str, Any],
    start: Start,
    seeds: Sequence[int] = (),
    conditions: str = "",
    command: str | None = None,
) -> Record:
    """The record of what this process has measured.

    Args:
        name: Name of what was run.
        measured: Numbers and tables by name.
        start: Moment at which it began.
        seeds: Seeds of the trainings and of generated data.
        conditions: What else a reader has to know.
        command: Command line; default: this process'.
    """
    return Record(
        name=name,
        command=this_command() if command is None else command,
        started=start.when,
        seconds=round(time.monotonic() - start.clock, 1),
        machine=this_machine(),
        commit=start.commit,
        versions=installed_versions(),
        seeds=tuple(int(seed) for seed in seeds),
        conditions=conditions,
        measured=dict(measured),
    )


def seeds_of(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The seeds in a configuration: its field "seed", else "seeds"; none where it has neither."""
    found = config.get("seed", config.get("seeds"))
    if found is None:
        return ()
    return tuple(int(seed) for seed in (found if isinstance(found, (list, tuple)) else [found]))


def write_record(path: str | os.PathLike[str], record: Record) -> None:
    """Write a record's file atomically, making its folder.

    Raises:
        RunError: Something measured is called "record".
    """
    write_text(path, to_json(record.to_dict()))


def read_record(path: str | os.PathLike[str]) -> Record:
    """Read a file of `write_record`, or a run's `metrics.json`, and check it.

    Raises:
        RunError: It is missing, no JSON, no record, of a newer version, or a field is wrong.
    """
    where = os.fspath(path)
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(where, "there is no such file", "give the path of a record") from None
    except (ValueError, OSError) as error:
        raise RunError(where, f"it cannot be read as JSON ({error})", "write it again") from None
    return record_of(content, where)


def record_of(content: Any, where: str) -> Record:
    """A record from a file's content; `where` names the file in errors.

    Raises:
        RunError: It is no record, of a newer version, or a field is missing, unknown or wrong.
    """
    header = content.get(KEY) if isinstance(content, dict) else None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise RunError(
            where,
            f"it is no record (no {KEY!r} of format {FORMAT!r})",
            "give metrics.json of a run, or a file of benchmarks/records; runs that were finished "
            "by an older version have no record",
        )
    version = header.get("version")
    if version != VERSION:
        raise RunError(
            where,
            f"its version is {version!r}, known is {VERSION}",
            "read it with the version of tfcompress that wrote it",
        )
    head = {key: value for key, value in header.items() if key not in ("format", "version")}
    head["machine"] = _made(Machine, head.get("machine"), f"{where}: {KEY}.machine")
    if head.get("commit") is not None:
        head["commit"] = _made(Commit, head["commit"], f"{where}: {KEY}.commit")
    head["measured"] = {key: value for key, value in content.items() if key != KEY}
    record = _made(Record, head, f"{where}: {KEY}")
    _check(record, f"{where}: {KEY}")
    return record


def this_command() -> str:
    """This process' command line as one would type it: `python -m experiments.demo --smoke`."""
    script, *arguments = sys.argv or [""]
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        program = ["python", "-m", spec.name.removesuffix(".__main__")]
    elif not script or script == "-c":
        program = ["python", *([script] if script else [])]
    elif script.endswith(".py"):
        program = ["python", _relative(script)]
    else:
        program = [Path(script).name]
    settings = [f"{name}={os.environ[name]}" for name in _SETTINGS if name in os.environ]
    return shlex.join([*settings, *program, *arguments])


def _relative(script: str) -> str:
    """A path below the working directory as a relative one."""
    path = Path(script).resolve()
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else script


def _made(kind: type, content: Any, where: str) -> Any:
    """A dataclass from plain data, each field checked."""
    if not isinstance(content, dict):
        raise RunError(where, f"it is {content!r}", "give an object with its fields")
    required = [
        f.name
        for f in dataclasses.fields(kind)
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if name not in content]
    if missing:
        raise RunError(where, f"field {missing[0]!r} is missing", f"give {', '.join(required)}")
    try:
        return kind(**checked_fields(kind, content, where))
    except ConfigError as error:
        raise RunError(error.where, error.problem, error.fix) from None


def _check(record: Record, where: str) -> None:
    """What types alone do not say."""
    for name in ("name", "command"):
        if not getattr(record, name).strip():
            raise RunError(where, f"field {name!r} is empty", "say what was run")
    full = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.started)
    date = record.transcribed and re.fullmatch(r"(\d{4}-\d\d-\d\d)?", record.started)
    if not full and not date:
        raise RunError(
            where, f"field 'started' is {record.started!r}", "give UTC, as 2026-01-31T12:00:00Z"
        )
    if record.commit and not re.fullmatch("[0-9a-f]{40}", record.commit.hash):
        raise RunError(
            f"{where}.commit", f"field 'hash' is {record.commit.hash!r}", "give 40 hex digits"
        )
    wrong = {k: v for k, v in record.versions.items() if not isinstance(v, str)}
    if wrong:
        raise RunError(where, f"field 'versions' holds {wrong}", "give each version as a string")

"""Read an NNI experiment from disk: its trials, each with the parameters it was trained with.

NNI's web page, `export_data` and `nnictl export` match trials to parameters by the order of their
requests, which can be wrong. The `parameterId` of a metric is always right, and is used here. The
manager does not have to run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfcompress.errors import DataError
from tfcompress.tuning.nni.space import flat_values
from tfcompress.tuning.results import Status, TrialResult, read_trial, trial_outcome
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import SearchObjective

BUDGET = "TRIAL_BUDGET"
"""Name of the parameter in which Hyperband gives the number of epochs of a trial."""
_ENDED = {"SUCCEEDED", "FAILED", "USER_CANCELED", "SYS_CANCELED", "EARLY_STOPPED"}
_TABLES = {"TrialJobEvent", "MetricData", "ExperimentProfile"}


@dataclass
class _Job:
    name: str
    number: int
    status: str = "WAITING"
    given: dict[str, Any] = field(default_factory=dict)
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    began: float = 0.0
    ended: float = 0.0
    reported: list[tuple[str, int, Any]] = field(default_factory=list)


def read_trials(
    experiment: Path,
    space: SearchSpace,
    objective: SearchObjective,
    canceled: Mapping[str, str] | None = None,
) -> tuple[TrialResult, ...]:
    """Read the trials of an experiment that have ended.

    Args:
        experiment: Folder of the experiment, which holds `db/nni.sqlite`.
        space: Search space.
        objective: Objective of the search.
        canceled: Reasons why trials were canceled from outside, by trial id.

    Raises:
        DataError: The folder holds no experiment.
    """
    jobs, started = _read_jobs(experiment)
    results = []
    for job in jobs.values():
        if job.status in _ENDED:
            reason = (canceled or {}).get(job.name, "")
            results.append(_result(experiment, job, started, space, objective, reason))
    return tuple(results)


def trials_under_way(experiment: Path) -> dict[str, float]:
    """Start times of the running trials, in seconds since 1970, by trial id."""
    jobs, _ = _read_jobs(experiment)
    return {name: job.began for name, job in jobs.items() if job.status == "RUNNING"}


def trial_folder(experiment: Path, trial_id: str) -> Path:
    """The folder of a trial on this machine."""
    found = sorted(experiment.glob(f"environments/*/trials/{trial_id}"))
    return found[0] if found else experiment / "environments/local-env/trials" / trial_id


def _read_jobs(experiment: Path) -> tuple[dict[str, _Job], float]:
    path = experiment / "db" / "nni.sqlite"
    if not path.is_file():
        raise DataError(str(experiment), "it holds no NNI experiment", "give the folder with db/")
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as database:
        found = database.execute("select name from sqlite_master where type = 'table'").fetchall()
        if not {name for (name,) in found} >= _TABLES:  # NNI is still creating the tables
            return {}, 0.0
        events = database.execute(
            "select timestamp, trialJobId, event, data from TrialJobEvent order by rowid"
        ).fetchall()
        metrics = database.execute(
            "select trialJobId, parameterId, type, sequence, data from MetricData order by rowid"
        ).fetchall()
        first = database.execute("select min(startTime) from ExperimentProfile").fetchone()
    jobs: dict[str, _Job] = {}
    parameters: dict[str, dict[str, Any]] = {}
    for timestamp, trial_id, event, data in events:
        if not trial_id:
            continue
        job = jobs.setdefault(trial_id, _Job(trial_id, len(jobs)))
        if data and "parameter_id" in (given := json.loads(data)):
            name = str(given["parameter_id"])
            job.given = job.own[name] = given
            parameters.setdefault(name, given)
        if event in _ENDED or event in ("RUNNING", "WAITING"):
            job.status = event
        if event == "RUNNING":
            job.began = timestamp / 1000
        elif event in _ENDED:
            job.ended = timestamp / 1000
    for trial_id, parameter_id, kind, sequence, data in metrics:
        if trial_id in jobs:
            jobs[trial_id].reported.append((kind, sequence, _value(data)))
            # After a resume NNI may reuse parameter ids, so the trial's own take precedence.
            job, name = jobs[trial_id], str(parameter_id)
            job.given = job.own.get(name) or parameters.get(name) or job.given
    return jobs, (first[0] or 0) / 1000 if first else 0.0


def _result(
    experiment: Path,
    job: _Job,
    started: float,
    space: SearchSpace,
    objective: SearchObjective,
    reason: str,
) -> TrialResult:
    folder = trial_folder(experiment, job.name)
    record = read_trial(folder)
    # A trial that NNI repeats after a resume reports its epochs again; the last report counts.
    epochs = {sequence: value for kind, sequence, value in job.reported if kind == "PERIODICAL"}
    history = [
        {"epoch": number + 1, **_named(value, objective)}
        for number, value in sorted(epochs.items())
    ]
    finals = [_named(value, objective) for kind, _, value in job.reported if kind == "FINAL"]
    final = finals[-1] if finals else None
    status: Status = "failed"
    if job.status == "SUCCEEDED":
        status = "finished"
        if final is None and not history:
            status, reason = "failed", "it reported nothing"
    elif job.status == "EARLY_STOPPED":
        status = "stopped"
    else:
        if not reason and record is not None and record.status == "failed":
            reason = record.reason
        reason = reason or f"its process ended ({job.status}); see {folder}"
    outcome = {} if status == "failed" else trial_outcome(objective, history, final)
    given = {k: v for k, v in (job.given.get("parameters") or {}).items() if k != BUDGET}
    return TrialResult(
        job.number,
        space.decode(flat_values(given)) if given else {},
        status,
        history=tuple(history),
        started=round(max(0.0, job.began - started), 2) if job.began else 0.0,
        seconds=round(max(0.0, job.ended - job.began), 2) if job.began else 0.0,
        reason=reason,
        folder=str(folder),
        name=job.name,
        **outcome,
    )


def _value(data: str) -> Any:
    """Decode a metric, which NNI encodes as JSON twice."""
    value = json.loads(data)
    return json.loads(value) if isinstance(value, str) else value


def _named(value: Any, objective: SearchObjective) -> dict[str, float]:
    """Reported metrics by name; a single number, or "default", is the objective."""
    if not isinstance(value, Mapping):
        return {objective.metric: float("nan") if value is None else float(value)}
    named = {key: float(v) for key, v in value.items() if isinstance(v, (int, float))}
    default = named.pop("default", None)
    named.pop("epoch", None)
    if default is not None:
        named.setdefault(objective.metric, default)
    return named

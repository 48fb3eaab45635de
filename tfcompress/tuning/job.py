"""A trial to run, in this process or in one of its own, and the record of how it ended."""

from __future__ import annotations

import random
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfcompress.isolation.process import Ask, IsolatedCall, ProcessEnded, sendable
from tfcompress.tuning.results import TrialResult, read_trial, trial_outcome
from tfcompress.tuning.trial import Report, TrainingFunction, Trial, TrialError

LOG = "log.txt"
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class TrialJob:
    """Everything that a trial's process needs.

    Attributes:
        function: Trains.
        params: Its parameters.
        trial: As the function sees it; reports go where the job is run.
        threads: Threads of TensorFlow's operations; None: TensorFlow's choice.
    """

    function: TrainingFunction
    params: Mapping[str, Any]
    trial: Trial
    threads: int | None = None

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.trial.folder / LOG


@dataclass(frozen=True)
class Ended:
    """How a trial ended.

    Attributes:
        status: As `TrialResult.status`.
        final: What the function returned, as floats.
        reason: Why it failed.
    """

    status: Literal["finished", "stopped", "failed"]
    final: Mapping[str, float] | None = None
    reason: str = ""


def run_isolated(job: TrialJob, report: Report, deadline: float | None = None) -> Ended:
    """Run a trial in a new process; its output goes to `log.txt` in its folder.

    Args:
        job: The trial.
        report: Called here with each epoch.
        deadline: Seconds after which the process is killed; None: never.

    Raises:
        ConfigError: The function cannot be sent to a process.
    """
    # TensorFlow reads its threads as it starts, which may be in the import of the caller's script:
    # earlier than any line of ours there.
    threads = {} if job.threads is None else dict.fromkeys(_THREADS, str(job.threads))
    content, name = sendable_job(job), f"trial-{job.trial.number}"
    with IsolatedCall(_run, content, name=name, log=job.log, environment=threads) as call:
        try:
            return call.result(lambda row: report(*row), deadline)
        except ProcessEnded as ended:
            return Ended("failed", reason=str(ended))


def sendable_job(content: Any) -> bytes:
    """A training function, or what holds one, as bytes for a new process.

    Raises:
        ConfigError: A new process cannot find the function.
    """
    fix = "define it at the top of a module, or use isolate=False"
    return sendable(content, "training function", fix)


def _run(job: TrialJob, ask: Ask) -> Ended:
    """What runs in the trial's process."""
    return run_here(job, lambda epoch, metrics: bool(ask((epoch, dict(metrics)))))


def run_here(job: TrialJob, report: Report) -> Ended:
    """Run a trial in this process: no start-up cost, but a hang or a hard crash is the search's."""
    trial = replace(job.trial, report=report)
    seed_everything(trial.seed)
    try:
        returned = job.function(job.params, trial)
        if trial.stopped:
            return Ended("stopped")
        final = trial.objective.checked(returned, "the training function's result")
        return Ended("finished", final)
    except TrialError as error:
        return Ended("failed", reason=str(error))
    except Exception as error:
        with job.log.open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        first_line = next(iter(str(error).splitlines()), "")
        return Ended("failed", reason=f"{type(error).__name__}: {first_line}")


def trial_result(
    job: TrialJob,
    ended: Ended,
    history: Sequence[Mapping[str, float]],
    seconds: float,
    started: float = 0.0,
    name: str = "",
) -> TrialResult:
    """The record of a job that has ended.

    Args:
        job: The trial.
        ended: How it ended.
        history: What it reported, a row per epoch.
        seconds: From its start to its end.
        started: Seconds from the start of the search.
        name: The tool's own name of it.
    """
    trial, failed = job.trial, ended.status == "failed"
    outcome = {} if failed else trial_outcome(trial.objective, history, ended.final)
    return TrialResult(
        trial.number,
        dict(job.params),
        ended.status,
        history=tuple(history),
        started=round(started, 2),
        seconds=round(seconds, 2),
        reason=ended.reason,
        inherited=_inherited(trial, history),
        folder=str(trial.folder),
        name=name,
        **outcome,
    )


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy, Keras and TensorFlow."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - of those who use the global generator
    import keras

    keras.utils.set_random_seed(seed % 2**32)


def _inherited(trial: Trial, history: Sequence[Mapping[str, float]]) -> int:
    """Leading epochs that are those of the trial that this one took up."""
    before = read_trial(trial.continues) if trial.continues is not None else None
    count = 0
    for mine, theirs in zip(history, before.history if before else (), strict=False):
        if dict(mine) != dict(theirs):
            break
        count += 1
    return count

"""A training function in a process of its own, so that its crash or hang is not the search's."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfcompress.errors import ConfigError
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
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (sendable(job), job.log, theirs)
    process = context.Process(target=_child, args=arguments, name=f"trial-{job.trial.number}")
    # TensorFlow reads its threads as it starts, which may be in the import of the caller's script:
    # earlier than any line of ours there.
    threads = {} if job.threads is None else dict.fromkeys(_THREADS, str(job.threads))
    with environment_of_children(threads):
        process.start()
    theirs.close()
    try:
        return _listen(process, ours, report, job.log, deadline)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()


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


def die_with_parent() -> None:
    """End this process when the one that started it ends, however it ends."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def sendable(content: Any) -> bytes:
    """What a new process is to work on, as bytes.

    Raises:
        ConfigError: It holds a function that a new process cannot find.
    """
    try:
        return pickle.dumps(content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            "training function",
            f"it cannot be sent to a process of its own ({error})",
            "define it at the top of a module, or use isolate=False",
        ) from None


@contextmanager
def environment_of_children(wanted: Mapping[str, str]) -> Iterator[None]:
    """Environment variables of the processes that start inside the block."""
    kept = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in kept.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _listen(
    process: Any, pipe: Connection, report: Report, log: Path, deadline: float | None
) -> Ended:
    """Answer a child's reports until it ends, dies, or its time is over."""
    end = None if deadline is None else time.monotonic() + deadline
    while True:
        left = None if end is None else max(0.0, end - time.monotonic())
        ready = wait([pipe, process.sentinel], left)
        if pipe in ready:
            try:
                kind, *content = pipe.recv()
                if kind != "epoch":
                    return Ended(*content)
                answer = report(*content)
            except EOFError:
                process.join()
                return _died(process.exitcode, log)
            try:
                pipe.send(answer)
            except OSError:  # it died while its report was answered
                process.join()
                return _died(process.exitcode, log)
        elif process.sentinel in ready:
            process.join()
            return _died(process.exitcode, log)
        if end is not None and time.monotonic() >= end:
            process.kill()
            return Ended("failed", reason=f"it did not end within {deadline:g} s and was killed")


def _child(content: bytes, log_path: Path, pipe: Connection) -> None:
    """The trial's process."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the search's to handle
    log = log_path.open("a", encoding="utf-8", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    sys.stdout = sys.stderr = log
    job: TrialJob = pickle.loads(content)  # of our own parent, through no file

    def report(epoch: int, metrics: Mapping[str, float]) -> bool:
        pipe.send(("epoch", epoch, dict(metrics)))
        return bool(pipe.recv())

    ended = run_here(job, report)
    pipe.send((ended.status, ended.status, ended.final, ended.reason))


def _died(code: int | None, log: Path) -> Ended:
    return Ended("failed", reason=f"its process ended {ended_how(code)}; see {log}")


def ended_how(code: int | None) -> str:
    """An exit code in words."""
    return f"by {signal.Signals(-code).name}" if code and code < 0 else f"with code {code}"


def _inherited(trial: Trial, history: Sequence[Mapping[str, float]]) -> int:
    """Leading epochs that are those of the trial that this one took up."""
    before = read_trial(trial.continues) if trial.continues is not None else None
    count = 0
    for mine, theirs in zip(history, before.history if before else (), strict=False):
        if dict(mine) != dict(theirs):
            break
        count += 1
    return count

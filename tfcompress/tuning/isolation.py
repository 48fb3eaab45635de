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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfcompress.errors import ConfigError
from tfcompress.tuning.trial import Objective, Report, TrainingFunction, Trial, TrialError

LOG = "log.txt"
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


@dataclass(frozen=True)
class TrialJob:
    """Everything that a trial's process needs.

    Attributes:
        function: Trains.
        params: Its parameters.
        number: From 0.
        objective: Of the search.
        folder: For its files.
        seed: For Python, NumPy and TensorFlow.
        epochs: As `Trial.epochs`.
        continues: As `Trial.continues`.
        threads: Threads of TensorFlow's operations; None: TensorFlow's choice.
    """

    function: TrainingFunction
    params: Mapping[str, Any]
    number: int
    objective: Objective
    folder: Path
    seed: int = 0
    epochs: int | None = None
    continues: Path | None = None
    threads: int | None = None

    def trial(self, report: Report) -> Trial:
        """The trial as the function sees it."""
        return Trial(
            self.number,
            self.objective,
            self.folder,
            self.seed,
            self.epochs,
            self.continues,
            report,
        )


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
    arguments = (sendable(job), job.folder / LOG, theirs)
    process = context.Process(target=_child, args=arguments, name=f"trial-{job.number}")
    with _threads_of_children(job.threads):
        process.start()
    theirs.close()
    try:
        return _listen(process, ours, report, job.folder, deadline)
    finally:
        if process.is_alive():
            process.kill()
        process.join()
        ours.close()


def run_here(job: TrialJob, report: Report) -> Ended:
    """Run a trial in this process: no start-up cost, but a hang or a hard crash is the search's."""
    seed_everything(job.seed)
    trial = job.trial(report)
    try:
        returned = job.function(job.params, trial)
        if trial.stopped:
            return Ended("stopped")
        return Ended("finished", job.objective.checked(returned, "the training function's result"))
    except TrialError as error:
        return Ended("failed", reason=str(error))
    except Exception as error:
        with (job.folder / LOG).open("a", encoding="utf-8") as log:
            log.write(traceback.format_exc())
        return Ended("failed", reason=f"{type(error).__name__}: {_first_line(error)}")


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
def _threads_of_children(threads: int | None) -> Iterator[None]:
    """Let TensorFlow in processes that start now use so many threads.

    It reads them as it starts, which may be in the import of the caller's script: earlier than any
    line of ours there.
    """
    wanted = {} if threads is None else dict.fromkeys(_THREADS, str(threads))
    kept = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in kept.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _listen(
    process: Any, pipe: Connection, report: Report, folder: Path, deadline: float | None
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
                return _died(process.exitcode, folder)
            try:
                pipe.send(answer)
            except OSError:  # it died while its report was answered
                process.join()
                return _died(process.exitcode, folder)
        elif process.sentinel in ready:
            process.join()
            return _died(process.exitcode, folder)
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


def _died(code: int | None, folder: Path) -> Ended:
    return Ended("failed", reason=f"its process ended {ended_how(code)}; see {folder / LOG}")


def ended_how(code: int | None) -> str:
    """An exit code in words."""
    return f"by {signal.Signals(-code).name}" if code and code < 0 else f"with code {code}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")

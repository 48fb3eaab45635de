"""Monitor NNI's manager process: make sure that it ends and leaves no process behind."""

from __future__ import annotations

import atexit
import logging
import signal
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from tfcompress.errors import DataError
from tfcompress.internals.nni import PROCESS, REST
from tfcompress.isolation.process import environment_of_children
from tfcompress.tuning.nni.records import read_trials, trials_under_way
from tfcompress.tuning.nni.setup import environment, patient_start
from tfcompress.tuning.results import SearchError, SearchResult, TrialResult
from tfcompress.tuning.stopping import gives_up

NO_TRIAL_SECONDS = 300.0
"""Time without a running or waiting trial after which a search is stopped. NNI waits forever."""


class Manager:
    """NNI's manager process, monitored."""

    def __init__(
        self, search: Any, experiment: Any, port: int, resumed: bool, tell: Callable[[str], None]
    ) -> None:
        self.search = search
        self.experiment = experiment
        self.port = port
        self.resumed = resumed
        self.tell = tell
        self.folder = Path(search.folder).resolve() / self.experiment.id
        self.family: dict[int, psutil.Process] = {}
        self.canceled: dict[str, str] = {}
        self.told: set[str] = set()
        self.stopped_by = ""
        self.interrupted = False
        self.idle_since: float | None = None
        self.began = time.monotonic()

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop all processes, including those that a dead manager left behind."""
        process = PROCESS.of(self.experiment)
        if process is not None and process.poll() is None:
            self._remember_family()
            with suppress(Exception):
                self.experiment.stop()
        else:
            atexit.unregister(self.experiment.stop)
        end_processes(list(self.family.values()))

    def start(self) -> None:
        """Start or resume the experiment; returns when the tuner runs."""
        logging.getLogger("nni.experiment").setLevel(logging.ERROR)
        begin = self.experiment.resume if self.resumed else self.experiment.run
        try:
            with (
                environment_of_children(environment(self.search.manager_ip, watch=True)),
                patient_start(),
            ):
                begin(self.port, wait_completion=False)
        except Exception as error:
            raise SearchError(
                f"NNI on port {self.port}",
                f"it did not start ({next(iter(str(error).splitlines()), type(error).__name__)})",
                f"read {self.folder / 'log'}",
            ) from None
        if PROCESS.of(self.experiment) is None:  # on Ctrl-C, NNI stops and returns
            raise KeyboardInterrupt
        self.tell(f"NNI experiment {self.experiment.id}: http://127.0.0.1:{self.port}")
        if self.resumed:
            self.told = {trial.name for trial in self._ended()}

    def wait(self) -> None:
        """Wait until the experiment is done, has died, or has reached its time limit."""
        while not self.stopped_by:
            time.sleep(0.5)
            if PROCESS.of(self.experiment).poll() is not None:
                self.stopped_by = f"NNI's manager ended; see {self.folder / 'log'}"
                self.interrupted = True
                return
            self._remember_family()
            self._tell_news()
            if self._is_done():
                self._tell_news()
                return
            self._cancel_late_trials()
            if self.search.seconds and time.monotonic() - self.began > self.search.seconds:
                self.stopped_by = "its time limit is reached"

    def result(self) -> SearchResult:
        """The result of the experiment, from its database."""
        return SearchResult(
            self.search.space,
            self.search.objective,
            self._ended(),
            f"NNI {self.search.tuner}",
            time.monotonic() - self.began,
            self.stopped_by,
            self.interrupted,
        )

    def _is_done(self) -> bool:
        try:
            status = self.experiment.get_status()
        except Exception:  # the manager is shutting down, or too busy to answer
            return False
        if status == "ERROR":
            self.stopped_by, self.interrupted = self._error(), True
            return True
        ended = self._ended()
        self.stopped_by = gives_up([trial.objective is None for trial in ended])
        if self.stopped_by:
            return True
        if trials_under_way(self.folder):
            self.idle_since = None
            return status in ("DONE", "STOPPED")
        if status != "TUNER_NO_MORE_TRIAL":
            self.idle_since = self.idle_since or time.monotonic()
            if time.monotonic() - self.idle_since > NO_TRIAL_SECONDS:
                self.stopped_by = (
                    f"NNI started no trial for {NO_TRIAL_SECONDS:g} s, so its tuner probably "
                    f"hangs; see {self.folder / 'log'}"
                )
                self.interrupted = True
            return status in ("DONE", "STOPPED") or bool(self.stopped_by)
        # NNI never reports this state as done, and a last trial may be about to start.
        self.idle_since = self.idle_since or time.monotonic()
        return bool(ended) and time.monotonic() - self.idle_since > 3.0

    def _error(self) -> str:
        """The reason why NNI reports the status ERROR."""
        with suppress(Exception):
            errors = REST.get().get(self.port, "/check-status")["errors"]
            return f"NNI: {errors[-1]}; see {self.folder / 'log'}"
        return f"NNI: an error; see {self.folder / 'log'}"

    def _cancel_late_trials(self) -> None:
        limit = self.search.trial_seconds
        if limit is None:
            return
        for trial_id, began in trials_under_way(self.folder).items():
            if began and time.time() - began > limit and trial_id not in self.canceled:
                self.canceled[trial_id] = f"it did not end within {limit:g} s and was killed"
                with suppress(Exception):
                    self.experiment.kill_trial_job(trial_id)

    def _ended(self) -> tuple[TrialResult, ...]:
        try:
            return read_trials(self.folder, self.search.space, self.search.objective, self.canceled)
        except (DataError, sqlite3.Error):  # the database is missing still, or being written
            return ()

    def _tell_news(self) -> None:
        for trial in self._ended():
            if trial.name in self.told:
                continue
            self.told.add(trial.name)
            self.tell(trial.line(self.search.objective, self.search.trials))

    def _remember_family(self) -> None:
        """Remember the manager's child processes, which survive it if it is killed."""
        with suppress(psutil.Error):
            for child in psutil.Process(PROCESS.of(self.experiment).pid).children(recursive=True):
                self.family.setdefault(child.pid, child)


def end_processes(processes: Sequence[psutil.Process], patience: float = 5.0) -> None:
    """Terminate processes, and kill those that do not end within `patience` seconds."""
    alive = [process for process in processes if _is_running(process)]
    for process in alive:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(alive, timeout=patience)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

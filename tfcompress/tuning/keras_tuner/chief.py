"""A chief for keras-tuner: one process holds the oracle, workers get trials from it over gRPC.

keras-tuner's own chief waits forever for a dead worker, polls only every 20 seconds, and lets a
second chief bind the same port. This chief serves the same protocol without these defects.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import replace
from typing import Any

import grpc

from tfcompress.errors import ConfigError
from tfcompress.internals.keras_tuner import PROTOS, SERVICER, TIMEOUT
from tfcompress.isolation.process import Ask, IsolatedCall
from tfcompress.isolation.program import ended_how
from tfcompress.tuning.job import sendable_job
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch
from tfcompress.tuning.keras_tuner.worker import ENVIRONMENT, Worker, make_tuner, role_of_process
from tfcompress.tuning.results import SearchError, read_trial

LOOPBACK = "127.0.0.1"
SILENCE_SECONDS = 120
"""Time after which a worker gives up on a chief that does not answer."""
LOST_SECONDS = 60
"""Time beyond a trial's deadline after which its worker counts as lost."""
GOODBYE_SECONDS = 15
"""Time that a chief waits for workers on other machines to ask for a trial and be dismissed."""
DEATHS_WITHOUT_A_TRIAL = 3
"""Number of workers that may die before they get a trial; more would restart forever."""


def work_for_chief(search: KerasTunerSearch) -> None:
    """Run trials for a chief on another machine (or in another process) until it has no more.

    Args:
        search: The search, equal to the chief's.

    Raises:
        SearchError: The chief does not answer.
    """
    try:
        with TIMEOUT.replaced(SILENCE_SECONDS):
            Worker(search).work()
    except grpc.RpcError as error:
        address = ":".join(os.environ[key] for key in ENVIRONMENT[1:])
        raise SearchError(
            f"chief at {address}",
            f"it does not answer ({error.code().name})",
            "start it first, and make sure that its port can be reached from here",
        ) from None


class Chief:
    """Serves an oracle to workers, and replaces workers that die.

    Args:
        search: The search.
        port: Number of the port, if the workers run on this machine; 0 for any.
        tell: Function that takes a line of progress; None for silence.

    Raises:
        ConfigError: Workers run on other machines, but trials have no time limit.
        SearchError: The chief cannot listen on the port.
    """

    def __init__(
        self, search: KerasTunerSearch, port: int, tell: Callable[[str], None] | None
    ) -> None:
        self.search = search
        self.tell = tell or (lambda line: None)
        self.outside = role_of_process() == "chief"
        if self.outside and search.trial_seconds is None:
            raise ConfigError(
                "trial_seconds",
                "it is None, but a worker on another machine may disappear with its trial",
                "give the time in seconds after which a trial counts as failed",
            )
        self.address = os.environ[ENVIRONMENT[1]] if self.outside else LOOPBACK
        self.oracle = make_tuner(search).oracle
        self.servicer = SERVICER.get()(self.oracle)
        # One thread, as in keras-tuner: its oracles are not thread-safe.
        self.server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)]
        )
        PROTOS.get().get_service_grpc().add_OracleServicer_to_server(self.servicer, self.server)
        wanted = int(os.environ[ENVIRONMENT[2]]) if self.outside else port
        try:
            self.port = self.server.add_insecure_port(f"{self.address}:{wanted}")
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise SearchError(
                f"port {wanted}", f"the chief cannot listen on {self.address}", "choose a free PORT"
            )
        self.workers: dict[str, IsolatedCall] = {}
        self.deaths = 0
        self.seen: dict[str, float] = {}
        self.goodbye: float | None = None
        self.told = len(self.oracle.end_order)

    def run(self, workers: int) -> Any:
        """Serve until the search is over, and return the oracle.

        Args:
            workers: Number of workers to start on this machine; 0 if they are started elsewhere.
        """
        self.server.start()
        try:
            threads = self.search.threads or max(1, (os.cpu_count() or 1) // max(1, workers))
            self.search = replace(self.search, threads=threads)
            for number in range(workers):
                self._start(f"tuner{number}")
            if self.outside:
                self.tell(f"chief at {self.address}:{self.port}: waiting for workers")
            while not self._over():
                time.sleep(0.2)
                self._look_after_workers()
                self._find_lost_trials()
                self._tell_news()
            self._tell_news()
            return self.oracle
        finally:
            for worker in self.workers.values():
                worker.close()
            self.server.stop(grace=1).wait()

    def _start(self, tuner_id: str) -> None:
        content = sendable_job((self.search, tuner_id, self.address, str(self.port)))
        self.workers[tuner_id] = IsolatedCall(_worker, content, name=tuner_id)

    def _over(self) -> bool:
        if not self.outside:
            return not self.workers
        if not self.servicer.stop_triggered or self.oracle.ongoing_trials:
            late = self.oracle.ends_at is not None and time.monotonic() > self.oracle.ends_at
            return late and not self.oracle.ongoing_trials
        self.goodbye = self.goodbye or time.monotonic()
        return not self.oracle.tuner_ids or time.monotonic() - self.goodbye > GOODBYE_SECONDS

    def _look_after_workers(self) -> None:
        """Fail the trials of dead workers, and replace the workers."""
        for tuner_id, worker in list(self.workers.items()):
            if worker.exitcode is None:
                continue
            del self.workers[tuner_id]
            worker.close()
            if worker.exitcode == 0:
                continue
            how = ended_how(worker.exitcode)
            self.deaths += not self._fail(tuner_id, f"its worker ended {how}")
            if self.deaths >= DEATHS_WITHOUT_A_TRIAL:
                raise SearchError(
                    f"worker {tuner_id}",
                    f"it ended {how} before it got a trial, as did {self.deaths - 1} before it",
                    "read its output; a script needs `if __name__ == '__main__':`",
                )
            if not self.oracle.closing:
                self._start(tuner_id)

    def _find_lost_trials(self) -> None:
        """Fail trials far beyond their deadline, whose workers are lost."""
        if self.search.trial_seconds is None:
            return
        for tuner_id, trial in list(self.oracle.ongoing_trials.items()):
            began = self.seen.setdefault(trial.trial_id, time.monotonic())
            if time.monotonic() - began > self.search.trial_seconds + LOST_SECONDS:
                self._fail(tuner_id, "its worker does not answer")

    def _fail(self, tuner_id: str, reason: str) -> bool:
        """Fail the trial of a worker; returns whether it had one."""
        trial = self.oracle.ongoing_trials.get(tuner_id)
        if trial is None:
            return False
        trial.status, trial.message = "FAILED", reason
        self.oracle.end_trial(trial)
        return True

    def _tell_news(self) -> None:
        ended = list(self.oracle.end_order)
        for trial_id in ended[self.told :]:
            record = read_trial(self.search.trial_folder(int(trial_id)))
            trial = self.oracle.trials[trial_id]
            if record is not None:
                self.tell(record.line(self.search.objective, self.search.trials))
            else:
                self.tell(f"trial {int(trial_id) + 1:>3}  {trial.status} {trial.message or ''}")
        self.told = len(ended)


def _worker(content: tuple[KerasTunerSearch, str, str, str], ask: Ask) -> None:
    """A worker process on the chief's machine."""
    search, *role = content
    os.environ.update(zip(ENVIRONMENT, role, strict=True))
    work_for_chief(search)

"""keras-tuner's chief: one process holds the oracle, others take trials from it over gRPC.

keras-tuner's own chief waits for ever for a worker that died, checks every 20 seconds, and lets a
second chief bind the same port; this one serves the same protocol without that.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from collections.abc import Callable
from concurrent import futures
from dataclasses import replace
from typing import Any

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_client
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from tfcompress.errors import ConfigError
from tfcompress.tuning.isolation import die_with_parent, ended_how, sendable
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch
from tfcompress.tuning.keras_tuner.worker import ENVIRONMENT, Worker, make_tuner, role_of_process
from tfcompress.tuning.results import SearchError, read_trial

LOOPBACK = "127.0.0.1"
SILENCE_SECONDS = 120
"""After which a worker gives up on a chief that does not answer."""
LOST_SECONDS = 60
"""Beyond a trial's deadline, after which the worker that had it counts as lost."""
GOODBYE_SECONDS = 15
"""How long a chief waits for workers of other machines to ask once more and be sent home."""
DEATHS_WITHOUT_A_TRIAL = 3
"""Workers that may die before they have a trial: nothing would ever fail, nothing would end."""


def work_for_chief(search: KerasTunerSearch) -> None:
    """Run trials of a chief on another machine (or in another process) until it has no more.

    Raises:
        SearchError: The chief does not answer.
    """
    oracle_client.TIMEOUT = SILENCE_SECONDS  # keras-tuner's is an hour
    try:
        Worker(search).work()
    except grpc.RpcError as error:
        address = ":".join(os.environ[key] for key in ENVIRONMENT[1:])
        raise SearchError(
            f"chief at {address}",
            f"it does not answer ({error.code().name})",
            "start it first, and let its port be reached from here",
        ) from None


class Chief:
    """Serves an oracle, and looks after its workers."""

    def __init__(
        self, search: KerasTunerSearch, port: int, tell: Callable[[str], None] | None
    ) -> None:
        self.search = search
        self.tell = tell or (lambda line: None)
        self.outside = role_of_process() == "chief"
        if self.outside and search.trial_seconds is None:
            raise ConfigError(
                "trial_seconds",
                "it is None, and a worker on another machine may vanish with its trial",
                "give seconds after which a trial counts as failed",
            )
        self.address = os.environ[ENVIRONMENT[1]] if self.outside else LOOPBACK
        self.oracle = make_tuner(search).oracle
        self.servicer = OracleServicer(self.oracle)
        # One thread, as keras-tuner's: its oracles are not made for more.
        self.server = grpc.server(
            futures.ThreadPoolExecutor(max_workers=1), options=[("grpc.so_reuseport", 0)]
        )
        protos.get_service_grpc().add_OracleServicer_to_server(self.servicer, self.server)
        wanted = int(os.environ[ENVIRONMENT[2]]) if self.outside else port
        try:
            self.port = self.server.add_insecure_port(f"{self.address}:{wanted}")
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise SearchError(
                f"port {wanted}", f"the chief cannot listen on {self.address}", "choose a free PORT"
            )
        self.workers: dict[str, Any] = {}
        self.deaths = 0
        self.seen: dict[str, float] = {}
        self.goodbye: float | None = None
        self.told = len(self.oracle.end_order)

    def run(self, workers: int) -> Any:
        """Serve until the search is over; the oracle.

        Args:
            workers: To start on this machine; 0 where they are started elsewhere.
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
            for process in self.workers.values():
                if process.is_alive():
                    process.kill()
                process.join()
            self.server.stop(grace=1).wait()

    def _start(self, tuner_id: str) -> None:
        context = multiprocessing.get_context("spawn")
        arguments = (sendable(self.search), tuner_id, self.address, str(self.port))
        process = context.Process(target=_worker, args=arguments, name=tuner_id)
        process.start()
        self.workers[tuner_id] = process

    def _over(self) -> bool:
        if not self.outside:
            return not self.workers
        if not self.servicer.stop_triggered or self.oracle.ongoing_trials:
            late = self.oracle.ends_at is not None and time.monotonic() > self.oracle.ends_at
            return late and not self.oracle.ongoing_trials
        self.goodbye = self.goodbye or time.monotonic()
        return not self.oracle.tuner_ids or time.monotonic() - self.goodbye > GOODBYE_SECONDS

    def _look_after_workers(self) -> None:
        """A worker that died fails its trial and is replaced."""
        for tuner_id, process in list(self.workers.items()):
            if process.exitcode is None:
                continue
            del self.workers[tuner_id]
            if process.exitcode == 0:
                continue
            how = ended_how(process.exitcode)
            self.deaths += not self._fail(tuner_id, f"its worker ended {how}")
            if self.deaths >= DEATHS_WITHOUT_A_TRIAL:
                raise SearchError(
                    f"worker {tuner_id}",
                    f"it ended {how} before it had a trial, as {self.deaths - 1} did before it",
                    "read what it printed; a script needs `if __name__ == '__main__':`",
                )
            if not self.oracle.closing:
                self._start(tuner_id)

    def _find_lost_trials(self) -> None:
        """A trial far beyond its deadline belongs to a worker that is gone."""
        if self.search.trial_seconds is None:
            return
        for tuner_id, trial in list(self.oracle.ongoing_trials.items()):
            began = self.seen.setdefault(trial.trial_id, time.monotonic())
            if time.monotonic() - began > self.search.trial_seconds + LOST_SECONDS:
                self._fail(tuner_id, "its worker does not answer")

    def _fail(self, tuner_id: str, reason: str) -> bool:
        """Whether the worker had a trial, which failed with it."""
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


def _worker(content: bytes, tuner_id: str, address: str, port: str) -> None:
    """A worker process on the chief's machine."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(zip(ENVIRONMENT, (tuner_id, address, port), strict=True))
    work_for_chief(pickle.loads(content))  # of our own parent, through no file

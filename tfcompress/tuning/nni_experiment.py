"""An NNI experiment from Python that always ends: with a result, and with nothing left running."""

from __future__ import annotations

import json
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from tfcompress.atomic import write_text
from tfcompress.errors import ConfigError, DataError
from tfcompress.reporting.run import to_json
from tfcompress.tuning.nni_records import read_trials, trials_under_way
from tfcompress.tuning.nni_space import to_nni
from tfcompress.tuning.results import SearchError, SearchResult, TrialResult
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import Objective
from tfcompress.tuning.with_nni import import_nni

PRELOAD = Path(__file__).with_name("nni_preload.js")
STATE = "search.json"
GIVE_UP_AFTER = 3
"""Failures in a row, with no trial that worked before them, after which a search gives up."""
_TUNERS: dict[str, dict[str, Any]] = {
    "TPE": {"seed": True},
    "Random": {"seed": True},
    "GridSearch": {"mode": False},
    "Evolution": {"class_args": {"population_size": 8}},
    "GP": {},
    "Metis": {},
    "Hyperband": {},
}
_ASSESSORS = ("Medianstop", "Curvefitting")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A worker over SSH, for NNI's remote training service.

    Attributes:
        host: Name or address.
        user: Who logs in.
        port: Of SSH.
        key_file: Private key without a passphrase.
        python: Folder of the interpreter there, with nni 3.0 and what the trial needs.
    """

    host: str
    user: str
    port: int = 22
    key_file: str = "~/.ssh/id_ed25519"
    python: str = ""


@dataclass(frozen=True, kw_only=True)
class NNISearch:
    """An experiment, stated.

    Attributes:
        command: Of a trial: `[sys.executable, "trial.py"]`, whose script calls `run_nni_trial` (or
            NNI itself). On other machines the interpreter needs its absolute path there.
        space: What to search.
        objective: What for.
        folder: For NNI's files, logs and trials.
        code_directory: Working directory of the trials.
        tuner: TPE, Random, GridSearch, Evolution, GP, Metis or Hyperband.
        tuner_args: Further arguments of the tuner.
        assessor: "Medianstop", "Curvefitting" or None; Hyperband has its own rule.
        assessor_args: Further arguments of the assessor.
        trials: How many at most.
        epochs: Of Hyperband, for its longest trials.
        concurrency: Trials at a time.
        seed: Of the tuner.
        trial_seconds: After which a trial is cancelled and counts as failed; None: never.
        seconds: After which the experiment ends; None: never.
        machines: Workers over SSH; none: this machine.
        manager_ip: Address of this machine that the workers reach; loopback where they are here.
    """

    command: Sequence[str]
    space: SearchSpace
    objective: Objective
    folder: Path
    code_directory: Path = Path(".")
    tuner: str = "TPE"
    tuner_args: dict[str, Any] | None = None
    assessor: str | None = "Medianstop"
    assessor_args: dict[str, Any] | None = None
    trials: int = 20
    epochs: int | None = None
    concurrency: int = 1
    seed: int = 0
    trial_seconds: float | None = None
    seconds: float | None = None
    machines: tuple[Machine, ...] = ()
    manager_ip: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if self.tuner not in _TUNERS:
            raise ConfigError("tuner", f"unknown {self.tuner!r}", f"use {', '.join(_TUNERS)}")
        if self.assessor is not None and self.assessor not in _ASSESSORS:
            raise ConfigError(
                "assessor", f"unknown {self.assessor!r}", f"use {', '.join(_ASSESSORS)} or None"
            )
        if self.trials < 1 or self.concurrency < 1:
            raise ConfigError(
                "trials, concurrency", f"{self.trials} and {self.concurrency}", "use at least 1"
            )
        if self.tuner == "Hyperband" and not self.epochs:
            raise ConfigError("epochs", "Hyperband needs them", "give those of its longest trials")
        for name in ("trial_seconds", "seconds"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ConfigError(name, f"it is {value:g}", "use seconds above 0, or None")
        if not Path(self.code_directory).is_dir():
            raise ConfigError("code_directory", f"there is no {self.code_directory}", "name one")


def run_experiment(
    search: NNISearch,
    *,
    port: int = 0,
    resume: bool = False,
    tell: Callable[[str], None] | None = print,
) -> SearchResult:
    """Run an NNI experiment to its end.

    The manager, its tuner and the trials are gone when this returns or raises, and end by
    themselves where this process is killed. The web page is at `http://127.0.0.1:<port>`.

    Args:
        search: What to search and how.
        port: Of the manager; 0: a free one.
        resume: Go on with an experiment that was cut off.
        tell: Takes a line per trial; None for silence.

    Returns:
        Every trial that ended; `stopped_by` says where the experiment ended early.

    Raises:
        SearchError: The port is taken, a machine cannot be reached, NNI did not start, or every
            trial failed.
    """
    import_nni()
    experiment_id = _claim(search, resume)
    port = _port(port)
    for machine in search.machines:
        _reachable(machine)
    with _Manager(search, experiment_id, port, tell or (lambda line: None)) as manager:
        manager.start()
        manager.wait()
    result = manager.result()
    _ = result.best  # every trial failed: say so
    return result


class _Manager:
    """NNI's manager process, watched."""

    def __init__(
        self, search: NNISearch, experiment_id: str | None, port: int, tell: Callable[[str], None]
    ) -> None:
        self.search = search
        self.port = port
        self.tell = tell
        self.resumed = experiment_id is not None
        self.experiment = _configured(search, experiment_id)
        self.folder = Path(search.folder).resolve() / self.experiment.id
        self.family: dict[int, psutil.Process] = {}
        self.cancelled: dict[str, str] = {}
        self.told: set[str] = set()
        self.stopped_by = ""
        self.began = time.monotonic()

    def __enter__(self) -> _Manager:
        return self

    def __exit__(self, *error: Any) -> None:
        """Stop everything, also what the manager left behind."""
        process = self.experiment._proc
        if process is not None and process.poll() is None:
            self._remember_family()
            with suppress(Exception):
                self.experiment.stop()
        else:
            import atexit

            atexit.unregister(self.experiment.stop)
        end_processes(list(self.family.values()))

    def start(self) -> None:
        """Start or resume; returns when the tuner runs."""
        write_text(
            Path(self.search.folder) / STATE,
            to_json({**_stated(self.search), "experiment": self.experiment.id}),
        )
        kept = {key: os.environ.get(key) for key in environment(self.search.manager_ip)}
        os.environ.update(environment(self.search.manager_ip, watch=True))
        logging.getLogger("nni").setLevel(logging.ERROR)
        try:
            (self.experiment.resume if self.resumed else self.experiment.run)(
                self.port, wait_completion=False
            )
        except Exception as error:
            raise SearchError(
                f"NNI on port {self.port}",
                f"it did not start ({next(iter(str(error).splitlines()), type(error).__name__)})",
                f"read {self.folder / 'log'}",
            ) from None
        finally:
            for key, value in kept.items():
                os.environ.pop(key, None) if value is None else os.environ.update({key: value})
        self.tell(f"NNI experiment {self.experiment.id}: http://127.0.0.1:{self.port}")
        if self.resumed:
            self.told = {trial.name for trial in self._ended()}

    def wait(self) -> None:
        """Until it is done, dead, or out of time."""
        while not self.stopped_by:
            time.sleep(0.5)
            if self.experiment._proc.poll() is not None:
                self.stopped_by = f"NNI's manager ended; see {self.folder / 'log'}"
                return
            self._remember_family()
            self._tell_news()
            if self._is_done():
                self._tell_news()
                return
            self._cancel_late_trials()
            if self.search.seconds and time.monotonic() - self.began > self.search.seconds:
                self.stopped_by = "its time is over"

    def result(self) -> SearchResult:
        """What its database holds."""
        return SearchResult(
            self.search.space,
            self.search.objective,
            self._ended(),
            f"NNI {self.search.tuner}",
            time.monotonic() - self.began,
            self.stopped_by,
        )

    def _is_done(self) -> bool:
        try:
            status = self.experiment.get_status()
        except Exception:  # the manager is going down, or too busy to answer
            return False
        if status == "ERROR":
            self.stopped_by = self._error()
            return True
        ended = self._ended()
        if len(ended) >= GIVE_UP_AFTER and all(trial.objective is None for trial in ended):
            self.stopped_by = f"its first {len(ended)} trials all failed"
            return True
        if status == "TUNER_NO_MORE_TRIAL":  # NNI never calls this done
            return not trials_under_way(self.folder) and bool(ended)
        return status in ("DONE", "STOPPED")

    def _error(self) -> str:
        """Why NNI says ERROR."""
        from nni.experiment import rest

        with suppress(Exception):
            errors = rest.get(self.port, "/check-status")["errors"]
            return f"NNI: {errors[-1]}; see {self.folder / 'log'}"
        return f"NNI: an error; see {self.folder / 'log'}"

    def _cancel_late_trials(self) -> None:
        limit = self.search.trial_seconds
        if limit is None:
            return
        for trial_id, began in trials_under_way(self.folder).items():
            if began and time.time() - began > limit and trial_id not in self.cancelled:
                self.cancelled[trial_id] = f"it did not end within {limit:g} s and was killed"
                with suppress(Exception):
                    self.experiment.kill_trial_job(trial_id)

    def _ended(self) -> tuple[TrialResult, ...]:
        try:
            return read_trials(
                self.folder, self.search.space, self.search.objective, self.cancelled
            )
        except DataError:
            return ()

    def _tell_news(self) -> None:
        for trial in self._ended():
            if trial.name in self.told:
                continue
            self.told.add(trial.name)
            value = "failed" if trial.objective is None else f"{trial.objective:.4f}"
            more = f"  {trial.reason}" if trial.reason else ""
            self.tell(
                f"trial {len(self.told):>3}/{self.search.trials}  {self.search.objective.metric} "
                f"{value}  {trial.epochs} epochs  {trial.seconds:.1f} s  {trial.status}{more}"
            )

    def _remember_family(self) -> None:
        """The manager's processes, for the case that it is killed and leaves them."""
        with suppress(psutil.Error):
            for child in psutil.Process(self.experiment._proc.pid).children(recursive=True):
                self.family.setdefault(child.pid, child)


def environment(manager_ip: str = "127.0.0.1", watch: bool = False) -> dict[str, str]:
    """Environment variables under which NNI's manager is to be started, by `nnictl` too.

    Args:
        manager_ip: Address of this machine for workers of other machines.
        watch: Whether the manager ends with this process.
    """
    node = os.environ.get("NODE_OPTIONS", "")
    preload = f'--require="{PRELOAD}"'
    return {
        "NODE_OPTIONS": node if preload in node else f"{node} {preload}".strip(),
        "TFCOMPRESS_NNI_HOST": manager_ip,
        "TFCOMPRESS_NNI_PARENT": str(os.getpid()) if watch else "",
    }


def end_processes(processes: Sequence[psutil.Process], patience: float = 5.0) -> None:
    """Ask processes to end, then kill them."""
    alive = [process for process in processes if _is_running(process)]
    for process in alive:
        with suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(alive, timeout=patience)
    for process in alive:
        with suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=patience)


def nnictl() -> list[str]:
    """The command `nnictl` of this interpreter.

    Raises:
        ConfigError: It is not there, or does not start.
    """
    import_nni()
    path = Path(sys.executable).with_name("nnictl")
    if not path.is_file():
        raise ConfigError("nnictl", f"there is no {path}", "pip install 'nni==3.0'")
    checked = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)
    if checked.returncode:
        last = (checked.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConfigError("nnictl", f"it does not start ({last})", "pip install 'setuptools<82'")
    return [str(path)]


def _configured(search: NNISearch, experiment_id: str | None) -> Any:
    from nni.experiment import Experiment, RemoteMachineConfig

    experiment = Experiment("remote" if search.machines else "local", id=experiment_id)
    config = experiment.config
    config.experiment_name = search.objective.metric
    config.trial_command = shlex.join(map(str, search.command))
    config.trial_code_directory = Path(search.code_directory).resolve()
    config.search_space = to_nni(search.space)
    config.max_trial_number = search.trials
    config.trial_concurrency = search.concurrency
    config.experiment_working_directory = Path(search.folder).resolve()
    mode = "maximize" if search.objective.direction == "max" else "minimize"
    known = _TUNERS[search.tuner]
    arguments = dict(known.get("class_args", {}))
    if known.get("mode", True):
        arguments["optimize_mode"] = mode
    if known.get("seed"):
        arguments["seed"] = search.seed
    if search.tuner == "Hyperband":
        from nni.experiment.config import CustomAlgorithmConfig

        config.tuner = CustomAlgorithmConfig(
            class_name="tfcompress.tuning.nni_advisors.MendedHyperband",
            code_directory=str(Path(__file__).parents[2]),
            class_args={**arguments, "R": search.epochs, "eta": 3, **(search.tuner_args or {})},
        )
        config.assessor = None
    else:
        config.tuner.name = search.tuner
        config.tuner.class_args = {**arguments, **(search.tuner_args or {})}
        if search.assessor is not None:
            config.assessor.name = search.assessor
            config.assessor.class_args = {
                "optimize_mode": mode,
                "start_step": 3,
                **(search.assessor_args or {}),
            }
    if search.machines:
        config.nni_manager_ip = search.manager_ip
        for machine in search.machines:
            config.training_service.machine_list.append(
                RemoteMachineConfig(
                    host=machine.host,
                    port=machine.port,
                    user=machine.user,
                    ssh_key_file=str(Path(machine.key_file).expanduser()),
                    python_path=machine.python or None,
                )
            )
    return experiment


def _stated(search: NNISearch) -> dict[str, Any]:
    """What a resumed experiment must agree in."""
    return {
        "space": to_nni(search.space),
        "objective": [search.objective.metric, search.objective.direction],
        "tuner": search.tuner,
        "epochs": search.epochs,
        "seed": search.seed,
    }


def _claim(search: NNISearch, resume: bool) -> str | None:
    """The id of the experiment in the folder that is to go on; None: a new one."""
    path = Path(search.folder) / STATE
    if not path.is_file():
        Path(search.folder).mkdir(parents=True, exist_ok=True)
        return None
    old = json.loads(path.read_text(encoding="utf-8"))
    stated = json.loads(to_json(_stated(search)))
    differing = [key for key in stated if old.get(key) != stated[key]]
    if differing:
        raise SearchError(
            str(search.folder),
            f"it holds a search with another {' and '.join(differing)}",
            "choose another folder, or delete it",
        )
    if not resume:
        raise SearchError(
            str(search.folder),
            "it holds a search already",
            "go on with it by RESUME=1 (resume=True), or delete it",
        )
    has_database = (Path(search.folder) / old["experiment"] / "db" / "nni.sqlite").is_file()
    return old["experiment"] if has_database else None


def _port(wanted: int) -> int:
    """A port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted))
        except OSError:
            raise SearchError(
                f"port {wanted}",
                "another program, perhaps another experiment, listens on it",
                "choose a free PORT",
            ) from None
        return int(probe.getsockname()[1])


def _reachable(machine: Machine) -> None:
    """Raise where a worker does not answer: NNI's manager would crash on it."""
    try:
        socket.create_connection((machine.host, machine.port), timeout=10).close()
    except OSError as error:
        raise SearchError(
            f"machine {machine.host}:{machine.port}",
            f"it cannot be reached ({error.strerror or error})",
            "start its SSH server, or take it from the list",
        ) from None


def _is_running(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False

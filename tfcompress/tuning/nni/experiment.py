"""An NNI experiment from Python that always ends: with a result, and with nothing left running."""

from __future__ import annotations

import math
import shlex
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress.errors import ConfigError
from tfcompress.tuning.checks import (
    check_epochs,
    check_first_round,
    check_limits,
    check_numbers,
    free_port,
)
from tfcompress.tuning.folder import claimed, note, state_search
from tfcompress.tuning.nni.manager import Manager
from tfcompress.tuning.nni.space import to_nni
from tfcompress.tuning.nni.trial import import_nni
from tfcompress.tuning.results import SearchError, SearchResult
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import SearchObjective

_TUNERS: dict[str, dict[str, Any]] = {
    "TPE": {"seed": True, "patched": "PatchedTPE"},
    "Random": {"seed": True, "patched": "PatchedRandom"},
    "GridSearch": {"mode": False},
    "Evolution": {"class_args": {"population_size": 8}},
    "GP": {},
    "Metis": {},
    "Hyperband": {"seed": True, "patched": "PatchedHyperband"},
}
TUNER_NAMES = tuple(_TUNERS)
_OF_NUMBERS = ("GP", "Metis")
_ASSESSORS = {
    "Medianstop": {"start_step": 3},
    "Curvefitting": {"start_step": 3},
    "Halving": {},
}


@dataclass(frozen=True, kw_only=True)
class RemoteMachine:
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
        assessor: "Medianstop", "Curvefitting", "Halving" (`HalvingStop`) or None; Hyperband has its
            own rule.
        assessor_args: Further arguments of the assessor.
        trials: How many at most.
        epochs: Of Hyperband, for its longest trials.
        concurrency: Trials at a time.
        seed: Of TPE, Random and Hyperband; NNI's other tuners take none.
        trial_seconds: After which a trial is cancelled and counts as failed; None: never. Six
            hours.
        seconds: After which the experiment ends; None: never.
        machines: Workers over SSH; none: this machine.
        manager_ip: Address of this machine that the workers reach; loopback where they are here.
    """

    command: Sequence[str]
    space: SearchSpace
    objective: SearchObjective
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
    trial_seconds: float | None = 6 * 3600.0
    seconds: float | None = None
    machines: tuple[RemoteMachine, ...] = ()
    manager_ip: str = "127.0.0.1"

    def __post_init__(self) -> None:
        if self.tuner not in _TUNERS:
            raise ConfigError("tuner", f"unknown {self.tuner!r}", f"use {', '.join(_TUNERS)}")
        if self.assessor is not None and self.assessor not in _ASSESSORS:
            raise ConfigError(
                "assessor", f"unknown {self.assessor!r}", f"use {', '.join(_ASSESSORS)} or None"
            )
        check_limits(self.trials, self.trial_seconds, self.seconds)
        if self.concurrency < 1:
            raise ConfigError("concurrency", f"it is {self.concurrency}", "use at least 1")
        if self.tuner in _OF_NUMBERS:
            check_numbers(self.space, self.tuner, "TPE, Random or Evolution")
        if self.tuner == "Hyperband":
            epochs = check_epochs(self.epochs)
            check_first_round(self.trials, epochs, _hyperband_first_round(epochs))
        if not Path(self.code_directory).is_dir():
            raise ConfigError("code_directory", f"there is no {self.code_directory}", "name one")


def run_nni_experiment(
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
    port = free_port(port)
    for machine in search.machines:
        _reachable(machine)
    how = (search.space, search.objective, search.tuner, search.epochs, search.seed)
    with claimed(search.folder, state_search(*how), resume) as old:
        experiment_id = _to_go_on(search, (old or {}).get("experiment", ""))
        resumed = experiment_id is not None
        experiment = _configured(search, experiment_id)
        note(search.folder, experiment=experiment.id)
        with Manager(search, experiment, port, resumed, tell or (lambda line: None)) as manager:
            manager.start()
            manager.wait()
        result = manager.result()
    _ = result.best  # every trial failed: say so
    return result


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
        arguments.update(R=search.epochs, eta=3)
    arguments.update(search.tuner_args or {})
    if patched := known.get("patched"):
        config.tuner = _ours(patched, arguments)
    else:
        config.tuner.name = search.tuner
        config.tuner.class_args = arguments
    if search.tuner == "Hyperband":
        config.assessor = None
    elif search.assessor is not None:
        judged = {
            "optimize_mode": mode,
            **_ASSESSORS[search.assessor],
            **(search.assessor_args or {}),
        }
        if search.assessor == "Halving":
            config.assessor = _ours("HalvingAssessor", judged)
        else:
            config.assessor.name = search.assessor
            config.assessor.class_args = judged
    if search.machines:
        config.nni_manager_ip = search.manager_ip
        config.training_service.machine_list = [
            RemoteMachineConfig(
                host=machine.host,
                port=machine.port,
                user=machine.user,
                ssh_key_file=str(Path(machine.key_file).expanduser()),
                python_path=machine.python or None,
            )
            for machine in search.machines
        ]
    return experiment


def _ours(name: str, arguments: dict[str, Any]) -> Any:
    """One of `advisors.py`, for NNI's configuration."""
    from nni.experiment.config import CustomAlgorithmConfig

    return CustomAlgorithmConfig(
        class_name=f"tfcompress.tuning.nni.advisors.{name}",
        code_directory=str(Path(__file__).parents[3]),
        class_args=arguments,
    )


def _to_go_on(search: NNISearch, experiment: str) -> str | None:
    """The id of the experiment that goes on; None: a new one."""
    if not experiment or not (Path(search.folder) / experiment / "db/nni.sqlite").is_file():
        return None
    if search.tuner == "Hyperband":
        raise SearchError(
            str(search.folder),
            "NNI does not write what its Hyperband knows, so it cannot go on",
            "start anew in another folder, or use keras-tuner's hyperband",
        )
    return experiment


def _hyperband_first_round(epochs: int) -> int:
    """Trials of the first round of NNI's Hyperband: eta ** s_max."""
    return 3 ** math.floor(math.log(epochs, 3) + 1e-6)


def _reachable(machine: RemoteMachine) -> None:
    """Raise where a worker does not answer: NNI's manager would crash on it."""
    try:
        socket.create_connection((machine.host, machine.port), timeout=10).close()
    except OSError as error:
        raise SearchError(
            f"machine {machine.host}:{machine.port}",
            f"it cannot be reached ({error.strerror or error})",
            "start its SSH server, or take it from the list",
        ) from None

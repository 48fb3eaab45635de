"""Run an NNI experiment from Python. It always ends and leaves no process running."""

from __future__ import annotations

import math
import shlex
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfcompress.errors import ConfigError
from tfcompress.short_repr import short_repr
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
    """A worker that NNI's remote training service reaches over SSH.

    Attributes:
        host: Host name or address.
        user: User name for the login.
        port: Number of the SSH port.
        key_file: Path of the private key, which must have no passphrase.
        python: Folder of the Python interpreter on that machine, which must have nni 3.0 and all
            that the trial needs. Empty uses the machine's default.
    """

    host: str
    user: str
    port: int = 22
    key_file: str = "~/.ssh/id_ed25519"
    python: str = ""


@short_repr
@dataclass(frozen=True, kw_only=True)
class NNISearch:
    """The settings of an NNI experiment.

    Attributes:
        command: Command line of a trial, such as `[sys.executable, "trial.py"]`. The script calls
            `run_nni_trial` (or NNI itself). For other machines, give the absolute path of the
            interpreter there.
        space: Search space.
        objective: Metric to optimize.
        folder: Folder for NNI's files, logs and trials.
        code_directory: Working directory of the trials.
        tuner: Name of the tuner: "TPE", "Random", "GridSearch", "Evolution", "GP", "Metis" or
            "Hyperband".
        tuner_args: Further arguments of the tuner.
        assessor: Name of the rule that stops trials early: "Medianstop", "Curvefitting", "Halving"
            (`HalvingStop`), or None. Hyperband has its own rule.
        assessor_args: Further arguments of the assessor.
        trials: Maximum number of trials.
        epochs: Number of epochs of Hyperband's longest trials; other tuners ignore it.
        concurrency: Number of trials that run at the same time.
        seed: Seed of TPE, Random and Hyperband; NNI's other tuners take none.
        trial_seconds: Time in seconds after which a trial is canceled and counts as failed. None
            for no limit; six hours by default.
        seconds: Time in seconds after which the experiment ends; None for no limit.
        machines: Workers that are reached over SSH; empty runs the trials on this machine.
        manager_ip: Address at which the workers reach this machine.

    Raises:
        ConfigError: A setting is invalid, the tuner cannot search the space, or Hyperband has too
            few trials.
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
            raise ConfigError(
                "code_directory",
                f"there is no folder {self.code_directory}",
                "name an existing folder",
            )


def run_nni_experiment(
    search: NNISearch,
    *,
    port: int = 0,
    resume: bool = False,
    tell: Callable[[str], None] | None = print,
) -> SearchResult:
    """Run an NNI experiment to its end.

    When this function returns or raises, NNI's manager, its tuner and all trials have ended. They
    also end if this process is killed. The web page is at `http://127.0.0.1:<port>`.

    Args:
        search: Settings of the experiment.
        port: Number of the manager's port; 0 for any free one.
        resume: Whether to continue the experiment in the folder.
        tell: Function that takes a line of text per trial; None for silence.

    Returns:
        The result with all trials that ended. Its `stopped_by` tells why the experiment ended
        early, if it did.

    Raises:
        ConfigError: NNI 3.0 is not installed.
        SearchError: The port is taken, a machine cannot be reached, the folder holds another
            search, or a search although `resume` is off, NNI did not start, or every trial failed.
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
    _ = result.best  # raises if every trial failed
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
    """A tuner or assessor of `advisors.py`, for NNI's configuration."""
    from nni.experiment.config import CustomAlgorithmConfig

    return CustomAlgorithmConfig(
        class_name=f"tfcompress.tuning.nni.advisors.{name}",
        code_directory=str(Path(__file__).parents[3]),
        class_args=arguments,
    )


def _to_go_on(search: NNISearch, experiment: str) -> str | None:
    """The id of the experiment to continue; None for a new one."""
    if not experiment or not (Path(search.folder) / experiment / "db/nni.sqlite").is_file():
        return None
    if search.tuner == "Hyperband":
        raise SearchError(
            str(search.folder),
            "NNI does not save the state of its Hyperband, so the search cannot continue",
            "start again in another folder, or use keras-tuner's hyperband",
        )
    return experiment


def _hyperband_first_round(epochs: int) -> int:
    """Number of trials in the first round of NNI's Hyperband: eta ** s_max."""
    return 3 ** math.floor(math.log(epochs, 3) + 1e-6)


def _reachable(machine: RemoteMachine) -> None:
    """Check that a worker's SSH port answers; NNI's manager would crash otherwise."""
    try:
        socket.create_connection((machine.host, machine.port), timeout=10).close()
    except OSError as error:
        raise SearchError(
            f"machine {machine.host}:{machine.port}",
            f"it cannot be reached ({error.strerror or error})",
            "start its SSH server, or remove the machine from the list",
        ) from None

"""A search by keras-tuner: its tuners, our trials, in one process or in several.

Each trial trains in a process of its own, so that one that crashes, hangs or is killed is marked as
failed, with its log, and the search goes on. Whatever is killed, `resume` goes on from the trials
that had ended.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.extras import import_extra
from tfcompress.tuning.isolation import (
    TrialJob,
    run_here,
    run_isolated,
    sendable,
    trial_result,
)
from tfcompress.tuning.keras_tuner_space import to_keras_tuner, tuner_values
from tfcompress.tuning.results import (
    SearchResult,
    TrialResult,
    read_trial,
    trial_outcome,
    write_trial,
)
from tfcompress.tuning.search_checks import (
    check_epochs,
    check_first_round,
    check_limits,
    free_port,
)
from tfcompress.tuning.search_folder import claimed, state_search
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.stopping import MedianStop, StopRule
from tfcompress.tuning.trial import Objective, TrainingFunction, Trial

Tuner = Literal["random", "bayesian", "hyperband", "grid"]
TUNER_NAMES = ("random", "bayesian", "hyperband", "grid")
ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
"""What keras-tuner reads of a search over machines."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """A search, stated.

    Attributes:
        function: Trains with parameters and a `Trial`; at the top of a module, so that another
            process finds it.
        space: What to search.
        objective: What for.
        folder: For the trials, their logs, and keras-tuner's state.
        tuner: "random", "bayesian" (Gaussian process), "hyperband" or "grid".
        trials: How many at most.
        epochs: Of Hyperband, for its longest trials; others leave it to the function.
        seed: Of the tuner; trial n trains with seed + n.
        stop_rule: When a trial is stopped early; None: never. Hyperband has its own rule.
        trial_seconds: After which a trial is killed and marked as failed (not where `isolate` is
            off); None: never. Six hours.
        seconds: After which no further trial starts; None: never.
        isolate: Whether each trial has a process of its own.
        threads: Of TensorFlow in a trial's process; None: its choice.
    """

    function: TrainingFunction
    space: SearchSpace
    objective: Objective
    folder: Path
    tuner: Tuner = "bayesian"
    trials: int = 20
    epochs: int | None = None
    seed: int = 0
    stop_rule: StopRule | None = field(default_factory=MedianStop)
    trial_seconds: float | None = 6 * 3600.0
    seconds: float | None = None
    isolate: bool = True
    threads: int | None = None

    def __post_init__(self) -> None:
        if self.tuner not in TUNER_NAMES:
            raise ConfigError("tuner", f"unknown {self.tuner!r}", f"use {', '.join(TUNER_NAMES)}")
        check_limits(self.trials, self.trial_seconds, self.seconds)
        if self.isolate:
            sendable(self.function)
        if self.tuner == "hyperband":
            import_keras_tuner()
            from tfcompress.tuning.keras_tuner_oracles import hyperband_first_round

            epochs = check_epochs(self.epochs)
            check_first_round(self.trials, epochs, hyperband_first_round(epochs))

    def trial_folder(self, number: int) -> Path:
        """Where a trial writes."""
        return Path(self.folder) / "trials" / f"{number:04d}"


def search_with_keras_tuner(
    search: Search,
    *,
    workers: int = 1,
    port: int = 0,
    resume: bool = False,
    tell: Callable[[str], None] | None = print,
) -> SearchResult | None:
    """Search.

    Where keras-tuner's environment variables are set (KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP,
    KERASTUNER_ORACLE_PORT), this process is the chief or a worker of a search over machines: the
    same call runs on each of them, and the chief's has the result.

    Args:
        search: What to search and how.
        workers: Processes that try parameters side by side, on this machine.
        port: Of the chief, on loopback, where there are several; 0: a free one.
        resume: Go on with a search that was cut off.
        tell: Takes a line per trial; None for silence.

    Returns:
        Every trial; None in a worker of a search over machines.

    Raises:
        SearchError: The folder holds another search, or one that was cut off and `resume` is off;
            every trial failed.
    """
    import_keras_tuner()
    if workers < 1:
        raise ConfigError("workers", f"there are {workers}", "use at least 1")
    role = role_of_process()
    if role == "worker":
        from tfcompress.tuning.keras_tuner_chief import work_for_chief

        work_for_chief(search)
        return None
    if role is None and workers > 1:
        port = free_port(port)
    how = (search.space, search.objective, search.tuner, search.epochs, search.seed)
    with claimed(search.folder, state_search(*how), resume):
        began = time.monotonic()
        if role == "chief" or workers > 1:
            from tfcompress.tuning.keras_tuner_chief import Chief

            oracle = Chief(search, port, tell).run(workers if role is None else 0)
        else:
            worker = Worker(search, tell)
            worker.work()
            oracle = worker.oracle
        result = collect(search, oracle, time.monotonic() - began)
    _ = result.best  # every trial failed: say so
    return result


def import_keras_tuner() -> Any:
    """The package keras_tuner.

    Raises:
        ConfigError: It, or what it needs, is not installed.
    """
    import_extra("grpc", "keras-tuner")  # of several processes
    return import_extra("keras_tuner", "keras-tuner")


def role_of_process() -> Literal["chief", "worker"] | None:
    """What keras-tuner's environment variables make of this process; None: neither.

    Raises:
        ConfigError: Some of the three are set and some are not.
    """
    missing = [key for key in ENVIRONMENT if not os.environ.get(key)]
    if len(missing) == len(ENVIRONMENT):
        return None
    if missing:
        raise ConfigError(
            "environment",
            f"not set beside keras-tuner's other variables: {', '.join(missing)}",
            f"set all of {', '.join(ENVIRONMENT)}, or none",
        )
    return "chief" if "chief" in os.environ[ENVIRONMENT[0]] else "worker"


class Worker:
    """Takes trials from an oracle, of this process or of a chief, and runs them."""

    def __init__(self, search: Search, tell: Callable[[str], None] | None = None) -> None:
        self.search = search
        self.tell = tell
        self.tuner = make_tuner(search)
        self.oracle = self.tuner.oracle
        self.before = seconds_before(search)

    def work(self) -> None:
        """Run trials until the oracle has no more."""
        began = time.monotonic()
        while True:
            trial = self.oracle.create_trial(self.tuner.tuner_id)
            if trial.status == "STOPPED":
                return
            if trial.status == "IDLE":  # Hyperband waits for others
                time.sleep(0.2)
                continue
            result = self._run(trial, self.before + time.monotonic() - began)
            trial.status = "FAILED" if result.status == "failed" else "COMPLETED"
            trial.message = result.reason or None
            self.oracle.end_trial(trial)
            if self.tell is not None:
                self.tell(result.line(self.search.objective, self.search.trials))

    def _run(self, trial: Any, started: float) -> TrialResult:
        search, values = self.search, trial.hyperparameters.values
        number = int(trial.trial_id)
        folder = search.trial_folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        history: list[dict[str, float]] = []

        def report(epoch: int, metrics: Mapping[str, float]) -> bool:
            history.append({"epoch": epoch, **metrics})
            return self._update(trial.trial_id, epoch, metrics)

        before = values.get("tuner/trial_id")
        job = TrialJob(
            search.function,
            search.space.decode(tuner_values(values), f"trial {number}"),
            Trial(
                number,
                search.objective,
                folder,
                search.seed + number,
                values.get("tuner/epochs"),
                None if before is None else search.trial_folder(int(before)),
            ),
            search.threads,
        )
        clock = time.monotonic()
        ended = (
            run_isolated(job, report, search.trial_seconds)
            if search.isolate
            else run_here(job, report)
        )
        if ended.final is not None and not history:
            self._update(trial.trial_id, 0, ended.final)
        result = trial_result(job, ended, history, time.monotonic() - clock, started)
        write_trial(folder, result)
        return result

    def _update(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> bool:
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        return self.oracle.update_trial(trial_id, finite, step=step).status == "STOPPED"


def seconds_before(search: Search) -> float:
    """How long a search that goes on had run: to the end of its last trial."""
    records = [read_trial(path) for path in Path(search.folder).glob("trials/*")]
    return max((record.started + record.seconds for record in records if record), default=0.0)


def collect(search: Search, oracle: Any, seconds: float) -> SearchResult:
    """The result of a search from its oracle and from the trials' records."""
    trials = []
    for trial_id in oracle.start_order:
        trial, number = oracle.trials[trial_id], int(trial_id)
        record = read_trial(search.trial_folder(number))
        if record is None or (record.status == "failed") != (trial.status == "FAILED"):
            record = _from_oracle(search, trial)
        trials.append(record)
    return SearchResult(
        search.space,
        search.objective,
        tuple(trials),
        f"keras-tuner {search.tuner}",
        seconds,
        oracle.closing,
    )


def _from_oracle(search: Search, trial: Any) -> TrialResult:
    """A trial of a worker whose disk is not ours, or that died, from what it had reported."""
    steps: dict[int, dict[str, float]] = {}
    for name, metric in trial.metrics.metrics.items():
        for observation in metric.get_history():
            row = steps.setdefault(observation.step, {"epoch": observation.step})
            row[name] = float(observation.mean())
    history = [steps[step] for step in sorted(steps)]
    failed = trial.status != "COMPLETED"
    outcome = {} if failed else trial_outcome(search.objective, history, None)
    return TrialResult(
        int(trial.trial_id),
        search.space.decode(tuner_values(trial.hyperparameters.values)),
        "failed" if failed else "finished",
        history=tuple(row for row in history if row["epoch"]),
        reason=(trial.message or "its worker has the reason in its log") if failed else "",
        folder=str(search.trial_folder(int(trial.trial_id))),
        **outcome,
    )


def make_tuner(search: Search) -> Any:
    """A keras-tuner tuner that holds the oracle with what it knows, or the link to the chief's."""
    from tfcompress.tuning.keras_tuner_oracles import make_oracle

    keras_tuner = import_keras_tuner()
    space = to_keras_tuner(search.space, keras_tuner.HyperParameters())
    oracle = make_oracle(
        search.tuner,
        space,
        search.objective,
        search.trials,
        search.epochs,
        search.seed,
        search.stop_rule,
    )
    if search.seconds is not None:
        oracle.ends_at = time.monotonic() + search.seconds
    tuner = keras_tuner.engine.base_tuner.BaseTuner(
        oracle, directory=str(search.folder), project_name="keras_tuner"
    )
    if tuner.oracle is oracle and (Path(search.folder) / "keras_tuner" / "oracle.json").is_file():
        oracle.reload()
    return tuner

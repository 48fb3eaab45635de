"""Search with keras-tuner, in one process or in several.

Each trial trains in a process of its own. A trial that crashes, hangs or is killed is marked as
failed, with its log, and the search continues. If the search itself is killed, `resume` continues
after the trials that had ended.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tfcompress.errors import ConfigError
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.folder import claimed, state_search
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch, import_keras_tuner
from tfcompress.tuning.keras_tuner.space import tuner_values
from tfcompress.tuning.keras_tuner.worker import Worker, role_of_process
from tfcompress.tuning.results import SearchResult, TrialResult, read_trial, trial_outcome


def search_with_keras_tuner(
    search: KerasTunerSearch,
    *,
    workers: int = 1,
    port: int = 0,
    resume: bool = False,
    tell: Callable[[str], None] | None = print,
) -> SearchResult | None:
    """Run a search with keras-tuner.

    If keras-tuner's environment variables are set (KERASTUNER_TUNER_ID, KERASTUNER_ORACLE_IP,
    KERASTUNER_ORACLE_PORT), this process is the chief or a worker of a search on several machines.
    Make the same call on each of them; the chief returns the result.

    Args:
        search: Settings of the search.
        workers: Number of processes on this machine that run trials at the same time.
        port: Number of the chief's port on loopback, with several workers; 0 for any free one.
        resume: Whether to continue the search in the folder.
        tell: Function that takes a line of text per trial; None for silence.

    Returns:
        The result with all trials; None in a worker of a search on several machines.

    Raises:
        ConfigError: keras-tuner is not installed, `workers` is below 1, or only some of the
            environment variables are set.
        SearchError: The folder holds another search, or a search although `resume` is off; the
            port is taken; or every trial failed.
    """
    import_keras_tuner()
    if workers < 1:
        raise ConfigError("workers", f"it is {workers}", "use at least 1")
    role = role_of_process()
    if role == "worker":
        from tfcompress.tuning.keras_tuner.chief import work_for_chief

        work_for_chief(search)
        return None
    if role is None and workers > 1:
        port = free_port(port)
    how = (search.space, search.objective, search.tuner, search.epochs, search.seed)
    with claimed(search.folder, state_search(*how), resume):
        began = time.monotonic()
        if role == "chief" or workers > 1:
            from tfcompress.tuning.keras_tuner.chief import Chief

            oracle = Chief(search, port, tell).run(workers if role is None else 0)
        else:
            worker = Worker(search, tell)
            worker.work()
            oracle = worker.oracle
        result = collect(search, oracle, time.monotonic() - began)
    _ = result.best  # raises if every trial failed
    return result


def collect(search: KerasTunerSearch, oracle: Any, seconds: float) -> SearchResult:
    """Collect the result of a search from its oracle and the trials' records.

    Args:
        search: Settings of the search.
        oracle: Oracle of the search, after its end.
        seconds: Wall time of the search, in seconds.
    """
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


def _from_oracle(search: KerasTunerSearch, trial: Any) -> TrialResult:
    """The result of a trial from its reports, if its worker died or wrote to another disk."""
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
        reason=(trial.message or "the reason is in its worker's log") if failed else "",
        folder=str(search.trial_folder(int(trial.trial_id))),
        **outcome,
    )

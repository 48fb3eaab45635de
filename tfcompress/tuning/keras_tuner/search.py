"""A search by keras-tuner: its tuners, our trials, in one process or in several.

Each trial trains in a process of its own, so that one that crashes, hangs or is killed is marked as
failed, with its log, and the search goes on. Whatever is killed, `resume` goes on from the trials
that had ended.
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
    _ = result.best  # every trial failed: say so
    return result


def collect(search: KerasTunerSearch, oracle: Any, seconds: float) -> SearchResult:
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


def _from_oracle(search: KerasTunerSearch, trial: Any) -> TrialResult:
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

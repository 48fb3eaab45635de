"""A worker gets trials from keras-tuner's oracle and runs them.

The oracle is in this process or in that of a chief.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.tuning.job import TrialJob, run_here, run_isolated, trial_result
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch, import_keras_tuner
from tfcompress.tuning.keras_tuner.space import to_keras_tuner, tuner_values
from tfcompress.tuning.results import TrialResult, read_trial, write_trial
from tfcompress.tuning.trial import Trial

ENVIRONMENT = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
"""Environment variables that keras-tuner reads for a search on several machines."""


def role_of_process() -> Literal["chief", "worker"] | None:
    """The role that keras-tuner's environment variables give to this process; None for no role.

    Raises:
        ConfigError: Only some of the three variables are set.
    """
    missing = [key for key in ENVIRONMENT if not os.environ.get(key)]
    if len(missing) == len(ENVIRONMENT):
        return None
    if missing:
        raise ConfigError(
            "environment",
            f"some of keras-tuner's variables are set, but these are not: {', '.join(missing)}",
            f"set all of {', '.join(ENVIRONMENT)}, or none",
        )
    return "chief" if "chief" in os.environ[ENVIRONMENT[0]] else "worker"


class Worker:
    """Gets trials from an oracle, in this process or in a chief's, and runs them.

    Args:
        search: Settings of the search.
        tell: Function that takes a line of text per trial; None for silence.
    """

    def __init__(self, search: KerasTunerSearch, tell: Callable[[str], None] | None = None) -> None:
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
            if trial.status == "IDLE":  # Hyperband waits for other trials
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


def seconds_before(search: KerasTunerSearch) -> float:
    """The time in seconds that a resumed search had run, until the end of its last trial."""
    records = [read_trial(path) for path in Path(search.folder).glob("trials/*")]
    return max((record.started + record.seconds for record in records if record), default=0.0)


def make_tuner(search: KerasTunerSearch) -> Any:
    """Make a keras-tuner tuner: its oracle has loaded its saved state, or is the chief's."""
    from tfcompress.tuning.keras_tuner.oracles import make_oracle

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

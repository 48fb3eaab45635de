"""Inside an NNI trial: its parameters, a callback that reports each epoch, the final report.

Outside an experiment, the parameters are the defaults and reports are printed.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.extras import import_extra
from tfcompress.isolation.program import die_with_parent
from tfcompress.tuning.job import Ended, TrialJob, run_here, trial_result
from tfcompress.tuning.nni.records import BUDGET
from tfcompress.tuning.nni.space import flat_values
from tfcompress.tuning.results import TrialResult, trial_outcome, write_trial
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import Report, SearchObjective, TrainingFunction, Trial


def import_nni() -> Any:
    """Import the package nni.

    Raises:
        ConfigError: The package is not installed, or is not version 3.0.
    """
    nni = import_extra("nni", "nni")
    if nni.__version__ != "3.0":
        fix = "pip install 'tfcompress[nni]'"
        raise ConfigError("nni", f"its version is {nni.__version__}, not 3.0", fix)
    return nni


def nni_parameters(space: SearchSpace) -> dict[str, Any]:
    """The parameters of this trial as Python values; the defaults outside an experiment."""
    return _ask(space)[0]


def nni_callback(objective: SearchObjective, flavor: Literal["keras", "tf_keras"] = "keras") -> Any:
    """Make a Keras callback that reports every epoch to NNI, and the best epoch as the result.

    A report is a dict of the epoch's metrics, in which "default" is the objective.

    Args:
        objective: Objective of the experiment. The logs of each epoch must contain its metrics.
        flavor: Library of the model that is trained, "keras" or "tf_keras".
    """
    base: Any = importlib.import_module(flavor).callbacks.Callback
    trial = Trial(0, objective, Path(), report=_report(objective))
    inner = trial.callback(flavor)

    class ReportToNNI(base):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            inner.on_epoch_end(epoch, logs)

        def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
            if trial.history:
                report_final(objective, trial_outcome(objective, trial.history, None)["metrics"])

    return ReportToNNI()


def report_final(objective: SearchObjective, metrics: Mapping[str, float]) -> None:
    """Report the final result of a trial to NNI."""
    import_nni().report_final_result(_message(objective, metrics))


def run_nni_trial(
    function: TrainingFunction, space: SearchSpace, objective: SearchObjective, seed: int = 0
) -> TrialResult:
    """Run a whole NNI trial: get parameters, train, report, write `trial.json`, set the exit code.

    Args:
        function: Training function.
        space: Search space, for the types and defaults of the parameters.
        objective: Objective of the experiment.
        seed: Seed of the search; trial n trains with seed + n.

    Returns:
        The result of the trial.

    Raises:
        SystemExit: The trial failed; the exit code 1 makes NNI mark it as failed.
    """
    nni = import_nni()
    _end_with_manager()
    params, epochs = _ask(space)
    number = max(0, int(nni.get_sequence_id())) if inside_experiment() else 0
    folder = Path(os.environ.get("NNI_OUTPUT_DIR") or tempfile.mkdtemp(prefix="trial-"))
    job = TrialJob(function, params, Trial(number, objective, folder, seed + number, epochs))
    tell, history, began = _report(objective), [], time.monotonic()

    def report(epoch: int, metrics: Mapping[str, float]) -> bool:
        history.append({"epoch": epoch, **metrics})
        return tell(epoch, metrics)

    try:
        ended = run_here(job, report)
    except KeyboardInterrupt:  # NNI stops a trial early in this way
        ended = Ended("stopped")
    if inside_experiment():  # ignore a stop that comes after the training
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    seconds = time.monotonic() - began
    result = trial_result(job, ended, history, seconds, name=str(nni.get_trial_id()))
    write_trial(folder, result)
    if ended.status == "stopped":  # NNI recognizes a stopped trial by the signal that ended it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    if ended.status == "failed":
        print(f"this trial failed: {ended.reason}; see {job.log}", file=sys.stderr)
        raise SystemExit(1)
    report_final(objective, result.metrics)
    return result


def inside_experiment() -> bool:
    """Whether this process is a trial of an NNI experiment."""
    return os.environ.get("NNI_PLATFORM") is not None


def _ask(space: SearchSpace) -> tuple[dict[str, Any], int | None]:
    """The parameters, and the number of epochs that Hyperband grants."""
    nni = import_nni()
    given = dict(nni.get_next_parameter() or {}) if inside_experiment() else {}
    budget = given.pop(BUDGET, None)
    values = space.decode(flat_values(given), "NNI's parameters")
    return values, None if budget is None else max(1, round(budget))


def _report(objective: SearchObjective) -> Report:
    def report(epoch: int, metrics: Mapping[str, float]) -> bool:
        import_nni().report_intermediate_result(_message(objective, metrics))
        return False  # NNI ends the process itself if its assessor says so

    return report


def _message(objective: SearchObjective, metrics: Mapping[str, float]) -> dict[str, float]:
    named = {k: float(v) for k, v in metrics.items() if k != "epoch" and math.isfinite(v)}
    return {"default": float(metrics[objective.metric]), **named}


def _end_with_manager() -> None:
    """End this trial if NNI's manager is killed, which by itself would leave it running."""
    if os.environ.get("NNI_PLATFORM") != "local":
        return
    die_with_parent()

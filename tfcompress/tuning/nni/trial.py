"""An NNI trial: its parameters, a callback that reports each epoch, a final report.

All of it works outside an experiment too: the parameters are the defaults, reports are printed.
"""

from __future__ import annotations

import importlib
import math
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from tfcompress.errors import ConfigError
from tfcompress.extras import import_extra
from tfcompress.tuning.isolation import Ended, TrialJob, run_here, trial_result
from tfcompress.tuning.nni.records import BUDGET
from tfcompress.tuning.nni.space import flat_values
from tfcompress.tuning.results import TrialResult, trial_outcome, write_trial
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import Report, SearchObjective, TrainingFunction, Trial


def import_nni() -> Any:
    """The package nni.

    Raises:
        ConfigError: It is not installed, or of another version.
    """
    nni = import_extra("nni", "nni")
    if nni.__version__ != "3.0":
        fix = "pip install 'tfcompress[nni]'"
        raise ConfigError("nni", f"its version is {nni.__version__}, not 3.0", fix)
    return nni


def nni_parameters(space: SearchSpace) -> dict[str, Any]:
    """The parameters of this trial as Python values; outside an experiment the defaults."""
    return _ask(space)[0]


def nni_callback(objective: SearchObjective, flavor: Literal["keras", "tf_keras"] = "keras") -> Any:
    """A Keras callback that reports every epoch to NNI, and at the end the best one as final.

    A report is a dict: "default" is the objective, beside it every metric of the epoch.

    Args:
        objective: What the experiment is for; its `also` must be among the epoch's logs.
        flavor: Of the model.
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
    """Report a trial's result."""
    import_nni().report_final_result(_message(objective, metrics))


def run_nni_trial(
    function: TrainingFunction, space: SearchSpace, objective: SearchObjective, seed: int = 0
) -> TrialResult:
    """The whole of a trial's script: parameters, training, reports, `trial.json`, exit code.

    Args:
        function: Trains.
        space: For the types and the defaults of the parameters.
        objective: What for.
        seed: Trial n trains with seed + n.

    Returns:
        What the trial gave.

    Raises:
        SystemExit: With code 1 where it failed, so that NNI marks it so.
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
    except KeyboardInterrupt:  # NNI's way to stop a trial early
        ended = Ended("stopped")
    if inside_experiment():  # a stop that comes after the training is too late
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    seconds = time.monotonic() - began
    result = trial_result(job, ended, history, seconds, name=str(nni.get_trial_id()))
    write_trial(folder, result)
    if ended.status == "stopped":  # NNI tells a trial that was stopped by the signal it ended by
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
    """Parameters, and the epochs that Hyperband grants."""
    nni = import_nni()
    given = dict(nni.get_next_parameter() or {}) if inside_experiment() else {}
    budget = given.pop(BUDGET, None)
    values = space.decode(flat_values(given), "NNI's parameters")
    return values, None if budget is None else max(1, round(budget))


def _report(objective: SearchObjective) -> Report:
    def report(epoch: int, metrics: Mapping[str, float]) -> bool:
        import_nni().report_intermediate_result(_message(objective, metrics))
        return False  # NNI ends the process where its assessor says so

    return report


def _message(objective: SearchObjective, metrics: Mapping[str, float]) -> dict[str, float]:
    named = {k: float(v) for k, v in metrics.items() if k != "epoch" and math.isfinite(v)}
    return {"default": float(metrics[objective.metric]), **named}


def _end_with_manager() -> None:
    """End this trial when NNI's manager is killed, which would not end it by itself."""
    if os.environ.get("NNI_PLATFORM") != "local":
        return
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-manager").start()

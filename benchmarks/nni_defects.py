"""make bench-nni: defects of NNI 3.0 that give no error, alone and started by `tfcompress.tuning`.

Each defect is tried once in both ways, in experiments of a few seconds per trial. NNI alone opens a
server without a password for a moment.

Not part of `make bench`: it takes several minutes, most of them waits.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks.record import show
from experiments.common.program import run_experiment
from tfcompress.isolation.process import environment_of_children
from tfcompress.quiet import quiet_stderr
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.nni.manager import end_processes
from tfcompress.tuning.nni.setup import environment

TRIAL = """
import os, sys, time, nni
kind, number = sys.argv[1], int(os.environ["NNI_TRIAL_SEQ_ID"])
if kind == "early-crash" and number == 0:
    sys.exit(7)
if kind == "crash":
    nni.get_next_parameter()
    sys.exit(7)
x = nni.get_next_parameter()["x"]
for epoch in range(4):
    time.sleep(0.7)
    nni.report_intermediate_result(x)
nni.report_final_result(x)
"""
"""The result is the parameter, so that a pair that does not fit shows."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the tries."""

    trials: int = 8
    """Trials of the first try, two at a time."""
    record: bool = False
    """Write benchmarks/records/nni_defects.json."""


@dataclass(frozen=True)
class Run:
    """Outcome of an experiment.

    Attributes:
        status: Status that NNI reports at the end, or when time was up.
        exported: (parameter, result) pairs that `export_data` gives.
        jobs: Status of each trial.
        addresses: Addresses that the manager listened on.
    """

    status: str
    exported: list[tuple[float, float]]
    jobs: list[str]
    addresses: set[str]

    @property
    def wrong(self) -> str:
        """Number of pairs whose result is not that of their parameter."""
        count = sum(abs(x - y) > 1e-9 for x, y in self.exported)
        return f"{count} of {len(self.exported)} pairs wrong"


def main(config: Config) -> tuple[Table, ...]:
    """Try every defect in both ways and print one table."""
    start = Start.now()
    console = Console()
    table = Table(("defect", "NNI alone", "here"), title="Silent defects of NNI 3.0")
    tries: list[tuple[str, Callable[[bool], str]]] = [
        (
            "two trials at a time",
            lambda patched: _run(patched, "fine", config.trials, 2).wrong,
        ),
        (
            "one at a time, the first dies early",
            lambda patched: _run(patched, "early-crash", 5, 1).wrong,
        ),
        (
            "the server listens on",
            lambda patched: ", ".join(sorted(_run(patched, "fine", 1, 1).addresses)),
        ),
        (
            "status 20 s after the tuner died",
            lambda patched: _run(patched, "fine", 40, 1, kill_tuner=True).status,
        ),
        ("status where every trial failed", lambda patched: _run(patched, "crash", 3, 1).status),
        ("trials that an assessor stopped", lambda patched: _stopped(patched)),
    ]
    for what, attempt in tries:
        cells = []
        for patched in (False, True):
            with console.status(f"{what}, {'patched' if patched else 'alone'}"), quiet_stderr():
                cells.append(attempt(patched))
        table.add(what, *cells)
        console.print(f"{what}: {cells[0]} | {cells[1]}")
    table.note("all failed: `run_nni_experiment` of tfcompress raises an error instead")
    return show(start, "nni_defects", config, table)


def _stopped(patched: bool) -> str:
    run = _run(patched, "fine", 6, 1, assessor=True)
    early = [status for status in run.jobs if status in ("EARLY_STOPPED", "USER_CANCELED")]
    return f"{len(early)}, as {', '.join(sorted(set(early))) or 'none'}"


def _run(
    patched: bool,
    kind: str,
    trials: int,
    concurrency: int,
    kill_tuner: bool = False,
    assessor: bool = False,
) -> Run:
    from nni.experiment import Experiment, rest

    logging.getLogger("nni.experiment").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "trial.py").write_text(TRIAL, encoding="utf-8")
        experiment = Experiment("local")
        how = experiment.config
        how.trial_command = f"{sys.executable} trial.py {kind}"
        how.trial_code_directory = folder
        how.search_space = {"x": {"_type": "uniform", "_value": [0.0, 1.0]}}
        how.tuner.name, how.tuner.class_args = "Random", {"seed": 1}
        if assessor:
            how.assessor.name = "Medianstop"
            how.assessor.class_args = {"optimize_mode": "maximize", "start_step": 1}
        how.max_trial_number, how.trial_concurrency = trials, concurrency
        how.experiment_working_directory = folder
        port = free_port(0)
        family: list[Any] = []
        try:
            with environment_of_children(environment() if patched else {}):
                experiment.run(port, wait_completion=False)
            manager = psutil.Process(experiment._proc.pid)
            addresses = {
                c.laddr.ip
                for c in psutil.net_connections("inet")
                if c.status == "LISTEN" and c.laddr.port == port
            }
            if kill_tuner:
                time.sleep(8)
                family = manager.children(recursive=True)
                for process in family:
                    if "--exp_params" in " ".join(process.cmdline()):
                        process.kill()
                time.sleep(20)
            end = time.monotonic() + (0 if kill_tuner else 150)
            while time.monotonic() < end and experiment.get_status() not in ("DONE", "ERROR"):
                time.sleep(1)
            family += manager.children(recursive=True)
            exported = [
                (float(trial.parameter["x"]), float(trial.value))
                for trial in experiment.export_data()
            ]
            jobs = [job["status"] for job in rest.get(port, "/trial-jobs")]
            return Run(experiment.get_status(), exported, jobs, addresses)
        finally:
            with suppress(Exception):
                experiment.stop()
            end_processes(family)


if __name__ == "__main__":
    run_experiment(Config, main)

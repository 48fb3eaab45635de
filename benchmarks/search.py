"""make bench-search: overhead of a trial in each search tool.

One training function of a few seconds runs in four ways: called in a loop in this process (after a
warm-up call), by keras-tuner in this process, by keras-tuner with a process per trial, and by NNI.
The overhead is the wall time per trial minus that of the loop. A process per trial also pays for
the start of Python and TensorFlow.

About 2.5 minutes on two cores: 2 rounds of 3 trials. ARGS="--rounds 3 --trials 4" is the full size.
"""

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.record import show
from benchmarks.search_trial import OBJECTIVE, SPACE, train
from experiments.common.program import run_experiment
from tfcompress.reporting.record import Start
from tfcompress.reporting.tables import Table
from tfcompress.tuning.keras_tuner.search import search_with_keras_tuner
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch
from tfcompress.tuning.nni.experiment import NNISearch
from tfcompress.tuning.nni.experiment import run_nni_experiment as run_nni
from tfcompress.tuning.trial import Trial


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the benchmark."""

    trials: int = 3
    """Number of trials of each way in a round."""
    rounds: int = 2
    """Number of rounds; each runs every way once, in turn."""
    record: bool = False
    """Write benchmarks/records/search.json."""


def main(config: Config) -> tuple[Table, ...]:
    """Run every way in turn and print the time per trial and the overhead."""
    start = Start.now()
    console = Console()
    ways = {
        "bare function": _bare,
        "keras-tuner, in this process": _keras_tuner,
        "keras-tuner, a process per trial": _isolated,
        "NNI, one at a time": _nni,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    _bare(1)  # traces, caches
    for number in range(config.rounds):
        for name, way in ways.items():
            with console.status(f"round {number + 1}/{config.rounds}: {name}"):
                seconds[name].append(way(config.trials))
    bare = statistics.median(seconds["bare function"])
    table = Table(("way", "a trial", "overhead", "of a 10-minute trial"), title="Cost of a trial")
    for name, found in seconds.items():
        median = statistics.median(found)
        over = median - bare
        table.add(name, f"{median:.2f} s", f"{over:+.2f} s", f"{over / 600:+.2%}")
    table.note(f"medians over {config.rounds} rounds of {config.trials} trials, in turn")
    return show(start, "search", config, table)


def _bare(trials: int) -> float:
    began = time.monotonic()
    for number in range(trials):
        with tempfile.TemporaryDirectory() as folder:
            train(SPACE.defaults(), Trial(number, OBJECTIVE, Path(folder)))
    return (time.monotonic() - began) / trials


def _keras_tuner(trials: int, isolate: bool = False) -> float:
    with tempfile.TemporaryDirectory() as folder:
        search = KerasTunerSearch(
            function=train,
            space=SPACE,
            objective=OBJECTIVE,
            folder=Path(folder),
            tuner="random",
            trials=trials,
            stop_rule=None,
            isolate=isolate,
        )
        began = time.monotonic()
        search_with_keras_tuner(search, tell=None)
        return (time.monotonic() - began) / trials


def _isolated(trials: int) -> float:
    return _keras_tuner(trials, isolate=True)


def _nni(trials: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        search = NNISearch(
            command=[sys.executable, "-m", "benchmarks.search_trial"],
            space=SPACE,
            objective=OBJECTIVE,
            folder=Path(folder),
            tuner="Random",
            assessor=None,
            trials=trials,
        )
        began = time.monotonic()
        run_nni(search, tell=None)
        return (time.monotonic() - began) / trials


if __name__ == "__main__":
    run_experiment(Config, main, {"trials": 1, "rounds": 1})

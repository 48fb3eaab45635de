"""Multi-trial architecture search: every architecture is trained by itself and keeps its own score.

Samplers: NNI's random, grid and regularised evolution, and Optuna's TPE and NSGA-II (two
objectives). Trials run in this process or in several; each one's choices travel with it, so that
no score can land on another architecture. Finished trials are files: a killed search goes on.
"""

from __future__ import annotations

import concurrent.futures
import json
import multiprocessing
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tfcompress.atomic import write_text
from tfcompress.errors import CompressionError, ConfigError
from tfcompress.reporting.tables import Table

SAMPLERS = ("random", "grid", "evolution", "tpe", "nsga2")
PRUNED, FAILED, FINISHED = "pruned", "failed", "finished"


class Pruned(Exception):
    """A trial that is not worth going on with."""


class Evaluate(Protocol):
    """Trains one architecture; an object that can be pickled, for trials in other processes."""

    def __call__(
        self, choices: Mapping[str, str], report: Callable[[int, float], None]
    ) -> Mapping[str, float]:
        """Scores of an architecture.

        Args:
            choices: The architecture.
            report: Called with an epoch and the score so far; raises `Pruned` to stop.

        Returns:
            "score", higher is better, and whatever else is known ("latency_ms", "macs", ...).
        """


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: From 0, in the order of sampling.
        choices: Its architecture.
        state: "finished", "pruned" or "failed".
        scores: What the evaluation gave.
        curve: (epoch, score) as reported.
        seconds: How long it took.
        error: What went wrong.
    """

    number: int
    choices: Mapping[str, str]
    state: str
    scores: Mapping[str, float]
    curve: tuple[tuple[int, float], ...]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class MultiTrialSettings:
    """How to search.

    Attributes:
        sampler: "random", "grid", "evolution", "tpe" or "nsga2".
        trials: Architectures to train.
        concurrency: Processes at once; 1 runs in this process and is reproducible.
        prune: Stop a trial whose reported score is below the median of the finished ones' at the
            same epoch.
        prune_after: Finished trials before any is stopped.
        population: Of evolution and NSGA-II.
        mutation: Probability with which evolution changes a choice.
        second: The second objective of NSGA-II, lower is better: a key of the scores.
        seed: Of the sampler.
    """

    sampler: str = "evolution"
    trials: int = 12
    concurrency: int = 1
    prune: bool = True
    prune_after: int = 4
    population: int = 5
    mutation: float = 0.1
    second: str = "macs"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                "strategy", f"{self.sampler!r} is unknown", f"use {', '.join(SAMPLERS)}"
            )
        for name in ("trials", "concurrency", "population"):
            if getattr(self, name) < 1:
                raise ConfigError(name, f"it is {getattr(self, name)}", "give 1 or more")


@dataclass(frozen=True)
class MultiTrialResult:
    """All trials of a search, in the order of sampling."""

    trials: tuple[TrialRecord, ...]

    @property
    def best(self) -> TrialRecord:
        """The finished trial of the highest score."""
        return max(self.finished, key=lambda trial: trial.scores["score"])

    @property
    def finished(self) -> tuple[TrialRecord, ...]:
        """Trials that were trained to the end."""
        return tuple(trial for trial in self.trials if trial.state == FINISHED)

    def front(self, second: str) -> tuple[TrialRecord, ...]:
        """Finished trials that no other one beats in both the score and a cost."""
        return tuple(
            a
            for a in self.finished
            if not any(
                b.scores["score"] >= a.scores["score"]
                and b.scores[second] <= a.scores[second]
                and (b.scores["score"], b.scores[second]) != (a.scores["score"], a.scores[second])
                for b in self.finished
            )
        )

    def table(self) -> Table:
        """One row per trial."""
        known = list(dict.fromkeys(key for trial in self.finished for key in trial.scores))
        table = Table(("trial", "state", *known, "seconds"), title="Trials")
        for trial in self.trials:
            cells = [f"{trial.scores[k]:,.4g}" if k in trial.scores else "" for k in known]
            table.add(str(trial.number), trial.state, *cells, f"{trial.seconds:.0f}")
            if trial.error:
                table.note(f"trial {trial.number}: {trial.error.splitlines()[-1]}")
        return table


def search_multitrial(
    options: Mapping[str, Sequence[str]],
    evaluate: Evaluate,
    settings: MultiTrialSettings,
    folder: str | Path,
    on_trial: Callable[[TrialRecord], None] = lambda record: None,
) -> MultiTrialResult:
    """Search; trials that `folder` already holds are taken as they are.

    Args:
        options: Every choice and its options.
        evaluate: Trains one architecture.
        settings: How.
        folder: For one file per trial.
        on_trial: Called when a trial ends.

    Raises:
        CompressionError: Every trial failed, or the folder's trials are of another search.
    """
    from bridges.yolov5 import samplers

    runner = TrialRunner(evaluate, settings, Path(folder), on_trial)
    try:
        run = samplers.run_optuna if settings.sampler in ("tpe", "nsga2") else samplers.run_nni
        run({label: tuple(names) for label, names in options.items()}, runner, settings)
    finally:
        runner.close()
    result = MultiTrialResult(tuple(sorted(runner.records, key=lambda record: record.number)))
    if not result.finished:
        errors = [trial.error.splitlines()[-1] for trial in result.trials if trial.error]
        raise CompressionError(
            "the search",
            f"none of {len(result.trials)} trials finished (the last: "
            f"{errors[-1] if errors else 'all were stopped early'})",
            f"look into the trials' files in {folder}",
        )
    return result


class TrialRunner:
    """Runs architectures, here or in other processes, and keeps a file of each."""

    def __init__(
        self,
        evaluate: Evaluate,
        settings: MultiTrialSettings,
        folder: Path,
        on_trial: Callable[[TrialRecord], None],
    ) -> None:
        self.evaluate, self.settings, self.folder, self.on_trial = (
            evaluate,
            settings,
            folder,
            on_trial,
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.records: list[TrialRecord] = []
        self.started = 0
        self._stored = self._read_stored()
        self._running: dict[concurrent.futures.Future, tuple[int, dict, Callable]] = {}
        self._pool: concurrent.futures.ProcessPoolExecutor | None = None

    @property
    def room(self) -> bool:
        """Whether another trial may start now."""
        return self.left and len(self._running) < self.settings.concurrency

    @property
    def left(self) -> bool:
        """Whether trials are left to start."""
        return self.started < self.settings.trials

    def start(self, choices: Mapping[str, str], done: Callable[[TrialRecord], None]) -> None:
        """Run one architecture, or take it from its file; `done` is called with what came of it."""
        choices = dict(choices)
        known = self._take_stored(choices)
        number = known.number if known else self._free_number()
        self.started += 1
        if known is not None:
            self._end(known, done, new=False)
        elif self.settings.concurrency == 1:
            self._end(run_trial(self.evaluate, number, choices, self._curves()), done)
        else:
            if self._pool is None:
                context = multiprocessing.get_context("spawn")
                self._pool = concurrent.futures.ProcessPoolExecutor(
                    self.settings.concurrency, mp_context=context
                )
            future = self._pool.submit(run_trial, self.evaluate, number, choices, self._curves())
            self._running[future] = (number, choices, done)

    def wait(self, for_all: bool = False) -> None:
        """Until one running trial has ended, or all."""
        when = concurrent.futures.ALL_COMPLETED if for_all else concurrent.futures.FIRST_COMPLETED
        ended, _ = concurrent.futures.wait(list(self._running), return_when=when)
        for future in sorted(ended, key=lambda future: self._running[future][0]):
            number, choices, done = self._running.pop(future)
            try:
                record = future.result()
            except concurrent.futures.process.BrokenProcessPool:
                record = TrialRecord(number, choices, FAILED, {}, (), 0.0, "its process died")
                self._pool = None
            self._end(record, done)

    def close(self) -> None:
        """Stop the processes."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _curves(self) -> tuple[tuple[tuple[int, float], ...], ...]:
        """Curves that a new trial is compared with; empty where none is to be stopped."""
        curves = tuple(record.curve for record in self.records if record.state == FINISHED)
        enough = self.settings.prune and len(curves) >= self.settings.prune_after
        return curves if enough else ()

    def _end(
        self, record: TrialRecord, done: Callable[[TrialRecord], None], new: bool = True
    ) -> None:
        self.records.append(record)
        if new:
            write_text(self._file(record.number), json.dumps(vars(record), indent=2) + "\n")
        done(record)
        if new:
            self.on_trial(record)

    def _file(self, number: int) -> Path:
        return self.folder / f"trial-{number:04d}.json"

    def _read_stored(self) -> list[TrialRecord]:
        """Trials of an earlier run of this search."""
        stored = []
        for file in sorted(self.folder.glob("trial-*.json")):
            content = json.loads(file.read_text(encoding="utf-8"))
            content["curve"] = tuple(tuple(point) for point in content["curve"])
            stored.append(TrialRecord(**content))
        return stored

    def _take_stored(self, choices: Mapping[str, str]) -> TrialRecord | None:
        """The stored trial of these choices, once.

        Raises:
            CompressionError: In this process samplers repeat themselves, and this one does not.
        """
        for record in self._stored:
            if record.choices == choices:
                self._stored.remove(record)
                return record
        if self.settings.concurrency == 1:
            for record in self._stored:
                if record.number == self.started:
                    raise CompressionError(
                        str(self._file(record.number)),
                        "it is of another search (its seed or sampler chose otherwise)",
                        "use the same settings, or another folder",
                    )
        return None

    def _free_number(self) -> int:
        """The first number that no trial has, stored ones included."""
        taken = {record.number for record in (*self.records, *self._stored)}
        taken |= {number for number, *_ in self._running.values()}
        return next(number for number in range(len(taken) + 1) if number not in taken)


def run_trial(
    evaluate: Evaluate,
    number: int,
    choices: Mapping[str, str],
    others: Sequence[Sequence[tuple[int, float]]],
) -> TrialRecord:
    """Evaluate one architecture; whatever goes wrong becomes part of the record.

    Args:
        evaluate: Trains it.
        number: Of the trial.
        choices: The architecture.
        others: Curves of finished trials; below their median at an epoch it is stopped.
    """
    curve: list[tuple[int, float]] = []

    def report(epoch: int, score: float) -> None:
        curve.append((epoch, score))
        at_epoch = sorted(value for other in others for e, value in other if e == epoch)
        if at_epoch and score < at_epoch[len(at_epoch) // 2]:
            raise Pruned

    start = time.monotonic()
    state, scores, error = FINISHED, {}, ""
    try:
        scores = {name: float(value) for name, value in evaluate(choices, report).items()}
    except Pruned:
        state = PRUNED
        scores = {"score": curve[-1][1]}
    except Exception:
        state, error = FAILED, traceback.format_exc()
    return TrialRecord(
        number, dict(choices), state, scores, tuple(curve), time.monotonic() - start, error
    )


def latency_objective(accuracy: float, latency_ms: float, plain_ms: float, weight: float) -> float:
    """Accuracy less what it costs to be slower than the plain network; slower is never better.

    Args:
        accuracy: Any score, higher is better.
        latency_ms: Measured.
        plain_ms: The plain network's.
        weight: Taken for twice the plain latency.
    """
    return accuracy - weight * (latency_ms / plain_ms - 1)


def describe(record: TrialRecord, total: int) -> str:
    """One line for the console."""
    scores = "  ".join(f"{name} {value:,.4g}" for name, value in record.scores.items())
    problem = f"  {record.error.splitlines()[-1]}" if record.error else ""
    return (
        f"trial {record.number + 1:3d}/{total}  {record.state:8s}  {scores}  "
        f"{record.seconds:.1f} s{problem}"
    )


def as_rows(result: MultiTrialResult) -> list[dict[str, Any]]:
    """Rows for a CSV file: number, state, scores, choices."""
    return [
        {
            "trial": trial.number,
            "state": trial.state,
            **trial.scores,
            "seconds": trial.seconds,
            **trial.choices,
        }
        for trial in result.trials
    ]

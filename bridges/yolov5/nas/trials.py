"""Single trials of an architecture search: run here or in other processes, each kept in a file."""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tfcompress import MedianStop
from tfcompress.atomic import write_text
from tfcompress.errors import CompressionError, ConfigError
from tfcompress.isolation.process import Ask, IsolatedCall, ProcessEnded, sendable, wait_for_one

SAMPLERS = ("random", "grid", "evolution", "tpe", "nsga2")
PRUNED, FAILED, FINISHED = "pruned", "failed", "finished"


class Pruned(Exception):
    """Raised when a trial should end early."""


class Evaluate(Protocol):
    """Trains one architecture; an object that can be pickled, for trials in other processes."""

    def __call__(
        self, choices: Mapping[str, str], report: Callable[[float], None]
    ) -> Mapping[str, float]:
        """Scores of an architecture.

        Args:
            choices: The architecture.
            report: Called with the score after every evaluation; raises `Pruned` to stop.

        Returns:
            "score", higher is better, and whatever else is known ("latency_ms", "macs", ...).
        """


@dataclass(frozen=True)
class TrialRecord:
    """One trial.

    Attributes:
        number: Trial number from 0, in the order of sampling.
        choices: Its architecture.
        state: "finished", "pruned" or "failed".
        scores: Scores returned by the evaluation.
        curve: Reported scores, in order.
        seconds: Duration in seconds.
        error: Error message of a failed trial.
    """

    number: int
    choices: Mapping[str, str]
    state: str
    scores: Mapping[str, float]
    curve: tuple[float, ...]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class MultiTrialSettings:
    """Settings of a multi-trial search.

    Attributes:
        sampler: "random", "grid", "evolution", "tpe" or "nsga2".
        trials: Number of architectures to train.
        concurrency: Number of trials at once, each in a process of its own with a log; 1 runs in
            this process and is reproducible.
        stop: Rule that ends trials early; None: never.
        population: Population size of evolution and NSGA-II.
        mutation: Probability with which evolution changes a choice.
        second: The second objective of NSGA-II, lower is better: a key of the scores.
        start: Architecture that evolution, TPE and NSGA-II try first; the others of evolution's
            first population are mutations of it. None: drawn evenly.
        seed: Seed of the sampler.
    """

    sampler: str = "evolution"
    trials: int = 12
    concurrency: int = 1
    stop: MedianStop | None = MedianStop(start_epoch=1, least_trials=4)
    population: int = 5
    mutation: float = 0.1
    second: str = "macs"
    start: Mapping[str, str] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise ConfigError(
                "strategy", f"{self.sampler!r} is unknown", f"use {', '.join(SAMPLERS)}"
            )
        for name in ("trials", "concurrency", "population"):
            if getattr(self, name) < 1:
                raise ConfigError(name, f"it is {getattr(self, name)}", "give 1 or more")


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
        self._running: dict[IsolatedCall, tuple[int, dict[str, str], float, Callable]] = {}

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
            self._end(
                run_trial(self.evaluate, number, choices, self.settings.stop, self._curves()), done
            )
        else:
            content = sendable(
                (self.evaluate, number, choices, self.settings.stop, self._curves()),
                "evaluation",
                "define it at the top of a module, or use concurrency 1",
            )
            log = self._file(number).with_suffix(".log")
            call = IsolatedCall(_run_apart, content, name=f"trial-{number}", log=log)
            self._running[call] = (number, choices, time.monotonic(), done)

    def wait(self, for_all: bool = False) -> None:
        """Until one running trial has ended, or all."""
        while self._running:
            ended = wait_for_one(list(self._running))
            for call in sorted(ended, key=lambda call: self._running[call][0]):
                number, choices, began, done = self._running.pop(call)
                with call:
                    try:
                        record = call.result()
                    except ProcessEnded as died:
                        seconds = time.monotonic() - began
                        record = TrialRecord(number, choices, FAILED, {}, (), seconds, str(died))
                self._end(record, done)
            if not for_all:
                return

    def close(self) -> None:
        """Stop the trials that still run."""
        for call in self._running:
            call.close()
        self._running.clear()

    def _curves(self) -> tuple[tuple[float, ...], ...]:
        """Curves that a new trial is compared with."""
        return tuple(record.curve for record in self.records)

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
            content["curve"] = tuple(content["curve"])
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
    stop: MedianStop | None,
    others: Sequence[Sequence[float]],
) -> TrialRecord:
    """Evaluate one architecture; whatever goes wrong becomes part of the record.

    Args:
        evaluate: Function that trains the architecture.
        number: Number of the trial.
        choices: The architecture.
        stop: Rule that ends the trial early.
        others: Curves of the other trials.
    """
    curve: list[float] = []

    def report(score: float) -> None:
        curve.append(score)
        if stop is not None and stop.should_stop(curve, others):
            raise Pruned

    start = time.monotonic()
    state, scores, error = FINISHED, {}, ""
    try:
        scores = {name: float(value) for name, value in evaluate(choices, report).items()}
    except Pruned:
        state = PRUNED
        scores = {"score": curve[-1]}
    except Exception:
        state, error = FAILED, traceback.format_exc()
    return TrialRecord(
        number, dict(choices), state, scores, tuple(curve), time.monotonic() - start, error
    )


def _run_apart(content: tuple[Any, ...], ask: Ask) -> TrialRecord:
    """What runs in a trial's process."""
    return run_trial(*content)


def cost_objective(
    quality: float, cost: float, plain_cost: float, weight: float, budget: float = 0.0
) -> float:
    """Quality minus `weight * (cost / plain_cost - 1)`: cheaper than plain is a bonus.

    Args:
        quality: Score, higher is better.
        cost: MACs or measured latency.
        plain_cost: Cost of the plain network.
        weight: Penalty at twice the plain cost.
        budget: Fraction of the plain cost below which saving more no longer raises the score; 0:
            every saving counts.
    """
    return quality - weight * (max(cost / plain_cost, budget) - 1)

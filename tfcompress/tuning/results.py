"""What a search found: every trial, the best one, a table, JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tfcompress.atomic import write_text
from tfcompress.errors import CompressionError
from tfcompress.reporting.run import to_json
from tfcompress.reporting.tables import Table
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import SearchObjective

Status = Literal["finished", "stopped", "failed"]


class SearchError(CompressionError):
    """A search has no result, or cannot start."""


@dataclass(frozen=True)
class TrialResult:
    """A trial that has ended.

    Attributes:
        number: From 0, in the order of their starts.
        params: Its parameters.
        status: "finished"; "stopped" early by the search; or "failed".
        objective: Best value over its epochs; None where it failed.
        metrics: Of the epoch with that value (or the final ones, where no epoch was reported).
        history: One row per epoch.
        started: Seconds from the start of the search.
        seconds: From its start to its end.
        reason: Why it failed.
        folder: Where its files are.
        name: The tool's own name of it.
        inherited: Leading epochs that are those of a shorter trial, which it took up (Hyperband).
    """

    number: int
    params: Mapping[str, Any]
    status: Status
    objective: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    history: tuple[Mapping[str, float], ...] = ()
    started: float = 0.0
    seconds: float = 0.0
    reason: str = ""
    folder: str = ""
    name: str = ""
    inherited: int = 0

    @property
    def epochs(self) -> int:
        """Epochs that were reported."""
        return len(self.history)

    def line(self, objective: SearchObjective, trials: int) -> str:
        """The trial in one line, of so many."""
        value = "failed" if self.objective is None else f"{self.objective:.4f}"
        more = f"  {self.reason}" if self.reason else ""
        return (
            f"trial {self.number + 1:>3}/{trials}  {objective.metric} {value}  "
            f"{self.epochs} epochs  {self.seconds:.1f} s  {self.status}{more}"
        )


RECORD = "trial.json"


def write_trial(folder: Path, result: TrialResult) -> None:
    """Write a trial's record into its folder."""
    write_text(folder / RECORD, to_json(_as_dict(result)))


def read_trial(folder: Path) -> TrialResult | None:
    """A trial from the record in its folder; None where there is none."""
    path = folder / RECORD
    if not path.is_file():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    return TrialResult(**{**content, "history": tuple(content["history"])})


def _as_dict(result: TrialResult) -> dict[str, Any]:
    return {**vars(result), "history": [dict(row) for row in result.history]}


def trial_outcome(
    objective: SearchObjective,
    history: Sequence[Mapping[str, float]],
    final: Mapping[str, float] | None,
) -> dict[str, Any]:
    """The `objective` and `metrics` of a trial that did not fail.

    Models are chosen by their best epoch, so a trial counts as its best epoch does; where no epoch
    was reported, its final metrics count.
    """
    rows = [row for row in history if math.isfinite(row.get(objective.metric, math.nan))]
    rows = rows or ([dict(final)] if final else [])
    if not rows:
        return {"objective": None, "metrics": {}}
    chosen = rows[0]
    for row in rows[1:]:
        if objective.better(row[objective.metric], chosen[objective.metric]):
            chosen = row
    return {"objective": chosen[objective.metric], "metrics": dict(chosen)}


@dataclass(frozen=True)
class SearchResult:
    """A search that has ended.

    Attributes:
        space: What was searched.
        objective: What for.
        trials: By number.
        tool: As "keras-tuner RandomSearch".
        seconds: Wall time.
        stopped_by: Why it ended before its last trial; empty where it did not.
        interrupted: Whether that was no decision of the search: it can go on.
    """

    space: SearchSpace
    objective: SearchObjective
    trials: tuple[TrialResult, ...]
    tool: str
    seconds: float
    stopped_by: str = ""
    interrupted: bool = False

    @property
    def usable(self) -> tuple[TrialResult, ...]:
        """Trials with an objective, the best first."""
        sign = -1.0 if self.objective.direction == "max" else 1.0
        valued = [(sign * t.objective, t) for t in self.trials if t.objective is not None]
        return tuple(trial for _, trial in sorted(valued, key=lambda pair: pair[0]))

    @property
    def best(self) -> TrialResult:
        """The trial with the best objective.

        Raises:
            SearchError: Every trial failed.
        """
        if not self.usable:
            reasons = list(dict.fromkeys(t.reason for t in self.trials if t.reason))[:3]
            reasons += [self.stopped_by] if self.stopped_by else []
            raise SearchError(
                f"search ({self.tool})",
                f"none of its {len(self.trials)} trials gave a value"
                + (f": {'; '.join(reasons)}" if reasons else ""),
                "read the logs in the trials' folders",
            )
        return self.usable[0]

    @property
    def epochs(self) -> int:
        """Epochs trained by all trials."""
        return sum(trial.epochs - trial.inherited for trial in self.trials)

    def table(self, at_most: int | None = None, params: bool = True) -> Table:
        """The trials, the best first, the failed last.

        Args:
            at_most: Rows to show; None for all.
            params: Whether each has a column per dimension.
        """
        shown = tuple(self.space) if params else ()
        failed = [trial for trial in self.trials if trial.objective is None]
        rows = [*self.usable, *failed]
        also = self.objective.also
        title = f"{len(self.trials)} trials of {self.tool}, {self.objective.metric}"
        table = Table(
            ("trial", self.objective.metric, *also, "epochs", "time", "status", *shown),
            title=title,
            drop=("time", "epochs", *reversed(shown)),
        )
        for trial in rows[:at_most]:
            table.add(
                str(trial.number),
                _shown(trial.objective),
                *(_shown(trial.metrics.get(name)) for name in also),
                str(trial.epochs),
                f"{trial.seconds:.1f} s",
                trial.status,
                *(_shown(trial.params.get(name)) for name in shown),
            )
        for reason in dict.fromkeys(trial.reason for trial in failed if trial.reason):
            numbers = [str(trial.number) for trial in failed if trial.reason == reason]
            table.note(f"trial {', '.join(numbers)} failed: {reason}")
        if self.stopped_by:
            table.note(f"the search ended early: {self.stopped_by}")
        return table

    def best_table(self) -> Table:
        """The best trial's parameters beside the defaults."""
        table = Table(("dimension", "default", "best"), title=f"Trial {self.best.number}, the best")
        defaults = self.space.defaults()
        for name in self.space:
            values = (defaults.get(name), self.best.params.get(name))
            table.add(name, *map(_shown, values))
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "tool": self.tool,
            "objective": {
                "metric": self.objective.metric,
                "direction": self.objective.direction,
                "also": list(self.objective.also),
            },
            "seconds": self.seconds,
            "stopped_by": self.stopped_by,
            "epochs": self.epochs,
            "best": self.usable[0].number if self.usable else None,
            "trials": [_as_dict(trial) for trial in self.trials],
        }


def _shown(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)

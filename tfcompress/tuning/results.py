"""The result of a search: all trials, the best one, tables, JSON."""

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
from tfcompress.short_repr import short_repr
from tfcompress.tuning.space import SearchSpace
from tfcompress.tuning.trial import SearchObjective

Status = Literal["finished", "stopped", "failed"]


class SearchError(CompressionError):
    """A search cannot start, or has no result."""


@short_repr
@dataclass(frozen=True)
class TrialResult:
    """A trial that has ended.

    Attributes:
        number: Number of the trial, from 0, in the order of their starts.
        params: Values of its parameters, by name.
        status: How it ended: "finished", "stopped" (early, by the search) or "failed".
        objective: Best value of the objective over its epochs; None if it failed.
        metrics: Metrics of the epoch with that value, or the final metrics if it reported no epoch.
        history: Reported metrics, one row per epoch.
        started: Time of its start, in seconds from the start of the search.
        seconds: Duration of the trial in seconds.
        reason: Reason of the failure; empty if it did not fail.
        folder: Path of the folder with its files.
        name: Identifier that the tool uses.
        inherited: Number of leading epochs taken over from the shorter trial that it continues
            (Hyperband).
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
        """Number of reported epochs."""
        return len(self.history)

    def line(self, objective: SearchObjective, trials: int) -> str:
        """The trial as one line of text, given the objective and the total number of trials."""
        value = "failed" if self.objective is None else f"{self.objective:.4f}"
        more = f"  {self.reason}" if self.reason else ""
        return (
            f"trial {self.number + 1:>3}/{trials}  {objective.metric} {value}  "
            f"{self.epochs} epochs  {self.seconds:.1f} s  {self.status}{more}"
        )


RECORD = "trial.json"


def write_trial(folder: Path, result: TrialResult) -> None:
    """Write the record of a trial, `trial.json`, into a folder."""
    write_text(folder / RECORD, to_json(_as_dict(result)))


def read_trial(folder: Path) -> TrialResult | None:
    """Read a trial from the record in its folder; None if there is none."""
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

    A trial counts by its best epoch, as models are chosen by their best epoch. If it reported no
    epoch, its final metrics count.

    Args:
        objective: Objective of the search.
        history: Reported metrics, one row per epoch.
        final: Metrics that the training function returned.
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


@short_repr
@dataclass(frozen=True)
class SearchResult:
    """A search that has ended.

    Attributes:
        space: Search space.
        objective: Objective of the search.
        trials: All trials, by number.
        tool: Name of the tool and the tuner, such as "keras-tuner bayesian".
        seconds: Wall time of the search, in seconds.
        stopped_by: Reason why it ended before its last trial; empty if it did not.
        interrupted: Whether it ended by an outside event (a dead process), so that it can continue.
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
        """Number of epochs trained in all trials together, without inherited ones."""
        return sum(trial.epochs - trial.inherited for trial in self.trials)

    def table(self, at_most: int | None = None, params: bool = True) -> Table:
        """The trials as a table: the best first, failed ones last.

        Args:
            at_most: Maximum number of rows; None for all.
            params: Whether to show a column per dimension.
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
        """The best trial's parameters beside the defaults, as a table."""
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

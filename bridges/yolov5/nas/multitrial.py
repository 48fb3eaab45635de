"""Multi-trial architecture search: every architecture is trained by itself and keeps its own score.

Samplers: NNI's random, grid and regularized evolution, and Optuna's TPE and NSGA-II (two
objectives). Trials run in this process or in several; every trial carries its choices, so that
no score can be assigned to another architecture. Finished trials are files: a killed search
resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridges.yolov5.nas.samplers import run_nni, run_optuna
from bridges.yolov5.nas.trials import (
    FINISHED,
    Evaluate,
    MultiTrialSettings,
    TrialRecord,
    TrialRunner,
)
from tfcompress.errors import CompressionError
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr


@short_repr
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
        evaluate: Function that trains one architecture.
        settings: Search settings.
        folder: Folder for one file per trial.
        on_trial: Function called when a trial ends.

    Raises:
        CompressionError: Every trial failed, or the folder's trials are of another search.
    """
    runner = TrialRunner(evaluate, settings, Path(folder), on_trial)
    try:
        run = run_optuna if settings.sampler in ("tpe", "nsga2") else run_nni
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

"""The outcome of each step of a recipe (quality, cost, time), and the chosen model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfcompress.comparison import Comparison
from tfcompress.pipeline.recipe import Budget
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

COSTS = {"latency_ms": "latency", "size_bytes": "file size", "macs": "MACs"}
"""Title of each cost that a Pareto front can be drawn against."""


@short_repr
@dataclass(frozen=True)
class Outcome:
    """A measured model of a recipe: the original, or the result of a step.

    Attributes:
        number: Number of the step, from 1; 0 for the original.
        kind: Kind of the step; "start" for the original.
        quality: Quality on the validation set.
        macs: Multiply-accumulates of one sample.
        parameters: Number of kernel weights.
        zeros: Number of kernel weights that are zero.
        size_bytes: Size of the LiteRT file in bytes.
        latency_ms: Latency of the LiteRT file in milliseconds, batch 1.
        base_latency_ms: Latency of the original's LiteRT file, timed in turn with this one.
        seconds: Duration of the step in seconds.
        kept: Whether the next step started from this model.
        missed: Reasons for rolling the step back, in words; empty if it was kept.
        notes: Notes of the step.
        format: Number format of the LiteRT file: "float32", "int8", ...
    """

    number: int
    kind: str
    quality: float
    macs: int
    parameters: int
    zeros: int
    size_bytes: int
    latency_ms: float
    base_latency_ms: float
    seconds: float
    kept: bool
    missed: tuple[str, ...]
    notes: tuple[str, ...]
    format: str

    @property
    def name(self) -> str:
        """Name in tables, such as "2 distill"."""
        return f"{self.number} {self.kind}"

    @property
    def folder(self) -> str:
        """Name of the subfolder with its files."""
        return f"{self.number:02d}-{self.kind}"

    @property
    def speed(self) -> float:
        """Speed-up: the original's latency divided by this one's."""
        return self.base_latency_ms / self.latency_ms

    def share(self, cost: str, start: Outcome) -> float:
        """A cost, a key of `COSTS`, as a share of the original's."""
        return (
            1 / self.speed if cost == "latency_ms" else getattr(self, cost) / getattr(start, cost)
        )

    def numbers(self) -> dict[str, float]:
        """The numbers that a budget limits."""
        return {
            "quality": self.quality,
            "macs": self.macs,
            "size_bytes": self.size_bytes,
            "latency_ms": self.latency_ms,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Outcome:
        """An outcome from the plain data of `to_dict`."""
        lists = ("missed", "notes")
        fields: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in content.items()}
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def over_budget(budget: Budget, start: Outcome, other: Outcome) -> tuple[str, ...]:
    """Limits of a budget that a model misses, in words; latencies were timed in turn."""
    base = {**start.numbers(), "latency_ms": other.base_latency_ms}
    return budget.missed(base, other.numbers())


def front(outcomes: Sequence[Outcome], cost: str) -> tuple[Outcome, ...]:
    """The Pareto front of quality against a cost, the cheapest outcome first.

    Args:
        outcomes: Outcomes to choose from, the original first.
        cost: Key of `COSTS`.
    """
    best: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda o: (o.share(cost, outcomes[0]), -o.quality)):
        if not best or outcome.quality > best[-1].quality:
            best.append(outcome)
    return tuple(best)


@short_repr
@dataclass(frozen=True)
class CompressResult:
    """Result of a recipe.

    Attributes:
        folder: Folder of all files.
        outcomes: Outcomes of the original and of each step, in order.
        chosen: The fastest kept outcome that meets the recipe's budget; if none does, the last one
            that was kept.
        missed: Limits of the budget that the chosen one misses, in words; empty if it meets all.
        files: Exported files by suffix: ".tflite", and ".keras" if it is a Keras model.
        comparison: Comparison of the original and all kept models on the test set.
        split: Split of the comparison: "test", or "val" without a test set.
    """

    folder: Path
    outcomes: tuple[Outcome, ...]
    chosen: Outcome
    missed: tuple[str, ...]
    files: Mapping[str, Path]
    comparison: Comparison
    split: str

    @property
    def kept(self) -> tuple[Outcome, ...]:
        """The original and the steps that were not rolled back."""
        return tuple(outcome for outcome in self.outcomes if outcome.kept)

    def state_of(self, outcome: Outcome) -> str:
        """State of an outcome for tables: "chosen", "rolled back", or empty."""
        return "chosen" if outcome == self.chosen else "" if outcome.kept else "rolled back"

    def table(self) -> Table:
        """A table of all steps, measured on the validation set."""
        start = self.outcomes[0]
        fronts = {o.name for cost in COSTS for o in front(self.kept, cost)}
        table = Table(
            (
                "step",
                "quality",
                "change",
                "MACs",
                "file",
                "zeros",
                "speed",
                "took",
                "state",
                "front",
            ),
            title="Steps: LiteRT files, quality on the validation set",
            drop=("took", "front", "zeros", "MACs"),
        )
        before = start
        for outcome in self.outcomes:
            table.add(
                outcome.name,
                f"{outcome.quality:.4f}",
                "" if outcome is start else f"{outcome.quality - before.quality:+.4f}",
                f"{outcome.share('macs', start):.3f}",
                f"{outcome.share('size_bytes', start):.3f}",
                f"{outcome.zeros / outcome.parameters:.1%}" if outcome.parameters else "",
                f"{outcome.speed:.2f}x",
                f"{outcome.seconds:.0f} s",
                self.state_of(outcome),
                "*" if outcome.name in fronts else "",
            )
            if outcome.kept:
                before = outcome
        table.note(
            "MACs and file are shares of the start; *: no kept step is both better and cheaper"
        )
        for outcome in self.outcomes:
            for text in outcome.missed:
                table.note(f"{outcome.name} was rolled back: {text}")
            for text in outcome.notes:
                table.note(f"{outcome.name}: {text}")
        for text in self.missed:
            table.note(f"NOT within the budget: {text}")
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "outcomes": [{**o.to_dict(), "speed": o.speed} for o in self.outcomes],
            "chosen": self.chosen.name,
            "missed": list(self.missed),
            "files": {suffix: str(path) for suffix, path in self.files.items()},
            "comparison": self.comparison.to_dict(),
            "split": self.split,
        }

    def __str__(self) -> str:
        return f"{self.table()}\n\n{self.comparison.table()}"

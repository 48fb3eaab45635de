"""What each step of a recipe gave and cost, and which model was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tfcompress.comparison import Comparison
from tfcompress.pipeline.recipe import Budget
from tfcompress.reporting.tables import Table

COSTS = {"latency_ms": "latency", "size_bytes": "file size", "macs": "MACs"}
"""What a front may be drawn against, with its title."""


@dataclass(frozen=True)
class Outcome:
    """A model of the recipe: the one it began with, or one that a step gave.

    Attributes:
        number: Of the step, from 1; 0 the start.
        kind: Of the step; "start".
        quality: On validation.
        macs: Multiply-accumulates of one sample.
        parameters: Kernel weights.
        zeros: Of them zero.
        size_bytes: Of the LiteRT file.
        latency_ms: Of the LiteRT file, batch 1.
        base_latency_ms: The start's in the same minute, timed in turn with it.
        seconds: That the step took.
        kept: Whether the next step went on from it.
        missed: What it was rolled back for, in words.
        notes: Of the step.
        format: "float32", "int8", ... of its LiteRT file.
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
        """As in tables: "2 distill"."""
        return f"{self.number} {self.kind}"

    @property
    def folder(self) -> str:
        """Of its files, below the recipe's folder."""
        return f"{self.number:02d}-{self.kind}"

    @property
    def speed(self) -> float:
        """The start's latency over its own."""
        return self.base_latency_ms / self.latency_ms

    def share(self, cost: str, start: Outcome) -> float:
        """A cost, a key of `COSTS`, as a share of the start's; latencies of the same minute."""
        return (
            1 / self.speed if cost == "latency_ms" else getattr(self, cost) / getattr(start, cost)
        )

    def numbers(self) -> dict[str, float]:
        """What budgets are about."""
        return {
            "quality": self.quality,
            "macs": self.macs,
            "size_bytes": self.size_bytes,
            "latency_ms": self.latency_ms,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Outcome:
        """What `to_dict` gave."""
        lists = ("missed", "notes")
        fields: dict[str, Any] = {k: tuple(v) if k in lists else v for k, v in content.items()}
        return cls(**fields)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def over_budget(budget: Budget, start: Outcome, other: Outcome) -> tuple[str, ...]:
    """What of a budget a model misses; latency against the start's of the same minute."""
    base = {**start.numbers(), "latency_ms": other.base_latency_ms}
    return budget.missed(base, other.numbers())


def front(outcomes: Sequence[Outcome], cost: str) -> tuple[Outcome, ...]:
    """Outcomes that none beats in both quality and a cost, the cheapest first.

    Args:
        outcomes: To choose from.
        cost: A key of `COSTS`.
    """
    best: list[Outcome] = []
    for outcome in sorted(outcomes, key=lambda o: (o.share(cost, outcomes[0]), -o.quality)):
        if not best or outcome.quality > best[-1].quality:
            best.append(outcome)
    return tuple(best)


@dataclass(frozen=True)
class CompressResult:
    """A recipe that ran.

    Attributes:
        folder: Where everything is.
        outcomes: The start, then each step.
        chosen: The fastest of the kept ones that meets the recipe's budget; where none does, the
            last that was kept.
        missed: What of the budget the chosen one misses; empty where it meets it.
        files: The exported files by suffix: ".tflite", and ".keras" where it is a Keras model.
        comparison: The start and every kept model, on the test samples.
        split: What the comparison was made on: "test", or "val" where there is no test.
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
        """The start and what was not rolled back."""
        return tuple(outcome for outcome in self.outcomes if outcome.kept)

    def state_of(self, outcome: Outcome) -> str:
        """In a word: "chosen", "rolled back", or nothing."""
        return "chosen" if outcome == self.chosen else "" if outcome.kept else "rolled back"

    def table(self) -> Table:
        """Step by step, on validation."""
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
            title="Step by step, on validation; LiteRT files",
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
        table.note("MACs and file as shares of the start; *: nothing kept is better and cheaper")
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

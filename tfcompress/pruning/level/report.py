"""The result of pruning, counted in the model: frozen rows that print as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr


@dataclass(frozen=True)
class WeightRow:
    """One pruned weight.

    Attributes:
        path: Layer path.
        role: Name of the weight in its layer, such as "kernel".
        weights: Number of values.
        target: Requested sparsity, from 0 to 1.
        masked: Number of values that the mask sets to zero.
        zeros: Number of values that are zero now.
        leaked: Number of values that the mask sets to zero but that are not zero.
    """

    path: str
    role: str
    weights: int
    target: float
    masked: int
    zeros: int
    leaked: int

    @property
    def sparsity(self) -> float:
        """Share of the values that are zero now."""
        return self.zeros / self.weights


@short_repr
@dataclass(frozen=True)
class PruneReport:
    """The result of pruning a model.

    Attributes:
        rows: Selected weights, one per row.
        skipped: Other layers with weights, each as (path, reason).
        model_weights: Number of all parameters of the model, with biases and statistics.
    """

    rows: tuple[WeightRow, ...]
    skipped: tuple[tuple[str, str], ...]
    model_weights: int

    @property
    def weights(self) -> int:
        """Number of selected weights."""
        return sum(row.weights for row in self.rows)

    @property
    def zeros(self) -> int:
        """Number of selected weights that are zero now."""
        return sum(row.zeros for row in self.rows)

    @property
    def sparsity(self) -> float:
        """Share of the selected weights that are zero now."""
        return self.zeros / self.weights

    @property
    def leaked(self) -> int:
        """Number of weights that should be zero but are not: they were assigned directly."""
        return sum(row.leaked for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The report for JSON."""
        return {
            "rows": [{**asdict(row), "sparsity": row.sparsity} for row in self.rows],
            "skipped": [{"layer": path, "reason": reason} for path, reason in self.skipped],
            "weights": self.weights,
            "zeros": self.zeros,
            "sparsity": self.sparsity,
            "leaked": self.leaked,
            "model_weights": self.model_weights,
        }

    def table(self) -> Table:
        """The report as a table."""
        table = Table(
            ("layer", "weight", "weights", "target", "masked", "achieved", "note"),
            title="Level pruning, counted in the model",
        )
        for row in self.rows:
            note = f"{row.leaked:,} leaked: call LevelPruner.hold(model)" if row.leaked else ""
            if row.zeros == row.weights:
                note = "the whole weight is zero"
            table.add(
                row.path,
                row.role,
                f"{row.weights:,}",
                f"{row.target:.1%}",
                f"{row.masked / row.weights:.1%}",
                f"{row.sparsity:.1%}",
                note,
            )
        table.total(
            "total",
            "",
            f"{self.weights:,}",
            "",
            f"{sum(row.masked for row in self.rows) / self.weights:.1%}",
            f"{self.sparsity:.1%}",
            f"{self.zeros / self.model_weights:.1%} of all {self.model_weights:,} parameters",
        )
        table.note_skipped(self.skipped)
        return table

    def __str__(self) -> str:
        return str(self.table())

"""What a pruner did, counted in the model: frozen rows that print as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from tfcompress.reporting.tables import Table


@dataclass(frozen=True)
class WeightRow:
    """One pruned weight.

    Attributes:
        path: Layer path.
        role: The weight's name within the layer, such as "kernel".
        weights: How many there are.
        target: Sparsity asked for.
        masked: Weights that the mask drops.
        zeros: Weights that are zero now.
        leaked: Weights that the mask drops and that are not zero.
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
        """Share of the weights that are zero now."""
        return self.zeros / self.weights


@dataclass(frozen=True)
class PruneReport:
    """The result of pruning a model.

    Attributes:
        rows: One per weight that was selected.
        skipped: (layer path, reason) of every other layer that has weights.
        model_weights: All parameters of the model, biases and statistics included.
    """

    rows: tuple[WeightRow, ...]
    skipped: tuple[tuple[str, str], ...]
    model_weights: int

    @property
    def weights(self) -> int:
        """Weights that were selected."""
        return sum(row.weights for row in self.rows)

    @property
    def zeros(self) -> int:
        """Selected weights that are zero now."""
        return sum(row.zeros for row in self.rows)

    @property
    def sparsity(self) -> float:
        """Share of the selected weights that are zero now."""
        return self.zeros / self.weights

    @property
    def leaked(self) -> int:
        """Weights that should be zero and are not: something assigned past the masks."""
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

"""What a factorization does to each layer, as data that prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from tfcompress.reporting.tables import Table

Method = Literal["tucker", "svd"]


@dataclass(frozen=True)
class FactorRow:
    """One layer that becomes several.

    Attributes:
        path: Layer path.
        kind: Class name.
        method: "tucker" (three convolutions) or "svd" (two layers).
        ranks: (inputs, outputs) of Tucker's core; (rank,) of an SVD.
        error: Norm of the kernel's change over the kernel's norm.
        macs_before: Multiply-accumulates of one sample, all calls.
        macs_after: The same of the factors.
        parameters_before: Weights with the bias.
        parameters_after: The same of the factors.
    """

    path: str
    kind: str
    method: Method
    ranks: tuple[int, ...]
    error: float
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True)
class FactorPlan:
    """A factorization of a model, before it is applied.

    Attributes:
        rows: Layers that become several, in the model's order.
        skipped: (path, reason) of convolutions and dense layers that stay as they are.
        macs_before: Of the whole model, one sample.
        macs_after: The same after it.
        parameters_before: Of the whole model.
        parameters_after: The same after it.
    """

    rows: tuple[FactorRow, ...]
    skipped: tuple[tuple[str, str], ...]
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int

    def without(self, reasons: dict[str, str]) -> FactorPlan:
        """The plan with some layers left as they are.

        Args:
            reasons: Why, by path.
        """
        left = [row for row in self.rows if row.path in reasons]
        return FactorPlan(
            rows=tuple(row for row in self.rows if row.path not in reasons),
            skipped=(*self.skipped, *((row.path, reasons[row.path]) for row in left)),
            macs_before=self.macs_before,
            macs_after=self.macs_after + sum(r.macs_before - r.macs_after for r in left),
            parameters_before=self.parameters_before,
            parameters_after=self.parameters_after
            + sum(r.parameters_before - r.parameters_after for r in left),
        )

    def to_dict(self) -> dict[str, Any]:
        """The plan for JSON."""
        return asdict(self)

    def table(self) -> Table:
        """The plan as a table."""
        table = Table(
            ("layer", "kind", "method", "ranks", "error", "MACs", "after", "weights", "now"),
            title="Factorization, layer by layer",
            drop=("method", "kind", "weights", "now"),
        )
        for row in self.rows:
            table.add(
                row.path,
                row.kind,
                row.method,
                " x ".join(map(str, row.ranks)),
                f"{row.error:.1%}",
                f"{row.macs_before:,}",
                f"{row.macs_after:,}",
                f"{row.parameters_before:,}",
                f"{row.parameters_after:,}",
            )
        table.total(
            "the whole model",
            "",
            "",
            "",
            "",
            f"{self.macs_before:,}",
            f"{self.macs_after:,}",
            f"{self.parameters_before:,}",
            f"{self.parameters_after:,}",
        )
        table.note("error: norm of the kernel's change over the kernel's norm")
        table.note_skipped(self.skipped)
        return table

    def __str__(self) -> str:
        return str(self.table())

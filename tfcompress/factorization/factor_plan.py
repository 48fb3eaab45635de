"""The plan of a factorization: what happens to each layer, as data that prints as a table."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr

Method = Literal["tucker", "svd"]


@dataclass(frozen=True)
class FactorRow:
    """One layer that is replaced by several.

    Attributes:
        path: Layer path.
        kind: Class name of the layer.
        method: Decomposition: "tucker" (three convolutions) or "svd" (two layers).
        ranks: Ranks: (input, output) channels of Tucker's core, or (rank,) for SVD.
        error: Relative error of the kernel: Frobenius norm of its change over that of the kernel.
        macs_before: Multiply-accumulates of the layer for one sample, over all its calls.
        macs_after: Multiply-accumulates of its factors.
        parameters_before: Number of weights of the layer, with its bias.
        parameters_after: Number of weights of its factors.
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


@short_repr
@dataclass(frozen=True)
class FactorPlan:
    """A factorization of a model, before it is applied.

    Attributes:
        rows: Layers that are factored, in the model's order.
        skipped: Convolutions and dense layers that stay as they are, each as (path, reason).
        macs_before: Multiply-accumulates of the whole model for one sample.
        macs_after: Multiply-accumulates of the factorized model.
        parameters_before: Number of parameters of the whole model.
        parameters_after: Number of parameters of the factorized model.
    """

    rows: tuple[FactorRow, ...]
    skipped: tuple[tuple[str, str], ...]
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int

    def without(self, reasons: dict[str, str]) -> FactorPlan:
        """Take layers out of the plan.

        Args:
            reasons: Reason why a layer is not factored, by layer path.

        Returns:
            A plan in which these layers are listed under `skipped`.
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
            (
                *("layer", "kind", "method", "ranks", "error"),
                *("MACs", "MACs after", "weights", "weights after"),
            ),
            title="Factorization, layer by layer",
            drop=("method", "kind", "weights", "weights after"),
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
        table.note("error: norm of the kernel's change, divided by the norm of the kernel")
        table.note_skipped(self.skipped)
        return table

    def __str__(self) -> str:
        return str(self.table())

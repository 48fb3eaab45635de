"""`tfcompress inspect`: what a model costs, layer by layer, and what pruning could remove."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from tfcompress.cli.arguments import Model
from tfcompress.cli.terminal import show
from tfcompress.model_files import check_model_file, load_model_file
from tfcompress.reporting.tables import Table

if TYPE_CHECKING:
    from tfcompress.pruning.channels.trace.groups import ChannelGraph


@dataclass(frozen=True)
class Inspect:
    """Show the cost of each layer, the zeros, and which channels can be pruned."""

    model: Model
    """A .keras or .tflite file."""

    def check(self) -> None:
        """Refuse what is wrong before TensorFlow starts."""
        check_model_file(self.model)

    def run(self, console: Console) -> None:
        """Read the file and print the tables."""
        from tfcompress.comparison import compare
        from tfcompress.evaluation.cost import count_cost
        from tfcompress.evaluation.sparsity import count_zeros
        from tfcompress.litert.model import LiteModel
        from tfcompress.pruning.channels.trace.groups import find_groups

        model = load_model_file(self.model)
        row = compare(model, names=[Path(self.model).name])
        if not isinstance(model, LiteModel):
            show(console, count_cost(model).table())
            show(console, _channels_table(find_groups(model)))
        sparse = Table(("weight", "weights", "zeros"), title="Weights with zeros")
        for counted in count_zeros(model):
            if counted.zeros:
                sparse.add(counted.name, f"{counted.weights:,}", f"{counted.sparsity:.1%}")
        if sparse.rows:
            show(console, sparse)
        show(console, row.table())


def _channels_table(found: ChannelGraph) -> Table:
    """Which channels pruning could remove, and which it could not and why."""
    table = Table(("channels of", "channels", "read by", "may go"), title="Groups of channels")
    for group in found.groups:
        readers = ", ".join(group.readers[:3]) + (" ..." if len(group.readers) > 3 else "")
        may_go = group.frozen or f"{len(group.units) - sum(group.locked)} of {len(group.units)}"
        table.add(group.name, str(group.size * len(group.units)), readers, may_go)
    return table

"""`tfcompress inspect`: what a model costs, layer by layer, and what pruning could remove."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from tfcompress.cli.arguments import Model
from tfcompress.cli.terminal import show
from tfcompress.model_files import check_model_file, load_model_file
from tfcompress.reporting.tables import Table


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
            show(console, find_groups(model).table())
        sparse = Table(("weight", "weights", "zeros"), title="Weights with zeros")
        for counted in count_zeros(model):
            if counted.zeros:
                sparse.add(counted.name, f"{counted.weights:,}", f"{counted.sparsity:.1%}")
        if sparse.rows:
            show(console, sparse)
        show(console, row.table())

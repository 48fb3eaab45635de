"""`tfcompress prune`: fewer channels, or zeros, without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from tfcompress.cli.arguments import (
    Count,
    Layers,
    Model,
    Output,
    Pattern,
    Scope,
    Score,
    Share,
    Target,
)
from tfcompress.cli.files import check_keras_file, check_output, keras_model
from tfcompress.cli.terminal import show
from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class Prune:
    """Remove channels (a target), or set weights to zero (a sparsity), without training."""

    model: Model
    """A .keras file."""
    output: Output
    """The .keras file to write."""
    target_macs: Target = None
    """Remove channels until this share of the MACs is left: 0.5 is half."""
    target_parameters: Target = None
    """Remove channels until this share of the parameters is left."""
    sparsity: Target = None
    """Set this share of each kernel to zero: 0.8 is four fifths."""
    granularity: Pattern = "unstructured"
    """Pattern of the zeros: "unstructured", a block such as "1x4", or "2:4"."""
    score: Score = "l2"
    """Which channels matter: "l1", "l2", "fpgm", "gamma" or "random"."""
    scope: Scope = None
    """Channels: "global" (default) or "group". Zeros: "layer" (default) or "global"."""
    min_kept: Share = 0.1
    """Smallest share of each group's channels that stays."""
    round_to: Count = 1
    """Number that every width is a multiple of."""
    exclude: Layers = ()
    """Layers to leave alone (names, paths, globs)."""

    def check(self) -> None:
        """Refuse what is wrong before TensorFlow starts."""
        targets = (self.target_macs, self.target_parameters, self.sparsity)
        if sum(value is not None for value in targets) != 1:
            raise ConfigError(
                "prune",
                "it needs one target",
                "give --target-macs, --target-parameters or --sparsity",
            )
        check_output(self.output, ".keras")
        check_keras_file(self.model)

    def run(self, console: Console) -> None:
        """Plan, print the plan, apply it, write the file, compare."""
        from tfcompress.comparison import compare
        from tfcompress.graph.saving import save_plain

        model = keras_model(self.model)
        if self.sparsity is None:
            pruned = self._fewer_channels(model, console)
        else:
            pruned = self._zeros(model, console, self.sparsity)
        save_plain(pruned, self.output, training_state=False)
        before, after = keras_model(self.model), keras_model(self.output)
        names = [Path(self.model).name, Path(self.output).name]
        show(console, compare(before, after, names=names).table())
        console.print(f"wrote {self.output}", style="bold", highlight=False)

    def _fewer_channels(self, model: Any, console: Console) -> Any:
        from tfcompress.pipeline.steps import ChannelPruneOptions
        from tfcompress.pruning.channels.planner import plan_channels, shrink

        options = ChannelPruneOptions(
            target_macs=self.target_macs,
            target_parameters=self.target_parameters,
            score=self.score,
            scope="group" if self.scope == "group" else "global",
            min_kept=self.min_kept,
            round_to=self.round_to,
            exclude=self.exclude,
            epochs=0,
        )
        plan = plan_channels(model, options.config(seed=0))
        show(console, plan.table())
        return shrink(model, plan)

    def _zeros(self, model: Any, console: Console, sparsity: float) -> Any:
        from tfcompress.pipeline.steps import LevelPruneOptions

        options = LevelPruneOptions(
            sparsity=sparsity,
            granularity=self.granularity,
            scope="global" if self.scope == "global" else "layer",
            epochs=0,
            exclude=self.exclude,
        )
        pruner = options.pruner(model, steps_per_epoch=1)
        pruner.compress()
        show(console, pruner.report().table())
        return model

"""The command `tfcompress`: what can be done with a model file and no line of code.

    tfcompress inspect model.keras
    tfcompress prune model.keras small.keras --target-macs 0.5
    tfcompress prune model.keras sparse.keras --sparsity 0.8
    tfcompress quantize model.keras model.tflite --calibration images.npy
    tfcompress compare model.keras model.tflite --data test.npz
    tfcompress compress model.keras folder --recipe recipe.yaml --train train.npz --val val.npz

Only compress trains; what prune writes loses quality until it is trained on. In a training script
use `import tfcompress`.
"""

from __future__ import annotations

from tfcompress import startup  # noqa: F401  (first: TensorFlow without its messages)

# isort: split
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import keras
import tyro
from rich.console import Console

from tfcompress.cli.terminal import told_errors
from tfcompress.comparison import compare
from tfcompress.data.arrays import read_inputs, read_labelled
from tfcompress.errors import ConfigError, DataError
from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.sparsity import count_zeros
from tfcompress.graph.layers import flavor_of
from tfcompress.graph.saving import save_plain
from tfcompress.litert.formats import FORMATS
from tfcompress.litert.model import LiteModel, to_litert
from tfcompress.model_files import load_model_file
from tfcompress.pipeline.compress import compress
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.recipe import read_recipe
from tfcompress.pipeline.steps import STEPS, ChannelPruneOptions, LevelPruneOptions, LiteOptions
from tfcompress.pruning.channels.core.options import ChannelOptions
from tfcompress.pruning.channels.planner import plan_channels, shrink
from tfcompress.pruning.channels.trace.groups import find_groups
from tfcompress.reporting.tables import Table
from tfcompress.twin.twin import to_keras3

File = Annotated[str, tyro.conf.Positional]
Files = Annotated[tuple[str, ...], tyro.conf.Positional]


@dataclass(frozen=True)
class Inspect:
    """Cost of each layer, zeros, and what channel pruning could take."""

    model: File
    """A .keras or .tflite file."""

    def run(self, console: Console) -> None:
        """Print."""
        model = load_model_file(self.model)
        row = compare(model, names=[Path(self.model).name])
        if not isinstance(model, LiteModel):
            _show(console, count_cost(model).table())
            _show(console, _channels_table(model))
        sparse = Table(("weight", "weights", "zeros"), title="Weights with zeros")
        for counted in count_zeros(model):
            if counted.zeros:
                sparse.add(counted.name, f"{counted.weights:,}", f"{counted.sparsity:.1%}")
        if sparse.rows:
            _show(console, sparse)
        _show(console, row.table())


@dataclass(frozen=True)
class Prune:
    """Remove channels (a target) or set weights to zero (a sparsity), without training."""

    model: File
    """A .keras file."""
    output: File
    """The .keras file to write."""
    target_macs: float | None = None
    """Share of the MACs to keep, by removing channels."""
    target_parameters: float | None = None
    """Share of the parameters to keep, by removing channels."""
    sparsity: float | None = None
    """Share of each kernel to set to zero."""
    granularity: str = "unstructured"
    """Of zeros: "unstructured", "1x4", "2:4"."""
    score: str = ChannelOptions.score
    """Of channels: "l1", "l2", "fpgm", "gamma", "random"."""
    scope: Literal["layer", "global", "group"] | None = None
    """Channels: "global" (default) or "group". Zeros: "layer" (default) or "global"."""
    min_kept: float = ChannelOptions.min_kept
    """Smallest share of each layer's channels that stays."""
    round_to: int = ChannelOptions.round_to
    """Number that every width is a multiple of."""
    exclude: tuple[str, ...] = ChannelOptions.exclude
    """Layers to leave alone (names, paths, globs)."""

    def run(self, console: Console) -> None:
        """Plan, print, apply, write, compare."""
        targets = (self.target_macs, self.target_parameters, self.sparsity)
        if sum(value is not None for value in targets) != 1:
            raise ConfigError(
                "prune",
                "it needs one target",
                "give --target-macs, --target-parameters or --sparsity",
            )
        _check_output(self.output, ".keras")
        model = _keras_model(self.model)
        if self.sparsity is None:
            pruned = self._channels(model, console)
        else:
            pruned = self._zeros(model, console, self.sparsity)
        save_plain(pruned, self.output, training_state=False)
        before, after = _keras_model(self.model), _keras_model(self.output)
        names = [Path(self.model).name, Path(self.output).name]
        _show(console, compare(before, after, names=names).table())
        console.print(f"wrote {self.output}", style="bold", highlight=False)

    def _channels(self, model: Any, console: Console) -> Any:
        options = ChannelPruneOptions(
            target_macs=self.target_macs,
            target_parameters=self.target_parameters,
            score=self.score,
            scope="group" if self.scope == "group" else ChannelOptions.scope,
            min_kept=self.min_kept,
            round_to=self.round_to,
            exclude=self.exclude,
            epochs=0,
        )
        plan = plan_channels(model, options.config(seed=0))
        _show(console, plan.table())
        return shrink(model, plan)

    def _zeros(self, model: Any, console: Console, sparsity: float) -> Any:
        options = LevelPruneOptions(
            sparsity=sparsity,
            granularity=self.granularity,
            scope="global" if self.scope == "global" else "layer",
            epochs=0,
            exclude=self.exclude,
        )
        pruner = options.pruner(model, steps_per_epoch=1)
        pruner.compress()
        _show(console, pruner.report().table())
        return model


@dataclass(frozen=True)
class Quantize:
    """Convert to LiteRT: int8 with calibration, or another number format."""

    model: File
    """A .keras file."""
    output: File
    """The .tflite file to write."""
    format: str = "int8"
    """Number format: float32, float16, dynamic_int8, int8 or int16x8."""
    calibration: str = ""
    """About 100 inputs as the model is fed: a .npy or .npz file, or a folder of images (their
    pixels, 0 to 255, are divided by `divide_by`)."""
    divide_by: float = 255.0
    """Of images' pixels."""
    samples: int = 200
    """To calibrate on."""
    keep_float: tuple[str, ...] = ()
    """Layers that stay in float."""

    def run(self, console: Console) -> None:
        """Convert, write, read back, compare."""
        options = LiteOptions(format=self.format, samples=self.samples, keep_float=self.keep_float)
        _check_output(self.output, ".tflite")
        model = _keras_model(self.model)
        inputs = None
        if FORMATS[options.format].needs_calibration:
            if not self.calibration:
                raise ConfigError(
                    "calibration",
                    f"{self.format} measures ranges on data, and none is given",
                    "give --calibration file.npy or a folder of images, or --format dynamic_int8",
                )
            inputs = read_inputs(self.calibration, model, self.divide_by, options.samples)
        with console.status("converting"):
            to_litert(
                model,
                options.format,
                inputs,
                calibration_samples_at_most=options.samples,
                keep_float=options.keep_float,
            ).save(self.output)
        lite = LiteModel.load(self.output)
        names = [f"{Path(self.model).stem} in float32", Path(self.output).name]
        _show(console, compare(to_litert(model), lite, names=names).table())
        if lite.float_ops:
            console.print(f"in float: {', '.join(lite.float_ops)}", highlight=False)
        console.print(f"wrote {self.output}", style="bold", highlight=False)


@dataclass(frozen=True)
class Compare:
    """Models side by side: zeros, MACs, size, latency, and quality on labelled data."""

    models: Files
    """.keras and .tflite files; the first is what others are compared with."""
    data: str = ""
    """.npz file with "inputs" and "labels" (class indices, of samples or of pixels)."""
    threads: int = 1
    """Of LiteRT."""

    def run(self, console: Console) -> None:
        """Measure and print."""
        if not self.models:
            raise ConfigError("compare", "there is no model", "give one or more files")
        loaded = [load_model_file(path) for path in self.models]
        samples = read_labelled(self.data) if self.data else None
        names = [Path(path).name for path in self.models]
        names = names if len(set(names)) == len(names) else list(self.models)
        _show(console, compare(*loaded, data=samples, names=names, threads=self.threads).table())


@dataclass(frozen=True)
class Compress:
    """Run a recipe: prune, teach, factor, quantize; each step measured, within a budget."""

    model: File
    """A trained .keras file."""
    folder: File
    """Where the steps' files go; finished steps are taken from there when called again."""
    recipe: str
    """YAML file of the steps and the budget."""
    train: str
    """.npz file with "inputs" and "labels", to train and calibrate on."""
    val: str
    """The same, to choose epochs, steps and the final model on."""
    test: str = ""
    """The same, for the last table; empty: that is made on `val`."""
    batch: int = 32
    """Samples of a training step."""
    loss: str = ""
    """Keras' name of a loss; needed where the file was saved without."""
    learning_rate: float = 1e-3
    """Of Adam, where `loss` is given."""
    threads: int = 1
    """Of LiteRT, for latency."""

    def run(self, console: Console) -> None:
        """Check, run, print, say where the result is."""
        recipe = read_recipe(self.recipe, STEPS)
        model = _keras_model(self.model)
        if flavor_of(model) == "tf_keras":
            model = to_keras3(model)
        if self.loss:
            try:
                loss = keras.losses.get(self.loss)
            except ValueError:
                raise ConfigError(
                    "loss", f"Keras has no {self.loss!r}", "give a loss of keras.losses"
                ) from None
            model.compile(keras.optimizers.Adam(self.learning_rate), loss)
        elif not getattr(model, "compiled", False):
            raise ConfigError(
                self.model,
                "it comes without a loss and an optimizer of Keras 3",
                "give --loss sparse_categorical_crossentropy, or another of keras.losses",
            )
        data = CompressionData(
            train=read_labelled(self.train),
            val=read_labelled(self.val),
            test=read_labelled(self.test) if self.test else None,
            batch=self.batch,
        )
        _show(console, recipe.table())
        result = compress(
            model,
            data,
            recipe,
            self.folder,
            threads=self.threads,
            tell=lambda line: console.print(line, highlight=False, markup=False),
        )
        _show(console, result.table())
        _show(console, result.comparison.table())
        for path in result.files.values():
            console.print(f"wrote {path}", style="bold", highlight=False)


COMMANDS: dict[str, Callable[..., Any]] = {
    "inspect": Inspect,
    "prune": Prune,
    "quantize": Quantize,
    "compare": Compare,
    "compress": Compress,
}


def main(argv: Sequence[str] | None = None) -> None:
    """The console script."""
    chosen = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="tfcompress",
        description=(__doc__ or "").strip(),
        args=with_new_names(sys.argv[1:] if argv is None else argv),
    )
    with told_errors():
        chosen.run(Console(width=None if sys.stdout.isatty() else 160))


def with_new_names(argv: Sequence[str]) -> list[str]:
    """The arguments with `--format` in the place of its old name, `--recipe` of quantize."""
    renamed = []
    for argument in argv:
        flag, equals, value = argument.partition("=")
        if list(argv[:1]) == ["quantize"] and flag == "--recipe":
            print(
                "warning: --recipe of quantize is now called --format; the old name goes with the "
                "next release",
                file=sys.stderr,
            )
            argument = f"--format{equals}{value}"
        renamed.append(argument)
    return renamed


def _keras_model(path: str) -> Any:
    model = load_model_file(path)
    if isinstance(model, LiteModel):
        raise ConfigError(path, "it is a LiteRT file, which cannot be changed", "give the .keras")
    return model


def _check_output(path: str, suffix: str) -> None:
    """Refuse a name before any work."""
    if Path(path).suffix != suffix:
        raise ConfigError(path, f"it does not end in {suffix}", "change the name")
    if not Path(path).absolute().parent.is_dir():
        raise DataError(path, "its folder does not exist", "make the folder first")


def _channels_table(model: Any) -> Table:
    """What channel pruning could take, and what it could not and why."""
    table = Table(("channels of", "channels", "read by", "may go"), title="Groups of channels")
    for group in find_groups(model).groups:
        readers = ", ".join(group.readers[:3]) + (" ..." if len(group.readers) > 3 else "")
        may_go = group.frozen or f"{len(group.units) - sum(group.locked)} of {len(group.units)}"
        table.add(group.name, str(group.size * len(group.units)), readers, may_go)
    return table


def _show(console: Console, table: Table) -> None:
    console.print(table, highlight=False)


if __name__ == "__main__":
    main()

"""`tfcompress compress`: the steps of a recipe, each trained and measured, within a budget."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console

from tfcompress.cli.arguments import Count, File, Folder, Loss, Model, Number
from tfcompress.cli.files import check_data, check_keras_file, keras_model
from tfcompress.cli.terminal import show
from tfcompress.config import read_mapping
from tfcompress.errors import ConfigError


@dataclass(frozen=True)
class Compress:
    """Run a recipe: prune, distill, factorize, quantize; each step measured, within a budget."""

    model: Model
    """A trained .keras file."""
    folder: Folder
    """Folder for the files of each step; a second call with it skips finished steps."""
    recipe: File
    """YAML file with the steps and the budget."""
    train: File
    """An .npz file with "inputs" and "labels", to train and calibrate on."""
    val: File
    """The same of the validation set: epochs, steps and the final model are chosen on it."""
    test: File = ""
    """The same of the test set, for the last table; default the validation set."""
    batch: Count = 32
    """Batch size in training."""
    loss: Loss = ""
    """Name of a Keras loss. Needed if the file was saved without one."""
    learning_rate: Number = 1e-3
    """Learning rate of Adam. Used together with --loss."""
    threads: Count = 1
    """Number of threads that LiteRT uses when latency is measured."""

    def check(self) -> None:
        """Refuse what is wrong before TensorFlow starts."""
        read_mapping(self.recipe)
        check_keras_file(self.model)
        for path in (self.train, self.val, *([self.test] if self.test else [])):
            check_data(path)

    def run(self, console: Console) -> None:
        """Check the recipe, run it, print the tables and where the result is."""
        import keras

        from tfcompress.data.arrays import read_labeled
        from tfcompress.graph.layers import flavor_of
        from tfcompress.pipeline.compress import compress
        from tfcompress.pipeline.data import CompressionData
        from tfcompress.pipeline.recipe import read_recipe
        from tfcompress.pipeline.steps import STEPS
        from tfcompress.twin.twin import to_keras3

        recipe = read_recipe(self.recipe, STEPS)
        model = keras_model(self.model)
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
            train=read_labeled(self.train),
            val=read_labeled(self.val),
            test=read_labeled(self.test) if self.test else None,
            batch=self.batch,
        )
        show(console, recipe.table())
        result = compress(
            model,
            data,
            recipe,
            self.folder,
            threads=self.threads,
            tell=lambda line: console.print(line, highlight=False, markup=False),
        )
        show(console, result.table())
        show(console, result.comparison.table())
        for path in result.files.values():
            console.print(f"wrote {path}", style="bold", highlight=False)

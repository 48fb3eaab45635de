"""What the U-Net programs do: train, branch off, prune, convert, and compare the finished files.

A training that is finished is read back, not repeated: that is how a killed run continues.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import keras
import numpy as np

from experiments.common.lite_files import FLOAT_AND_INT8, write_lite
from experiments.common.report import History, Report
from experiments.common.seeds import seed_file, seeds_table
from experiments.common.training import BRANCH, Training, train
from experiments.unet.segmentation import (
    CARD_NAME,
    SegmentationConfig,
    augmentation_of,
    build_model,
    card_of,
    comparison_section,
    compile_model,
    load_data,
    prediction_section,
)
from tfcompress.comparison import Comparison, compare, predict
from tfcompress.data.folder import SegmentationData
from tfcompress.graph.saving import save_plain
from tfcompress.litert.model import LiteModel
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.budget import Scope
from tfcompress.pruning.channels.core.plan import ChannelPlan
from tfcompress.pruning.channels.rounds import prune_in_rounds
from tfcompress.reporting.page import Section
from tfcompress.reporting.run import Run
from tfcompress.reporting.tables import Table

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class UnetChannels(ChannelConfig):
    """Channel pruning as the U-Net programs do it, where their flags say nothing else."""

    # The same share of each level keeps the U's shape; ChannelOptions has "global".
    scope: Scope = "group"
    round_to: int = 4  # a vector of XNNPACK's float32 kernels holds 4; ChannelOptions has 1
    min_kept: float = 0.25  # 4 of the narrowest level's 16 filters; ChannelOptions has 0.1


@dataclass(frozen=True)
class Rounds:
    """When a U-Net loses channels.

    Attributes:
        first_epoch: Epochs that the dense U-Net has seen when the pruned one branches off.
        last_epoch: Epoch of the last pruning; from there on it only trains.
        rounds: Number of prunings, the first at `first_epoch`.
    """

    first_epoch: int
    last_epoch: int
    rounds: int = 1

    def starts(self) -> list[int]:
        """Epoch at which each round prunes."""
        span = self.last_epoch - self.first_epoch
        steps = max(1, self.rounds - 1)
        return [self.first_epoch + round(i * span / steps) for i in range(self.rounds)]


@dataclass(frozen=True)
class Study:
    """The config, data and run of a U-Net program.

    Attributes:
        config: Configuration of the program.
        data: Patches.
        run: Run that models, checkpoints and pictures are saved in.
    """

    config: Any
    data: SegmentationData
    run: Run

    @classmethod
    def of(cls, config: SegmentationConfig, run: Run) -> Study:
        """Read the data (generated where the config names none) and write the models' card."""
        study = cls(config, load_data(config, run), run)
        run.write_json(CARD_NAME, study.card)
        return study

    @property
    def card(self) -> dict[str, Any]:
        """The card of the models, for JSON."""
        return asdict(card_of(self.config, self.data))

    @property
    def steps(self) -> int:
        """Training steps per epoch."""
        return -(-len(self.data.train) // self.config.batch)

    def each_seed(self, work: Callable[[int], T]) -> list[T]:
        """The result of `work` for each seed of the config, in order."""
        found = []
        for seed in self.config.seeds:
            if len(self.config.seeds) > 1:
                self.run.print(f"seed {seed}", style="bold")
            found.append(work(seed))
        return found

    def build(self) -> Any:
        """A U-Net with new weights, uncompiled."""
        return build_model(self.config, self.data)

    def compile(self, model: Any, epochs: int | None = None) -> None:
        """Compile for a number of epochs (default: the config's), the optimizer's state made."""
        epochs = self.config.epochs if epochs is None else epochs
        compile_model(model, self.config, self.data, epochs)
        model.optimizer.build(model.trainable_variables)

    def branch(self, seed: int) -> Any:
        """A compiled U-Net in the state in which the dense one of a seed was when kept."""
        model = self.build()
        self.compile(model)
        model.load_weights(self.run.path("checkpoints", f"dense-seed{seed}", BRANCH))
        return model

    def load(self, seed: int, name: str) -> Any:
        """The U-Net in `name-seedN.keras`."""
        return keras.saving.load_model(seed_file(self.run, seed, name))

    def fit(
        self,
        model: Any,
        name: str,
        seed: int,
        epochs: int | None = None,
        callbacks: Sequence[Any] = (),
        after_epoch: Callable[[dict[str, float]], bool] | None = None,
        **how: Any,
    ) -> History:
        """Train a compiled U-Net and leave it with its best weights on validation.

        Args:
            model: Compiled U-Net, or what trains it.
            name: Name in the console and, with the seed, of the checkpoints' folder.
            seed: Seed of the order of the patches.
            epochs: Epochs in total; default: the config's.
            callbacks: Further Keras callbacks.
            after_epoch: Callback of `fit_resumable`.
            how: Further fields of `Training`.
        """
        how = {"folder": f"{name}-seed{seed}", **how}
        training = Training(
            name,
            epochs=self.config.epochs if epochs is None else epochs,
            batch=self.config.batch,
            seed=seed,
            **how,
        )
        augmentation = augmentation_of(self.config)
        return train(model, self.data, augmentation, training, self.run, callbacks, after_epoch)

    def once(self, name: str, seed: int, training: Callable[[Path], History]) -> History:
        """The history of a training that saves its U-Net; a finished training is not repeated.

        Args:
            name: Name of the U-Net.
            seed: Seed of the training.
            training: Trains and saves to the given path, `name-seedN.keras`.
        """
        path, record = seed_file(self.run, seed, name), f"checkpoints/{name}-seed{seed}.json"
        history = self.run.read_json(record)
        if history is None or not path.is_file():
            history = training(path)
            self.run.write_json(record, history)
        return history

    def train_whole(
        self,
        name: str,
        seed: int,
        build: Callable[[], Any] | None = None,
        keep_epoch: int | None = None,
    ) -> History:
        """Train a U-Net from new weights for all epochs; writes `name-seedN.keras`.

        Args:
            name: Name of the U-Net.
            seed: Seed of its weights and of the order of the patches.
            build: Builds it, uncompiled; default: the config's U-Net.
            keep_epoch: Epoch after which the state is kept for those that branch off.
        """

        def training(path: Path) -> History:
            keras.utils.set_random_seed(seed)
            model = (build or self.build)()
            self.compile(model)
            history = self.fit(model, name, seed, keep_epoch=keep_epoch)
            save_plain(model, path, training_state=False)
            return history

        return self.once(name, seed, training)

    def train_pruned(
        self,
        name: str,
        seed: int,
        pruning: ChannelConfig,
        rounds: Rounds,
        wrap: Callable[[Any], Any] = lambda model: model,
    ) -> tuple[list[ChannelPlan], History]:
        """Prune channels in rounds with training in between; writes `name-seedN.keras`.

        Args:
            name: Name of the U-Net.
            seed: Seed of the order of the patches, and of random scores.
            pruning: Budget and score.
            rounds: Epochs at which it loses channels.
            wrap: Makes what trains the U-Net: itself, or a Distiller around it.

        Returns:
            The plan of each round, and the history of all.
        """
        path, folder = seed_file(self.run, seed, name), f"checkpoints/{name}-seed{seed}"
        starts = [*rounds.starts(), self.config.epochs]
        model = self.branch(seed)

        def fine_tune(small: Any, number: int) -> None:
            first, last = starts[number - 1], starts[number]
            trainer = wrap(small)
            self.compile(trainer)
            trainer.optimizer.iterations.assign(first * self.steps)
            self.run.print(f"{name}: round {number}, {small.count_params():,} parameters")
            place = f"{name}-seed{seed}/round{number}"
            history = self.fit(trainer, name, seed, last, folder=place, first_epoch=first)
            self.run.write_json(f"{folder}/round{number}.json", history)

        result = prune_in_rounds(
            model,
            replace(pruning, seed=seed),
            fine_tune,
            rounds=rounds.rounds,
            folder=self.run.path(folder),
            data=(self.data.train.images, self.data.train.labels),
            loss=model.loss,
        )
        if not path.is_file():
            save_plain(result.model, path, training_state=False)
        history: History = []
        for number in range(1, rounds.rounds + 1):
            history += self.run.read_json(f"{folder}/round{number}.json") or []
        return list(result.plans), history

    def write(
        self, model: Any, path: Path, format: str, sparse: bool = False, calibration: int = 200
    ) -> LiteModel:
        """Convert to LiteRT, save with the card inside, and read back.

        Args:
            model: Keras U-Net.
            path: File to write, ending in ".tflite".
            format: Number format.
            sparse: Whether zeros are stored sparsely, where the format can.
            calibration: Training patches that int8 ranges are calibrated on, at most.
        """
        images = self.data.train.images
        return write_lite(model, path, format, images, self.card, self.run, sparse, calibration)

    def write_formats(
        self,
        seed: int,
        titles: Mapping[str, str],
        formats: Callable[[str], Sequence[str]] = lambda name: FLOAT_AND_INT8,
        sparse: Callable[[str], bool] = lambda name: False,
    ) -> dict[str, LiteModel]:
        """Write each of a seed's saved U-Nets in its number formats.

        Args:
            seed: Seed of the U-Nets.
            titles: Title of each U-Net, by its name.
            formats: Number formats of a U-Net, by its name.
            sparse: Whether its zeros are stored sparsely, by its name.

        Returns:
            The files, read back, by "title format".
        """
        files = {}
        for name, title in titles.items():
            model = self.load(seed, name)
            for format in formats(name):
                path = seed_file(self.run, seed, f"{name}-{format}", ".tflite")
                files[f"{title} {format}"] = self.write(model, path, format, sparse(name))
        return files

    def compare(self, models: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], Comparison]:
        """Probabilities on the test patches, by title, and the comparison with the first model.

        Args:
            models: Keras models or LiteRT files, by title.
        """
        test = self.data.test
        with self.run.console.status("predicting the test patches with every model"):
            outputs = {title: predict(model, test.images) for title, model in models.items()}
        with self.run.console.status("measuring every model"):
            comparison = compare(
                *models.values(),
                data=(test.images, test.labels),
                names=list(models),
                classes=self.data.palette.names,
                threads=self.config.threads,
                predictions=list(outputs.values()),
            )
        return outputs, comparison

    def over_seeds(
        self, comparisons: Sequence[Comparison], differences: Sequence[tuple[int, int]]
    ) -> list[Table]:
        """The table of mean IoU over the seeds; none where there is one seed."""
        if len(comparisons) < 2:
            return []
        return [seeds_table(self.config.seeds, comparisons, differences)]

    def predictions(self, outputs: Mapping[str, np.ndarray]) -> Section:
        """The section of the page that shows predictions on the test patches."""
        return prediction_section(self.run, self.data.test, outputs, self.data.palette)

    def report(
        self,
        comparison: Comparison,
        title: str,
        headline: str,
        sections: Sequence[Section],
        tables: Sequence[Table | str] = (),
        text: Sequence[str] = (),
        **metrics: Any,
    ) -> Report:
        """A report that starts with a comparison.

        Args:
            comparison: Comparison of the finished models.
            title: Heading of the page.
            headline: Sentence below it.
            sections: Sections of the page after the comparison.
            tables: Tables to print after it.
            text: Paragraphs above the comparison on the page.
            metrics: Further entries of `metrics.json`.
        """
        return Report(
            title,
            headline,
            (comparison.table(), comparison.class_table(), *tables),
            (comparison_section(self.run, comparison, text), *sections),
            {"comparison": comparison.to_dict(), **metrics},
        )

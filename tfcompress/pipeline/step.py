"""A step of a recipe: its options, and a function from one model to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcompress.pipeline.data import CompressionData
from tfcompress.renamed import renamed_fields
from tfcompress.short_repr import short_repr
from tfcompress.tuning.space import SearchSpace

if TYPE_CHECKING:
    from tfcompress.pipeline.training import Trainer

History = list[dict[str, float]]


@short_repr
@dataclass(frozen=True)
class Fitting:
    """The training that a step asks for.

    Attributes:
        epochs: Number of training epochs.
        folder: Folder for checkpoints; a second call with the same folder may resume from them.
        name: Name of the step, printed with each epoch.
        seed: Seed of the order of the samples.
        callbacks: Keras callbacks that the technique needs.
        choose_from: First epoch, counted from 0, whose weights may be chosen as the best.
    """

    epochs: int
    folder: Path
    name: str
    seed: int = 0
    callbacks: Sequence[Any] = ()
    choose_from: int = 0


Fit = Callable[[Any, CompressionData, Fitting], History]
"""Function that trains a compiled model in place and leaves the weights of its best epoch in it."""


@short_repr
@dataclass(frozen=True)
class Builder:
    """Source of models for a search.

    Attributes:
        build: Function from parameters to a compiled model.
        space: Search space of the parameters.
    """

    build: Callable[[Mapping[str, Any]], Any]
    space: SearchSpace


@short_repr
@dataclass(frozen=True)
class Context:
    """Everything that a step is given beside the model and its options.

    Attributes:
        base: The original model, compiled: it provides losses, metrics and optimizer, and it is the
            teacher in distillation.
        data: Samples of all splits.
        folder: Existing folder of this step, with the files of an earlier, killed run of it.
        train: Function that trains a model, a `training.Trainer`.
        quality: Function from a model to its quality on the validation set.
        seed: Seed of all random numbers.
        tell: Function that prints a line.
        builder: Source of models for steps that search; None if the caller gave none.
        has_zeros: Whether an earlier step set weights to zero that have to stay zero.
    """

    base: Any
    data: CompressionData
    folder: Path
    train: Trainer
    quality: Callable[[Any], float]
    seed: int
    tell: Callable[[str], None]
    builder: Builder | None = None
    has_zeros: bool = False


@short_repr
@dataclass(frozen=True)
class StepResult:
    """Result of a step.

    Attributes:
        model: Keras model or `LiteModel`.
        notes: Sentences for the reader: ranks, layers left alone, the parameters found.
        history: One row per training epoch; empty without training.
    """

    model: Any
    notes: tuple[str, ...] = ()
    history: tuple[Mapping[str, float], ...] = field(default_factory=tuple)


@short_repr
@renamed_fields(starts="builds_model", ends="yields_litert", fills="destroys_zeros")
@dataclass(frozen=True)
class StepKind:
    """A technique as a step.

    Attributes:
        run: Function of (model, options, context) that returns a `StepResult`; it does not change
            the model.
        options: Frozen dataclass of the options, which validates itself.
        summary: Description in one line.
        builds_model: Whether the result is a new model, which undoes all steps before it.
        yields_litert: Whether the result is a `LiteModel`, which no further step can change.
        makes_zeros: Whether the zeros it makes are held in later training.
        destroys_zeros: Whether zeros of earlier steps are lost.
        check: Function of (options, model, builder), called before the first step; it raises the
            errors that the step would raise later.
    """

    run: Callable[[Any, Any, Context], StepResult]
    options: type
    summary: str
    builds_model: bool = False
    yields_litert: bool = False
    makes_zeros: bool = False
    destroys_zeros: bool = False
    check: Callable[[Any, Any, Builder | None], None] = lambda options, model, builder: None

"""What a step is: options, and a function from a model to another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfcompress.pipeline.data import CompressionData
from tfcompress.tuning.space import SearchSpace

if TYPE_CHECKING:
    from tfcompress.pipeline.training import Trainer

History = list[dict[str, float]]


@dataclass(frozen=True)
class Fitting:
    """How a step wants a model trained.

    Attributes:
        epochs: How many.
        folder: For checkpoints; a second call with the same folder may go on from them.
        name: Shown with each epoch.
        seed: Of the order of the samples.
        callbacks: Keras callbacks that the technique needs.
        choose_from: First epoch (from 0) whose weights may be chosen as the best.
    """

    epochs: int
    folder: Path
    name: str
    seed: int = 0
    callbacks: Sequence[Any] = ()
    choose_from: int = 0


Fit = Callable[[Any, CompressionData, Fitting], History]
"""Trains a compiled model in place and leaves the weights of its best epoch in it."""


@dataclass(frozen=True)
class Builder:
    """How a search makes models.

    Attributes:
        build: From parameters to a compiled model.
        space: Of the parameters.
    """

    build: Callable[[Mapping[str, Any]], Any]
    space: SearchSpace


@dataclass(frozen=True)
class Context:
    """What a step has beside the model.

    Attributes:
        base: The model as it came, compiled: losses and metrics are its, and it is the teacher.
        data: Samples.
        folder: Of this step; it is there, and keeps what a killed step left.
        train: Trains a model; see `training.Trainer`.
        quality: Of a model on validation.
        seed: Of everything random.
        tell: Takes lines for the reader.
        builder: For steps that search; None where the caller gave none.
        has_zeros: Whether an earlier step made zeros that are to stay.
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


@dataclass(frozen=True)
class StepResult:
    """What a step gave.

    Attributes:
        model: A Keras model, or a `LiteModel`.
        notes: What the reader should know: ranks, layers left, the parameters found.
        history: Rows of its training, if it trained.
    """

    model: Any
    notes: tuple[str, ...] = ()
    history: tuple[Mapping[str, float], ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class StepKind:
    """A technique as a step.

    Attributes:
        run: `(model, options, context)` to its result; the model is not changed.
        options: Frozen dataclass of its options; it validates itself.
        summary: One line.
        starts: It makes a new model.
        ends: It gives a `LiteModel`.
        makes_zeros: Its zeros are held in later training.
        fills: It would fill zeros.
        check: `(options, model, builder)`, called before the first step; raises what would fail.
    """

    run: Callable[[Any, Any, Context], StepResult]
    options: type
    summary: str
    starts: bool = False
    ends: bool = False
    makes_zeros: bool = False
    fills: bool = False
    check: Callable[[Any, Any, Builder | None], None] = lambda options, model, builder: None

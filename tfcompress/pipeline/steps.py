"""The techniques as steps of a recipe, by name.

Add a step of your own as another `StepKind`:
`compress(..., kinds={**STEPS, "mine": StepKind(...)})`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import keras

from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import ChannelWise, SoftTargets
from tfcompress.errors import ConfigError
from tfcompress.factorization.factorize import By, factorize, plan_factorization
from tfcompress.litert.formats import FORMATS, format_named
from tfcompress.litert.model import to_litert
from tfcompress.pipeline.search_step import ArchitectureOptions, HpoOptions, check_search, search
from tfcompress.pipeline.step import Builder, Context, StepKind, StepResult
from tfcompress.pruning.channels.config import ChannelConfig
from tfcompress.pruning.channels.core.options import ChannelOptions
from tfcompress.pruning.channels.core.scores import DATA_SCORES
from tfcompress.pruning.channels.planner import plan_channels
from tfcompress.pruning.channels.rounds import prune_in_rounds
from tfcompress.pruning.level.masks import NOfM, parse_granularity
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.schedules import Polynomial
from tfcompress.quantization.training.tfmot import quantize_aware
from tfcompress.renamed import renamed_fields


def check_epochs(epochs: int, least: int = 0) -> None:
    """Refuse a number of epochs below a minimum."""
    if epochs < least:
        raise ConfigError("epochs", f"it is {epochs}", f"give {least} or more")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Training without compression, as a control experiment.

    Attributes:
        epochs: Number of training epochs.
    """

    epochs: int = 5

    def __post_init__(self) -> None:
        check_epochs(self.epochs, 1)


def train(model: Any, options: TrainOptions, context: Context) -> StepResult:
    """Continue training."""
    return StepResult(model, history=tuple(context.train(model, options.epochs)))


@dataclass(frozen=True, kw_only=True)
class DistillOptions:
    """Distillation from the original model.

    Attributes:
        epochs: Number of training epochs.
        temperature: Temperature of the soft targets.
        weight: Factor of the soft targets; 0 for none.
        channel_weight: Factor of channel-wise distillation of the logits (segmentation), at
            temperature 1; 0 for none.
        task_weight: Factor of the model's own loss.
    """

    epochs: int = 5
    temperature: float = 4.0
    weight: float = 1.0
    channel_weight: float = 0.0
    task_weight: float = 1.0

    def __post_init__(self) -> None:
        check_epochs(self.epochs, 1)
        self.losses()

    def losses(self) -> list[Any]:
        """The distillation losses."""
        found: list[Any] = []
        if self.weight:
            found.append(SoftTargets(self.temperature, weight=self.weight))
        if self.channel_weight:
            found.append(ChannelWise(1.0, weight=self.channel_weight))
        if not found:
            raise ConfigError("weight, channel_weight", "both are 0", "let one be above 0")
        return found


def distill(model: Any, options: DistillOptions, context: Context) -> StepResult:
    """Distill from the original model."""
    distiller = Distiller(context.base, model, options.losses(), task_weight=options.task_weight)
    rows = context.train(distiller, options.epochs, student=model)
    return StepResult(model, history=tuple(rows))


@dataclass(frozen=True, kw_only=True)
class LevelPruneOptions:
    """Level pruning: zeros in the kernels, which make a smaller file, not a faster one.

    Attributes:
        sparsity: Share of each kernel to set to zero; an N:M pattern sets its own share.
        granularity: Pattern of the zeros: "unstructured", a block ("1x4") or N:M ("2:4").
        scope: "layer" prunes each kernel to the sparsity, "global" all kernels together.
        epochs: Number of training epochs; 0 sets the weights to zero without training.
        ramp: Share of the epochs during which the sparsity grows, in [0, 1].
        exclude: Names, paths or globs of layers that keep all weights.
    """

    sparsity: float = 0.8
    granularity: str = "unstructured"
    scope: Literal["layer", "global"] = "layer"
    epochs: int = 5
    ramp: float = 0.5
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_epochs(self.epochs)
        parse_granularity(self.granularity)
        if not 0 < self.sparsity < 1:
            raise ConfigError("sparsity", f"it is {self.sparsity}", "write 0.8 for 80 %")
        if not 0 <= self.ramp <= 1:
            raise ConfigError("ramp", f"it is {self.ramp}", "give a share from 0 to 1")

    def pruner(self, model: Any, steps_per_epoch: int) -> LevelPruner:
        """A pruner for the model with these options."""
        pattern = parse_granularity(self.granularity)
        sparsity = pattern.sparsity if isinstance(pattern, NOfM) else self.sparsity
        entries: list[dict[str, Any]] = [{"sparsity": sparsity, "op_types": ["default"]}]
        if self.exclude:
            entries.append({"exclude": True, "op_names": list(self.exclude)})
        steps = math.ceil(self.ramp * self.epochs * steps_per_epoch)
        schedule = None
        if steps and not isinstance(pattern, NOfM):
            schedule = Polynomial(0, steps, frequency=max(1, steps // 20))
        return LevelPruner(
            model, entries, granularity=self.granularity, scope=self.scope, schedule=schedule
        )


def level_prune(model: Any, options: LevelPruneOptions, context: Context) -> StepResult:
    """Mask the smallest weights during training; later steps keep the zeros."""
    steps = context.data.steps_per_epoch() if options.epochs else 1
    pruner = options.pruner(model, steps)
    pruner.compress()
    rows = context.train(
        model,
        options.epochs,
        callbacks=(pruner.callback(),) if pruner.schedule else (),
        choose_from=math.ceil(options.ramp * options.epochs) if pruner.schedule else 0,
        masked=True,
    )
    note = f"{pruner.sparsity:.1%} of the selected weights are zero"
    return StepResult(model, (note,), tuple(rows))


def check_level_prune(options: LevelPruneOptions, model: Any, builder: Builder | None) -> None:
    """Check that all named layers exist."""
    options.pruner(model, 1)


@dataclass(frozen=True, kw_only=True)
class ChannelPruneOptions(ChannelOptions):
    """Channel pruning, which makes a model smaller and faster. Exactly one target is set.

    Attributes:
        target_macs: Share of the MACs to keep, in (0, 1).
        target_parameters: Share of the parameters to keep, in (0, 1).
        sparsity: Share of the channels to remove, in (0, 1).
        score: Importance score, a key of `core.scores.SCORES`.
        scope: "global" compares scores between groups; "group" takes the same share of each.
        min_kept: Smallest share of each group's channels that stays, in [0, 1].
        round_to: Number that every width is a multiple of.
        exclude: Names, paths or globs of layers that keep all channels they make.
        rounds: Number of prunings, with training after each.
        epochs: Number of training epochs after each pruning; 0 for none.
    """

    round_to: int = 4  # a recipe ends in LiteRT: a vector holds 4 floats; ChannelOptions has 1
    rounds: int = 1
    epochs: int = 5

    def __post_init__(self) -> None:
        """Validate everything that needs no model."""
        super().__post_init__()
        check_epochs(self.epochs)
        if self.rounds < 1:
            raise ConfigError("rounds", f"it is {self.rounds}", "use at least 1")

    def config(self, seed: int) -> ChannelConfig:
        """The same options as `plan_channels` takes them."""
        return ChannelConfig(**self.shared(), seed=seed)


def channel_prune(model: Any, options: ChannelPruneOptions, context: Context) -> StepResult:
    """Remove channels in rounds."""
    history: list[Any] = []

    def fine_tune(small: Any, number: int) -> None:
        history.extend(context.train(small, options.epochs, part=f"round-{number:02d}"))

    done = prune_in_rounds(
        model,
        options.config(context.seed),
        fine_tune,
        rounds=options.rounds,
        folder=context.folder / "rounds",
        data=context.data.train,
        loss=keras.losses.get(context.base.loss),
    )
    notes = [
        f"round {number}: MACs {plan.macs[0]:,} -> {plan.macs[1]:,}, parameters "
        f"{plan.parameters[0]:,} -> {plan.parameters[1]:,}"
        for number, plan in enumerate(done.plans, start=1)
    ]
    notes += [note for plan in done.plans for note in plan.notes]
    return StepResult(done.model, tuple(notes), tuple(history))


def check_channel_prune(options: ChannelPruneOptions, model: Any, builder: Builder | None) -> None:
    """Check that the target can be reached, for scores that need no data."""
    config = options.config(0)
    if config.score not in DATA_SCORES:
        plan_channels(model, config)


@dataclass(frozen=True, kw_only=True)
class FactorizeOptions:
    """Factorization of kernels by Tucker decomposition and SVD.

    Attributes:
        by: Way to choose ranks: "ratio", "energy", "evbmf" or "macs".
        value: Value that belongs to `by`; None for its default.
        layers: Names, paths or globs of layers that may be factored.
        exclude: Names, paths or globs of layers that may not.
        epochs: Number of training epochs after it; 0 for none.
    """

    by: By = "macs"
    value: float | None = None
    layers: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    epochs: int = 5

    def __post_init__(self) -> None:
        check_epochs(self.epochs)


def factorize_step(model: Any, options: FactorizeOptions, context: Context) -> StepResult:
    """Plan the factorization, apply it, train."""
    plan = plan_factorization(model, options.by, options.value, options.layers, options.exclude)
    small = factorize(model, plan)
    rows = context.train(small, options.epochs)
    note = (
        f"{len(plan.rows)} layers factored, {len(plan.skipped)} not; MACs "
        f"{plan.macs_before:,} -> {plan.macs_after:,}"
    )
    return StepResult(small, (note,), tuple(rows))


@renamed_fields(recipe="format")
@dataclass(frozen=True, kw_only=True)
class LiteOptions:
    """Conversion to a LiteRT file, calibrated on training inputs.

    Attributes:
        format: Number format: "int8", "dynamic_int8", "float16", ...
        samples: Number of samples to calibrate on.
        keep_float: Names of layers that stay in float.
    """

    RENAMED: ClassVar[Mapping[str, str]] = {"recipe": "format"}

    format: str = "int8"
    samples: int = 200
    keep_float: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        format_named(self.format)
        if self.samples < 1:
            raise ConfigError("samples", f"it is {self.samples}", "use about 100")


def litert(model: Any, options: LiteOptions, context: Context) -> StepResult:
    """Convert to LiteRT; zeros of earlier steps are stored sparsely."""
    number_format = FORMATS[options.format]
    lite = to_litert(
        model,
        options.format,
        context.data.calibration_inputs() if number_format.needs_calibration else None,
        sparse_encoding=context.has_zeros
        and number_format.can_be_sparse
        and not options.keep_float,
        calibration_samples_at_most=options.samples,
        keep_float=options.keep_float,
    )
    notes = (f"in float: {', '.join(lite.float_ops)}",) if lite.float_ops else ()
    return StepResult(lite, notes if number_format.activations != "float32" else ())


@dataclass(frozen=True, kw_only=True)
class QatOptions:
    """Quantization-aware training by TFMOT on the tf_keras twin; zeros of earlier steps are kept.

    Attributes:
        epochs: Number of training epochs with int8 rounding.
        learning_rate: Learning rate of Adam.
        unsupported: Treatment of layers without an int8 rule: "error", or "float" to leave them.
    """

    epochs: int = 2
    learning_rate: float = 1e-4
    unsupported: Literal["error", "float"] = "float"

    def __post_init__(self) -> None:
        check_epochs(self.epochs, 1)
        if not self.learning_rate > 0:
            raise ConfigError("learning_rate", f"it is {self.learning_rate}", "use 1e-4")


def qat(model: Any, options: QatOptions, context: Context) -> StepResult:
    """Train with int8 rounding, and convert with the ranges found."""
    loss = keras.losses.get(context.base.loss)

    def train_twin(twin: Any) -> Any:
        import tf_keras

        adam = tf_keras.optimizers.Adam(options.learning_rate)
        twin.compile(adam, lambda y_true, y_pred: loss(y_true, y_pred))
        return twin.fit(context.data.training_batches(), epochs=options.epochs, verbose=0)

    done = quantize_aware(
        model,
        preserve_kernels="sparsity" if context.has_zeros else "nothing",
        unsupported=options.unsupported,
        train=train_twin,
        calibration=context.data.calibration_inputs(),
    )
    floats = [row.path for row in done.rows if not row.quantized]
    notes = (f"in float: {', '.join(floats)}",) if floats else ()
    lite = done.to_litert(sparse_encoding=context.has_zeros)
    return StepResult(lite, notes, tuple(_rows(done.history)))


def _rows(history: dict[str, list[float]]) -> list[dict[str, float]]:
    epochs = max(map(len, history.values()), default=0)
    return [
        {"epoch": i + 1, **{name: values[i] for name, values in history.items()}}
        for i in range(epochs)
    ]


STEPS: dict[str, StepKind] = {
    "hpo": StepKind(
        search, HpoOptions, "search training parameters", builds_model=True, check=check_search
    ),
    "architecture": StepKind(
        search,
        ArchitectureOptions,
        "search width, depth, kernels: quality against MACs",
        builds_model=True,
        check=check_search,
    ),
    "train": StepKind(train, TrainOptions, "continue training"),
    "distill": StepKind(distill, DistillOptions, "distill from the original model"),
    "channel_prune": StepKind(
        channel_prune, ChannelPruneOptions, "remove channels", check=check_channel_prune
    ),
    "factorize": StepKind(
        factorize_step, FactorizeOptions, "factor kernels (Tucker, SVD)", destroys_zeros=True
    ),
    "level_prune": StepKind(
        level_prune,
        LevelPruneOptions,
        "set weights to zero",
        makes_zeros=True,
        check=check_level_prune,
    ),
    "qat": StepKind(qat, QatOptions, "quantization-aware training", yields_litert=True),
    "int8": StepKind(litert, LiteOptions, "int8 after training", yields_litert=True),
}

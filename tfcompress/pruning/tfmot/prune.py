"""TFMOT's pruning for Keras 3 models: its wrappers prune a tf_keras twin.

```python
result = tfmot_prune(
    model,                                        # compiled, Keras 3 or tf_keras; not changed
    Polynomial(begin=0, end=2000, frequency=100),
    [{"sparsity": 0.8, "op_types": ["default"]}],
    fit=dict(x=images, y=labels, epochs=5),       # or train=function of the tf_keras model
)
print(result.report)
result.model.save("pruned.keras")                 # plain Keras 3, no wrapper
```

TFMOT has no global sparsity budget and supports blocks only for Dense kernels. `LevelPruner` has
both, on the Keras 3 model itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph.layers import kernels, named_weights, walk_layers
from tfcompress.internals.tfmot import PRUNE_REGISTRY, WEIGHTS_OF_LAYERS
from tfcompress.pruning.level.layout import check_pattern, drop_unfit
from tfcompress.pruning.level.masks import Block, Granularity, NOfM, parse_granularity
from tfcompress.pruning.level.report import PruneReport, WeightRow
from tfcompress.pruning.schedules import Constant, Polynomial, Schedule
from tfcompress.pruning.selection import Target, parse_config_list, select
from tfcompress.short_repr import short_repr
from tfcompress.twin.legacy import load_tfmot
from tfcompress.twin.training import Train, check_training, train_twin
from tfcompress.twin.twin import Twin, twin_of


@short_repr
@dataclass(frozen=True)
class TfmotPruned:
    """A model pruned by TFMOT.

    Attributes:
        model: Plain model with the original's flavor and graph, compiled as the original was.
        report: Zeros, counted in `model`.
        history: History of the last `fit`, by metric.
    """

    model: Any
    report: PruneReport
    history: dict[str, list[float]]

    def __str__(self) -> str:
        return str(self.report)


def tfmot_prune(
    model: Any,
    schedule: Schedule,
    config_list: Sequence[Mapping[str, Any]],
    *,
    granularity: str | Granularity = "unstructured",
    train: Train | None = None,
    fit: Mapping[str, Any] | None = None,
    check: bool = True,
) -> TfmotPruned:
    """Prune a model with TensorFlow Model Optimization (TFMOT) while it trains.

    Args:
        model: Functional or Sequential model of either flavor. It is not changed.
        schedule: Sparsity schedule in steps, `Polynomial` or `Constant`. TFMOT prunes at the steps
            `begin + k * frequency`, counted from 1. For a layer that the model calls twice, each
            step counts twice. An N:M pattern is applied once, at the first step, regardless of the
            schedule.
        config_list: Layers to prune and their sparsities, in NNI's vocabulary; see `selection.py`.
        granularity: Granularity of the masks: "unstructured", a block such as "1x4" (Dense kernels
            only), or a pattern such as "2:4".
        train: Function that compiles and fits the given tf_keras model. Its `fit` already includes
            TFMOT's callback.
        fit: Arguments of `fit`, instead of `train`. The twin is then compiled as `model` is.
        check: Whether to compare the twin's outputs with the model's first.

    Returns:
        The pruned model with its report and training history.

    Raises:
        ConfigError: An argument is invalid, or the compile state cannot be converted to tf_keras.
        LayerError: The model has no graph, a layer cannot be converted, nothing can be pruned, or
            the schedule never pruned during training.

    Warns:
        UserWarning: A layer is less sparse than requested, for example because training ended
            before the schedule.
    """
    entries = parse_config_list(config_list)
    pattern = parse_granularity(granularity)
    check_pattern(pattern, "layer", schedule if isinstance(pattern, NOfM) else None, entries)
    _check_schedule(schedule)
    check_training(model, train, fit)
    tfmot = load_tfmot()
    twin = twin_of(model, check)
    targets, skipped = drop_unfit(select(model, entries), pattern)
    targets, skipped = _supported(twin, targets, list(skipped), pattern)
    if not targets:
        reasons = "; ".join(f"{path}: {why}" for path, why in skipped[-5:])
        raise LayerError(
            f"model {model.name!r}",
            f"TFMOT would prune nothing ({reasons})",
            "select layers with kernels: {'sparsity': 0.8, 'op_types': ['default']}",
        )
    wrapped = _wrapped(tfmot, twin, targets, schedule, pattern)
    step = tfmot.sparsity.keras.UpdatePruningStep()
    history = train_twin(wrapped, model, train, fit, [step])
    _apply_masks(wrapped)
    pruned = twin.bring_back({path: twin.layer(path) for path in twin.names})
    report = _report(pruned, targets, skipped)
    _check_reached(report, schedule, wrapped)
    return TfmotPruned(pruned, report, history)


def _check_schedule(schedule: Schedule) -> None:
    if schedule.unit != "step":
        raise ConfigError(
            "schedule", f"its unit is {schedule.unit!r}, but TFMOT counts steps", "use unit='step'"
        )
    span = None if schedule.end is None else schedule.end - schedule.begin
    if isinstance(schedule, Polynomial) and span and span % schedule.frequency:
        raise ConfigError(
            "schedule",
            f"TFMOT prunes every {schedule.frequency} steps from {schedule.begin} on, which misses "
            f"the end at {schedule.end}, so the final sparsity would not be reached",
            f"use a frequency that divides end - begin = {span}",
        )


def _supported(
    twin: Twin,
    targets: Sequence[Target],
    skipped: list[tuple[str, str]],
    pattern: Granularity,
) -> tuple[tuple[Target, ...], tuple[tuple[str, str], ...]]:
    """Split the targets into those that TFMOT can prune, and skipped layers with reasons."""
    fit = []
    whole = _whole_layers(twin, targets)
    for target in targets:
        path, role = target.key
        owner = twin.owner(path)
        layer = twin.layer(owner)
        kind = type(layer).__name__
        roles = _pruned_roles(layer)
        if not roles:
            skipped.append((path, f"TFMOT cannot prune {kind}"))
        elif role.split("#")[0] not in roles:
            skipped.append((path, f"TFMOT does not prune the {role} of {kind}"))
        elif owner not in whole:
            skipped.append((path, f"TFMOT prunes {kind} only as a whole, at one sparsity"))
        elif isinstance(pattern, Block) and len(target.variable.shape) != 2:
            skipped.append((path, f"TFMOT supports blocks for Dense kernels only, not for {role}"))
        elif isinstance(pattern, Block) and _too_narrow(target.variable.shape, pattern):
            skipped.append((path, f"a block of {pattern} covers a whole axis, where TFMOT fails"))
        elif isinstance(pattern, NOfM) and kind not in ("Conv2D", "Dense"):
            skipped.append((path, f"TFMOT supports {pattern} for Conv2D and Dense only"))
        else:
            fit.append(target)
    return tuple(fit), tuple(skipped)


def _too_narrow(shape: Sequence[int], block: Block) -> bool:
    """Whether there is one block along an axis; TFMOT drops such an axis and then fails."""
    return shape[0] <= block.rows or shape[1] <= block.columns


def _whole_layers(twin: Twin, targets: Sequence[Target]) -> set[str]:
    """Layers all of whose kernels are pruned at the same sparsity, such as in attention."""
    chosen: dict[str, list[Target]] = {}
    for target in targets:
        chosen.setdefault(twin.owner(target.key[0]), []).append(target)
    placed = {p.path: p for p in walk_layers(twin.original)}
    whole = set()
    for owner, ours in chosen.items():
        inside = [p for path, p in placed.items() if path == owner or path.startswith(f"{owner}/")]
        count = sum(len(kernels(p)) for p in inside)
        alike = len({target.sparsity for target in ours}) == 1
        if len(inside) == 1 or (alike and len(ours) == count):
            whole.add(owner)
    return whole


def _pruned_roles(layer: Any) -> tuple[str, ...]:
    """Roles of the weights that TFMOT prunes in a layer."""
    registry = PRUNE_REGISTRY.get()
    if not registry.supports(layer):
        return ()
    # It lists recurrent layers too, but with this tf_keras their wrapper never updates a mask.
    names = WEIGHTS_OF_LAYERS.of(registry).get(type(layer), ())
    return tuple(name.rpartition(".")[2] for name in names)


def _wrapped(
    tfmot: Any, twin: Twin, targets: Sequence[Target], schedule: Schedule, pattern: Granularity
) -> Any:
    """The twin with pruning wrappers around its own layers, which are not copied."""
    import tf_keras

    sparsities = {twin.names[twin.owner(t.key[0])]: t.sparsity for t in targets}
    options: dict[str, Any] = {}
    if isinstance(pattern, Block):
        options["block_size"] = (pattern.rows, pattern.columns)
    if isinstance(pattern, NOfM):
        options["sparsity_m_by_n"] = (pattern.m - pattern.n, pattern.m)

    def wrap(layer: Any) -> Any:
        if layer.name not in sparsities:
            return layer
        theirs = _their_schedule(tfmot, schedule, sparsities[layer.name])
        return tfmot.sparsity.keras.prune_low_magnitude(layer, theirs, **options)

    return tf_keras.models.clone_model(twin.model, clone_function=wrap)


def _their_schedule(tfmot: Any, schedule: Schedule, sparsity: float) -> Any:
    if isinstance(schedule, Constant):
        end = -1 if schedule.end is None else schedule.end
        return tfmot.sparsity.keras.ConstantSparsity(
            sparsity, schedule.begin, end, schedule.frequency
        )
    return tfmot.sparsity.keras.PolynomialDecay(
        initial_sparsity=min(schedule.initial, sparsity),
        final_sparsity=sparsity,
        begin_step=schedule.begin,
        end_step=schedule.end,
        power=schedule.power,
        frequency=schedule.frequency,
    )


def _apply_masks(wrapped: Any) -> None:
    """Apply the masks to the weights, which TFMOT does only at the end of an epoch."""
    for layer in wrapped.layers:
        for variable, mask, _ in getattr(layer, "pruning_vars", ()):
            variable.assign(variable * mask)


def _report(
    pruned: Any, targets: Sequence[Target], skipped: Sequence[tuple[str, str]]
) -> PruneReport:
    values = {key: np.asarray(variable) for key, variable in named_weights(pruned).items()}
    rows = []
    for target in targets:
        zeros = values[target.key] == 0
        rows.append(
            WeightRow(
                path=target.key[0],
                role=target.key[1],
                weights=zeros.size,
                target=target.sparsity,
                masked=int(zeros.sum()),
                zeros=int(zeros.sum()),
                leaked=0,
            )
        )
    total = sum(value.size for value in values.values())
    return PruneReport(tuple(rows), tuple(skipped), total)


def _check_reached(report: PruneReport, schedule: Schedule, wrapped: Any) -> None:
    steps = max(int(x.pruning_step) for x in wrapped.layers if hasattr(x, "pruning_step"))
    acts = f"TFMOT prunes at steps {schedule.begin} + k * {schedule.frequency}"
    if any(row.target for row in report.rows) and not report.zeros:
        raise LayerError(
            "schedule",
            f"no weight was pruned in {steps} training steps: {acts}",
            "train longer, or lower begin and frequency",
        )
    short = [row for row in report.rows if row.sparsity < row.target - 1 / row.weights - 1e-3]
    if short:
        ended = schedule.end is not None and steps >= schedule.end
        why = (
            "TFMOT cannot split equal weights or whole blocks"
            if ended
            else f"training ended after {steps} steps, before the schedule; {acts}"
        )
        warnings.warn(
            f"{len(short)} layers are less sparse than requested ({short[0].path}: "
            f"{short[0].sparsity:.1%} instead of {short[0].target:.1%}): {why}",
            stacklevel=3,
        )

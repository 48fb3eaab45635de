"""Replace convolutions and dense layers, anywhere in a model's graph, by low-rank factors.

```python
plan = plan_factorization(model, by="macs", value=0.6)
print(plan)                               # ranks, errors, MACs of each layer
plan = keep_faster(model, plan, measure)  # optional: keep what is measured to be faster
small = factorize(model, plan)            # a new model; fine-tune it
```
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tfcompress.errors import ConfigError, LayerError
from tfcompress.evaluation.cost import count_cost
from tfcompress.factorization.factor_layers import conv_layers, dense_layers
from tfcompress.factorization.factor_plan import FactorPlan, FactorRow, Method
from tfcompress.factorization.rank import RANKS, rank_of_energy
from tfcompress.factorization.svd import svd
from tfcompress.factorization.tucker import tucker
from tfcompress.graph.layers import is_named
from tfcompress.graph.rebuild import Edit, rebuild
from tfcompress.graph.wiring import Call, Shape, Wiring, read_wiring, run

By = Literal["ratio", "energy", "evbmf", "macs"]
_VALUES = {"ratio": 0.5, "energy": 0.9, "evbmf": 1.0, "macs": 0.5}
_KINDS = (
    *("Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"),
    *("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"),
    *("Dense", "EinsumDense"),
)
"""Layers that a plan lists. It factors Conv2D and Dense and names the others as skipped."""


@dataclass(frozen=True)
class _Target:
    """A layer that can be factored, with the number of positions at which it is computed."""

    path: str
    layer: Any
    method: Method
    kernel: np.ndarray
    inputs_at: int  # positions (height x width) of its inputs, summed over all calls
    outputs_at: int  # positions of its outputs, summed over all calls

    def matrices(self) -> tuple[np.ndarray, ...]:
        """The matrices whose ranks are chosen, each with the channels as rows.

        SVD has one, Tucker-2 two: the kernel unfolded along its input and its output channels.
        """
        kernel = self.kernel
        if self.method == "svd":
            return (kernel.reshape(-1, kernel.shape[-1]),)
        inputs, outputs = kernel.shape[2:]
        return (
            kernel.transpose(2, 0, 1, 3).reshape(inputs, -1),
            kernel.transpose(3, 0, 1, 2).reshape(outputs, -1),
        )

    def cost(self, ranks: tuple[int, ...]) -> tuple[int, int]:
        """(MACs, weights without bias) of the factors."""
        inputs, outputs = self.kernel.shape[-2:]
        if self.method == "svd":
            (rank,) = ranks
            macs = self.outputs_at * rank * (inputs + outputs)
            return macs, rank * (inputs + outputs)
        first, last = ranks
        size = math.prod(self.kernel.shape[:2])
        macs = self.inputs_at * inputs * first
        macs += self.outputs_at * (size * first * last + last * outputs)
        return macs, inputs * first + size * first * last + last * outputs

    @property
    def whole_cost(self) -> tuple[int, int]:
        """(MACs, weights without bias) of the layer as it is."""
        return self.outputs_at * self.kernel.size, self.kernel.size


def plan_factorization(
    model: Any,
    by: By = "evbmf",
    value: float | None = None,
    layers: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
) -> FactorPlan:
    """Plan Tucker-2 factors for k x k Conv2D layers and SVD factors for 1x1 Conv2D and Dense.

    Args:
        model: Functional or Sequential model of either flavor, with inputs of fixed size. It is
            not changed.
        by: Rule that chooses the ranks. "ratio" takes `max(2, int(value * channels))`. "energy"
            takes the lowest rank that keeps the share `value` of the squared singular values.
            "evbmf" takes the rank above the noise that EVBMF estimates, times `value`. "macs"
            takes the highest energy, the same for all layers, at which the model keeps at most the
            share `value` of its MACs.
        value: Parameter of the rule, above 0 and at most 1. The defaults are 0.5 for "ratio", 0.9
            for "energy", 1.0 for "evbmf" and 0.5 for "macs".
        layers: Names, paths or globs of the layers that may be factored; all by default.
        exclude: Names, paths or globs of layers that are not factored.

    Returns:
        The plan. Its `skipped` lists the layers that stay: those whose factors would cost at least
        as much, grouped and depthwise convolutions, and convolutions of other kinds.

    Raises:
        ConfigError: The rule is unknown, the value is out of range, no layer has one of the names,
            or the MACs target cannot be reached.
        LayerError: The model has no graph, or its input sizes are not fixed.
    """
    value = _checked_value(by, value)
    wiring = read_wiring(model, flat=True)
    if any(None in shape for shape in wiring.input_shapes):
        raise LayerError(
            f"model {model.name!r}",
            "the size of its inputs is not fixed, so its MACs cannot be counted",
            "build it for one input size",
        )
    cost = count_cost(model)
    targets, skipped = _targets(wiring, layers, exclude)
    if by == "macs":
        ranks = _ranks_for_macs(targets, cost.macs, value)
    else:
        ranks = [tuple(RANKS[by](m, value) for m in target.matrices()) for target in targets]
    rows = []
    for target, chosen in zip(targets, ranks, strict=True):
        before, weights_before = target.whole_cost
        after, weights_after = target.cost(chosen)
        if after >= before:
            skipped.append((target.path, "its factors would not cost less"))
            continue
        bias = int(target.kernel.shape[-1]) if target.layer.use_bias else 0
        rows.append(
            FactorRow(
                path=target.path,
                kind=type(target.layer).__name__,
                method=target.method,
                ranks=chosen,
                error=_error(target, chosen),
                macs_before=before,
                macs_after=after,
                parameters_before=weights_before + bias,
                parameters_after=weights_after + bias,
            )
        )
    return FactorPlan(
        rows=tuple(rows),
        skipped=tuple(skipped),
        macs_before=cost.macs,
        macs_after=cost.macs - sum(row.macs_before - row.macs_after for row in rows),
        parameters_before=cost.parameters,
        parameters_after=cost.parameters
        - sum(row.parameters_before - row.parameters_after for row in rows),
    )


def factorize(model: Any, plan: FactorPlan) -> Any:
    """Apply a plan: make a new model in which factors replace the planned layers.

    The last factor keeps the layer's name, bias and activation. The names of those before it end in
    "_in" and "_core". The core convolution takes strides, padding and dilation. The rest of the
    graph is unchanged.

    Args:
        model: The model that the plan was made for. It is not changed.
        plan: Plan from `plan_factorization` or `keep_faster`.

    Returns:
        A new model of the same flavor, compiled as `model` was, with a new optimizer.

    Raises:
        ConfigError: The plan factors no layer.
        LayerError: The model lacks a layer of the plan, or its shape differs.
    """
    if not plan.rows:
        raise ConfigError(
            "plan", "it factors no layer", "lower the value, or see plan.skipped for the reasons"
        )
    placed = {call.path: call.op for call in read_wiring(model, flat=True).calls}
    edits, weights = {}, {}
    for row in plan.rows:
        layer = placed.get(row.path)
        if layer is None or type(layer).__name__ != row.kind:
            raise LayerError(
                f"layer {row.path!r}", f"the model has no {row.kind} there", "plan for this model"
            )
        kernel = np.asarray(layer.kernel)
        if any(r > n for r, n in zip(row.ranks, kernel.shape[-2:], strict=False)):
            raise LayerError(
                f"layer {row.path!r}",
                f"its kernel {kernel.shape} is too small for the ranks {row.ranks}",
                "plan for this model",
            )
        make = dense_layers if row.kind == "Dense" else conv_layers
        factors = _factors(row.method, kernel, row.ranks)
        made = make(layer, factors)
        edits[row.path] = Edit(replacement=made)
        parent = row.path.rpartition("/")[0]
        for new, factor in zip(made, factors, strict=True):
            weights[f"{parent}/{new.name}" if parent else new.name, "kernel"] = factor
        if layer.use_bias:
            weights[row.path, "bias"] = np.asarray(layer.bias)
    return rebuild(model, edits, weights)


def keep_faster(
    model: Any, plan: FactorPlan, measure: Callable[[Any], float], min_gain: float = 0.0
) -> FactorPlan:
    """Keep only the factored layers that are measured to be faster.

    Layers are tried one by one, the greatest saving of MACs first, each on top of those kept.

    Args:
        model: The model that the plan was made for.
        plan: Plan from `plan_factorization`.
        measure: Function from a model to its latency, in any unit. For each layer it is called
            for the best model so far and then for the one with the layer factored.
        min_gain: Smallest share of the latency that factoring a layer must save.

    Returns:
        The plan without the other layers; its `skipped` lists them with their measurements.
    """
    left: dict[str, str] = {row.path: "not tried" for row in plan.rows}
    best = model
    for row in sorted(plan.rows, key=lambda r: r.macs_after - r.macs_before):
        others = {path: reason for path, reason in left.items() if path != row.path}
        candidate = factorize(model, plan.without(others))
        was, now = measure(best), measure(candidate)
        if now < was * (1 - min_gain):
            left, best = others, candidate
        else:
            left[row.path] = f"measured no faster ({now:.3g} against {was:.3g})"
    return plan.without(left)


def _checked_value(by: str, value: float | None) -> float:
    if by not in _VALUES:
        raise ConfigError("by", f"{by!r} is unknown", f"use {', '.join(_VALUES)}")
    value = _VALUES[by] if value is None else value
    if not 0 < value <= 1:
        raise ConfigError(
            f"value of {by!r}", f"it is {value}", "use a number above 0 and at most 1"
        )
    return float(value)


def _targets(
    wiring: Wiring, layers: Sequence[str], exclude: Sequence[str]
) -> tuple[list[_Target], list[tuple[str, str]]]:
    """The layers that can be factored, and (path, reason) of those that cannot."""
    by_path: dict[str, list[Call]] = {}
    for call in wiring.calls:
        by_path.setdefault(call.path, []).append(call)
    for pattern in (*layers, *exclude):
        if not any(is_named(path, pattern) for path in by_path):
            raise ConfigError(
                "layers" if pattern in layers else "exclude",
                f"no layer of {wiring.model.name!r} is called {pattern!r}",
                f"use names or globs of e.g. {', '.join(list(by_path)[:8])}",
            )
    shapes = _traced_shapes(wiring)
    targets, skipped = [], []
    for path, calls in by_path.items():
        kind = calls[0].kind
        if kind not in _KINDS:
            continue
        if not any(is_named(path, p) for p in layers) or any(is_named(path, p) for p in exclude):
            skipped.append((path, "not selected"))
            continue
        reason = _reason(calls[0].op, kind)
        if reason:
            skipped.append((path, reason))
        else:
            targets.append(_target(path, calls, shapes))
    return targets, skipped


def _reason(layer: Any, kind: str) -> str:
    """The reason why a layer cannot be factored; "" if it can."""
    if kind not in ("Conv2D", "Dense"):
        return f"{kind} is not factored"
    if getattr(layer, "groups", 1) != 1:
        return "grouped convolution"
    if len(layer.kernel.shape) == 2 or layer.kernel.shape[:2] == (1, 1):
        return "" if min(layer.kernel.shape[-2:]) > 1 else "its kernel has rank 1"
    return "" if min(layer.kernel.shape[-2:]) > 1 else "it has one input or output channel"


def _target(path: str, calls: Sequence[Call], shapes: Mapping[int, Shape]) -> _Target:
    layer = calls[0].op
    kernel = np.asarray(layer.kernel)
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    before, after = (
        sum(math.prod(shape[2:] if first else shape[1:-1]) for shape in column)
        for column in zip(
            *((shapes[c.inputs[0].index], shapes[c.outputs[0].index]) for c in calls), strict=True
        )
    )
    pointwise = kernel.ndim == 2 or kernel.shape[:2] == (1, 1)
    return _Target(path, layer, "svd" if pointwise else "tucker", kernel, before, after)


def _traced_shapes(wiring: Wiring) -> dict[int, Shape]:
    """Shapes of all tensors for one sample.

    They are traced, because the graph of a nested model may leave its sizes open.
    """
    import tensorflow as tf

    shapes: dict[int, Shape] = {}

    @tf.function
    def trace(*inputs: Any) -> None:
        values = run(wiring, inputs)
        shapes.update({index: tuple(value.shape) for index, value in values.items()})

    trace.get_concrete_function(
        *(tf.TensorSpec((1, *tensor.shape[1:]), tensor.dtype) for tensor in wiring.inputs)
    )
    return shapes


def _factors(method: Method, kernel: np.ndarray, ranks: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """The kernels of the new layers."""
    if method == "tucker":
        factors = tucker(kernel, *ranks)
        return factors.first, factors.core, factors.last
    pair = svd(kernel.reshape(kernel.shape[-2:]), *ranks)
    lead = (1, 1) if kernel.ndim == 4 else ()
    return tuple(part.reshape(*lead, *part.shape) for part in pair)


def _error(target: _Target, ranks: tuple[int, ...]) -> float:
    norm = float(np.linalg.norm(target.kernel))
    if target.method == "tucker":
        product = tucker(target.kernel, *ranks).product()
    else:
        first, last = svd(target.kernel.reshape(target.kernel.shape[-2:]), *ranks)
        product = (first @ last).reshape(target.kernel.shape)
    return float(np.linalg.norm(target.kernel - product)) / norm if norm else 0.0


def _ranks_for_macs(targets: Sequence[_Target], macs: int, share: float) -> list[tuple[int, ...]]:
    """Ranks at the highest energy, common to all layers, that meets the MACs budget."""
    values = [
        [np.linalg.svd(np.asarray(m, float), compute_uv=False) for m in target.matrices()]
        for target in targets
    ]

    def at(energy: float) -> tuple[list[tuple[int, ...]], int]:
        ranks = [tuple(rank_of_energy(v, energy) for v in spectra) for spectra in values]
        saved = sum(
            max(0, target.whole_cost[0] - target.cost(chosen)[0])
            for target, chosen in zip(targets, ranks, strict=True)
        )
        return ranks, macs - saved

    ranks, least = at(0.0)
    if least > share * macs:
        raise ConfigError(
            "value of 'macs'",
            f"{share:.1%} of the MACs is out of reach: ranks of 1 leave {least / macs:.0%}",
            "raise it, or let more layers be factored",
        )
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        found, total = at(middle)
        if total <= share * macs:
            low, ranks = middle, found
        else:
            high = middle
    return ranks

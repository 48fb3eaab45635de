"""Quantization-aware training on Keras 3 models: TFMOT's fake quantization on a tf_keras twin.

```python
result = quantize_aware(model, fit=dict(x=images, y=labels, epochs=2))
lite = result.to_litert()        # int8 in, int8 out, with the ranges that training found
result.model                     # plain Keras 3, float weights as trained
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph.layers import kernels, walk_layers
from tfcompress.internals.keras import FLATTEN_LAYERS, HISTORY
from tfcompress.litert.converter import Signature, convert, input_specs
from tfcompress.litert.formats import FORMATS
from tfcompress.litert.model import LiteModel
from tfcompress.quantization.training.preserve import PRESERVE, Preserve, preserve
from tfcompress.quantization.training.ranges import samples_for, set_ranges
from tfcompress.quantization.training.rules import Rule, custom_objects, rule_of
from tfcompress.quantization.training.split import Parts, joined, split_layers
from tfcompress.reporting.tables import Table
from tfcompress.short_repr import short_repr
from tfcompress.twin.legacy import load_tfmot
from tfcompress.twin.training import Train, check_training, train_twin
from tfcompress.twin.twin import Twin, twin_of

_PREFIX = "quant_"


@dataclass(frozen=True)
class QatRow:
    """How one layer was quantized.

    Attributes:
        path: Layer path.
        kind: Class name.
        how: What is quantized, or why it stays in float.
        quantized: Whether it is.
        kept: Zeros or clusters of the kernel that were kept; "" for nothing.
    """

    path: str
    kind: str
    how: str
    quantized: bool
    kept: str = ""


@short_repr
@dataclass(frozen=True)
class QuantizeAware:
    """A model after quantization-aware training.

    Attributes:
        model: Plain model of the original's flavor and wiring, with the trained float weights.
        twin: The tf_keras model with fake quantization, which holds the ranges.
        rows: How each layer was quantized.
        history: Metrics by epoch of the last `fit`.
    """

    model: Any
    twin: Any
    rows: tuple[QatRow, ...]
    history: dict[str, list[float]]

    def to_litert(self, sparse_encoding: bool = False) -> LiteModel:
        """Convert to LiteRT: int8 throughout, with the ranges from training.

        Args:
            sparse_encoding: Whether zeros are stored sparsely: a smaller file at the same speed.
        """
        names, shapes, dtypes = input_specs(self.twin)
        signature = Signature(tuple(shapes), tuple(dtypes), batch_size=1)
        content = convert(
            self.twin,
            FORMATS["int8"],
            signature,
            sparse_encoding=sparse_encoding,
            trained_ranges=True,
        )
        return LiteModel.from_bytes(content, "int8", names)

    def to_dict(self) -> dict[str, Any]:
        """What was done, for JSON."""
        return {"rows": [asdict(row) for row in self.rows], "history": self.history}

    def table(self) -> Table:
        """What was done, as a table."""
        table = Table(
            ("layer", "kind", "int8 in training", "kept"),
            title="Quantization-aware training, layer by layer",
        )
        for row in self.rows:
            table.add(row.path, row.kind, row.how if row.quantized else "float", row.kept)
        floats = [(row.path, row.how) for row in self.rows if not row.quantized]
        table.note_skipped(floats)
        return table

    def __str__(self) -> str:
        return str(self.table())


def quantize_aware(
    model: Any,
    *,
    preserve_kernels: Preserve = "nothing",
    unsupported: Literal["error", "float"] = "error",
    train: Train | None = None,
    fit: Mapping[str, Any] | None = None,
    calibration: Any = None,
    check: bool = True,
) -> QuantizeAware:
    """Continue training under int8 rounding, so that the int8 file keeps its accuracy.

    Args:
        model: A trained functional or Sequential model of either flavor; it is not changed.
        preserve_kernels: "sparsity" keeps the zeros of a pruned model (TFMOT's PQAT), "clusters"
            the few values of a clustered one (CQAT), "both" the two (PCQAT).
        unsupported: What to do with layers that have no int8 rule: "error" lists them, "float"
            leaves them as they are.
        train: Function that compiles and fits the tf_keras model it is given.
        fit: Arguments of `fit`, instead of `train`; the twin is compiled as `model` is.
        calibration: About 100 inputs, in any form that `to_litert` takes, to measure the ranges
            that training starts from; default the `x` of `fit`. Without either, ranges start at
            TFMOT's -6 to 6.
        check: Whether the twin's outputs are compared with the model's first.

    Returns:
        The trained model, its tf_keras twin with the ranges, and what was quantized.

    Warns:
        CalibrationWarning: There is no data to measure ranges on, or it gives poor ranges.

    Raises:
        DataError: The calibration data does not fit the model.
        ConfigError: An argument is wrong, a layer is unknown, or the loss or optimizer has no
            counterpart in tf_keras.
        LayerError: The model has no graph, a layer without a counterpart in tf_keras, layers
            without a rule, or nothing that could be preserved.
    """
    if preserve_kernels not in PRESERVE:
        raise ConfigError(
            "preserve_kernels", f"{preserve_kernels!r} is unknown", f"use {', '.join(PRESERVE)}"
        )
    if unsupported not in ("error", "float"):
        raise ConfigError("unsupported", f"{unsupported!r} is unknown", "use 'error' or 'float'")
    check_training(model, train, fit)
    tfmot = load_tfmot()
    twin, parts = split_layers(twin_of(model, check))
    rules = _rules(twin, parts)
    _check_supported(model, rules, unsupported)
    samples = samples_for(model, calibration, fit)
    quantized = _quantized(tfmot, twin, parts, rules)
    kept = _preserved(twin, parts, quantized, preserve_kernels)
    if samples:
        set_ranges(_quantizers(quantized), twin.model, samples)
    history = train_twin(quantized, model, train, fit)
    trained = twin.bring_back({path: _arrays(quantized, names) for path, names in parts.items()})
    if preserve_kernels != "nothing":
        _check_zeros(model, trained, preserve_kernels)
    kinds = {p.path: p.kind for p in walk_layers(model)}
    rows = tuple(
        QatRow(path, kinds.get(path, "operation"), rule.how, rule.supported, kept.get(path, ""))
        for path, rule in rules.items()
    )
    return QuantizeAware(trained, quantized, rows, history)


def _rules(twin: Twin, parts: Parts) -> dict[str, Rule]:
    """The rule of each layer, by path; of an operation that became a layer, by name."""
    outputs = {HISTORY.of(tensor).layer.name for tensor in twin.model.outputs}
    rules = {}
    for path, names in parts.items():
        if len(names) > 1:
            rules[path] = Rule("each of its parts: kernels, outputs")
        else:
            rules[path] = rule_of(twin.model.get_layer(names[0]), outputs)
    known = {name for names in parts.values() for name in names}
    for layer in twin.model.layers:
        kind = type(layer).__name__
        if kind.endswith("OpLambda"):
            rules[layer.name] = Rule("a bare operation that is no layer", supported=False)
        elif kind != "InputLayer" and layer.name not in known:
            rules[layer.name] = rule_of(layer, outputs)
    return rules


def _check_supported(model: Any, rules: Mapping[str, Rule], unsupported: str) -> None:
    lacking = [f"{path}: {rule.how}" for path, rule in rules.items() if not rule.supported]
    if len(lacking) == len(rules):
        raise LayerError(
            f"model {model.name!r}",
            f"no layer would be quantized ({'; '.join(lacking[:8])})",
            "convert it with to_litert(model, 'int8', calibration) instead",
        )
    if lacking and unsupported == "error":
        raise LayerError(
            f"model {model.name!r}",
            f"layers that cannot be quantized in training: {len(lacking)} "
            f"({'; '.join(lacking[:8])})",
            "pass unsupported='float' to leave these in float and go on with the rest",
        )


def _quantized(tfmot: Any, twin: Twin, parts: Parts, rules: Mapping[str, Rule]) -> Any:
    """The twin with fake quantization, weights carried."""
    import tf_keras

    quantization = tfmot.quantization.keras
    by_name: dict[str, Rule] = {}
    for path, rule in rules.items():
        names = parts.get(path, (path,))
        for name in names:
            by_name[name] = rule if len(names) == 1 else rule_of(twin.model.get_layer(name))

    def annotate(layer: Any) -> Any:
        rule = by_name[layer.name]
        if not rule.supported:
            return layer
        return quantization.quantize_annotate_layer(layer, rule.config)

    with tf_keras.utils.custom_object_scope(custom_objects(twin.model)):
        annotated = tf_keras.models.clone_model(twin.model, clone_function=annotate)
        return quantization.quantize_apply(annotated)


def _layer(quantized: Any, name: str) -> Any:
    """A layer of the quantized model, wrapped or not."""
    names = {layer.name for layer in quantized.layers}
    return quantized.get_layer(f"{_PREFIX}{name}" if f"{_PREFIX}{name}" in names else name)


def _arrays(quantized: Any, names: Sequence[str]) -> Any:
    """Weights by role of the layers that stand for one of the original's."""
    layers = [_layer(quantized, name) for name in names]
    if len(layers) == 1 and not _is_wrapper(layers[0]):
        return layers[0]
    arrays = {role: np.asarray(v) for layer in layers for role, v in _variables(layer).items()}
    return joined(arrays)


def _quantizers(quantized: Any) -> dict[str, dict[str, Any]]:
    """Variables of the wrappers, by the name of the layer in the twin."""
    return {layer.layer.name: _variables(layer) for layer in quantized.layers if _is_wrapper(layer)}


def _is_wrapper(layer: Any) -> bool:
    return hasattr(layer, "quantize_config") and hasattr(layer, "layer")


def _variables(layer: Any) -> dict[str, Any]:
    """A layer's variables by role; a wrapper has its layer's among its own."""
    return {v.name.rsplit("/", 1)[-1].split(":")[0]: v for v in layer.weights}


def _preserved(twin: Twin, parts: Parts, quantized: Any, what: Preserve) -> dict[str, str]:
    """Put constraints on the kernels; returns what is kept, by path."""
    if what == "nothing":
        return {}
    kept: dict[str, list[str]] = {}
    for path, names in parts.items():
        for name in names:
            for variable in _kernels(_layer(quantized, name)):
                found = preserve(variable, what)
                if found:
                    kept.setdefault(path, []).append(found)
    if not kept:
        wanted = {"sparsity": "zero in a kernel", "clusters": "clustered kernel"}
        raise LayerError(
            f"model {twin.original.name!r}",
            f"there is no {wanted.get(what, 'zero or clustered kernel')} to preserve",
            "prune or cluster it first, or pass preserve_kernels='nothing'",
        )
    return {path: ", ".join(found) for path, found in kept.items()}


def _kernels(layer: Any) -> list[Any]:
    """Variables of a layer that pruning and clustering change, wrapped or not."""
    if _is_wrapper(layer):
        found = _variables(layer)
        return [found[role] for role in (*_KERNEL_ROLES, "alpha") if role in found]
    inside = walk_layers(layer) if FLATTEN_LAYERS.on(layer) else ()
    return [variable for placed in inside for _, variable in kernels(placed)]


_KERNEL_ROLES = ("kernel", "depthwise_kernel", "pointwise_kernel")


def _check_zeros(before: Any, after: Any, what: Preserve) -> None:
    """Refuse a model that lost zeros which were to be preserved."""
    if what == "clusters":
        return
    for old, new in zip(walk_layers(before), walk_layers(after), strict=True):
        for (role, was), (_, now) in zip(kernels(old), kernels(new), strict=True):
            was, now = np.asarray(was), np.asarray(now)
            lost = int(np.count_nonzero(now[was == 0])) if (was != 0).any() else 0
            if lost:
                raise LayerError(
                    f"weight {old.path}/{role}",
                    f"{lost} of its zeros were trained away",
                    "train with an optimizer that applies constraints (all of Keras' own do)",
                )

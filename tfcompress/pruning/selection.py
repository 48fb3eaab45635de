"""Find the weights that a `config_list` selects, in NNI's vocabulary.

```python
config_list = [
    {"sparsity": 0.8, "op_types": ["default"]},        # every convolution, Dense, Embedding, PReLU
    {"sparsity": 0.5, "op_names": ["conv2d_1"]},       # less of this layer; the last match wins
    {"exclude": True, "op_names": ["decoder/*"]},      # nothing of these
]
```

An entry matches a layer if all its conditions hold: `op_types` lists class names (`"default"`
stands for `DEFAULT_TYPES`), and `op_names` lists names or paths of layers, exact or as globs. An
entry without conditions matches every layer. An entry that matches a container (nested model, LSTM,
MultiHeadAttention) also applies to the layers in it.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress.errors import ConfigError, LayerError
from tfcompress.graph.layers import (
    NORMALIZATIONS,
    Key,
    PlacedLayer,
    is_named,
    kernels,
    own_weights,
    walk_layers,
)
from tfcompress.short_repr import short_repr

DEFAULT_TYPES = (
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "Conv3DTranspose",
    "Dense",
    "Embedding",
    "PReLU",
)
"""Class names that `"default"` stands for, as in NNI's TensorFlow pruner."""

OTHER_TYPES = (
    "DepthwiseConv1D",
    "DepthwiseConv2D",
    "SeparableConv1D",
    "SeparableConv2D",
    "EinsumDense",
    "MultiHeadAttention",
    "GroupQueryAttention",
    "SimpleRNN",
    "LSTM",
    "GRU",
    "ConvLSTM1D",
    "ConvLSTM2D",
    "ConvLSTM3D",
    "Bidirectional",
    "TimeDistributed",
)
"""Further Keras layers with prunable weights, which are selected only by their class name."""

_KEYS = ("sparsity", "op_types", "op_names", "exclude")

# Kernel axes of (inputs, outputs), for block and N:M patterns.
_AXES: dict[str, tuple[int, int]] = {
    "Conv1D": (-2, -1),
    "Conv2D": (-2, -1),
    "Conv3D": (-2, -1),
    "Conv1DTranspose": (-1, -2),
    "Conv2DTranspose": (-1, -2),
    "Conv3DTranspose": (-1, -2),
    "Dense": (-2, -1),
}


@dataclass(frozen=True)
class Entry:
    """One validated entry of a `config_list`.

    Attributes:
        sparsity: Share of each weight to prune, in [0, 1).
        op_types: Class names that the entry applies to; None for all.
        op_names: Names, paths or globs of layers that the entry applies to; None for all.
        exclude: Whether the matching layers are not pruned.
        where: Name of the entry in errors and reports, such as "config_list[0]".
    """

    sparsity: float
    op_types: tuple[str, ...] | None
    op_names: tuple[str, ...] | None
    exclude: bool
    where: str

    def matches(self, placed: PlacedLayer) -> bool:
        """Whether the entry applies to a layer, directly or through a container of it."""
        if self.op_types is not None and not set(self.op_types) & set(placed.kinds):
            return False
        return self.op_names is None or any(is_named(placed.path, name) for name in self.op_names)


@short_repr
@dataclass(frozen=True)
class Target:
    """A weight to prune.

    Attributes:
        key: Key of the weight, (layer path, role).
        variable: The Keras variable.
        sparsity: Share of its values that will be zero.
        entry: Index of the `config_list` entry that selected it.
        axes: Axes of the kernel, (inputs, outputs); None if the layer does not distinguish them.
    """

    key: Key
    variable: Any
    sparsity: float
    entry: int
    axes: tuple[int, int] | None


@dataclass(frozen=True)
class Selection:
    """The selection in a model.

    Attributes:
        targets: Weights to prune.
        skipped: Layers with weights that are not pruned, each as (path, reason).
    """

    targets: tuple[Target, ...]
    skipped: tuple[tuple[str, str], ...]


def parse_config_list(config_list: Sequence[Mapping[str, Any]]) -> tuple[Entry, ...]:
    """Validate a `config_list`, without a model.

    Args:
        config_list: Entries with the keys "sparsity" or "exclude", "op_types" and "op_names".

    Raises:
        ConfigError: An entry is invalid. The error names the entry, the key and the fix.
    """
    if isinstance(config_list, (str, Mapping)) or not isinstance(config_list, Sequence):
        raise ConfigError(
            "config_list",
            f"it is a {type(config_list).__name__}, but must be a list of dicts",
            "write [{'sparsity': 0.8, 'op_types': ['default']}]",
        )
    if not config_list:
        raise ConfigError(
            "config_list",
            "it is empty",
            "write [{'sparsity': 0.8, 'op_types': ['default']}]",
        )
    return tuple(_parse_entry(f"config_list[{i}]", entry) for i, entry in enumerate(config_list))


def _parse_entry(where: str, entry: Any) -> Entry:
    if not isinstance(entry, Mapping):
        raise ConfigError(
            where,
            f"it is a {type(entry).__name__}, but must be a dict",
            "write {'sparsity': 0.8, 'op_types': ['default']}",
        )
    unknown = [key for key in entry if key not in _KEYS]
    if unknown:
        raise ConfigError(where, f"unknown key {unknown[0]!r}", f"use {', '.join(_KEYS)}")
    exclude = entry.get("exclude", False)
    if not isinstance(exclude, bool):
        raise ConfigError(where, f"exclude is {exclude!r}", "write True or False")
    if exclude and "sparsity" in entry:
        raise ConfigError(
            where,
            "it has both sparsity and exclude",
            "drop one: an excluded layer has no target",
        )
    if not exclude and "sparsity" not in entry:
        raise ConfigError(where, "it has no sparsity", "add 'sparsity': 0.8, or 'exclude': True")
    sparsity = 0.0 if exclude else _sparsity(where, entry["sparsity"])
    return Entry(
        sparsity,
        _names(where, entry, "op_types"),
        _names(where, entry, "op_names"),
        exclude,
        where,
    )


def _sparsity(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or math.isnan(value):
        raise ConfigError(where, f"sparsity is {value!r}, not a number", "write 0.8 for 80 %")
    share = float(value)
    if not 0 <= share < 1:
        raise ConfigError(
            where, f"sparsity is {value}, but must be in [0, 1)", "write 0.8 for 80 %"
        )
    return share


def _names(where: str, entry: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    if key not in entry:
        return None
    value = entry[key]
    if isinstance(value, str) or not isinstance(value, Iterable):
        raise ConfigError(where, f"{key} is {value!r}, not a list", f"write [{value!r}]")
    names = tuple(value)
    if not names:
        raise ConfigError(where, f"{key} is empty", f"name at least one, or leave {key} out")
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(
                where, f"{key} holds {name!r}, not a string", "write names as strings"
            )
    if key == "op_types" and "default" in names:
        names = tuple(dict.fromkeys(n for n in (*names, *DEFAULT_TYPES) if n != "default"))
    return names


def select(model: Any, entries: Sequence[Entry]) -> Selection:
    """Select the weights of a model; of several entries that match a layer, the last counts.

    Args:
        model: Built model of either flavor.
        entries: Validated entries of a `config_list`.

    Raises:
        LayerError: The model has no weights yet.
        ConfigError: The model has no layer of a given type or name. The error lists those it has.
    """
    placed_layers = list(walk_layers(model))
    if not any(own_weights(placed.layer) for placed in placed_layers):
        raise LayerError(
            f"model {model.name!r}",
            "it has no weights yet",
            "build it first: model.build(input_shape), or call it once on a batch",
        )
    check_entries(placed_layers, entries)
    targets: list[Target] = []
    skipped: list[tuple[str, str]] = []
    seen: set[int] = set()
    for placed in placed_layers:
        weights = own_weights(placed.layer)
        if not weights:
            continue
        index = max((i for i, e in enumerate(entries) if e.matches(placed)), default=None)
        if index is None:
            skipped.append((placed.path, f"{placed.kind} matches no entry"))
            continue
        if entries[index].exclude:
            skipped.append((placed.path, f"excluded by {entries[index].where}"))
            continue
        found = [
            Target(
                (placed.path, role),
                variable,
                entries[index].sparsity,
                index,
                _AXES.get(placed.kind),
            )
            for role, variable in kernels(placed)
            if id(variable) not in seen
        ]
        seen.update(id(target.variable) for target in found)
        targets.extend(found)
        if not found:
            skipped.append((placed.path, why_not_prunable(placed)))
    return Selection(tuple(targets), tuple(skipped))


def why_not_prunable(placed: PlacedLayer) -> str:
    """The reason why a layer with weights has no prunable ones."""
    if placed.kind in NORMALIZATIONS:
        return f"{placed.kind} is never pruned"
    roles = ", ".join(role for role, _ in own_weights(placed.layer))
    return f"no prunable weight among {roles}"


def check_entries(placed_layers: Sequence[PlacedLayer], entries: Sequence[Entry]) -> None:
    """Raise a ConfigError if no layer has a given type or name; it lists those that exist."""
    present = sorted({kind for placed in placed_layers for kind in placed.kinds})
    known = {*present, *DEFAULT_TYPES, *OTHER_TYPES, *NORMALIZATIONS}
    paths = [placed.path for placed in placed_layers]
    for entry in entries:
        for kind in entry.op_types or ():
            if kind not in known:
                raise ConfigError(
                    entry.where,
                    f"unknown op_type {kind!r}",
                    f"use 'default' or one of {', '.join(present)}",
                )
        for name in entry.op_names or ():
            if not any(is_named(path, name) for path in paths):
                with_weights = [p.path for p in placed_layers if own_weights(p.layer)]
                raise ConfigError(
                    entry.where,
                    f"no layer is named {name!r}",
                    f"use one of {_some(with_weights)}",
                )


def _some(names: Sequence[str], at_most: int = 30) -> str:
    shown = ", ".join(names[:at_most])
    return shown if len(names) <= at_most else f"{shown} and {len(names) - at_most} more"

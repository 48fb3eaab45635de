"""A model's layers by path, in Keras 3 and tf_keras alike.

A path is the chain of layer names from the model down to the layer, joined by "/":
`"encoder/block1_conv"`. It does not depend on how variables are named, which differs between the
flavors (Keras 3 calls every kernel "kernel").
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tfcompress.errors import LayerError

Flavor = Literal["keras", "tf_keras"]

Key = tuple[str, str]
"""A weight: (layer path, role), such as `("encoder/conv", "kernel")`."""

NORMALIZATIONS = (
    "BatchNormalization",
    "SyncBatchNormalization",
    "LayerNormalization",
    "GroupNormalization",
    "UnitNormalization",
    "RMSNormalization",
    "SpectralNormalization",
    "Normalization",
)
_AUTOMATIC = re.compile(r"^[vV]ariable(_\d+)?$")  # numbered through by Keras, model after model
_NO_KERNELS = ("bias", "gamma", "beta", "moving_mean", "moving_variance", "scale", "offset")


@dataclass(frozen=True)
class PlacedLayer:
    """A layer and where it stands.

    Attributes:
        path: Layer names from the model (exclusive) to the layer, joined by "/".
        layer: The layer object.
        kinds: Class names of the layer's ancestors below the model, and of the layer itself last.
    """

    path: str
    layer: Any
    kinds: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Class name of the layer."""
        return self.kinds[-1]


def flavor_of(model: Any) -> Flavor:
    """Which Keras a model (or layer) belongs to.

    Raises:
        LayerError: `model` is neither, or Keras 3 runs on another backend than TensorFlow.
    """
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Layer):
        backend = keras.backend.backend()
        if backend != "tensorflow":
            raise LayerError(
                f"model {model.name!r}",
                f"Keras 3 runs on the {backend!r} backend, and tfcompress works on TensorFlow",
                "set KERAS_BACKEND=tensorflow before Python starts",
            )
        return "keras"
    tf_keras = sys.modules.get("tf_keras")
    if tf_keras is not None and isinstance(model, tf_keras.layers.Layer):
        return "tf_keras"
    raise LayerError(
        f"object of type {type(model).__name__}",
        "it is neither a Keras 3 nor a tf_keras model",
        "pass a keras.Model or a tf_keras.Model",
    )


def walk_layers(model: Any) -> Iterator[PlacedLayer]:
    """Every layer below `model` once, parents before children, in the order of `model.layers`.

    A layer that is shared (used twice, or held by two parents) appears at its first place. When
    two siblings carry one name, the later ones get "#2", "#3" appended. A subclassed model that
    holds weights of its own comes first, with the path ".".
    """
    flavor_of(model)
    seen: set[int] = {id(model)}
    used: dict[str, int] = {}

    def visit(parent: Any, prefix: str, kinds: tuple[str, ...]) -> Iterator[PlacedLayer]:
        for layer in parent._flatten_layers(include_self=False, recursive=False):
            if id(layer) in seen:
                continue
            seen.add(id(layer))
            path = f"{prefix}{layer.name}"
            used[path] = used.get(path, 0) + 1
            if used[path] > 1:
                path = f"{path}#{used[path]}"
            placed = PlacedLayer(path, layer, (*kinds, type(layer).__name__))
            yield placed
            yield from visit(layer, f"{path}/", placed.kinds)

    if own_weights(model):
        yield PlacedLayer(".", model, (type(model).__name__,))
    yield from visit(model, "", ())


def own_weights(layer: Any) -> list[tuple[str, Any]]:
    """The variables that a layer itself holds (not its sublayers), as `(role, variable)` pairs.

    The role is the variable's own name without path or suffix: "kernel", "bias", "gamma"; one that
    was given no name is "variable". A name that a layer uses twice gets "#2" appended. Random-seed
    states are left out.
    """
    below = {
        id(variable)
        for child in layer._flatten_layers(include_self=False, recursive=False)
        for variable in _weights(child)
    }
    used: dict[str, int] = {}
    pairs = []
    for variable in _weights(layer):
        if id(variable) in below or not hasattr(variable, "assign") or None in variable.shape:
            continue  # lookup tables and bin boundaries are no weights
        role = variable.name.rsplit("/", 1)[-1].split(":")[0]
        role = _AUTOMATIC.sub("variable", role)
        if "seed_generator" in getattr(variable, "path", variable.name):
            continue
        used[role] = used.get(role, 0) + 1
        pairs.append((role if used[role] == 1 else f"{role}#{used[role]}", variable))
    return pairs


def named_weights(model: Any, path: str = "") -> dict[Key, Any]:
    """Every variable of a model (or of one layer and what it holds) by (layer path, role).

    Args:
        model: Of either flavor.
        path: Of the layer in its model, where `model` is a layer: put before all paths.
    """

    def placed_at(inner: str) -> str:
        if not path:
            return inner
        return path if inner == "." else f"{path}/{inner}"

    return {
        (placed_at(placed.path), role): variable
        for placed in walk_layers(model)
        for role, variable in own_weights(placed.layer)
    }


def is_named(path: str, pattern: str) -> bool:
    """Whether the layer at a path, or a container it stands in, has this name, path or glob."""
    parts = path.split("/")
    prefixes = ("/".join(parts[: i + 1]) for i in range(len(parts)))
    return any(
        fnmatch.fnmatchcase(prefix, pattern) or fnmatch.fnmatchcase(part, pattern)
        for prefix, part in zip(prefixes, parts, strict=True)
    )


def is_of_keras(op: Any) -> bool:
    """Whether an operation's class is Keras' own; a stranger's may do anything under its name."""
    return type(op).__module__.split(".")[0] in ("keras", "tf_keras")


def kernels(placed: PlacedLayer) -> list[tuple[str, Any]]:
    """`(role, variable)` of the weights of a layer that multiply its input.

    Biases, normalization parameters and statistics, vectors (but for PReLU's slopes), and
    variables that are not floating point or that are never trained are not among them.
    """
    if placed.kind in NORMALIZATIONS:
        return []
    return [
        (role, variable)
        for role, variable in own_weights(placed.layer)
        if role.split("#")[0] not in _NO_KERNELS
        and (len(variable.shape) >= 2 or placed.kind == "PReLU")
        and "float" in str(variable.dtype)
        and (variable.trainable or not placed.layer.trainable)
    ]


def _weights(layer: Any) -> list[Any]:
    """A layer's weights; an unbuilt tf_keras model raises instead of having none."""
    try:
        return layer.weights
    except ValueError:
        return []

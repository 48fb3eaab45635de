"""Layers and weights of a model by path, for Keras 3 and tf_keras alike.

A path consists of the layer names from the model down to the layer, joined by "/":
`"encoder/block1_conv"`. It does not depend on the names of variables, which differ between the
flavors (in Keras 3 every kernel is called "kernel").
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from tfcompress.errors import LayerError
from tfcompress.internals.keras import FLATTEN_LAYERS
from tfcompress.short_repr import short_repr

Flavor = Literal["keras", "tf_keras"]

Key = tuple[str, str]
"""Key of a weight: (layer path, role), such as `("encoder/conv", "kernel")`."""

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
_AUTOMATIC = re.compile(r"^[vV]ariable(_\d+)?$")  # Keras numbers these across all models
_NO_KERNELS = ("bias", "gamma", "beta", "moving_mean", "moving_variance", "scale", "offset")


@short_repr
@dataclass(frozen=True)
class PlacedLayer:
    """A layer and its place in a model.

    Attributes:
        path: Layer names from the model (exclusive) to the layer, joined by "/".
        layer: The layer object.
        kinds: Class names of the layer's ancestors below the model, then of the layer itself.
    """

    path: str
    layer: Any
    kinds: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Class name of the layer."""
        return self.kinds[-1]


def flavor_of(model: Any) -> Flavor:
    """Tell whether a model (or layer) belongs to Keras 3 or tf_keras.

    Raises:
        LayerError: It belongs to neither, or the backend of Keras 3 is not TensorFlow.
    """
    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Layer):
        backend = keras.backend.backend()
        if backend != "tensorflow":
            raise LayerError(
                f"model {model.name!r}",
                f"Keras 3 runs on the {backend!r} backend, but tfcompress needs TensorFlow",
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
    """Yield every layer below a model once, parents before children, in Keras' order.

    A shared layer (called twice, or held by two parents) is yielded at its first place. If siblings
    have the same name, "#2", "#3" is appended to the paths of the later ones. A subclassed model
    with weights of its own is yielded first, with the path ".".
    """
    flavor_of(model)
    seen: set[int] = {id(model)}
    used: dict[str, int] = {}

    def visit(parent: Any, prefix: str, kinds: tuple[str, ...]) -> Iterator[PlacedLayer]:
        for layer in FLATTEN_LAYERS.of(parent)(include_self=False, recursive=False):
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
    """List the variables of a layer itself (not of its sublayers) as `(role, variable)` pairs.

    The role is the variable's name without path and suffix: "kernel", "bias", "gamma". Variables
    without a name have the role "variable". If a layer uses a name twice, "#2" is appended. The
    states of random seeds are left out.
    """
    below = {
        id(variable)
        for child in FLATTEN_LAYERS.of(layer)(include_self=False, recursive=False)
        for variable in _weights(child)
    }
    used: dict[str, int] = {}
    pairs = []
    for variable in _weights(layer):
        if id(variable) in below or not hasattr(variable, "assign") or None in variable.shape:
            continue  # lookup tables and bin boundaries are not weights
        role = variable.name.rsplit("/", 1)[-1].split(":")[0]
        role = _AUTOMATIC.sub("variable", role)
        if "seed_generator" in getattr(variable, "path", variable.name):
            continue
        used[role] = used.get(role, 0) + 1
        pairs.append((role if used[role] == 1 else f"{role}#{used[role]}", variable))
    return pairs


def named_weights(model: Any, path: str = "") -> dict[Key, Any]:
    """All variables of a model (or of a layer and its sublayers) by (layer path, role).

    Args:
        model: Model or layer of either flavor.
        path: Path of `model` in its own model, if it is a layer; it prefixes all paths.
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
    """Whether the layer at a path, or a container of it, matches a name, path or glob."""
    parts = path.split("/")
    prefixes = ("/".join(parts[: i + 1]) for i in range(len(parts)))
    return any(
        fnmatch.fnmatchcase(prefix, pattern) or fnmatch.fnmatchcase(part, pattern)
        for prefix, part in zip(prefixes, parts, strict=True)
    )


def is_of_keras(op: Any) -> bool:
    """Whether Keras itself defines an operation's class.

    A class of the same name from elsewhere may compute something else.
    """
    return type(op).__module__.split(".")[0] in ("keras", "tf_keras")


def kernels(placed: PlacedLayer) -> list[tuple[str, Any]]:
    """The weights of a layer that multiply its input, as `(role, variable)` pairs.

    Left out are biases, parameters and statistics of normalization, vectors (except for the slopes
    of PReLU), variables that are not floating point, and variables that are never trained.
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
    """A layer's weights; none for an unbuilt tf_keras model, which raises an error instead."""
    try:
        return layer.weights
    except ValueError:
        return []

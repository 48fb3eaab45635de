"""Convert models between Keras 3 and tf_keras: twins with equal outputs.

TensorFlow Model Optimization supports tf_keras only. `to_tf_keras` replays the graph of a Keras 3
model with tf_keras layers, and `to_keras3` does the reverse. Weights are copied layer by layer.
Bare operations (`keras.ops`, tf_keras' lambda layers) are converted by the table in
`operations.py`. The libraries differ in names (`negative_slope` and `alpha`), in defaults, and in
the meaning of "hard_sigmoid"; all of this is handled here.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfcompress.errors import LayerError
from tfcompress.graph.layers import Key, flavor_of, is_of_keras, named_weights, walk_layers
from tfcompress.graph.rebuild import GraphBuilder, carry_weights, rebuild
from tfcompress.graph.wiring import input_layer, pack_inputs, takes_training
from tfcompress.short_repr import short_repr
from tfcompress.twin.operations import crossing_function

# Config keys that have different names in the libraries: (class, Keras 3 key, tf_keras key).
_RENAMED = (("LeakyReLU", "negative_slope", "alpha"),)
# Activations that one library lacks or defines differently; they are converted to functions.
_FOREIGN = ("hard_sigmoid", "hard_silu", "hard_swish", "relu6", "celu", "squareplus")
_PACKAGE = "tfcompress"


@short_repr
@dataclass(frozen=True)
class Twin:
    """A model and its tf_keras twin, in which nested models are inlined.

    Attributes:
        original: The original model, which is not changed.
        model: The twin, with the same weights, not compiled.
        names: Names of the twin's layers, by path in the original.
    """

    original: Any
    model: Any
    names: dict[str, str]

    def layer(self, path: str) -> Any:
        """The twin's layer for a path in the original."""
        return self.model.get_layer(self.names[path])

    def owner(self, path: str) -> str:
        """Path of the layer of the twin that contains the original's layer at a path.

        Raises:
            LayerError: The model's graph does not use the layer.
        """
        at = path
        while at not in self.names:
            at, _, _ = at.rpartition("/")
            if not at:
                raise LayerError(
                    f"layer {path!r}",
                    f"the graph of {self.original.name!r} does not use it",
                    "select layers that the model calls",
                )
        return at

    def bring_back(self, layers: Mapping[str, Any]) -> Any:
        """Rebuild the original with the weights of (trained) layers of the twin.

        Args:
            layers: Layers of the twin, by path in the original. Layers that are not given keep
                their original weights. If a layer no longer refers to its kernels (TFMOT's
                quantization wrappers replace them), give a dict of arrays by role instead.

        Returns:
            A new model of the original's flavor.
        """
        placed = {p.path: p.layer for p in walk_layers(self.original)}
        values: dict[Key, np.ndarray] = {}
        for path, layer in layers.items():
            keys = list(named_weights(placed[path], path))
            if isinstance(layer, Mapping):
                values.update((key, _of_role(layer, key)) for key in keys)
                continue
            arrays = [np.asarray(v) for v in named_weights(layer, path).values()]
            values.update(zip(keys, arrays, strict=True))
        return rebuild(self.original, weights=values)


def _of_role(arrays: Mapping[str, np.ndarray], key: Key) -> np.ndarray:
    """Get a weight by its role; the depthwise kernel has another name in tf_keras."""
    role = key[1]
    return arrays[role] if role in arrays else arrays[f"depthwise_{role}"]


def twin_of(model: Any, check: bool = True) -> Twin:
    """Make the tf_keras twin of a model of either flavor, with nested models inlined.

    Args:
        model: Functional or Sequential model.
        check: Whether to compare the outputs on random input, to 1e-5 of the largest value.

    Returns:
        The model and its twin.

    Raises:
        LayerError: The model has no graph, a layer cannot be converted, or (with `check`) the
            outputs differ.
    """
    if flavor_of(model) == "tf_keras":
        builder = GraphBuilder(model, {}, flat=True)
    else:
        builder = _Crossing(model, "tf_keras", flat=True)
    twin = _finished(builder, model, check)
    placed = {id(layer) for layer in twin.layers}  # not those inside a TimeDistributed
    layers = [*((path, new) for path, _, new in builder.pairs), *builder.holders]
    return Twin(model, twin, {path: new.name for path, new in layers if id(new) in placed})


def to_tf_keras(model: Any, check: bool = True) -> Any:
    """Convert a Keras 3 model to tf_keras.

    Args:
        model: Functional or Sequential Keras 3 model. It may have nested models, shared layers,
            and several inputs and outputs.
        check: Whether to compare the outputs on random input, to 1e-5 of the largest value.

    Returns:
        A tf_keras model with the same layer names and weights, not compiled.

    Raises:
        LayerError: The model is a tf_keras model already or has no graph, a layer cannot be
            converted, or (with `check`) the outputs differ.
    """
    return _crossed(model, "keras", "tf_keras", check)


def to_keras3(model: Any, check: bool = True) -> Any:
    """Convert a tf_keras model to Keras 3.

    Args:
        model: Functional or Sequential tf_keras model.
        check: Whether to compare the outputs on random input, to 1e-5 of the largest value.

    Returns:
        A Keras 3 model with the same layer names and weights, not compiled.

    Raises:
        LayerError: The model is a Keras 3 model already or has no graph, a layer cannot be
            converted, or (with `check`) the outputs differ.
    """
    return _crossed(model, "tf_keras", "keras", check)


def _crossed(model: Any, source: str, target: str, check: bool) -> Any:
    if flavor_of(model) != source:
        raise LayerError(
            f"model {model.name!r}", f"it is a {target} model already", "use it as it is"
        )
    return _finished(_Crossing(model, target), model, check)


def _finished(builder: GraphBuilder, model: Any, check: bool) -> Any:
    """Build the twin, copy weights and trainable flags, and compare the outputs."""
    twin = builder.model(model, "", None)
    carry_weights(builder, {})
    for _, old, new in builder.pairs:
        new.trainable = old.trainable
    if check:
        _check_equal(model, twin)
    return twin


class _Crossing(GraphBuilder):
    """Replays a graph with layers of the other library."""

    def __init__(self, model: Any, target: str, flat: bool = False) -> None:
        super().__init__(model, {}, target, flat)
        self._names = {_safe(path) for path in self._paths.values()} | self._taken

    def inputs(self, core: Any, shapes: Sequence[tuple[int | None, ...]] | None) -> list[Any]:
        """Make inputs of the same names, shapes and types."""
        made = []
        for i, tensor in enumerate(core.inputs):
            layer = input_layer(tensor)
            shape = tuple(tensor.shape if shapes is None else shapes[i])
            dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name
            made.append(
                self.library.Input(
                    shape[1:], batch_size=shape[0], dtype=dtype, name=_safe(layer.name)
                )
            )
        return made

    def keywords(self, op: Any, path: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of a call without `training`, which the caller of the model decides.

        Keras 3 records the default of `call` (False for Dropout), and the caller overrides it. In
        tf_keras, the recorded value overrides the caller: copied literally, dropout would never be
        applied.
        """
        if not takes_training(op):
            return kwargs
        said = kwargs.get("training")
        if said is not None and self.flavor == "tf_keras":
            warnings.warn(
                f"layer {path!r} is called with training={said}, which Keras 3 overrides: there "
                "the layer trains when the model trains. Fix: set trainable=False to freeze "
                "normalization, or a rate of 0 to disable dropout",
                stacklevel=2,
            )
        return {key: value for key, value in kwargs.items() if key != "training"}

    def fresh(self, op: Any, path: str, changes: Mapping[str, Any]) -> Any:
        """The other library's layer, or a function for a bare operation."""
        name = f"op_{_safe(path)}"
        while name in self._names:
            name += "_"
        function = crossing_function(op, self.flavor, name)
        if function is not None:
            return function
        kind = type(op).__name__
        made_of = self._counterpart(op, kind)
        if made_of is None or kind == "Lambda" or not hasattr(op, "weights"):
            raise LayerError(
                f"layer {path!r}",
                f"{kind} cannot be converted from {self.flavor} to {self.library.__name__}",
                "replace it by layers that both libraries have",
            )
        config = {**self._config(op, kind), **changes}
        accepted = _accepted(made_of)
        make = made_of if kind == "MultiHeadAttention" else made_of.from_config
        config = {k: v for k, v in config.items() if k in accepted}
        try:
            layer = make(**config) if make is made_of else make(config)
        except Exception as error:
            raise LayerError(
                f"layer {path!r}",
                f"{kind} cannot be made in {self.library.__name__} ({error})",
                "change its options to ones that both libraries have",
            ) from error
        return layer

    def _counterpart(self, op: Any, kind: str) -> type[Any] | None:
        """The class of the same name in the other library: a layer, or in the same module."""
        found = getattr(self.library.layers, kind, None)
        if found is None and is_of_keras(op):  # such as LayerScale of keras.applications
            module = type(op).__module__.replace(self.flavor, self.library.__name__, 1)
            try:
                found = getattr(importlib.import_module(module), kind, None)
            except ModuleNotFoundError:
                return None
        return found

    def _config(self, op: Any, kind: str) -> dict[str, Any]:
        config = {key: self._value(value) for key, value in op.get_config().items()}
        for name, keras3, legacy in _RENAMED:
            ours, theirs = (keras3, legacy) if self.flavor == "keras" else (legacy, keras3)
            if kind == name and ours in config:
                config[theirs] = config.pop(ours)
        config["name"] = _safe(config["name"])
        if kind == "BatchNormalization" and isinstance(config.get("axis"), (list, tuple)):
            config["axis"] = config["axis"][0]
        for key in ("activation", "recurrent_activation"):
            if isinstance(config.get(key), str):
                config[key] = self._activation(config[key])
        if isinstance(config.get("dtype"), str) and self.library.__name__ == "tf_keras":
            config["dtype"] = self.library.mixed_precision.Policy(config["dtype"])
        return config

    def _value(self, value: Any) -> Any:
        """Convert a config value to the simpler form that both libraries can read."""
        if isinstance(value, Mapping):
            if value.get("class_name") in ("DTypePolicy", "Policy"):
                return value["config"]["name"]
            if "class_name" in value and "config" in value:
                config = value["config"]
                if isinstance(config, Mapping):
                    drop = ("input_axes", "output_axes")
                    config = {k: self._value(v) for k, v in config.items() if k not in drop}
                if value["class_name"] == "function":
                    return str(config).split(">")[-1]
                made_of = getattr(self.library.layers, value["class_name"], None)
                if made_of is not None and isinstance(config, Mapping):  # a layer inside a layer
                    accepted = _accepted(made_of)
                    config = {k: v for k, v in config.items() if k in accepted}
                return {"class_name": value["class_name"], "config": config}
            return {k: self._value(v) for k, v in value.items()}
        if isinstance(value, tuple):
            return tuple(self._value(item) for item in value)
        if isinstance(value, list) or type(value).__name__ == "ListWrapper":
            return [self._value(item) for item in value]
        return value

    def _activation(self, name: str) -> Any:
        """An activation's name, or a function if the name means something else in the other."""
        plain = name.rpartition(">")[2]
        ours = f"{self.library.__name__}_"
        if plain.startswith(ours):  # it was converted before: its own name is valid again
            return plain.removeprefix(ours)
        if plain == "silu":
            return "swish"  # both libraries know this name, TFMOT only this one
        if plain not in _FOREIGN:
            return plain
        import keras
        import tf_keras

        source = keras if self.flavor == "keras" else tf_keras
        inner = source.activations.get(plain)

        def function(x: Any) -> Any:
            return inner(x)

        function.__name__ = f"{self.flavor}_{plain}"
        registered = self.library.saving.register_keras_serializable(_PACKAGE, function.__name__)
        return registered(function)


def _accepted(layer_class: type[Any]) -> set[str]:
    """Names of the arguments of a class's constructor and those of its base classes."""
    own = inspect.signature(layer_class.__init__).parameters
    if all(parameter.kind != parameter.VAR_KEYWORD for parameter in own.values()):
        return set(own)
    names = {"name", "trainable", "dtype"}
    for base in layer_class.__mro__:
        if "__init__" in vars(base):
            names |= set(inspect.signature(vars(base)["__init__"]).parameters)
    return names


def _safe(name: str) -> str:
    return name.replace("/", "_")


def _check_equal(model: Any, twin: Any) -> None:
    import tensorflow as tf

    generator = np.random.default_rng(0)
    inputs = []
    for tensor in model.inputs:
        shape = [2 if size is None else size for size in tensor.shape]
        shape = [64 if size is None else size for size in shape]
        dtype = tf.as_dtype(tensor.dtype)
        if dtype.is_floating:
            inputs.append(generator.uniform(-1, 1, shape).astype(dtype.as_numpy_dtype))
        else:
            inputs.append(generator.integers(0, 2, shape).astype(dtype.as_numpy_dtype))
    both = [tf.nest.flatten(m(pack_inputs(m, inputs), training=False)) for m in (model, twin)]
    for i, (ours, theirs) in enumerate(zip(*both, strict=True)):
        a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
        difference = np.abs(a - b).max() / max(1.0, np.abs(a).max())
        if not difference <= 1e-5:
            raise LayerError(
                f"model {model.name!r}",
                f"output {i} of its twin differs by {difference:.2g} of the largest value",
                "pass check=False if this is expected (mixed precision), else report the model",
            )

"""Rebuild a model with some layers changed; the original is not touched.

`rebuild` replays a model's graph with new layers. `Edit`s, by path, state what is different: values
in a layer's config, arguments of a call, or a chain of layers that replaces one. Weights are copied
from the old model by (path, role), or given by the caller where they changed. Every shape is
checked.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress.errors import LayerError
from tfcompress.extras import import_extra
from tfcompress.graph.layers import Key, flavor_of, is_of_keras, named_weights, walk_layers
from tfcompress.graph.wiring import (
    Wiring,
    flatten,
    functional_core,
    input_layer,
    input_structure,
    output_structure,
    read_wiring,
    substitute,
)
from tfcompress.internals.keras import COMPILE_CONFIG, HISTORY, LAMBDA_SHAPE
from tfcompress.internals.tf_keras import IS_COMPILED


@dataclass(frozen=True)
class Edit:
    """Changes to one operation.

    Attributes:
        config: Values to replace in the config of the layer or `keras.ops` operation.
        arguments: Function from the (args, kwargs) of a call, with tensors of the new graph, to new
            (args, kwargs); None keeps them.
        replacement: New, unbuilt layers that replace the operation, called one after the other.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    arguments: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, Any]] | None = None
    replacement: Sequence[Any] = ()


def rebuild(
    model: Any,
    edits: Mapping[str, Edit] | None = None,
    weights: Mapping[Key, np.ndarray] | None = None,
) -> Any:
    """Build a new model from a model, with some of its layers changed.

    Layer names, trainable flags, dtype policies, regularizers, the structure of inputs and outputs,
    and nested and shared layers are kept. A compiled model is compiled in the same way, with a new
    optimizer. Masks of `LevelPruner` and other state attached to the old model are not copied.

    Args:
        model: Functional or Sequential model of either flavor, which is not changed.
        edits: Changes by path in the flat wiring ("encoder/conv" for a layer of a nested model).
        weights: Values that differ from the old model's, by (path, role).

    Returns:
        The new model.

    Raises:
        LayerError: The model has no graph, a path is unknown, a layer cannot be made from its
            config, or a weight has no value or one of the wrong shape.
    """
    edits = dict(edits or {})
    builder = GraphBuilder(model, edits)
    new = builder.model(model, "", None)
    unknown = sorted(set(edits) - builder.met)
    if unknown:
        raise LayerError(
            f"layer {unknown[0]!r}",
            f"model {model.name!r} has no operation at this path",
            f"use one of {', '.join(sorted(builder.met)[:30])}",
        )
    carry_weights(builder, dict(weights or {}))
    _carry_flags(model, new)
    carry_compile_state(model, new)
    return new


class GraphBuilder:
    """Makes each new layer once and replays a model's graph with them.

    Args:
        model: Model whose graph is replayed.
        edits: Changes to operations, by path.
        library: Name of the Keras library in which to build, "keras" or "tf_keras"; the model's own
            by default.
        flat: Whether to inline nested models. Layers are then named by their paths.
    """

    def __init__(
        self, model: Any, edits: Mapping[str, Edit], library: str = "", flat: bool = False
    ) -> None:
        self.flavor = flavor_of(model)
        self.library = import_extra(library or self.flavor, "tfmot")
        self.edits = edits
        self.flat = flat
        self.made: dict[int, Any] = {}
        self.met: set[str] = set()
        self.pairs: list[tuple[str, Any, Any]] = []  # (path, old operation, new layer)
        self.replaced: list[tuple[str, Any]] = []  # (path, new layer)
        self.holders: list[tuple[str, Any]] = []  # (path, new layer) around one of `pairs`
        self._paths = {id(placed.layer): placed.path for placed in walk_layers(model)}
        core = functional_core(model, self.flavor)
        inputs = () if core is None else core.inputs
        self._taken = {input_layer(tensor).name.replace("/", "_") for tensor in inputs}

    def model(self, old: Any, prefix: str, shapes: Sequence[tuple[int | None, ...]] | None) -> Any:
        """Build the new model; `shapes` are its input shapes if they differ from the old ones."""
        wiring = read_wiring(old, self.flat)
        core = functional_core(old, self.flavor)
        inputs = self.inputs(core, shapes)
        values = {t.index: new for t, new in zip(wiring.inputs, inputs, strict=True)}
        chain = list(inputs[:1])
        for call in wiring.calls:
            args, kwargs = substitute((call.args, dict(call.kwargs)), values)
            path = self._paths.get(id(call.op), prefix + call.path)
            self.met.add(path)
            edit = self.edits.get(path, Edit())
            kwargs = self.keywords(call.op, path, kwargs)
            if edit.arguments is not None:
                args, kwargs = edit.arguments(args, kwargs)
            result: Any = None
            for layer in self._layers(call.op, path, edit, flatten((args, kwargs))):
                result = layer(*args, **kwargs) if result is None else layer(result)
                chain.append(layer)
            values.update(
                (t.index, new) for t, new in zip(call.outputs, flatten(result), strict=True)
            )
        return self._close(old, core, wiring, values, chain)

    def inputs(self, core: Any, shapes: Sequence[tuple[int | None, ...]] | None) -> list[Any]:
        """Make the new symbolic inputs."""
        made = []
        key = "batch_shape" if self.flavor == "keras" else "batch_input_shape"
        for i, tensor in enumerate(core.inputs):
            layer = input_layer(tensor)
            config = layer.get_config()
            if shapes is not None:
                config[key] = shapes[i]
            made.append(type(layer).from_config(config).output)
        return made

    def keywords(self, op: Any, path: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments for the call of the new layer, given those for the old one, `op`."""
        return kwargs

    def _layers(self, op: Any, path: str, edit: Edit, leaves: Sequence[Any]) -> list[Any]:
        """The new layers that take the place of an operation; one, unless it is replaced."""
        if id(op) in self.made:
            return self.made[id(op)]
        if edit.replacement:
            made = list(edit.replacement)
            parent = path.rpartition("/")[0]
            self.replaced += [(f"{parent}/{new.name}" if parent else new.name, new) for new in made]
        elif (inner_core := functional_core(op, self.flavor)) is not None:
            symbolic = [leaf for leaf in leaves if HISTORY.on(leaf)]
            shapes = [
                tuple(
                    None if old is None else new for old, new in zip(a.shape, b.shape, strict=True)
                )
                for a, b in zip(inner_core.inputs, symbolic, strict=True)
            ]
            made = [self.model(op, f"{path}/", shapes)]
        elif type(op).__name__ == "TimeDistributed":  # the layer it wraps may be used elsewhere too
            inner = self._layers(op.layer, f"{path}/{op.layer.name}", Edit(), ())[0]
            name = self._named(op, path).get("name", op.name)
            made = [self.library.layers.TimeDistributed(inner, name=name)]
            self.holders.append((path, made[0]))
        else:
            made = [self.fresh(op, path, {**edit.config, **self._named(op, path)})]
            if hasattr(op, "weights") and hasattr(made[0], "weights"):
                self.pairs.append((path, op, made[0]))
        self.made[id(op)] = made
        return made

    def fresh(self, op: Any, path: str, changes: Mapping[str, Any]) -> Any:
        """Make the new layer (or other callable) that takes the place of an operation."""
        return _made_again(op, path, changes)

    def _named(self, op: Any, path: str) -> dict[str, str]:
        """A unique name for a layer of a flat model, made from its path."""
        if not self.flat or not hasattr(op, "weights"):
            return {}
        name = path.replace("/", "_")
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return {"name": name}

    def _close(
        self, old: Any, core: Any, wiring: Wiring, values: Mapping[int, Any], chain: Sequence[Any]
    ) -> Any:
        """Make the model object of the new graph, with the old model's class if possible."""
        import tensorflow as tf

        if isinstance(old, importlib.import_module(self.flavor).Sequential) and not self.flat:
            return self.library.Sequential([input_layer(chain[0]), *chain[1:]], name=old.name)
        structures = (input_structure(core, self.flavor), output_structure(core, self.flavor))
        news = [[values[t.index] for t in tensors] for tensors in (wiring.inputs, wiring.outputs)]
        inputs, outputs = (
            tf.nest.pack_sequence_as(structure, new)
            for structure, new in zip(structures, news, strict=True)
        )
        if self.library.__name__ == self.flavor and not self.flat and not is_of_keras(old):
            try:
                return type(old)(inputs=inputs, outputs=outputs, name=old.name)
            except TypeError:
                pass  # its constructor takes other arguments: keep the graph, drop the class
        return self.library.Model(inputs, outputs, name=old.name)


def _made_again(op: Any, path: str, changes: Mapping[str, Any]) -> Any:
    kind = type(op).__name__
    try:
        config = op.get_config()
    except NotImplementedError:
        raise LayerError(
            f"layer {path!r}",
            f"{kind} has no get_config(), so it cannot be rebuilt",
            "define get_config() on the class, returning its constructor's arguments",
        ) from None
    config.update({key: value for key, value in _adapted(op, config).items() if value is not None})
    config.update(changes)
    try:
        return type(op).from_config(config)
    except Exception as error:
        # Objects that a config cannot hold (unregistered functions) are shared with the old layer.
        live = {
            key: getattr(op, key)
            for key, value in config.items()
            if key not in changes and value is not None and callable(getattr(op, key, None))
        }
        if kind == "Lambda":
            live = {"function": op.function, "output_shape": LAMBDA_SHAPE.of(op, None)}
        try:
            return type(op)(**{**config, **live})
        except Exception:
            raise LayerError(
                f"layer {path!r}",
                f"{kind} cannot be rebuilt from its own config ({error})",
                "make from_config(get_config()) work on the class",
            ) from error


def _adapted(op: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """State of preprocessing layers from `adapt` that is neither in the config nor a weight."""
    found: dict[str, Any] = {}
    if "vocabulary" in config and config["vocabulary"] is None and hasattr(op, "get_vocabulary"):
        found["vocabulary"] = op.get_vocabulary(include_special_tokens=False)
    if "bin_boundaries" in config and config["bin_boundaries"] is None:
        boundaries = getattr(op, "bin_boundaries", None)
        found["bin_boundaries"] = None if boundaries is None else list(np.asarray(boundaries))
    return found


def carry_weights(builder: GraphBuilder, given: dict[Key, np.ndarray]) -> None:
    """Copy the old layers' weights to the new ones, unless a value is given.

    The weights of a layer are matched by position, because Keras renames sublayers when a layer is
    made again.
    """
    for path, old, new in builder.pairs:
        ours, theirs = named_weights(old, path), named_weights(new, path)
        if len(ours) != len(theirs):
            raise LayerError(
                f"layer {path!r}",
                f"rebuilt, it has {len(theirs)} weights instead of {len(ours)}",
                "make get_config() return everything that the weights depend on",
            )
        for (key, variable), target in zip(ours.items(), theirs.values(), strict=True):
            _assign(key, target, given.pop(key) if key in given else np.asarray(variable))
        if type(new).__name__ == "Normalization":
            new.finalize_state()  # the layer computes with copies of its weights
    for path, new in builder.replaced:
        for key, target in named_weights(new, path).items():
            if key not in given:
                raise LayerError(
                    f"layer {key[0]!r}",
                    f"its {key[1]} is new and has no value",
                    "pass it in `weights`",
                )
            _assign(key, target, given.pop(key))
    if given:
        path, role = next(iter(given))
        raise LayerError(
            f"layer {path!r}", f"it has no weight {role!r}", "remove the value, or correct its path"
        )


def _assign(key: Key, variable: Any, value: np.ndarray) -> None:
    if tuple(value.shape) != tuple(variable.shape):
        raise LayerError(
            f"layer {key[0]!r}",
            f"its {key[1]} has shape {tuple(variable.shape)}, but the value has {value.shape}",
            "make the edited config and the weights agree",
        )
    variable.assign(value)


def _carry_flags(old: Any, new: Any) -> None:
    """Copy trainable flags, parents first, because a parent's flag overwrites those below it."""
    flags = {placed.path: placed.layer.trainable for placed in walk_layers(old)}
    if new.trainable != old.trainable:
        new.trainable = old.trainable
    for placed in walk_layers(new):
        flag = flags.get(placed.path, True)
        if placed.layer.trainable != flag:
            placed.layer.trainable = flag


def carry_compile_state(old: Any, new: Any) -> None:
    """Compile a model in the same way as another, with a new optimizer.

    Losses and metrics that cannot be made from their config (unregistered functions) are shared by
    the two models.

    Args:
        old: Model whose compile state is copied; if it is not compiled, nothing happens.
        new: Model that is compiled.

    Warns:
        UserWarning: The compile state cannot be copied; the new model is not compiled.
    """
    compiled = getattr(old, "compiled", False) or IS_COMPILED.of(old, False)
    config = old.get_compile_config() if compiled else None
    if not config:
        return
    try:
        new.compile_from_config(config)
    except Exception:
        try:
            options = dict(COMPILE_CONFIG.of(old).config)
            optimizer = old.optimizer
            options["optimizer"] = type(optimizer).from_config(optimizer.get_config())
            new.compile(**options)
        except Exception as error:
            warnings.warn(
                f"model {new.name!r} is not compiled: its compile state cannot be copied ({error})",
                stacklevel=3,
            )

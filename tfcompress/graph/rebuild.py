"""The same wiring with some layers changed: a new model, weights carried, the old one untouched.

`rebuild` plays a model's graph again with fresh layers. What differs is said by `Edit`s, keyed by
path: other values in a layer's config, other arguments of a call, or a chain of layers in the place
of one. Weights come from the old model by (path, role), or from the caller where they changed, and
every shape is checked.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tfcompress.errors import LayerError
from tfcompress.graph.layers import flavor_of, own_weights, walk_layers
from tfcompress.graph.wiring import Wiring, flatten, functional_core, read_wiring, substitute

Key = tuple[str, str]
"""A weight: (layer path, role), such as `("encoder/conv", "kernel")`."""


@dataclass(frozen=True)
class Edit:
    """What shall be different about one operation.

    Attributes:
        config: Values of the layer's (or `keras.ops` operation's) config to replace.
        arguments: (args, kwargs) of each call to the new ones, tensors being those of the new
            graph.
        replacement: New, unbuilt layers to call one after the other instead.
    """

    config: Mapping[str, Any] = field(default_factory=dict)
    arguments: Callable[[tuple[Any, ...], dict[str, Any]], tuple[Any, Any]] | None = None
    replacement: Sequence[Any] = ()


def rebuild(
    model: Any,
    edits: Mapping[str, Edit] | None = None,
    weights: Mapping[Key, np.ndarray] | None = None,
) -> Any:
    """Build a model anew with some of its layers changed.

    Layer names, trainable flags, dtype policies, regularizers, the structure of inputs and outputs
    and nested and shared layers survive; a compiled model comes back compiled the same way, with a
    fresh optimizer. Masks of `LevelPruner` and other state hung on the old model do not come along.

    Args:
        model: Functional or Sequential, of either flavor; not changed.
        edits: By path in the flat wiring ("encoder/conv" for a layer inside a nested model).
        weights: Values that differ from the old model's, by (path, role).

    Returns:
        The new model.

    Raises:
        LayerError: No graph, an unknown path, a layer that cannot be made from its config, a weight
            without a value, or one of the wrong shape.
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
    _carry_weights(model, new, dict(weights or {}))
    _carry_flags(model, new)
    _carry_compile_state(model, new)
    return new


class GraphBuilder:
    """Makes new layers once each and plays the graph with them.

    Args:
        model: Whose flavor is read.
        edits: By path.
        library: Module of the flavor that is built; default the model's.
    """

    def __init__(self, model: Any, edits: Mapping[str, Edit], library: str = "") -> None:
        self.flavor = flavor_of(model)
        self.library = importlib.import_module(library or self.flavor)
        self.edits = edits
        self.made: dict[int, Any] = {}
        self.met: set[str] = set()

    def model(self, old: Any, prefix: str, shapes: Sequence[tuple[int | None, ...]] | None) -> Any:
        """A new model; `shapes` are those of its inputs where they differ from the old ones."""
        wiring = read_wiring(old)
        core = functional_core(old, self.flavor)
        inputs = self.inputs(core, shapes)
        values = {t.index: new for t, new in zip(wiring.inputs, inputs, strict=True)}
        chain = list(inputs[:1])
        for call in wiring.calls:
            args, kwargs = substitute((call.args, dict(call.kwargs)), values)
            path = prefix + call.path
            self.met.add(path)
            edit = self.edits.get(path, Edit())
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
        """New symbolic inputs."""
        made = []
        key = "batch_shape" if self.flavor == "keras" else "batch_input_shape"
        for i, tensor in enumerate(core.inputs):
            history = tensor._keras_history
            layer = history.operation if self.flavor == "keras" else history.layer
            config = layer.get_config()
            if shapes is not None:
                config[key] = shapes[i]
            made.append(type(layer).from_config(config).output)
        return made

    def _layers(self, op: Any, path: str, edit: Edit, leaves: Sequence[Any]) -> list[Any]:
        """The new layers (one, but for replacements) in the place of an operation."""
        if id(op) in self.made:
            return self.made[id(op)]
        if edit.replacement:
            made = list(edit.replacement)
        elif functional_core(op, self.flavor) is not None:
            symbolic = [leaf for leaf in leaves if hasattr(leaf, "_keras_history")]
            shapes = [
                tuple(new if old is not None else None for old, new in zip(a.shape, b.shape))  # noqa: B905
                for a, b in zip(functional_core(op, self.flavor).inputs, symbolic, strict=True)
            ]
            made = [self.model(op, f"{path}/", shapes)]
        else:
            made = [self.fresh(op, path, edit.config)]
        self.made[id(op)] = made
        return made

    def fresh(self, op: Any, path: str, changes: Mapping[str, Any]) -> Any:
        """A new layer (or other callable) in the place of an operation."""
        return _fresh(op, path, changes)

    def _close(
        self, old: Any, core: Any, wiring: Wiring, values: Mapping[int, Any], chain: Sequence[Any]
    ) -> Any:
        """The model object around a new graph, of the old one's class where that is possible."""
        import tensorflow as tf

        if type(old).__name__ == "Sequential":
            history = chain[0]._keras_history
            entry = getattr(history, "operation", None) or history.layer
            return self.library.Sequential([entry, *chain[1:]], name=old.name)
        if self.flavor == "keras":
            structures = (core._inputs_struct, core._outputs_struct)
        else:
            structures = (core._nested_inputs, core._nested_outputs)
        news = [[values[t.index] for t in tensors] for tensors in (wiring.inputs, wiring.outputs)]
        inputs, outputs = (
            tf.nest.pack_sequence_as(structure, new)
            for structure, new in zip(structures, news, strict=True)
        )
        if self.library.__name__ == self.flavor and type(old).__name__ not in _PLAIN:
            try:
                return type(old)(inputs=inputs, outputs=outputs, name=old.name)
            except TypeError:
                pass  # its constructor is its own: the graph is kept, its class is not
        return self.library.Model(inputs, outputs, name=old.name)


_PLAIN = ("Functional", "Model")


def _fresh(op: Any, path: str, changes: Mapping[str, Any]) -> Any:
    try:
        config = op.get_config()
    except NotImplementedError:
        raise LayerError(
            f"layer {path!r}",
            f"{type(op).__name__} has no get_config(), so it cannot be made again",
            "define get_config() on the class, returning its constructor's arguments",
        ) from None
    try:
        return type(op).from_config({**config, **changes})
    except Exception as error:
        raise LayerError(
            f"layer {path!r}",
            f"{type(op).__name__} cannot be made from its own config ({error})",
            "let from_config(get_config()) work on the class",
        ) from error


def _carry_weights(old: Any, new: Any, given: dict[Key, np.ndarray]) -> None:
    kept = {
        (placed.path, role): variable
        for placed in walk_layers(old)
        for role, variable in own_weights(placed.layer)
    }
    for placed in walk_layers(new):
        for role, variable in own_weights(placed.layer):
            key = (placed.path, role)
            where = f"layer {placed.path!r}"
            if key in given:
                value = given.pop(key)
            elif key in kept:
                value = np.asarray(kept[key])
            else:
                raise LayerError(
                    where, f"its {role} is new and has no value", "pass it in `weights`"
                )
            if tuple(value.shape) != tuple(variable.shape):
                raise LayerError(
                    where,
                    f"its {role} has shape {tuple(variable.shape)}, the value {value.shape}",
                    "let the edited config and the weights agree",
                )
            variable.assign(value)
    if given:
        path, role = next(iter(given))
        raise LayerError(
            f"layer {path!r}", f"it has no weight {role!r}", "drop the value, or correct its path"
        )


def _carry_flags(old: Any, new: Any) -> None:
    """Trainable flags, parents first: a parent's flag overwrites those below it."""
    flags = {placed.path: placed.layer.trainable for placed in walk_layers(old)}
    if new.trainable != old.trainable:
        new.trainable = old.trainable
    for placed in walk_layers(new):
        flag = flags.get(placed.path, True)
        if placed.layer.trainable != flag:
            placed.layer.trainable = flag


def _carry_compile_state(old: Any, new: Any) -> None:
    compiled = getattr(old, "compiled", False) or getattr(old, "_is_compiled", False)
    config = old.get_compile_config() if compiled else None
    if config:
        new.compile_from_config(config)

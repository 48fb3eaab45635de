"""The graph of a Keras model as data: calls, tensors and shapes, for both flavors.

Keras 3 and tf_keras each record in their own objects how a functional model was put together.
`read_wiring` turns either record into the same plain description: the calls in an order in which
they can run, each with its operation (a layer, or a bare `keras.ops` operation), its arguments, in
which a `Tensor` stands for every symbolic tensor, and its outputs. A nested model is a single call,
or is inlined with `flat=True`. `run` computes a wiring on data.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress.errors import LayerError
from tfcompress.graph.layers import Flavor, flavor_of, walk_layers
from tfcompress.internals import keras as keras3_names
from tfcompress.internals import tf_keras as tf_keras_names
from tfcompress.short_repr import short_repr

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Tensor:
    """A symbolic tensor.

    Attributes:
        index: Number of the tensor in the wiring, in the order of creation.
        shape: Shape with the batch axis; free axes are None.
        dtype: Name of the data type, such as "float32".
    """

    index: int
    shape: Shape
    dtype: str


@short_repr
@dataclass(frozen=True, eq=False)
class Call:
    """One call of one operation.

    Attributes:
        path: Names from the model down to the operation, joined by "/".
        op: The layer, model or operation object.
        args: Positional arguments, with a `Tensor` for every symbolic tensor.
        kwargs: Keyword arguments, with a `Tensor` for every symbolic tensor.
        inputs: Tensors in `args` and `kwargs`, flat and in order.
        outputs: Tensors that the call returns, flat.
    """

    path: str
    op: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]

    @property
    def kind(self) -> str:
        """Class name of the operation."""
        return type(self.op).__name__


@short_repr
@dataclass(frozen=True)
class Wiring:
    """The graph of a model.

    Attributes:
        model: The model that was read.
        flavor: Library of the model, "keras" or "tf_keras".
        calls: Calls in an order in which they can run; inputs are not calls.
        inputs: Tensors of the model's inputs, flat.
        outputs: Tensors of the model's outputs, flat.
        nested: Inlined calls of nested models, each as (path, inputs).
    """

    model: Any
    flavor: Flavor
    calls: tuple[Call, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    nested: tuple[tuple[str, tuple[Tensor, ...]], ...] = ()

    @property
    def input_shapes(self) -> list[Shape]:
        """Shapes of the model's inputs, without the batch axis."""
        return [tensor.shape[1:] for tensor in self.inputs]

    @property
    def input_names(self) -> list[str]:
        """Names of the model's inputs."""
        return [input_layer(tensor).name for tensor in _graph_of(self.model, self.flavor).inputs]

    def as_tensors(self, arrays: Sequence[Any]) -> list[Any]:
        """Convert arrays, one per input, to tensors of the inputs' data types."""
        import tensorflow as tf

        return [tf.cast(a, t.dtype) for a, t in zip(arrays, self.inputs, strict=True)]


def read_wiring(model: Any, flat: bool = False) -> Wiring:
    """Read the graph of a functional or Sequential model.

    Args:
        model: Built model of either flavor.
        flat: Whether to inline nested models, call by call. Their name then prefixes the paths. A
            nested model that is subclassed stays one call, as any layer.

    Returns:
        The graph.

    Raises:
        LayerError: The model is subclassed or unbuilt, so it has no graph.
    """
    flavor = flavor_of(model)
    graph = _graph_of(model, flavor)
    reader = _Reader(model, flavor, flat)
    inputs = tuple(reader.tensor(t) for t in graph.inputs)
    known = {id(t): mine for t, mine in zip(graph.inputs, inputs, strict=True)}
    reader.splice(graph, "", known)
    outputs = tuple(known[id(t)] for t in graph.outputs)
    return Wiring(model, flavor, tuple(reader.calls), inputs, outputs, tuple(reader.nested))


def _graph_of(model: Any, flavor: Flavor) -> Any:
    graph = functional_core(model, flavor)
    if graph is None:
        raise LayerError(
            f"model {model.name!r}",
            "it has no graph that can be read: it is subclassed, or was not built on an Input",
            "build it functionally; a subclassed model often becomes functional by "
            "x = keras.Input(shape); keras.Model(x, model.call(x))",
        )
    return graph


def pack_inputs(model: Any, flat: Sequence[Any]) -> Any:
    """Pack flat inputs into the structure that a model takes: a tensor, a list or a dict."""
    import tensorflow as tf

    structure = _names_of(flavor_of(model)).INPUTS.of(model, None)
    if isinstance(structure, (dict, tuple)) or (isinstance(structure, list) and len(flat) == 1):
        return tf.nest.pack_sequence_as(structure, list(flat))
    return flat[0] if len(flat) == 1 else list(flat)


def pack_outputs(model: Any, flat: Sequence[Any]) -> Any:
    """Pack flat outputs into the structure that a functional or Sequential model returns."""
    import tensorflow as tf

    flavor = flavor_of(model)
    structure = _names_of(flavor).OUTPUTS.of(functional_core(model, flavor), None)
    return tf.nest.pack_sequence_as(structure, list(flat))


def input_structure(graph: Any, flavor: Flavor) -> Any:
    """The inputs of a functional model in their structure."""
    return _names_of(flavor).INPUTS.of(graph)


def output_structure(graph: Any, flavor: Flavor) -> Any:
    """The outputs of a functional model in their structure."""
    return _names_of(flavor).OUTPUTS.of(graph)


def _names_of(flavor: Flavor) -> Any:
    return keras3_names if flavor == "keras" else tf_keras_names


def input_layer(tensor: Any) -> Any:
    """The input layer that made a symbolic input of either flavor."""
    history = keras3_names.HISTORY.of(tensor)
    return history.operation if hasattr(history, "operation") else history.layer


def functional_core(op: Any, flavor: Flavor) -> Any | None:
    """The functional graph of a functional or Sequential model; None if `op` has none."""
    if not _is_model(op, flavor):
        return None
    core = op
    if flavor == "keras" and keras3_names.FUNCTIONAL.on(op):  # a Keras 3 Sequential contains one
        core = keras3_names.FUNCTIONAL.of(op)
    if not keras3_names.NODES.of(core, None) or not core.inputs:
        return None
    return core


def run(
    wiring: Wiring,
    inputs: Sequence[Any],
    keep: Collection[int] | None = None,
    training: bool = False,
    compute: Callable[[Call, dict[int, Any], bool], None] | None = None,
) -> dict[int, Any]:
    """Compute a wiring on tensors.

    Args:
        wiring: Graph of a model. Read it with `flat=True` to get the tensors of nested models too.
        inputs: Tensors with the batch axis first, one per input.
        keep: Indices of the tensors to return; all by default.
        training: Whether to run in training mode (dropout is active, normalization uses and updates
            batch statistics). A tf_keras layer that was called with an explicit `training` keeps
            it, as in `fit`.
        compute: Function that computes a call, `step` by default.

    Returns:
        Values by tensor index. Gradients flow through them.
    """
    values = {t.index: value for t, value in zip(wiring.inputs, inputs, strict=True)}
    last_use = last_uses(wiring)
    for i, call in enumerate(wiring.calls):
        (compute or step)(call, values, training)
        if keep is None:
            continue
        for t in call.inputs:
            if last_use[t.index] == i and t.index not in keep:
                values.pop(t.index, None)  # no later call reads it
    return {index: value for index, value in values.items() if keep is None or index in keep}


def step(call: Call, values: dict[int, Any], training: bool = False) -> None:
    """Compute one call and add its outputs to `values`, by tensor index."""
    args, kwargs = substitute((call.args, dict(call.kwargs)), values)
    if takes_training(call.op):
        if flavor_of(call.op) == "keras":
            kwargs["training"] = training  # overrides what was recorded
        kwargs.setdefault("training", training)
    made = flatten(call.op(*args, **kwargs))
    values.update((t.index, value) for t, value in zip(call.outputs, made, strict=True))


def last_uses(wiring: Wiring) -> dict[int, int]:
    """Position of the last call that reads each tensor."""
    return {t.index: i for i, call in enumerate(wiring.calls) for t in call.inputs}


def substitute(structure: Any, values: Mapping[int, Any]) -> Any:
    """Replace every `Tensor` in a structure by its value."""
    import tensorflow as tf

    return tf.nest.map_structure(
        lambda leaf: values[leaf.index] if isinstance(leaf, Tensor) else leaf, structure
    )


def flatten(structure: Any) -> list[Any]:
    """The leaves of lists, tuples and dicts, in Keras' order."""
    import tensorflow as tf

    return tf.nest.flatten(structure)


def _is_model(op: Any, flavor: Flavor) -> bool:
    return isinstance(op, importlib.import_module(flavor).Model)


def takes_training(op: Any) -> bool:
    """Whether calls of an operation have a `training` argument, in either flavor."""
    in_tf_keras = tf_keras_names.TAKES_TRAINING.of(op, False)
    return bool(keras3_names.TAKES_TRAINING.of(op, in_tf_keras))


class _Reader:
    """Numbers tensors and collects calls."""

    def __init__(self, model: Any, flavor: Flavor, flat: bool) -> None:
        self.flavor = flavor
        self.flat = flat
        self.calls: list[Call] = []
        self.count = 0
        self.nested: list[tuple[str, tuple[Tensor, ...]]] = []
        self.paths = {id(placed.layer): placed.path for placed in walk_layers(model)}

    def tensor(self, symbolic: Any) -> Tensor:
        dtype = symbolic.dtype if isinstance(symbolic.dtype, str) else symbolic.dtype.name
        self.count += 1
        return Tensor(self.count - 1, tuple(symbolic.shape), dtype)

    def splice(
        self,
        graph: Any,
        prefix: str,
        known: dict[int, Tensor],
        training: bool | None = None,
    ) -> None:
        """Add the calls of a graph; `known` maps the ids of its tensors to ours, and is extended.

        `training` is the argument that a nested tf_keras model is called with, which applies to its
        layers too. In Keras 3, the caller of the outermost model decides.
        """
        import tensorflow as tf

        for op, args, kwargs, outputs in _nodes(graph, self.flavor):
            inputs = tuple(known[id(x)] for x in flatten((args, kwargs)) if id(x) in known)
            path = self.paths.get(id(op), f"{prefix}{op.name}")  # the same on every way to it
            inner = functional_core(op, self.flavor) if self.flat else None
            if inner is not None:
                self.nested.append((path, inputs))
                inside = {id(t): mine for t, mine in zip(inner.inputs, inputs, strict=True)}
                said = kwargs.get("training") if self.flavor == "tf_keras" else None
                self.splice(inner, f"{path}/", inside, training if said is None else said)
                made = [inside[id(t)] for t in inner.outputs]
            else:
                made = [self.tensor(t) for t in outputs]
                args, kwargs = tf.nest.map_structure(
                    lambda leaf: known.get(id(leaf), leaf), (tuple(args), _stated(kwargs, known))
                )
                if training is not None and takes_training(op):
                    kwargs.setdefault("training", training)
                self.calls.append(Call(path, op, args, kwargs, inputs, tuple(made)))
            known.update((id(t), mine) for t, mine in zip(outputs, made, strict=True))


def _stated(kwargs: Mapping[str, Any], known: Mapping[int, Tensor]) -> dict[str, Any]:
    """Keyword arguments without those that Keras adds by itself."""
    return {
        key: value
        for key, value in kwargs.items()
        if value is not None and (key != "mask" or all(id(x) in known for x in flatten(value)))
    }


def _nodes(graph: Any, flavor: Flavor) -> Iterator[tuple[Any, Any, Any, list[Any]]]:
    """Yield (operation, args, kwargs, flat outputs) of each call, in the order of execution."""
    nodes = keras3_names.NODES.of(graph)
    for depth in sorted(nodes, reverse=True):
        for node in nodes[depth]:
            if node.is_input:
                continue
            if flavor == "keras":
                arguments = node.arguments
                yield node.operation, arguments.args, arguments.kwargs, list(node.outputs)
            else:
                yield node.layer, node.call_args, node.call_kwargs, flatten(node.outputs)

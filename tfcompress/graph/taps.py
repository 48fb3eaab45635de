"""Logits and features of a model beside its outputs, in one forward pass.

A model that ends in a softmax gives probabilities; what distillation needs is what goes into that
softmax. Features are the outputs of layers on the way, models inside the model included.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress.errors import ConfigError
from tfcompress.graph.wiring import Call, Shape, Tensor, read_wiring, run, step

_SQUASHING = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Tapped:
    """What one forward pass gave.

    Attributes:
        outputs: As the model gives them.
        logits: One tensor per output: what goes into its final softmax or sigmoid, or the output
            itself where there is none.
        features: Outputs of the tapped layers, by the names that were asked for.
    """

    outputs: Any
    logits: list[Any]
    features: dict[str, Any]


class TappedModel:
    """A functional or Sequential model of either flavor, with taps; its weights are the model's.

    Args:
        model: The model; not changed.
        layers: Names (or paths) of layers whose outputs are wanted.

    Raises:
        LayerError: The model has no graph.
        ConfigError: There is no such layer, several, or one that is called more than once.
    """

    def __init__(self, model: Any, layers: Sequence[str] = ()) -> None:
        self.model = model
        self.wiring = read_wiring(model, flat=True)
        self._makers = {t.index: call for call in self.wiring.calls for t in call.outputs}
        self._features = {name: self._output_of(name) for name in layers}
        self._heads = {
            t.index for t in self.wiring.outputs if _kernel_activation(self._makers.get(t.index))
        }
        self._keep = {
            *(t.index for t in self.wiring.outputs),
            *(t.index for t in self._features.values()),
            *(self._before(t).index for t in self.wiring.outputs),
        }

    @property
    def logit_shapes(self) -> list[Shape]:
        """One per output, with the batch axis."""
        return [self._before(t).shape for t in self.wiring.outputs]

    @property
    def feature_shapes(self) -> dict[str, Shape]:
        """By name, with the batch axis."""
        return {name: t.shape for name, t in self._features.items()}

    @property
    def squashed(self) -> list[bool]:
        """Whether each output comes out of a softmax or sigmoid."""
        return [
            t.index in self._heads or self._before(t).index != t.index for t in self.wiring.outputs
        ]

    def __call__(self, inputs: Any, training: bool = False) -> Tapped:
        """Run the model.

        Args:
            inputs: As the model takes them.
            training: Whether dropout drops and normalization uses batch statistics.
        """
        import tensorflow as tf

        if isinstance(inputs, dict):
            given = [inputs[name] for name in self.wiring.input_names]
        else:
            given = tf.nest.flatten(inputs)
        logits: dict[int, Any] = {}

        def compute(call: Call, values: dict[int, Any], training: bool) -> None:
            if call.outputs[0].index not in self._heads:
                step(call, values, training)
                return
            index, activation = call.outputs[0].index, call.op.activation
            call.op.activation = None  # the layer's own forward pass, up to its activation
            try:
                step(call, values, training)
            finally:
                call.op.activation = activation
            logits[index] = values[index]
            values[index] = activation(values[index])

        tensors = self.wiring.as_tensors(given)
        values = run(self.wiring, tensors, self._keep, training, compute)
        outputs = [values[t.index] for t in self.wiring.outputs]
        structure = getattr(self.model, "_outputs_struct", None)
        return Tapped(
            outputs=outputs[0] if len(outputs) == 1 else _packed(structure, outputs),
            logits=[
                logits.get(t.index, values[self._before(t).index]) for t in self.wiring.outputs
            ],
            features={name: values[t.index] for name, t in self._features.items()},
        )

    def _before(self, output: Tensor) -> Tensor:
        """The tensor that goes into the softmax that makes an output; the output if none does."""
        call = self._makers.get(output.index)
        return call.inputs[0] if call is not None and _is_squashing(call) else output

    def _output_of(self, name: str) -> Tensor:
        calls = [call for call in self.wiring.calls if call.path == name] or [
            call for call in self.wiring.calls if call.path.rpartition("/")[2] == name
        ]
        where = f"layer {name!r} of {self.model.name!r}"
        if not calls:
            paths = dict.fromkeys(call.path for call in self.wiring.calls)
            near = difflib.get_close_matches(name, paths, n=3, cutoff=0.4) or list(paths)[-3:]
            raise ConfigError(where, "the model's graph has none", f"use one of {', '.join(near)}")
        if len(calls) > 1:
            paths = dict.fromkeys(call.path for call in calls)
            if len(paths) > 1:
                raise ConfigError(where, "it is the name of several", f"use {' or '.join(paths)}")
            raise ConfigError(
                where, f"it is called {len(calls)} times", "tap a layer that is called once"
            )
        if len(calls[0].outputs) != 1:
            raise ConfigError(where, "it has several outputs", "tap a layer that has one")
        return calls[0].outputs[0]


def _activation(op: Any) -> str:
    return getattr(getattr(op, "activation", None), "__name__", "")


def _is_squashing(call: Call) -> bool:
    """Whether a call is a softmax or sigmoid and nothing else."""
    if call.kind == "Activation":
        return _activation(call.op) in _SQUASHING
    if call.kind.endswith("OpLambda"):  # tf_keras: tf.nn.softmax and the like
        return call.op.name.rstrip("_0123456789").rpartition(".")[2] in _SQUASHING
    return call.kind.lower() in _SQUASHING


def _kernel_activation(call: Call | None) -> bool:
    """Whether a call is a layer that computes something and then a softmax or sigmoid."""
    if call is None or call.kind == "Activation" or len(call.outputs) != 1:
        return False
    return _activation(call.op) in _SQUASHING and hasattr(call.op, "kernel")


def _packed(structure: Any, outputs: list[Any]) -> Any:
    import tensorflow as tf

    if isinstance(structure, (dict, tuple, list)):
        return tf.nest.pack_sequence_as(structure, outputs)
    return outputs

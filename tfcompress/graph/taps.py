"""Get a model's logits and intermediate features beside its outputs, in one forward pass.

A model that ends in a softmax gives probabilities, but distillation needs the logits before it.
Features are the outputs of intermediate layers, including those of nested models.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfcompress.errors import ConfigError
from tfcompress.graph.wiring import Call, Shape, Tensor, pack_outputs, read_wiring, run, step

_SQUASHING = ("softmax", "sigmoid")


@dataclass(frozen=True)
class Tapped:
    """The results of one forward pass.

    Attributes:
        outputs: Outputs in the model's own structure.
        logits: Inputs of the final softmax or sigmoid, one tensor per output; an output without
            either is its own logits.
        features: Outputs of the tapped layers, by the names that were requested.
    """

    outputs: Any
    logits: list[Any]
    features: dict[str, Any]


class TappedModel:
    """A functional or Sequential model of either flavor that also returns logits and features.

    It shares its weights with the model.

    Args:
        model: The model, which is not changed.
        layers: Names or paths of the layers whose outputs are requested.

    Raises:
        LayerError: The model has no graph.
        ConfigError: A name matches no layer or several, or a layer that is called more than once
            or has several outputs.
    """

    def __init__(self, model: Any, layers: Sequence[str] = ()) -> None:
        self.model = model
        self.wiring = read_wiring(model, flat=True)
        self._makers = {t.index: call for call in self.wiring.calls for t in call.outputs}
        self._features = {name: self._output_of(name) for name in layers}
        self._heads = {
            t.index for t in self.wiring.outputs if _ends_in_squashing(self._makers.get(t.index))
        }
        self._keep = {
            *(t.index for t in self.wiring.outputs),
            *(t.index for t in self._features.values()),
            *(self._before(t).index for t in self.wiring.outputs),
        }

    @property
    def logit_shapes(self) -> list[Shape]:
        """Shapes of the logits with the batch axis, one per output."""
        return [self._before(t).shape for t in self.wiring.outputs]

    @property
    def feature_shapes(self) -> dict[str, Shape]:
        """Shapes of the features with the batch axis, by name."""
        return {name: t.shape for name, t in self._features.items()}

    @property
    def activations(self) -> list[str]:
        """Final activation of each output: "softmax", "sigmoid", or "" for neither."""
        makers = [self._makers.get(t.index) for t in self.wiring.outputs]
        return [_squashing(maker) if maker is not None else "" for maker in makers]

    def __call__(self, inputs: Any, training: bool = False) -> Tapped:
        """Run the model.

        Args:
            inputs: A batch of inputs, in the model's structure or as a dict by input name.
            training: Whether to run in training mode (dropout is active, normalization uses batch
                statistics).
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
            call.op.activation = None  # run the layer without its activation
            try:
                step(call, values, training)
            finally:
                call.op.activation = activation
            logits[index] = values[index]
            values[index] = activation(values[index])

        tensors = self.wiring.as_tensors(given)
        values = run(self.wiring, tensors, self._keep, training, compute)
        outputs = [values[t.index] for t in self.wiring.outputs]
        return Tapped(
            outputs=pack_outputs(self.model, outputs),
            logits=[
                logits.get(t.index, values[self._before(t).index]) for t in self.wiring.outputs
            ],
            features={name: values[t.index] for name, t in self._features.items()},
        )

    def _before(self, output: Tensor) -> Tensor:
        """The input of the softmax that makes an output; the output itself if there is none."""
        call = self._makers.get(output.index)
        if call is None or not _squashing(call) or _ends_in_squashing(call):
            return output
        return call.inputs[0]

    def _output_of(self, name: str) -> Tensor:
        calls = [call for call in self.wiring.calls if call.path == name] or [
            call for call in self.wiring.calls if call.path.rpartition("/")[2] == name
        ]
        where = f"layer {name!r} of {self.model.name!r}"
        if not calls:
            paths = dict.fromkeys(call.path for call in self.wiring.calls)
            near = difflib.get_close_matches(name, paths, n=3, cutoff=0.4) or list(paths)[-3:]
            raise ConfigError(
                where, "the model's graph has no such layer", f"use one of {', '.join(near)}"
            )
        if len(calls) > 1:
            paths = dict.fromkeys(call.path for call in calls)
            if len(paths) > 1:
                raise ConfigError(
                    where, "several layers have this name", f"use {' or '.join(paths)}"
                )
            raise ConfigError(
                where, f"it is called {len(calls)} times", "tap a layer that is called once"
            )
        if len(calls[0].outputs) != 1:
            raise ConfigError(where, "it has several outputs", "tap a layer that has one")
        return calls[0].outputs[0]


def _squashing(call: Call) -> str:
    """The final softmax or sigmoid of a call, by name; "" if it has neither."""
    name = getattr(getattr(call.op, "activation", None), "__name__", call.kind.lower())
    if call.kind.endswith("OpLambda"):  # tf.nn.softmax and similar, in tf_keras
        name = call.op.name.rstrip("_0123456789").rpartition(".")[2]
    return name if name in _SQUASHING else ""


def _ends_in_squashing(call: Call | None) -> bool:
    """Whether a call is a layer with a kernel that ends in a softmax or sigmoid."""
    return call is not None and bool(_squashing(call)) and hasattr(call.op, "kernel")

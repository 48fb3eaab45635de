"""Teachers: Keras 3 or tf_keras models or plain callables, run for their logits and features.

A teacher is never changed: it runs in inference mode, its variables are not tracked as trainable,
and gradients stop before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from keras import ops

from tfcompress.errors import ConfigError, DataError, LayerError
from tfcompress.graph.layers import flavor_of
from tfcompress.graph.taps import TappedModel
from tfcompress.graph.wiring import Shape, functional_core
from tfcompress.losses import one_hot_labels
from tfcompress.short_repr import short_repr

Select = Literal["mean", "best"] | Callable[[Any, Sequence[Any]], Any]
"""How several teachers are combined; see `Teachers`."""


@short_repr
@dataclass(frozen=True)
class Knowledge:
    """The teachers' outputs for a batch.

    Attributes:
        logits: Logits `(N, ..., classes)`, one tensor per output of the model.
        features: Outputs of the tapped layers, `(N, ..., channels)`, by layer name.
    """

    logits: list[Any]
    features: dict[str, Any]


class Teachers:
    """One or several teachers, combined into one.

    Args:
        teachers: Keras 3 or tf_keras models, or callables from a batch of inputs to logits (or to
            a dict of "logits" and layer names).
        layers: Names of the layers whose outputs are needed; every teacher must have them.
        weights: Weights of the teachers, normalized to sum to 1; equal by default.
        select: How several teachers are combined. "mean" averages logits and features by the
            weights. "best" takes, for each sample, the teacher with the lowest cross-entropy on
            its label. A function of labels and a list of the teachers' logits returns weights
            `(N, teachers)`.

    Raises:
        ConfigError: `select` or a weight is invalid, a teacher is not callable, or a subclassed
            model is asked for layers.
    """

    def __init__(
        self,
        teachers: Sequence[Any],
        layers: Sequence[str],
        weights: Sequence[float] | None = None,
        select: Select = "mean",
    ) -> None:
        if select not in ("mean", "best") and not callable(select):
            raise ConfigError(
                "select",
                f"it is {select!r}",
                "use 'mean', 'best', or a function of labels and logits",
            )
        self.select = select
        self.layers = tuple(layers)
        self.models = [_tapped(teacher, layers) for teacher in teachers]
        self.weights = _normalized(weights, len(self.models))

    @property
    def shapes(self) -> tuple[list[Shape], dict[str, Shape]] | None:
        """Shapes of the logits and features; None if all teachers are callables of any kind."""
        known = [model for model in self.models if isinstance(model, TappedModel)]
        if not known:
            return None
        return known[0].logit_shapes, known[0].feature_shapes

    def __call__(self, inputs: Any, labels: Any = None) -> Knowledge:
        """Run the teachers on a batch.

        Args:
            inputs: A batch of inputs, as the teachers take them.
            labels: Labels of the batch; only `select` other than "mean" needs them.

        Returns:
            The combined outputs, which gradients do not flow through.

        Raises:
            DataError: The teachers' outputs differ in shape, a callable does not return a layer
                that is needed, or `select="best"` is given no labels.
        """
        heard = [self._hear(model, inputs) for model in self.models]
        if len(heard) == 1:
            return heard[0]
        _check_alike(heard)
        weights = self._sample_weights(labels, heard)
        return Knowledge(
            [_blend(weights, tensors) for tensors in zip(*(k.logits for k in heard), strict=True)],
            {
                name: _blend(weights, [k.features[name] for k in heard])
                for name in heard[0].features
            },
        )

    def _hear(self, model: Any, inputs: Any) -> Knowledge:
        if isinstance(model, TappedModel):
            tapped = model(inputs, training=False)
            logits, features = tapped.logits, tapped.features
        else:
            said = model(inputs)
            said = said if isinstance(said, dict) else {"logits": said}
            missing = [name for name in ("logits", *self.layers) if name not in said]
            if missing:
                raise DataError(
                    f"teacher {getattr(model, '__name__', type(model).__name__)!r}",
                    f"the dict that it returns lacks {', '.join(missing)}",
                    "return a dict with 'logits' and every layer that a loss names",
                )
            heads = said["logits"]
            logits = list(heads) if isinstance(heads, (list, tuple)) else [heads]
            features = {name: said[name] for name in self.layers}
        stop = ops.stop_gradient
        return Knowledge(
            [stop(ops.convert_to_tensor(x)) for x in logits],
            {name: stop(ops.convert_to_tensor(x)) for name, x in features.items()},
        )

    def _sample_weights(self, labels: Any, heard: Sequence[Knowledge]) -> Any:
        """Weights of the teachers, `(N, teachers)` or, equal for all samples, `(1, teachers)`."""
        if self.select == "mean":
            return ops.convert_to_tensor([self.weights], dtype="float32")
        logits = [knowledge.logits[0] for knowledge in heard]
        if callable(self.select):
            return ops.cast(self.select(labels, logits), "float32")
        if labels is None:
            raise DataError(
                "labels", "select='best' needs labels, and there are none", "give labels to fit"
            )
        losses = []
        for tensor in logits:
            log_p = ops.log_softmax(ops.cast(tensor, "float32"), axis=-1)
            loss = -ops.sum(one_hot_labels(labels, log_p) * log_p, axis=-1)
            losses.append(ops.mean(ops.reshape(loss, (ops.shape(loss)[0], -1)), axis=-1))
        return ops.one_hot(ops.argmin(ops.stack(losses, axis=-1), axis=-1), len(logits))


def _tapped(teacher: Any, layers: Sequence[str]) -> Any:
    if not callable(teacher):
        raise ConfigError(
            "teacher",
            f"it is a {type(teacher).__name__}",
            "give a Keras model, or a callable from a batch of inputs to logits",
        )
    try:
        flavor = flavor_of(teacher)
    except LayerError:
        return teacher  # a callable of any other kind
    if functional_core(teacher, flavor) is not None:
        return TappedModel(teacher, layers)
    if layers:
        raise ConfigError(
            f"teacher {teacher.name!r}",
            f"it is subclassed, so the outputs of its layers {', '.join(layers)} cannot be read",
            "give a callable that returns a dict with 'logits' and these names",
        )
    return _Inference(teacher)


class _Inference:
    """A subclassed model, called in inference mode; its outputs are taken as logits."""

    def __init__(self, model: Any) -> None:
        self.model, self.__name__ = model, model.name

    def __call__(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)


def _normalized(weights: Sequence[float] | None, count: int) -> list[float]:
    if not count:
        raise ConfigError("teacher", "the list is empty", "give a model, or a list of models")
    if weights is None:
        return [1 / count] * count
    if len(weights) != count or min(weights) < 0 or not sum(weights) > 0:
        raise ConfigError(
            "teacher_weights",
            f"{list(weights)} are not valid weights of {count} teachers",
            "give one number of at least 0 for each teacher, not all 0",
        )
    return [weight / sum(weights) for weight in weights]


def _check_alike(heard: Sequence[Knowledge]) -> None:
    first = heard[0]
    for knowledge in heard[1:]:
        pairs = [*zip(first.logits, knowledge.logits, strict=True)]
        pairs += [(first.features[name], knowledge.features[name]) for name in first.features]
        for one, other in pairs:
            if tuple(one.shape[1:]) != tuple(other.shape[1:]):
                raise DataError(
                    "teachers",
                    f"their outputs have shapes {tuple(one.shape)} and {tuple(other.shape)}",
                    "use teachers with the same classes, resolution and widths of tapped layers",
                )


def _blend(weights: Any, tensors: Sequence[Any]) -> Any:
    """The weighted mean of the teachers' tensors; weights `(N or 1, teachers)`."""
    total = 0.0
    for i, tensor in enumerate(tensors):
        tensor = ops.cast(tensor, "float32")
        shape = (-1, *(1 for _ in tensor.shape[1:]))
        total = total + ops.reshape(weights[:, i], shape) * tensor
    return total

"""Teachers: models of either flavor or plain callables, one or several, run for their knowledge.

A teacher is never changed: it is called in inference mode, its variables belong to nobody's
training, and no gradient reaches it.
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

Select = Literal["mean", "best"] | Callable[[Any, Sequence[Any]], Any]
"""How several teachers speak: see `Teachers`."""


@dataclass(frozen=True)
class Knowledge:
    """What teachers say about a batch.

    Attributes:
        logits: One tensor per output.
        features: By layer name.
    """

    logits: list[Any]
    features: dict[str, Any]


class Teachers:
    """One or several teachers, heard as one.

    Args:
        teachers: Keras 3 or tf_keras models, or callables from a batch of inputs to logits (or to
            a dict of "logits" and layer names).
        layers: Layers whose outputs are wanted, by the name that every teacher has.
        weights: Factors of several teachers, normalized; default equal ones.
        select: "mean": logits and features are averaged by the weights. "best": each sample hears
            the teacher whose loss on its label is least. Or a function of (labels, the logits of
            each teacher) to weights `(N, teachers)`.

    Raises:
        ConfigError: Weights or a layer that do not fit.
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
                "select", f"it is {select!r}", "use 'mean', 'best', or a function of labels, logits"
            )
        self.select = select
        self.layers = tuple(layers)
        self.models = [_tapped(teacher, layers) for teacher in teachers]
        self.weights = _normalized(weights, len(self.models))

    @property
    def shapes(self) -> tuple[list[Shape], dict[str, Shape]] | None:
        """Shapes of the logits and features; None where a callable tells only when it is called."""
        known = [model for model in self.models if isinstance(model, TappedModel)]
        if not known:
            return None
        return known[0].logit_shapes, known[0].feature_shapes

    def __call__(self, inputs: Any, labels: Any = None) -> Knowledge:
        """Hear the teachers on a batch.

        Args:
            inputs: As they take them.
            labels: For `select`.

        Raises:
            DataError: Teachers that do not agree in shape, or a callable without what is wanted.
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
                    f"what it returns lacks {', '.join(missing)}",
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
        """`(N, teachers)`, or `(1, teachers)`."""
        if self.select == "mean":
            return ops.convert_to_tensor([self.weights], dtype="float32")
        logits = [knowledge.logits[0] for knowledge in heard]
        if callable(self.select):
            return ops.cast(self.select(labels, logits), "float32")
        if labels is None:
            raise DataError(
                "labels", "select='best' compares teachers by them, and there are none", "give y"
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
            f"it is subclassed, so its layers {', '.join(layers)} cannot be seen",
            "give a callable that returns a dict with 'logits' and these names",
        )
    return _Inference(teacher)


class _Inference:
    """A subclassed model, called in inference mode; what it gives is taken as logits."""

    def __init__(self, model: Any) -> None:
        self.model, self.__name__ = model, model.name

    def __call__(self, inputs: Any) -> Any:
        return self.model(inputs, training=False)


def _normalized(weights: Sequence[float] | None, count: int) -> list[float]:
    if not count:
        raise ConfigError("teacher", "there is none", "give a model, or a list of them")
    if weights is None:
        return [1 / count] * count
    if len(weights) != count or min(weights) < 0 or not sum(weights) > 0:
        raise ConfigError(
            "teacher_weights",
            f"{list(weights)} are no weights of {count} teachers",
            "give one number of at least 0 for each",
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
    """The weighted mean; weights `(N or 1, teachers)`."""
    total = 0.0
    for i, tensor in enumerate(tensors):
        tensor = ops.cast(tensor, "float32")
        shape = (-1, *(1 for _ in tensor.shape[1:]))
        total = total + ops.reshape(weights[:, i], shape) * tensor
    return total

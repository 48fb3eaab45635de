"""Train a tf_keras twin: with the user's function, or compiled as the Keras 3 model was."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfcompress.errors import ConfigError
from tfcompress.graph.layers import flavor_of
from tfcompress.internals.keras import COMPILE_CONFIG, FUNCTION_OPTIONS
from tfcompress.internals.tf_keras import IS_COMPILED

Train = Callable[[Any], Any]
"""Function that compiles and fits a tf_keras model. It may return the `History` of `fit`."""

_PASS_TRAIN = "pass train=function of the tf_keras model that compiles and fits it"


def check_training(model: Any, train: Train | None, fit: Mapping[str, Any] | None) -> None:
    """Check the training arguments before any work starts.

    Args:
        model: Model to be trained.
        train: Function that compiles and fits a tf_keras model.
        fit: Arguments of `fit`, for a model that is compiled.

    Raises:
        ConfigError: Neither `train` nor `fit` is given, both are, or (with `fit`) the model is not
            compiled or its compile state cannot be converted to tf_keras.
    """
    if (train is None) == (fit is None):
        raise ConfigError(
            "train, fit",
            "both are given" if train is not None else "neither is given",
            "pass train=function of the tf_keras model, or fit=dict(x=..., y=..., epochs=...) for "
            "a model that is compiled",
        )
    if fit is not None:
        compile_arguments(model)


def train_twin(
    twin: Any,
    model: Any,
    train: Train | None,
    fit: Mapping[str, Any] | None,
    callbacks: Sequence[Any] = (),
) -> dict[str, list[float]]:
    """Train a twin.

    Args:
        twin: The tf_keras model, with or without TFMOT's wrappers.
        model: Original model, whose compile state is used with `fit`.
        train: Function that compiles and fits a tf_keras model; None uses `fit`.
        fit: Arguments of `twin.fit`; used if `train` is None.
        callbacks: Callbacks that are added to every `fit` of the twin.

    Returns:
        History of the last `fit`, by metric; empty if it is not known.
    """
    # Wrappers rename outputs, but losses and targets may be dicts by the original names.
    names = getattr(model, "output_names", None)
    if names and len(names) == len(twin.output_names):
        twin.output_names = list(names)
    inner = twin.fit

    def fit_with_callbacks(*args: Any, callbacks: Any = None, **kwargs: Any) -> Any:
        theirs = callbacks if isinstance(callbacks, (list, tuple)) else [callbacks]
        theirs = [callback for callback in theirs if callback is not None]
        return inner(*args, callbacks=[*ours, *theirs], **kwargs)

    ours = tuple(callbacks)
    if ours:
        twin.fit = fit_with_callbacks
    if train is not None:
        returned = train(twin)
    else:
        twin.compile(**compile_arguments(model))
        returned = twin.fit(**(fit or {}))
    history = getattr(returned, "history", None) or getattr(twin, "history", None)
    history = getattr(history, "history", history)
    return dict(history) if isinstance(history, Mapping) else {}


def compile_arguments(model: Any) -> dict[str, Any]:
    """Get the arguments of `compile` for a tf_keras twin from a compiled model.

    Raises:
        ConfigError: The model is not compiled, or has a loss, optimizer or metric that the two
            libraries do not share.
    """
    config = _compile_config(model)
    if not config:
        raise ConfigError(
            f"model {model.name!r}",
            "it is not compiled, so there is no loss and optimizer for its tf_keras twin",
            f"compile it, or {_PASS_TRAIN}",
        )
    return {
        "optimizer": _crossed(config.get("optimizer"), "optimizers", "optimizer"),
        "loss": _crossed(config.get("loss"), "losses", "loss"),
        "loss_weights": config.get("loss_weights"),
        "metrics": _crossed(config.get("metrics"), "metrics", "metric"),
        "weighted_metrics": _crossed(config.get("weighted_metrics"), "metrics", "metric"),
        "steps_per_execution": config.get("steps_per_execution") or 1,
    }


def _compile_config(model: Any) -> dict[str, Any]:
    """The arguments that a model was compiled with, as objects."""
    flavor = flavor_of(model)
    compiled = model.compiled if flavor == "keras" else IS_COMPILED.of(model)
    config = COMPILE_CONFIG.of(model, None)
    return dict(config.config) if compiled and config is not None else {}


def _crossed(value: Any, room: str, what: str) -> Any:
    """Convert a part of a compile config: every object in it is made again in tf_keras."""
    if callable(value) or hasattr(value, "get_config"):
        import keras

        serialized = keras.saving.serialize_keras_object(value)
        if isinstance(serialized.get("config"), Mapping):  # get_config() leaves some of these out
            options = FUNCTION_OPTIONS.of(value, None) or {}
            serialized = {**serialized, "config": {**options, **serialized["config"]}}
        return _object(serialized, room, what)
    if isinstance(value, Mapping):
        return {key: _crossed(item, room, what) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_crossed(item, room, what) for item in value]
    if isinstance(value, str) and not (room == "metrics" and value in _SHORT_METRICS):
        import tf_keras

        try:
            getattr(tf_keras, room).get(value)
        except ValueError:
            raise ConfigError(
                f"{what} {value!r}", "it does not exist in both Keras 3 and tf_keras", _PASS_TRAIN
            ) from None
    return value


_SHORT_METRICS = ("accuracy", "acc", "crossentropy", "ce")


def _object(serialized: Mapping[str, Any], room: str, what: str) -> Any:
    import tf_keras

    name = serialized["class_name"]
    own = str(serialized.get("module") or "keras").split(".")[0] in (
        "keras",
        "tf_keras",
        "builtins",
    )
    if name == "function":
        function = getattr(getattr(tf_keras, room), str(serialized["config"]), None)
        if own and function is not None:
            return function
        raise ConfigError(f"{what} {serialized['config']!r}", "it is not Keras' own", _PASS_TRAIN)
    made_of = getattr(getattr(tf_keras, room), name, None)
    if not own or serialized.get("registered_name") not in (None, name) or made_of is None:
        raise ConfigError(
            f"{what} {name!r}", "it does not exist in both Keras 3 and tf_keras", _PASS_TRAIN
        )
    config = dict(serialized["config"])
    if isinstance(config.get("learning_rate"), Mapping):
        config["learning_rate"] = _schedule(config["learning_rate"])
    if isinstance(config.get("fn"), Mapping):
        config["fn"] = _object(config["fn"], room, what)
    _check_droppable(config, name, what)
    if config.get("reduction", "") in ("mean", None):
        config["reduction"] = "none" if config["reduction"] is None else "sum_over_batch_size"
    accepted = _arguments(made_of)
    try:
        return made_of(**{key: item for key, item in config.items() if key in accepted})
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{what} {name!r}", f"tf_keras cannot make it ({error})", _PASS_TRAIN
        ) from error


def _schedule(serialized: Mapping[str, Any]) -> Any:
    import tf_keras

    made_of = getattr(tf_keras.optimizers.schedules, serialized["class_name"], None)
    if made_of is None or serialized.get("registered_name") not in (None, "", made_of.__name__):
        name = serialized["class_name"]
        raise ConfigError(f"learning rate schedule {name!r}", "it is not Keras' own", _PASS_TRAIN)
    return made_of.from_config(dict(serialized["config"]))


def _check_droppable(config: Mapping[str, Any], name: str, what: str) -> None:
    """Options of Keras 3 that tf_keras lacks may only go where they do nothing."""
    for key in ("gradient_accumulation_steps", "loss_scale_factor"):
        if config.get(key):
            raise ConfigError(f"{what} {name!r}", f"tf_keras has no {key}", _PASS_TRAIN)


def _arguments(made_of: type[Any]) -> set[str]:
    names: set[str] = set()
    for base in made_of.__mro__:
        if "__init__" in vars(base):
            names |= set(inspect.signature(vars(base)["__init__"]).parameters)
    return names - {"self", "args", "kwargs"}

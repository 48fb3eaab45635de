"""Convert a search space to keras-tuner's hyper-parameters, and back.

The functions work on a given `keras_tuner.HyperParameters`, so keras-tuner is not imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, cast

import numpy as np

from tfcompress.errors import ConfigError
from tfcompress.tuning.space import (
    Choice,
    Condition,
    Dimension,
    Integer,
    LogUniform,
    SearchSpace,
    Uniform,
    add_dimension,
)

_SCHEDULER_KEYS = "tuner/"
"""Prefix of the names under which Hyperband adds its epochs and rounds to the hyper-parameters."""


def to_keras_tuner(space: SearchSpace, hp: Any) -> Any:
    """Add the dimensions of a space to a `keras_tuner.HyperParameters`, and return the latter.

    Conditions become conditional scopes.
    """
    for name, dimension in space.dimensions.items():
        with ExitStack() as scopes:
            for parent, options in _conditions(space, dimension):
                scopes.enter_context(hp.conditional_scope(parent, options))
            _register(hp, name, dimension)
    return hp


def from_keras_tuner(hp: Any) -> SearchSpace:
    """Convert a `keras_tuner.HyperParameters` to a search space.

    A range with a step becomes a choice of its values, and `Fixed` a choice of one option.

    Raises:
        ConfigError: A dimension uses `reverse_log` sampling or is of an unknown kind, or different
            dimensions have the same name.
    """
    found: dict[str, Dimension] = {}
    for parameter in hp.space:
        add_dimension(found, parameter.name, _read(parameter, _condition(parameter)))
    return SearchSpace(found)


def tuner_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a keras-tuner trial without Hyperband's own, for `SearchSpace.decode`."""
    return {name: v for name, v in values.items() if not name.startswith(_SCHEDULER_KEYS)}


def _conditions(space: SearchSpace, dimension: Dimension) -> list[tuple[str, list[Any]]]:
    """The conditional scopes of a dimension, outermost first; keras-tuner needs all of them."""
    if dimension.when is None:
        return []
    parent, options = dimension.when
    choice = cast(Choice, space.dimensions[parent])  # SearchSpace has checked this
    own = (parent, [_option(choice, option) for option in options])
    return [*_conditions(space, choice), own]


def _register(hp: Any, name: str, dimension: Dimension) -> None:
    if isinstance(dimension, Choice):
        options = [_option(dimension, option) for option in dimension.options]
        hp.Choice(name, options, default=_option(dimension, dimension.typical))
    elif isinstance(dimension, Integer):
        sampling = "log" if dimension.log else "linear"
        hp.Int(name, dimension.low, dimension.high, sampling=sampling, default=dimension.typical)
    else:
        sampling = "log" if isinstance(dimension, LogUniform) else "linear"
        hp.Float(name, dimension.low, dimension.high, sampling=sampling, default=dimension.typical)


def _option(dimension: Choice, option: Any) -> Any:
    """An option in keras-tuner's form: itself if all are of one plain type, else its label."""
    kinds = {type(each) for each in dimension.options}
    plain = len(kinds) == 1 and kinds <= {int, float, str}  # booleans would become numbers
    return option if plain else str(option)


def _condition(parameter: Any) -> Condition | None:
    """The innermost scope; the outer ones are the conditions of its parent."""
    if not parameter.conditions:
        return None
    innermost = parameter.conditions[-1]
    return innermost.name, tuple(innermost.values)


def _read(parameter: Any, when: Condition | None) -> Dimension:
    kind = type(parameter).__name__
    if kind == "Fixed":
        return Choice((parameter.value,), when=when)
    if kind == "Boolean":
        return Choice((False, True), parameter.default, when)
    if kind == "Choice":
        return Choice(tuple(parameter.values), parameter.default, when)
    if kind in ("Int", "Float"):
        sampling, step = parameter.sampling or "linear", parameter.step
        if sampling == "reverse_log":
            raise ConfigError(
                f"dimension '{parameter.name}' of the search space",
                "its sampling is reverse_log",
                "sample 1 - x with 'log'",
            )
        low, high, default = parameter.min_value, parameter.max_value, parameter.default
        if step is not None and not (kind == "Int" and sampling == "linear" and step == 1):
            grid = tuple(np.asarray(list(parameter.values)).tolist())
            return Choice(grid, default if default in grid else None, when)
        if kind == "Int":
            return Integer(low, high, sampling == "log", default, when)
        return (LogUniform if sampling == "log" else Uniform)(low, high, default, when)
    raise ConfigError(
        f"dimension '{parameter.name}' of the search space",
        f"keras-tuner's {kind} is not supported",
        "use Choice, Int, Float, Boolean or Fixed",
    )

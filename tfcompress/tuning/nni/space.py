"""Convert a search space to NNI's `search_space.json`, and back.

A choice that other dimensions depend on becomes a nested choice: `{"_name": option, dimension...}`.

NNI's tuner reads its messages as JSON with comments. It can take a "#" or "//" in a name or an
option for the start of a comment, and then the experiment hangs silently. Therefore these are
replaced by full-width characters that look alike.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tfcompress.atomic import write_text
from tfcompress.errors import ConfigError
from tfcompress.reporting.run import to_json
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

_NO_COMMENTS = {"#": "\N{FULLWIDTH NUMBER SIGN}", "//": 2 * "\N{FULLWIDTH SOLIDUS}"}
_KNOWN = "choice, randint, uniform, loguniform, quniform and qloguniform"


def to_nni(space: SearchSpace) -> dict[str, Any]:
    """Convert a space to the content of NNI's `search_space.json`."""
    return {
        _safe(name): _written(space, name)
        for name, dimension in space.dimensions.items()
        if dimension.when is None
    }


def write_nni_space(space: SearchSpace, path: str | os.PathLike[str]) -> None:
    """Write a space as a `search_space.json`, atomically."""
    write_text(Path(path), to_json(to_nni(space)))


def from_nni(content: Mapping[str, Any]) -> SearchSpace:
    """Convert the content of a `search_space.json` to a search space.

    Raises:
        ConfigError: A dimension's type or values are invalid, or it is a normal distribution, which
            has no ends.
    """
    found: dict[str, Dimension] = {}
    _collect(content, None, found)
    return SearchSpace(found)


def read_nni_space(path: str | os.PathLike[str]) -> SearchSpace:
    """Read a `search_space.json`.

    Raises:
        ConfigError: The file is missing, is not valid JSON, or does not hold a search space.
    """
    path = Path(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(str(path), "it cannot be read", "give a search_space.json") from None
    except ValueError as error:
        raise ConfigError(
            str(path), f"it is not valid JSON ({error})", "correct the syntax"
        ) from None
    return from_nni(content)


def flat_values(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Flatten the nested parameters that NNI gave to a trial, for `SearchSpace.decode`."""
    values: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping) and "_name" in value:
            values[_meant(name)] = _meant(value["_name"])
            values |= flat_values({key: inner for key, inner in value.items() if key != "_name"})
        else:
            values[_meant(name)] = _meant(value)
    return values


def nested_values(space: SearchSpace, values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert Python values to NNI's nested form; the inverse of `flat_values` and `decode`."""

    def written(name: str) -> Any:
        dimension, value = space.dimensions[name], values[name]
        if not isinstance(dimension, Choice):
            return value
        if not _has_children(space, name):
            return _safe(value if _plain(dimension) else str(value))
        inner = {_safe(child): written(child) for child in space.children(name, value)}
        return {"_name": _safe(str(value)), **inner}

    return {_safe(name): written(name) for name in values if space.dimensions[name].when is None}


def _written(space: SearchSpace, name: str) -> dict[str, Any]:
    dimension = space.dimensions[name]
    if isinstance(dimension, Choice):
        if _has_children(space, name):
            options: list[Any] = [
                {
                    "_name": _safe(label),
                    **{
                        _safe(child): _written(space, child)
                        for child in space.children(name, option)
                    },
                }
                for option, label in zip(dimension.options, dimension.labels, strict=True)
            ]
        else:
            options = [
                _safe(option)
                for option in (dimension.options if _plain(dimension) else dimension.labels)
            ]
        return {"_type": "choice", "_value": options}
    if isinstance(dimension, Integer):
        if dimension.log:
            return {"_type": "qloguniform", "_value": [dimension.low, dimension.high, 1]}
        return {"_type": "randint", "_value": [dimension.low, dimension.high + 1]}
    kind = "loguniform" if isinstance(dimension, LogUniform) else "uniform"
    return {"_type": kind, "_value": [dimension.low, dimension.high]}


def _safe(value: Any) -> Any:
    """Replace "#" and "//" in a text, which NNI's tuner cannot read; keep other values."""
    if isinstance(value, str):
        for text, written in _NO_COMMENTS.items():
            value = value.replace(text, written)
    return value


def _meant(value: Any) -> Any:
    """The inverse of `_safe`."""
    if isinstance(value, str):
        for text, written in _NO_COMMENTS.items():
            value = value.replace(written, text)
    return value


def _has_children(space: SearchSpace, name: str) -> bool:
    return any(d.when and d.when[0] == name for d in space.dimensions.values())


def _plain(dimension: Choice) -> bool:
    """Whether NNI can hold the options themselves, rather than their labels."""
    return all(
        isinstance(option, (int, float, str)) and not isinstance(option, bool)
        for option in dimension.options
    )


def _collect(
    content: Mapping[str, Any], when: Condition | None, found: dict[str, Dimension]
) -> None:
    if not isinstance(content, Mapping):
        raise ConfigError("search space", f"{content!r} is not a mapping", "write {name: {...}}")
    for name, written in content.items():
        if name == "_name":
            continue
        name = _meant(name)
        where = f"dimension '{name}' of the search space"
        try:
            kind, values = written["_type"], list(written["_value"])
        except (TypeError, KeyError):
            raise ConfigError(
                where, "it has no _type and _value", 'write {"_type": ..., "_value": [...]}'
            ) from None
        if kind == "choice" and values and all(isinstance(v, Mapping) for v in values):
            options = tuple(_meant(str(value.get("_name"))) for value in values)
            add_dimension(found, name, Choice(options, when=when))
            for value in values:
                _collect(value, (name, (_meant(str(value.get("_name"))),)), found)
        else:
            add_dimension(found, name, _read(kind, values, when, where))


def _read(kind: str, values: list[Any], when: Condition | None, where: str) -> Dimension:
    try:
        if kind == "choice":
            options = tuple(tuple(v) if isinstance(v, list) else _meant(v) for v in values)
            return Choice(options, when=when)
        if kind == "randint":
            low, high = values
            return Integer(int(low), int(high) - 1, when=when)
        if kind in ("uniform", "loguniform"):
            low, high = map(float, values)
            return (Uniform if kind == "uniform" else LogUniform)(low, high, when=when)
        if kind in ("quniform", "qloguniform"):
            low, high, step = values
            if step == 1 and low == int(low) and high == int(high):
                return Integer(int(low), int(high), kind == "qloguniform", when=when)
            return Choice(_stepped(float(low), float(high), float(step)), when=when)
    except (TypeError, ValueError):
        raise ConfigError(
            where, f"{values} are not valid values of '{kind}'", "see NNI's manual for its values"
        ) from None
    raise ConfigError(where, f"its type '{kind}' has no ends or is unknown", f"use {_KNOWN}")


def _stepped(low: float, high: float, step: float) -> tuple[float, ...]:
    """The values of NNI's quniform: multiples of the step, clipped to the ends."""
    multiples = np.arange(round(low / step), round(high / step) + 1) * step
    return tuple(dict.fromkeys(float(v) for v in np.clip(multiples, low, high)))

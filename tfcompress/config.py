"""Read YAML and JSON files into the fields of dataclasses, checked one by one."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tfcompress.errors import ConfigError
from tfcompress.renamed import warn_renamed


def read_config_file(config_class: type, path: str | Path) -> dict[str, Any]:
    """Read a YAML (or JSON) file and check its fields against a dataclass.

    Args:
        config_class: Dataclass whose field names and types are allowed.
        path: Path of the file.

    Returns:
        Values by field name; fields that the file does not set are missing.

    Raises:
        ConfigError: The file cannot be read, or a field is unknown or has the wrong type. The error
            names the file, the field and what is allowed.
    """
    return checked_fields(config_class, read_mapping(path), str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a YAML (or JSON) file that holds a mapping.

    Raises:
        ConfigError: The file is missing, is not valid YAML, or does not hold a mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(str(path), "there is no such file", "give the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(
            str(path), f"it is not valid YAML ({error})", "correct the syntax"
        ) from None
    if not isinstance(content, dict):
        raise ConfigError(str(path), "it does not hold a mapping", "write lines 'field: value'")
    return content


def checked_fields(config_class: type, content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check plain values against the fields of a dataclass.

    A dataclass whose fields were renamed says so in a class variable
    `RENAMED = {"old": "new"}`: the old key still works, with a FutureWarning.

    Args:
        config_class: Dataclass whose field names and types are allowed.
        content: Values by field name, as read from YAML or JSON.
        where: File or place that errors name.

    Returns:
        The values with the fields' types: lists become tuples, integers floats where needed.

    Raises:
        ConfigError: A field is unknown or has the wrong type. The error names the field and what is
            allowed.
    """
    types_of = typing.get_type_hints(config_class)
    known = [field.name for field in dataclasses.fields(config_class)]
    renamed: Mapping[str, str] = getattr(config_class, "RENAMED", {})
    values = {}
    for key, value in content.items():
        if key in renamed:
            if renamed[key] in content:
                raise ConfigError(
                    where, f"{key!r} is the old name of {renamed[key]!r}, and both are given",
                    f"give {renamed[key]} alone",
                )  # fmt: skip
            warn_renamed(f"{where}: the field {key!r}", renamed[key], FutureWarning)
            key = renamed[key]
        if key not in known:
            raise ConfigError(where, f"unknown field {key!r}", f"use {', '.join(known) or 'none'}")
        try:
            values[key] = _coerced(value, types_of[key])
        except (TypeError, ValueError):
            raise ConfigError(
                where, f"field {key!r} is {value!r}", f"give a {_named(types_of[key])}"
            ) from None
    return values


def _coerced(value: Any, wanted: Any) -> Any:
    """Convert a YAML value to a field's type: lists to tuples, ints to floats.

    Any other difference of type raises a TypeError or ValueError.
    """
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (typing.Union, types.UnionType):
        for option in arguments:
            try:
                return _coerced(value, option)
            except (TypeError, ValueError):
                continue
        raise TypeError
    if wanted is type(None):
        if value is not None:
            raise TypeError
        return None
    if origin is typing.Literal:
        if value not in arguments:
            raise ValueError
        return value
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError
        inner = arguments[0] if arguments else Any
        return tuple(_coerced(item, inner) for item in value)
    if origin is dict:
        if not isinstance(value, dict):
            raise TypeError
        return dict(value)
    if wanted is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(wanted, type) and type(value) is not wanted:
        raise TypeError
    return value


def _named(wanted: Any) -> str:
    return str(getattr(wanted, "__name__", wanted)).replace("typing.", "")

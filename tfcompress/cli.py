"""Command lines: a Config dataclass becomes flags, a YAML file fills fields.

Precedence, weakest first: the dataclass's defaults, `--config file.yaml` (a run's `config.json`
works too), `--params best_params.json` (what a search found), `--smoke`, flags.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import tyro
import yaml
from rich.console import Console

from tfcompress.errors import CompressionError, ConfigError

NOT_COMPARED = (
    "root", "run", "resume", "threads", "port", "concurrency", "trial_minutes", "hours",
)  # fmt: skip
"""Fields that do not change a result: two runs may differ in them and be the same run."""


def run_experiment(
    config_class: type,
    main: Callable[[Any], Any],
    smoke: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    user_errors: tuple[type[Exception], ...] = (),
) -> None:
    """Parse the command line, run `main(config)`, and turn errors into one line and exit code 2.

    Args:
        config_class: The experiment's frozen dataclass.
        main: The experiment.
        smoke: Fields that `--smoke` sets, to finish within a minute.
        argv: Arguments; default the command line's.
        user_errors: Errors of other packages that say by themselves what is wrong and the fix.
    """
    with told_errors(user_errors):
        main(parse(config_class, sys.argv[1:] if argv is None else argv, smoke or {}))


@contextmanager
def told_errors(user_errors: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """End the program with one line and exit code 2 where the user's input is wrong."""
    console = Console(stderr=True, soft_wrap=True)
    told: tuple[type[Exception], ...] = (CompressionError, *user_errors)
    try:
        yield
    except told as error:
        console.print(f"[bold red]error:[/] {_escaped(error)}", highlight=False)
        raise SystemExit(2) from None
    except OSError as error:
        console.print(f"[bold red]error:[/] {_escaped(error)}", highlight=False)
        console.print("What was there before is untouched.", highlight=False)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        console.print("interrupted; go on with RESUME=1 (--resume)", highlight=False)
        raise SystemExit(130) from None


def parse(config_class: type, argv: Sequence[str], smoke: Mapping[str, Any]) -> Any:
    """A config from arguments; its `check()`, if it has one, is called when it is complete.

    Raises:
        ConfigError: The YAML file is missing, broken, or has a key or value that does not fit;
            or what `check()` raised.
    """
    early = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    early.add_argument("--config", default=None)
    early.add_argument("--params", default=None)
    early.add_argument("--smoke", action="store_true")
    known, rest = early.parse_known_args(list(argv))
    values: dict[str, Any] = {}
    for file in (known.config, known.params):
        if file:
            values.update(read_config_file(config_class, file))
    if known.smoke:
        values.update(smoke)
    default = config_class(**values)
    description = (
        f"{(sys.modules[config_class.__module__].__doc__ or '').strip()}\n\n"
        "--config FILE takes any of these fields from a YAML or JSON file, --params FILE those "
        "that a search found; --smoke makes the run small enough for a minute."
    )
    config = tyro.cli(config_class, default=default, args=rest, description=description)
    if hasattr(config, "check"):
        config.check()
    return config


def read_config_file(config_class: type, path: str | Path) -> dict[str, Any]:
    """Fields from a YAML (or JSON) file, checked against the dataclass.

    Raises:
        ConfigError: Naming the file, the key and what is known.
    """
    return checked_fields(config_class, read_mapping(path), str(path))


def read_mapping(path: str | Path) -> dict[str, Any]:
    """What a YAML (or JSON) file holds.

    Raises:
        ConfigError: It is missing, broken, or holds no mapping.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(str(path), "there is no such file", "give the path of a YAML file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ConfigError(str(path), f"it is no YAML ({error})", "correct the syntax") from None
    if not isinstance(content, dict):
        raise ConfigError(str(path), "it holds no mapping", "write lines of 'field: value'")
    return content


def checked_fields(config_class: type, content: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Plain values as the fields of a dataclass; `where` names them in errors.

    Raises:
        ConfigError: Naming the key and what is known.
    """
    types_of = typing.get_type_hints(config_class)
    known = [field.name for field in dataclasses.fields(config_class)]
    values = {}
    for key, value in content.items():
        if key not in known:
            raise ConfigError(where, f"unknown field {key!r}", f"use {', '.join(known) or 'none'}")
        try:
            values[key] = _coerced(value, types_of[key])
        except (TypeError, ValueError):
            raise ConfigError(
                where, f"field {key!r} is {value!r}", f"give a {_named(types_of[key])}"
            ) from None
    return values


def compared(config: Any) -> dict[str, Any]:
    """The fields that decide a result, for a run's `config.json`."""
    fields = dataclasses.asdict(config)
    return {key: value for key, value in fields.items() if key not in NOT_COMPARED}


def _coerced(value: Any, wanted: Any) -> Any:
    """A YAML value as a field's type: lists become tuples, ints floats; else it must fit."""
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


def _escaped(error: Exception) -> str:
    return str(error).replace("[", r"\[")

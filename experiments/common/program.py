"""Command lines: a Config dataclass becomes flags, a YAML file fills fields.

Precedence, weakest first: the dataclass's defaults, `--config file.yaml` (a run's `config.json`
works too), `--params best_params.json` (what a search found), `--smoke`, flags.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro

from tfcompress.cli.terminal import told_errors
from tfcompress.config import read_config_file

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


def compared(config: Any) -> dict[str, Any]:
    """The fields that decide a result, for a run's `config.json`."""
    fields = dataclasses.asdict(config)
    return {key: value for key, value in fields.items() if key not in NOT_COMPARED}

"""The driver of every program: command line, run folder, tables, page, exit code.

A program is a documented config and `main(config, run)`, which returns a `Report` of what it
measured. `Program` joins the two and owns the run: it opens `root/<name>/<run>`, says that a
finished run is finished, writes `metrics.json` and `report.html`, prints the tables, ends the run.

A config is a frozen dataclass whose fields become flags. Precedence, weakest first: the dataclass's
defaults, `--config file.yaml` (a run's `config.json` works too), `--params best_params.json` (what
a search found), `--smoke`, flags.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console

from experiments.common.old_flags import with_new_names
from experiments.common.report import Report
from tfcompress.atomic import write_text
from tfcompress.cli.terminal import told_errors
from tfcompress.config import read_config_file
from tfcompress.reporting.console import new_console, show
from tfcompress.reporting.run import Run, open_run, to_json
from tfcompress.reporting.tables import Table

NOT_COMPARED = (
    "root", "run", "resume", "threads", "port", "concurrency", "trial_minutes", "hours",
)  # fmt: skip
"""Fields that do not change a result: two runs may differ in them and be the same run."""

SMOKE_MODEL = "smoke"
"""Model that `--smoke` names where a program starts from a file: a small one is trained first."""

_FILES_OF_A_RUN = (".keras", ".tflite", ".pt", ".html", ".json", ".csv")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Fields of every program that keeps a run."""

    root: str = "runs"
    """Folder of all runs."""
    run: str = "default"
    """Name of the run."""
    resume: bool = False
    """Whether to continue an unfinished run."""


@dataclass(frozen=True)
class Output:
    """Terminal and folder of a program that keeps no run: each start overwrites its files.

    Attributes:
        folder: Folder of the files, made by whoever writes the first one.
        console: The terminal.
    """

    folder: Path
    console: Console = field(default_factory=partial(new_console, soft_wrap=True))

    def path(self, *parts: str) -> Path:
        """A path inside the folder."""
        return self.folder.joinpath(*parts)

    def print(self, *lines: Any, style: str | None = None) -> None:
        """Print texts and tables."""
        show(self.console, *lines, style=style)


@dataclass(frozen=True)
class Program:
    """A program: started from the command line, or run with a config by another one.

    Attributes:
        name: Name of the program, and of its folder below the folder of all runs.
        config: Frozen dataclass of its fields.
        main: `main(config, run) -> Report`. Without a run, `run` is an `Output`.
        smoke: Fields that `--smoke` sets, to finish within a minute.
        complete: Fills in what the config's files decide, before the run is opened.
        keeps_run: Whether there is a run: compared, resumed, and finished once.
        user_errors: Errors of other packages that name the problem and the fix themselves.
        doc: Text of `--help`; empty: the docstring of the config's module.
    """

    name: str
    config: type
    main: Callable[[Any, Any], Report]
    smoke: Mapping[str, Any] = field(default_factory=dict)
    complete: Callable[[Any], Any] = lambda config: config
    keeps_run: bool = True
    user_errors: tuple[type[Exception], ...] = ()
    doc: str = ""

    def start(self, argv: Sequence[str] | None = None) -> None:
        """Run with command-line arguments; errors become one line and exit code 2.

        Args:
            argv: Arguments; default: those of this process.

        Raises:
            SystemExit: The report's exit code, or an error's.
        """

        def run(config: Any) -> None:
            if code := self.run(config).exit_code:
                raise SystemExit(code)

        run_experiment(self.config, run, self.smoke, argv, self.user_errors, self.doc)

    def run(self, config: Any) -> Report:
        """Run with a config; a finished run only gives its metrics and tables again.

        Raises:
            CompressionError: Bad input, or a run folder that may not be used.
        """
        config = self.complete(config)
        if not self.keeps_run:
            return self._without_run(config)
        renamed = getattr(config, "RENAMED", None)
        run = open_run(config.root, self.name, config.run, compared(config), config.resume, renamed)
        if run.finished:
            return _finished(run)
        report = self.main(config, run)
        run.write_page(report.title, report.headline, report.sections)
        run.print(*report.tables)
        shown = [each.to_dict() if isinstance(each, Table) else each for each in report.tables]
        run.finish({**report.metrics, "tables": shown}, report.seeds)
        if report.clean_up is not None:
            report.clean_up()
        files = [p.name for p in sorted(run.folder.iterdir()) if p.suffix in _FILES_OF_A_RUN]
        run.print(f"in {run.folder}/: {', '.join(files)}", style="bold")
        run.print(f"page: {run.path('report.html')}", style="bold")
        return report

    def _without_run(self, config: Any) -> Report:
        folder = Path(getattr(config, "root", ".")) / self.name / getattr(config, "run", "")
        output = Output(folder)
        report = self.main(config, output)
        output.print(*report.tables)
        if file := getattr(config, "json", ""):
            write_text(file, to_json(report.metrics))
            output.print(f"numbers: {file}")
        if report.headline:
            output.print(report.headline, style="bold")
        return report


def run_experiment(
    config_class: type,
    main: Callable[[Any], Any],
    smoke: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
    user_errors: tuple[type[Exception], ...] = (),
    doc: str = "",
) -> None:
    """Parse the command line, run `main(config)`, and turn errors into one line and exit code 2.

    Args:
        config_class: The frozen dataclass of the flags.
        main: The program.
        smoke: Fields that `--smoke` sets, to finish within a minute.
        argv: Arguments; default: those of this process.
        user_errors: Errors of other packages that name the problem and the fix themselves.
        doc: Text of `--help`; empty: the docstring of the config's module.
    """
    with told_errors(user_errors, "interrupted; resume with RESUME=1 (--resume)"):
        main(parse(config_class, sys.argv[1:] if argv is None else argv, smoke or {}, doc))


def parse(config_class: type, argv: Sequence[str], smoke: Mapping[str, Any], doc: str = "") -> Any:
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
        f"{(doc or sys.modules[config_class.__module__].__doc__ or '').strip()}\n\n"
        "--config FILE takes any of these fields from a YAML or JSON file, --params FILE those "
        "that a search found; --smoke makes the run small enough for a minute."
    )
    rest = with_new_names(config_class, rest)
    config = tyro.cli(config_class, default=default, args=rest, description=description)
    if hasattr(config, "check"):
        config.check()
    return config


def compared(config: Any) -> dict[str, Any]:
    """The fields that decide a result, for a run's `config.json`."""
    fields = dataclasses.asdict(config)
    return {key: value for key, value in fields.items() if key not in NOT_COMPARED}


def _finished(run: Run) -> Report:
    """Say that there is nothing to do, and print the tables again."""
    metrics = run.read_json("metrics.json")
    tables = [
        each if isinstance(each, str) else Table.from_dict(each)
        for each in metrics.get("tables", ())
    ]
    run.show(
        f"{run.folder} is finished with this very configuration: nothing to do. "
        "Choose another RUN to train again."
    )
    run.show(*tables)
    run.close()
    return Report(metrics=metrics, tables=tables)

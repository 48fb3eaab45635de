"""Put the records of benchmarks/records/ into the pages, and draw the chart of the results.

`make results` (python -m benchmarks.render) renders the marked tables of README.md and docs/,
benchmarks/RESULTS.md and docs/pictures/results.png, in seconds. `--check` writes nothing and says
what differs, with exit code 1. `--take runs/unet-compress/default` also makes a record of that
run's metrics.json, once every page can be rendered from it: `unet-compress`, `unet-compress-fifth`
for the run "fifth", or the name that `--as` gives.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from benchmarks.record import RECORDS
from benchmarks.results.chart import draw, drawn, fingerprint, lines_of
from benchmarks.results.pages import ROOT, read_records, rendered_pages
from tfcompress.atomic import write_text
from tfcompress.errors import CompressionError, ConfigError
from tfcompress.reporting.record import Record, read_record, write_record

CHART = Path("docs/pictures/results.png")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to render."""

    check: bool = False
    """Write nothing; say which pages differ from the records."""
    take: str = ""
    """Folder of a finished run whose metrics.json becomes a record."""
    name: Annotated[str, tyro.conf.arg(name="as")] = ""
    """Name of that record; empty: the experiment's, with the run's where that is not "default"."""


def main(config: Config, root: Path = ROOT, records: Path = RECORDS) -> list[str]:
    """Render every page and the chart.

    Args:
        config: What to render.
        root: Root of the checkout.
        records: Folder of the records.

    Returns:
        Paths, relative to `root`, of what differed from the records (and was written, unless
        `config.check`).

    Raises:
        RunError: A record or a marker is wrong; nothing is written then.
        ConfigError: The options contradict each other, or the record's name cannot be used.
    """
    if config.name and not config.take:
        raise ConfigError("--as", "it names a record, and none is taken", "give --take RUN too")
    if config.check and config.take:
        raise ConfigError("--take", "it writes, and --check writes nothing", "give one of them")
    known = read_records(records)
    name = ""
    if config.take:
        record = read_record(Path(config.take) / "metrics.json")
        name = _name_of(record, config.name)
        known = dict(sorted({**known, name: record}.items()))
    pages, lines = list(rendered_pages(known, root)), lines_of(known)
    if name:
        write_record(records / f"{name}.json", known[name])
    changed = []
    for path, text in pages:
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed.append(str(path.relative_to(root)))
            if not config.check:
                write_text(path, text)
    if drawn(root / CHART) != fingerprint(lines):
        changed.append(str(CHART))
        if not config.check:
            draw(lines, root / CHART)
    return changed


def _name_of(record: Record, wanted: str) -> str:
    """Name of a taken run's record: the wanted one, else by experiment and run."""
    experiment, _, run = record.name.partition("/")
    name = wanted or (experiment if run in ("", "default") else f"{experiment}-{run}")
    if not re.fullmatch(r"[\w-]+", name):
        raise ConfigError(
            "--as", f"{name!r} cannot stand in a marker", "use letters, digits, '-' and '_' only"
        )
    return name


if __name__ == "__main__":
    options = tyro.cli(Config, description=__doc__)
    try:
        found = main(options)
    except CompressionError as error:
        sys.exit(f"error: {error}")
    for name in found:
        print(f"{name}: {'differs from the records' if options.check else 'written'}")
    if options.check and found:
        sys.exit("error: pages differ from benchmarks/records. Fix: make results")
    if not found:
        print("every page agrees with benchmarks/records")

"""Put the records of benchmarks/records/ into the pages, and draw the chart of the results.

`make results` (python -m benchmarks.render) renders the marked tables of README.md and docs/,
benchmarks/RESULTS.md and docs/pictures/results.png, in seconds. `--check` writes nothing and says
what differs, with exit code 1. `--take runs/unet-compress/default` first copies that run's
metrics.json into the records, under the name of its experiment.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from benchmarks.record import RECORDS
from benchmarks.results.chart import draw, drawn, fingerprint, lines_of
from benchmarks.results.pages import ROOT, read_records, rendered_pages
from tfcompress.atomic import write_text
from tfcompress.errors import CompressionError
from tfcompress.reporting.record import read_record, write_record

CHART = Path("docs/pictures/results.png")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to render."""

    check: bool = False
    """Write nothing; say which pages differ from the records."""
    take: str = ""
    """Folder of a finished run whose metrics.json becomes a record."""


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
        RunError: A record or a marker is wrong.
    """
    if config.take:
        record = read_record(Path(config.take) / "metrics.json")
        write_record(records / f"{record.name.split('/')[0]}.json", record)
    known = read_records(records)
    changed = []
    for path, text in rendered_pages(known, root):
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            changed.append(str(path.relative_to(root)))
            if not config.check:
                write_text(path, text)
    lines = lines_of(known)
    if drawn(root / CHART) != fingerprint(lines):
        changed.append(str(CHART))
        if not config.check:
            draw(lines, root / CHART)
    return changed


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

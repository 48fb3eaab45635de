"""RESULTS.md: the last table of each benchmark, with the machine and the versions it ran on."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

from rich.console import Console

from tfcompress.atomic import write_text
from tfcompress.reporting.run import environment
from tfcompress.reporting.tables import Table

RESULTS = Path(__file__).with_name("RESULTS.md")
HEAD = """# Results

The last table that each benchmark printed with `--record`. Ratios are of runs in turn on one
machine; absolute times are of that machine alone.
"""


def show(table: Table, command: str, record: bool, file: Path = RESULTS) -> Table:
    """Print a benchmark's table; with `record` also put it into RESULTS.md, in its old one's place.

    Args:
        table: Its title names the section.
        command: That printed it.
        record: Whether to write.
        file: Where.
    """
    Console().print(str(table), highlight=False, soft_wrap=True)
    if record:
        text = file.read_text(encoding="utf-8") if file.is_file() else HEAD
        write_text(file, with_section(text, table.title, _section(table, command)))
    return table


def with_section(text: str, title: str, content: str) -> str:
    """A page of `## title` sections with one of them replaced, or added at the end."""
    head, *sections = re.split(r"(?m)^(?=## )", text)
    named = {section.splitlines()[0].removeprefix("## "): section for section in sections}
    named[title] = f"## {title}\n\n{content.strip()}\n"
    return "\n".join(part.rstrip() + "\n" for part in (head, *named.values()))


def _section(table: Table, command: str) -> str:
    found = environment()
    names = ("tensorflow", "keras", "tensorflow-model-optimization", "ai-edge-litert")
    versions = [f"{name} {found['packages'][name]}" for name in names if name in found["packages"]]
    machine = f"{found['processor']}, {found['cpus']} CPUs"
    when = datetime.datetime.now(datetime.UTC).date().isoformat()
    about = f"`{command}`, {when}; {machine}; {', '.join(versions)}."
    return f"{about}\n\n```text\n{_plain(table)}\n```"


def _plain(table: Table) -> str:
    lines = [line.rstrip() for line in str(table).splitlines()]
    return "\n".join(lines).strip("\n")

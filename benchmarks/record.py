"""How a benchmark ends: it prints its tables and, with `--record`, writes its record.

`benchmarks/records/<name>.json` is a record (`tfcompress.reporting.record`): the tables and the
benchmark's settings, with command, commit, machine, versions and time. `benchmarks/RESULTS.md` is
rendered from these files.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tfcompress.reporting.console import new_console
from tfcompress.reporting.console import show as print_tables
from tfcompress.reporting.record import Start, new_record, seeds_of, write_record
from tfcompress.reporting.tables import Table

RECORDS = Path(__file__).with_name("records")


def show(
    start: Start, name: str, config: Any, *tables: Table, folder: Path = RECORDS
) -> tuple[Table, ...]:
    """Print a benchmark's tables; with `config.record` write its record, too.

    Args:
        start: Moment at which the benchmark began.
        name: Name of the record's file, without suffix.
        config: The benchmark's settings, a dataclass with the field `record`.
        *tables: What was measured; each title is a section of RESULTS.md.
        folder: Folder of the records.

    Returns:
        The tables.
    """
    console = new_console()
    print_tables(console, *tables, elsewhere=f"{name}.json" if config.record else "")
    if config.record:
        settings = {k: v for k, v in dataclasses.asdict(config).items() if k != "record"}
        measured = {"tables": [table.to_dict() for table in tables], "settings": settings}
        file = folder / f"{name}.json"
        write_record(file, new_record(name, measured, start, seeds_of(settings)))
        console.print(f"in {file}; `make results` puts it into the pages", highlight=False)
    return tables

"""Run the benchmarks of `make bench` one after the other, and say how long each took.

They are sized to end within 20 minutes together on two cores that do nothing else. Flags:
`--record` writes each one's record, `--smoke` runs each as small as it goes (its numbers mean
nothing). A benchmark that fails does not stop the others; the exit code says that one did.
"""

from __future__ import annotations

import argparse
import ast
import re
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tfcompress.reporting.console import new_console, show
from tfcompress.reporting.tables import Table

BENCHMARKS = ("level_pruner", "distiller", "channel_pruning", "search", "forms", "growth")
MINUTES = 20
"""What all of them may take together on two idle cores."""

_EXPECTED = re.compile(r"[Aa]bout ([\d.]+) minutes? on two cores")


def expected_minutes(name: str) -> float:
    """What the docstring of a benchmark says that it takes, in minutes.

    Raises:
        ValueError: It does not say so.
    """
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    text = " ".join((ast.get_docstring(ast.parse(source)) or "").split())
    found = _EXPECTED.search(text)
    if not found:
        raise ValueError(f"benchmarks/{name}.py does not say 'About N minutes on two cores'")
    return float(found[1])


def main(names: Sequence[str], flags: Sequence[str]) -> int:
    """Run benchmarks in turn, each in a process of its own.

    Args:
        names: Names of modules of `benchmarks`.
        flags: Flags of each.

    Returns:
        Number of benchmarks that failed.
    """
    console = new_console()
    table = Table(("benchmark", "expected", "took", "CPU time", "result"), title="Benchmarks")
    total = busy = 0.0
    failed = 0
    for name in names:
        console.rule(f"benchmarks.{name}")
        used, began = _children_seconds(), time.monotonic()
        done = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *flags])
        took, cpu = time.monotonic() - began, _children_seconds() - used
        total, busy, failed = total + took, busy + cpu, failed + (done.returncode != 0)
        result = "ok" if done.returncode == 0 else f"failed ({done.returncode})"
        table.add(
            name, _minutes(60 * expected_minutes(name)), _minutes(took), _minutes(cpu), result
        )
    expected = sum(map(expected_minutes, names))
    table.total("all", _minutes(60 * expected), _minutes(total), _minutes(busy), "")
    if busy < total:
        table.note("less CPU time than time: other processes, or NNI's waits, took the rest")
    show(console, table)
    return failed


def _children_seconds() -> float:
    """CPU seconds of the processes that have ended so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _minutes(seconds: float) -> str:
    return f"{int(seconds // 60)}:{int(seconds % 60):02d}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--record", action="store_true", help="write benchmarks/records/*.json")
    parser.add_argument("--smoke", action="store_true", help="as small as it goes")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=BENCHMARKS, help="names")
    options = parser.parse_args()
    chosen = [f"--{name}" for name in ("record", "smoke") if getattr(options, name)]
    sys.exit(min(1, main(options.only, chosen)))

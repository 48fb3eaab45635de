"""`make bench` runs within its minutes, each benchmark also alone."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.run_all import BENCHMARKS, MINUTES, expected_minutes

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# Modules of benchmarks that are no benchmark.
HELPERS = {"__init__", "alternate", "record", "render", "run_all", "search_trial", "step_macs"}


def text_of(name):
    return (ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")


def test_all_together_fit():
    assert sum(map(expected_minutes, BENCHMARKS)) <= MINUTES
    assert "quality" not in BENCHMARKS


def test_every_benchmark_runs_alone_and_says_how_long_it_takes():
    names = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - HELPERS
    assert set(BENCHMARKS) < names
    for name in names:
        assert name in BENCHMARKS or "Not part of `make bench`: " in text_of(name)
        assert re.search(rf"^bench-[a-z-]+: .*## .*\n\t.*-m benchmarks\.{name} ", MAKEFILE, re.M)


def test_a_docstring_without_minutes_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmarks.run_all.__file__", str(tmp_path / "run_all.py"))
    (tmp_path / "quick.py").write_text('"""No time."""')
    with pytest.raises(ValueError, match=r"benchmarks/quick\.py does not say"):
        expected_minutes("quick")
    (tmp_path / "quick.py").write_text('"""About 2.5\nminutes on two cores."""')
    assert expected_minutes("quick") == 2.5


def test_a_wrong_name_ends_before_anything_runs():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run_all", "--only", "quality"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "invalid choice: 'quality'" in done.stderr


@pytest.mark.slow
def test_benchmarks_run_and_are_timed():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.run_all", "--smoke", "--only", "forms", "growth"],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for line in (r"quarter +int8", r"LiteRT int8, 16 images", r"forms .*ok", r"all +\d+:\d\d"):
        assert re.search(line, done.stdout), line

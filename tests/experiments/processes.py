"""Experiments as a user starts them: a process of its own."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def start(module, *arguments):
    return subprocess.Popen(
        [sys.executable, "-m", f"experiments.{module}", *map(str, arguments)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def metrics_of(program, config):
    """What a program in this process writes to metrics.json."""
    return program.run(config).metrics


def message(program, argv, capsys, smoke):
    """The one line in which a program refuses its arguments."""
    with pytest.raises(SystemExit) as stop:
        replace(program, smoke=smoke).start(argv)
    assert stop.value.code == 2
    return " ".join(capsys.readouterr().err.split())


def run(module, *arguments, code=0):
    process = start(module, *arguments)
    output = process.communicate()[0]
    assert process.returncode == code, output
    return output


def kill_when(condition, module, *arguments, seconds=600):
    """Start an experiment and kill it, as a power cut does, once the condition holds."""
    with start(module, *arguments) as process:
        try:
            deadline = time.monotonic() + seconds
            while not condition():
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.02)
        finally:
            process.kill()

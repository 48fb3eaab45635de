"""A command or a Python file run to its end in a process of its own.

This file is also what starts in the new process of a Python file, so it imports nothing but the
standard library.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path


@dataclass(frozen=True)
class Finished:
    """How a command ended.

    Attributes:
        problem: How it ended, in words, where it failed; "" after exit code 0.
        timed_out: Whether it was killed at its deadline.
        output: Text that it wrote to standard output.
        errors: Text that it wrote to standard error.
    """

    problem: str
    timed_out: bool
    output: str
    errors: str

    @property
    def last_words(self) -> str:
        """The last line on standard error, or how the command ended where there is none."""
        lines = self.errors.strip().splitlines()
        return lines[-1] if lines else self.problem


def run_program(
    file: str | Path,
    arguments: Sequence[str] = (),
    *,
    folder: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    deadline: float | None = None,
) -> Finished:
    """Run a Python file in a new interpreter that ends when this process ends.

    Args:
        file: The Python file; it runs as `__main__`.
        arguments: Its command line.
        folder: Working directory; None: the caller's.
        environment: All environment variables of the process; None: the caller's.
        deadline: Seconds after which the process is killed; None: never.
    """
    command = [sys.executable, __file__, str(os.getpid()), str(Path(file).resolve()), *arguments]
    return run_command(command, folder=folder, environment=environment, deadline=deadline)


def run_command(
    command: Sequence[str],
    *,
    folder: str | Path | None = None,
    environment: Mapping[str, str] | None = None,
    deadline: float | None = None,
) -> Finished:
    """Run a command to its end and keep what it writes.

    Args:
        command: The program and its arguments.
        folder: Working directory; None: the caller's.
        environment: All environment variables of the process; None: the caller's.
        deadline: Seconds after which the process is killed; None: never.
    """
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=None if environment is None else dict(environment),
            capture_output=True,
            text=True,
            timeout=deadline,
            check=False,
        )
    except subprocess.TimeoutExpired as late:
        return Finished(late_how(late.timeout), True, _text(late.stdout), _text(late.stderr))
    problem = f"it ended {ended_how(done.returncode)}" if done.returncode else ""
    return Finished(problem, False, done.stdout, done.stderr)


def ended_how(code: int | None) -> str:
    """An exit code in words: "by SIGKILL", "with code 1"."""
    return f"by {signal.Signals(-code).name}" if code and code < 0 else f"with code {code}"


def late_how(seconds: float) -> str:
    """The end of a process that was killed at its deadline, in words."""
    return f"it did not end within {seconds:g} s and was killed"


def die_with_parent(parent: int | None = None) -> None:
    """End this process when the one that started it ends, however that ends.

    Args:
        parent: Process id of the parent, where it is known; None: the present parent's. A child of
            `multiprocessing` knows its parent by itself.
    """
    forked = multiprocessing.parent_process()
    pid = os.getppid() if parent is None else parent

    def watch() -> None:
        if forked is not None:
            wait([forked.sentinel])
        while forked is None and os.getppid() == pid:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="watch-parent").start()


def _text(output: str | bytes | None) -> str:
    """What was read before a deadline, which `subprocess` leaves undecoded."""
    return output.decode(errors="replace") if isinstance(output, bytes) else output or ""


def _main() -> None:
    """Run the file that the command line names, watching the parent."""
    _, parent, file, *arguments = sys.argv
    die_with_parent(int(parent))
    sys.argv[:] = [file, *arguments]
    if sys.path[0] == str(Path(__file__).parent):
        sys.path[0] = str(Path(file).parent)  # as if the file had been started itself
    runpy.run_path(file, run_name="__main__")


if __name__ == "__main__":
    _main()

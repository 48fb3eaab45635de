"""Start NNI's programs with patches: correct pairing of trials, and listening on loopback only."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tfcompress.errors import ConfigError
from tfcompress.internals.nni import CHECK_SERVER, REST
from tfcompress.isolation.program import run_command
from tfcompress.tuning.nni.trial import import_nni

PRELOAD = Path(__file__).with_name("preload.js")

START_SECONDS = 60.0
"""Time that the manager may take to start. NNI allows four seconds, too few on a busy machine."""


def environment(manager_ip: str = "127.0.0.1", watch: bool = False) -> dict[str, str]:
    """Environment variables that load the patches into NNI's manager, also with `nnictl`.

    Args:
        manager_ip: Address at which workers on other machines reach this machine.
        watch: Whether the manager ends when this process ends.
    """
    node = os.environ.get("NODE_OPTIONS", "")
    preload = f'--require="{PRELOAD}"'
    return {
        "NODE_OPTIONS": node if preload in node else f"{node} {preload}".strip(),
        "TFCOMPRESS_NNI_HOST": manager_ip,
        "TFCOMPRESS_NNI_PARENT": str(os.getpid()) if watch else "",
    }


@contextmanager
def patient_start() -> Iterator[None]:
    """Let NNI wait up to `START_SECONDS` for its manager inside the block, while it is alive."""

    def check(port: int, retry: int = 0, url_prefix: str | None = None) -> None:
        wait_for(lambda: REST.get().get(port, "/check-status", url_prefix), _manager_lives)

    with CHECK_SERVER.replaced(check):
        yield


def wait_for(
    answer: Callable[[], Any],
    may_come: Callable[[], bool],
    seconds: float = START_SECONDS,
    pause: float = 0.5,
) -> None:
    """Repeat a request until it is answered.

    Args:
        answer: The request, which raises as long as there is no answer.
        may_come: Function that tells whether an answer can still come.
        seconds: Time after which to give up.
        pause: Time between requests, in seconds.

    Raises:
        Exception: The request's last error, when no answer can come or the time is over.
    """
    end = time.monotonic() + seconds
    while True:
        hopeless = not may_come() or time.monotonic() > end
        try:
            answer()
            return
        except Exception:
            if hopeless:
                raise
        time.sleep(pause)


def _manager_lives() -> bool:
    """Whether a child process runs NNI's manager, a Node.js program."""
    for child in psutil.Process().children():
        try:
            if any(part.endswith("main.js") for part in child.cmdline()):
                return True
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return False


def nnictl() -> list[str]:
    """The command line of this interpreter's `nnictl`.

    Raises:
        ConfigError: `nnictl` is missing, or does not start.
    """
    import_nni()
    path = Path(sys.executable).with_name("nnictl")
    if not path.is_file():
        raise ConfigError("nnictl", f"there is no {path}", "pip install 'nni==3.0'")
    checked = run_command([str(path), "--version"])
    if checked.problem:
        problem = f"it does not start ({checked.last_words})"
        raise ConfigError("nnictl", problem, "pip install 'setuptools<82'")
    return [str(path)]

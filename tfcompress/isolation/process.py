"""A Python function at work in a process of its own.

```python
content = sendable(options, "options", "give plain values")
with IsolatedCall(train, content, name="training", log=Path("log.txt")) as call:
    result = call.result(answer=print, deadline=3600)
```
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from tfcompress.errors import ConfigError
from tfcompress.isolation.program import die_with_parent, ended_how, late_how

Ask = Callable[[Any], Any]
"""Sends a message to the caller and returns its answer."""


class ProcessEnded(Exception):
    """A process ended without a result; the text says how."""


class IsolatedCall:
    """A function that runs in a new process from now on.

    The process starts a fresh interpreter, ends when the caller's ends, and leaves Ctrl-C to the
    caller. Close the call, or use it in a `with` block: a process that still runs is killed then.

    Args:
        function: Function at the top of a module. It gets the content and a function of type `Ask`;
            what it returns is the call's result, and must be picklable.
        content: What the function works on, made by `sendable`.
        name: Name of the process.
        log: File that takes what the process prints, appended; None: the caller's terminal.
        environment: Variables that are added to the caller's before the process starts.
    """

    def __init__(
        self,
        function: Callable[[Any, Ask], Any],
        content: bytes,
        *,
        name: str,
        log: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self.log = log
        self._pipe, theirs = context.Pipe()
        call = pickle.dumps((function, content))
        self._process = context.Process(target=_work, args=(call, log, theirs), name=name)
        with environment_of_children(environment or {}):
            self._process.start()
        theirs.close()

    def __enter__(self) -> IsolatedCall:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def exitcode(self) -> int | None:
        """Exit code of the process, negative for the signal that killed it; None while it runs."""
        return self._process.exitcode

    def result(self, answer: Ask | None = None, deadline: float | None = None) -> Any:
        """Wait for what the function returns.

        Args:
            answer: Called here with each message of the function; its result goes back to it. Leave
                it out for a function that asks nothing.
            deadline: Seconds from now after which the process is killed; None: never.

        Raises:
            ProcessEnded: The process died, or was killed at its deadline.
        """
        end = None if deadline is None else time.monotonic() + deadline
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            ready = wait([self._pipe, self._process.sentinel], left)
            if self._pipe in ready:
                try:
                    is_result, message = self._pipe.recv()
                except (EOFError, OSError):
                    raise self._died() from None
                if is_result:
                    return message
                reply = None if answer is None else answer(message)
                try:
                    self._pipe.send(reply)
                except OSError:  # it died while its message was answered
                    raise self._died() from None
            elif ready:
                raise self._died()
            if end is not None and deadline is not None and time.monotonic() >= end:
                self._process.kill()
                raise ProcessEnded(late_how(deadline))

    def close(self) -> None:
        """Kill the process if it still runs."""
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._pipe.close()

    def _died(self) -> ProcessEnded:
        self._process.join()
        where = "" if self.log is None else f"; see {self.log}"
        return ProcessEnded(f"its process ended {ended_how(self.exitcode)}{where}")


def wait_for_one(calls: Sequence[IsolatedCall]) -> list[IsolatedCall]:
    """The calls that have a result or have died, once there is one.

    Args:
        calls: Calls whose functions ask nothing.
    """
    by_handle: dict[Any, IsolatedCall] = {}
    for call in calls:
        by_handle |= {call._pipe: call, call._process.sentinel: call}
    ready = {id(by_handle[handle]) for handle in wait(list(by_handle))}
    return [call for call in calls if id(call) in ready]


def sendable(content: Any, where: str, fix: str) -> bytes:
    """What a new process is to work on, as bytes.

    Args:
        content: Any object that can be pickled.
        where: Name of the content in the error.
        fix: Advice in the error.

    Raises:
        ConfigError: It holds a function that a new process cannot find.
    """
    try:
        return pickle.dumps(content)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ConfigError(
            where, f"it cannot be sent to a process of its own ({error})", fix
        ) from None


@contextmanager
def environment_of_children(wanted: Mapping[str, str]) -> Iterator[None]:
    """Environment variables of the processes that start inside the block."""
    kept = {key: os.environ.get(key) for key in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for key, value in kept.items():
            os.environ.pop(key, None) if value is None else os.environ.update({key: value})


def _work(call: bytes, log_path: Path | None, pipe: Connection) -> None:
    """What runs in the new process."""
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if log_path is not None:
        log = log_path.open("a", encoding="utf-8", buffering=1)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout = sys.stderr = log
    function, content = pickle.loads(call)  # of our own parent, through no file

    def ask(message: Any) -> Any:
        pipe.send((False, message))
        return pipe.recv()

    pipe.send((True, function(pickle.loads(content), ask)))

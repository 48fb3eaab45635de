"""Functions in processes of their own: messages, logs, deadlines, and what died of what."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tfcompress.errors import ConfigError
from tfcompress.isolation.process import (
    IsolatedCall,
    ProcessEnded,
    environment_of_children,
    sendable,
    wait_for_one,
)

ROOT = Path(__file__).resolve().parents[2]


def call(function, content=None, **more):
    return IsolatedCall(function, sendable(content, "content", "give another"), name="it", **more)


def conversation(content, ask):
    return [os.getpid(), *(ask(number) for number in content)]


def test_a_function_asks_its_caller():
    with call(conversation, [1, 2, 3]) as running:
        process, *answers = running.result(lambda number: number * 10)
    assert answers == [10, 20, 30]
    assert process != os.getpid()


def says_and_dies(content, ask):
    print("the last words")
    os.kill(os.getpid(), signal.SIGKILL)


def raises(content, ask):
    raise ValueError("no such layer")


def test_a_process_that_dies_has_a_log(tmp_path):
    log = tmp_path / "log.txt"
    for function, how, said in (
        (says_and_dies, "by SIGKILL", "the last words\n"),
        (raises, "with code 1", "ValueError: no such layer\n"),
    ):
        with (
            call(function, log=log) as running,
            pytest.raises(ProcessEnded, match=f"^its process ended {how}; see {log}$"),
        ):
            running.result()
        assert log.read_text().endswith(said)


def dies_while_asked(content, ask):
    ask(os.getpid())


def test_a_process_that_dies_while_its_message_is_answered():
    def kill(pid):
        os.kill(pid, signal.SIGKILL)
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)

    with (
        call(dies_while_asked) as running,
        pytest.raises(ProcessEnded, match="^its process ended by SIGKILL$"),
    ):
        running.result(kill)


def sleeps(content, ask):
    ask(os.getpid())
    time.sleep(600)


def test_a_deadline():
    pids = []
    with (
        call(sleeps) as running,
        pytest.raises(ProcessEnded, match="^it did not end within 1.5 s and was killed$"),
    ):
        running.result(pids.append, deadline=1.5)
    assert not any(psutil.pid_exists(pid) for pid in pids)


def reads(content, ask):
    return os.environ.get("TFCOMPRESS_TEST"), content


def test_environment_is_the_childs_alone():
    assert "TFCOMPRESS_TEST" not in os.environ
    with call(reads, "x", environment={"TFCOMPRESS_TEST": "1"}) as running:
        assert "TFCOMPRESS_TEST" not in os.environ
        assert running.result() == ("1", "x")
    os.environ["TFCOMPRESS_TEST"] = "before"
    try:
        with environment_of_children({"TFCOMPRESS_TEST": "inside"}):
            assert os.environ["TFCOMPRESS_TEST"] == "inside"
        assert os.environ["TFCOMPRESS_TEST"] == "before"
    finally:
        del os.environ["TFCOMPRESS_TEST"]


def after(seconds, ask):
    time.sleep(seconds)
    return seconds


def test_the_first_of_several():
    slow, fast = call(after, 600), call(after, 0)
    with slow, fast:
        assert wait_for_one([slow, fast]) == [fast]
        assert fast.result() == 0
    assert slow.exitcode == -signal.SIGKILL


def test_what_cannot_be_sent():
    with pytest.raises(ConfigError, match="^content: it cannot be sent to a process.*Fix: give an"):
        call(reads, lambda: None)


PARENT = """
import sys
from tests.isolation.test_process import call, sleeps

if __name__ == "__main__":
    with call(sleeps) as running:
        running.result(lambda pid: print(pid, flush=True))
"""


def test_a_process_ends_with_its_parent(tmp_path):
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with parent:
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert not alive

"""Programs run to their end: what they said, how they ended, and with whom they end."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tfcompress.isolation.program import ended_how, run_command, run_program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def program(tmp_path):
    def write(text):
        path = tmp_path / "program.py"
        path.write_text(f"import os, signal, sys, time\n{text}\n")
        return path

    return write


def test_a_program_that_works(program, tmp_path):
    (tmp_path / "beside.py").write_text("word = 'found'")
    path = program(
        "import beside; print(__name__, sys.argv[1:], os.getcwd(), beside.word, "
        "os.environ['TFCOMPRESS_TEST'], sys.argv[0] == __file__)"
    )
    folder = tmp_path / "folder"
    folder.mkdir()
    environment = {**os.environ, "TFCOMPRESS_TEST": "1"}
    done = run_program(path, ["a", "b c"], folder=folder, environment=environment)
    assert done.output == f"__main__ ['a', 'b c'] {folder} found 1 True\n"
    assert (done.problem, done.errors, done.timed_out) == ("", "", False)


@pytest.mark.parametrize(
    ("text", "problem", "last_words"),
    [
        ("raise ValueError('no such layer')", "it ended with code 1", "ValueError: no such layer"),
        ("sys.exit(3)", "it ended with code 3", "it ended with code 3"),
        (
            "os.kill(os.getpid(), signal.SIGSEGV)",
            "it ended by SIGSEGV",
            "it ended by SIGSEGV",
        ),
    ],
)
def test_a_program_that_fails(program, text, problem, last_words):
    done = run_program(program(text))
    assert (done.problem, done.last_words) == (problem, last_words)
    assert not done.timed_out


def test_a_program_that_takes_too_long(program):
    done = run_program(program("print('so far', flush=True); time.sleep(600)"), deadline=1.5)
    assert done.timed_out
    assert done.problem == "it did not end within 1.5 s and was killed"
    assert done.output == "so far\n"


def test_a_command():
    assert run_command(["echo", "a", "b c"]).output == "a b c\n"
    assert run_command(["false"]).problem == "it ended with code 1"


def test_exit_codes_in_words():
    assert ended_how(-9) == "by SIGKILL"
    assert ended_how(3) == "with code 3"


def test_a_program_ends_with_its_parent(program, tmp_path):
    path = program(f"open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    code = f"from tfcompress.isolation.program import run_program; run_program({str(path)!r})"
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as parent:
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            assert parent.poll() is None
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        parent.kill()
    gone, alive = psutil.wait_procs([child], timeout=10)
    assert not alive

import os
import shutil
import subprocess

import pytest

from tfcompress.reporting import machine
from tfcompress.reporting.machine import Machine, installed_versions, this_commit, this_machine

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Processor
flags\t\t: fpu avx2 avx512f avx512_vnni amx_tile amx_int8

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
BogoMIPS\t: 50.00
Features\t: fp asimd asimddp i8mm
"""


def test_this_machine():
    found = this_machine()
    assert found.processor
    assert found.cores >= 1
    assert found.memory_bytes > 2**28


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        (XEON, ("avx2", "avx512f", "avx512_vnni", "amx_int8")),
        (ARM, ("asimd", "asimddp", "i8mm")),
    ],
)
def test_instruction_sets_are_read_off_the_first_cpu(tmp_path, monkeypatch, text, sets):
    file = tmp_path / "cpuinfo"
    file.write_text(text)
    monkeypatch.setattr(machine, "_CPUINFO", file)
    found = this_machine()
    assert found.instruction_sets == sets
    if text is XEON:
        assert found.processor == "Intel(R) Xeon(R) Processor"


def test_without_a_cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    assert this_machine().instruction_sets == ()
    assert this_machine().processor


def test_gpus_that_linux_lists(tmp_path, monkeypatch):
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA T4\nIRQ: 5\n")
    monkeypatch.setattr(machine, "_NVIDIA", tmp_path)
    assert this_machine().gpus == ("NVIDIA T4",)


def test_a_machine_on_one_line():
    assert str(Machine("CPU", 1, ("amx_int8",), 3 * 2**30)) == "CPU, 1 core, AMX int8, 3 GiB"
    assert str(Machine("CPU")) == "CPU"


def test_versions_are_those_installed():
    import keras

    assert installed_versions()["keras"] == keras.__version__


def git(folder, *arguments):
    identity = {
        f"GIT_{who}_{what}": "someone@example.org"
        for who in ("AUTHOR", "COMMITTER")
        for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", "-C", folder, *arguments],
        check=True, capture_output=True, text=True, env={**os.environ, **identity},
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_commit_of_a_checkout(tmp_path):
    git(tmp_path, "init", "--quiet")
    assert this_commit(tmp_path) is None  # nothing committed yet
    (tmp_path / "code.py").write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert this_commit(tmp_path) == machine.Commit(head, dirty=False)
    (tmp_path / "results.json").write_text("{}")  # a result is no change of the code
    assert not this_commit(tmp_path).dirty
    (tmp_path / "new.py").write_text("b = 2\n")
    assert this_commit(tmp_path).dirty
    (tmp_path / "new.py").unlink()
    (tmp_path / "code.py").write_text("a = 3\n")
    assert this_commit(tmp_path).dirty


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_checkout_is_read_without_taking_its_locks(tmp_path):
    """A status with locks writes the index again where a file's time differs from the index's."""
    git(tmp_path, "init", "--quiet")
    code = tmp_path / "code.py"
    code.write_text("a = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first")
    os.utime(code, (10**9, 10**9))
    index = tmp_path / ".git/index"
    before = index.read_bytes()
    assert not this_commit(tmp_path).dirty
    assert index.read_bytes() == before
    git(tmp_path, "status", "--porcelain")
    assert index.read_bytes() != before  # so that the check above can fail


def test_an_installed_package_inside_a_repository_has_no_commit(tmp_path):
    installed = tmp_path / "venv" / "site-packages"
    installed.mkdir(parents=True)
    git(tmp_path, "init", "--quiet")
    assert this_commit(installed) is None

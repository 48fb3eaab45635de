"""Searches over machines, tried on this one: NNI over SSH, keras-tuner's chief and workers."""

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.tuning.nni.nni_trial import OBJECTIVE, SPACE
from tests.tuning.nni.test_experiment import nni_processes
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.nni.experiment import NNISearch, RemoteMachine, run_nni_experiment

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]

TRIAL = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from tests.tuning import functions
from tests.tuning.nni.nni_trial import OBJECTIVE, SPACE
from tfcompress.tuning.nni.trial import run_nni_trial
run_nni_trial(functions.quadratic, SPACE, OBJECTIVE)
"""


@contextmanager
def ssh_server(folder):
    """An SSH server on loopback, at a port above 1024, with a key made for it."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if server is None:
        pytest.skip("no sshd here: apt-get install openssh-server")
    for name in ("host", "user"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True
        )
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    (folder / "authorized").chmod(0o600)
    port = free_port(0)
    sftp = shutil.which("sftp-server", path=f"/usr/lib/openssh:{os.environ['PATH']}")
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nPidFile {folder / 'pid'}\n"
        f"PasswordAuthentication no\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n"
        f"Subsystem sftp {sftp or 'internal-sftp'}\n"
    )
    Path("/run/sshd").mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [server, "-D", "-e", "-f", folder / "sshd_config"], stderr=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 10
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < end
            time.sleep(0.1)
        yield port
    finally:
        if process.poll() is None:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
        process.wait()
        process.stderr.close()


def test_nni_over_ssh(tmp_path):
    """Six trials, two at a time, on a "remote" machine: each beside its own parameters."""
    code = tmp_path / "code"
    code.mkdir()
    (code / "trial.py").write_text(TRIAL)
    with ssh_server(tmp_path) as port:
        machine = RemoteMachine(
            host="127.0.0.1",
            user=getpass.getuser(),
            port=port,
            key_file=str(tmp_path / "user"),
            python=str(Path(sys.executable).parent),
        )
        search = NNISearch(
            command=[sys.executable, "trial.py"],
            code_directory=code,
            space=SPACE,
            objective=OBJECTIVE,
            folder=tmp_path / "nni",
            tuner="Random",
            assessor=None,
            trials=6,
            concurrency=2,
            machines=(machine,),
            seconds=300,
        )
        result = run_nni_experiment(search, tell=None)
    assert [trial.status for trial in result.trials] == ["finished"] * 6
    for trial in result.trials:
        expected = (1 - (trial.params["x"] - 0.3) ** 2) * 0.9375
        assert trial.objective == pytest.approx(expected, abs=1e-9)
    assert len({trial.params["x"] for trial in result.trials}) == 6
    assert nni_processes(tmp_path) == []


MEMBER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from tests.tuning import functions
from tests.tuning.nni.nni_trial import OBJECTIVE, SPACE
from tfcompress.tuning.keras_tuner.search import search_with_keras_tuner
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch
if __name__ == "__main__":
    # Slow trials: the worker that starts first must not be through before the other one is there.
    search = KerasTunerSearch(function=functions.slow, space=SPACE, objective=OBJECTIVE,
                    tuner="random", folder=Path(sys.argv[1]), trials=6, isolate=False,
                    stop_rule=None)
    result = search_with_keras_tuner(search)
    print("no result here" if result is None else result.table())
"""


def test_keras_tuners_chief_and_two_workers(tmp_path):
    """The same script three times, as on three machines, each with a disk of its own."""
    script = tmp_path / "search.py"
    script.write_text(MEMBER)
    port = free_port(0)
    members = {}
    for name in ("chief", "tuner0", "tuner1"):
        variables = {
            **os.environ,
            "KERASTUNER_TUNER_ID": name,
            "KERASTUNER_ORACLE_IP": "127.0.0.1",
            "KERASTUNER_ORACLE_PORT": str(port),
        }
        members[name] = subprocess.Popen(
            [sys.executable, "-W", "ignore", script, tmp_path / name],
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    outputs = {name: member.communicate(timeout=240) for name, member in members.items()}
    for name, member in members.items():
        assert member.returncode == 0, f"{name}: {outputs[name][1]}"
    table = outputs["chief"][0]
    assert table.count("finished") == 6
    assert "no result here" in outputs["tuner0"][0]
    trained = [len(list((tmp_path / n).glob("trials/*/trial.json"))) for n in ("tuner0", "tuner1")]
    assert sum(trained) == 6


def test_a_worker_without_a_chief(tmp_path, monkeypatch):
    from tests.tuning.keras_tuner.test_search import search
    from tfcompress.tuning.keras_tuner import chief as keras_tuner_chief
    from tfcompress.tuning.keras_tuner.search import search_with_keras_tuner
    from tfcompress.tuning.results import SearchError

    monkeypatch.setattr(keras_tuner_chief, "SILENCE_SECONDS", 3)
    for key, value in (("TUNER_ID", "tuner0"), ("ORACLE_IP", "127.0.0.1")):
        monkeypatch.setenv(f"KERASTUNER_{key}", value)
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", str(free_port(0)))
    with pytest.raises(SearchError, match="does not answer.*start it first"):
        search_with_keras_tuner(search(tmp_path), tell=None)

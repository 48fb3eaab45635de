"""What NNI 3.0 does wrong without a word, and does not where we start it (benchmarks/nni_defects
shows each on NNI alone)."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest

from tests.tuning.nni.nni_trial import OBJECTIVE, SIGNS, SPACE
from tests.tuning.nni.test_experiment import SCRIPT, nni_processes
from tests.tuning.nni.test_experiment import search as searched
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.nni import manager as nni_manager
from tfcompress.tuning.nni.experiment import NNISearch, run_nni_experiment
from tfcompress.tuning.nni.records import read_trials
from tfcompress.tuning.nni.setup import environment, nnictl
from tfcompress.tuning.results import SearchError

pytestmark = pytest.mark.slow


def expected(params):
    """What functions.quadratic gives after four epochs."""
    return (1 - (params["x"] - 0.3) ** 2) * 0.9375


def test_the_manager_listens_on_loopback_only(tmp_path):
    addresses = set()

    def look(line):
        port = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if port:
            listening = psutil.net_connections("inet")
            addresses.update(
                c.laddr.ip
                for c in listening
                if c.status == "LISTEN" and c.laddr.port == int(port[1])
            )

    run_nni_experiment(searched(tmp_path, trials=1), tell=look)
    assert addresses == {"127.0.0.1"}


def test_workers_elsewhere_reach_the_manager(tmp_path):
    """With an address for them, the manager answers there too; 127.0.0.2 stands for it."""
    answers = {}

    def look(line):
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if found:
            port = int(found[1])
            listening = psutil.net_connections("inet")
            answers["addresses"] = {
                c.laddr.ip for c in listening if c.status == "LISTEN" and c.laddr.port == port
            }
            url = f"http://127.0.0.2:{port}/api/v1/nni/check-status"
            answers["status"] = json.loads(urllib.request.urlopen(url, timeout=10).read())

    run_nni_experiment(searched(tmp_path, trials=1, manager_ip="127.0.0.2"), tell=look)
    assert answers["addresses"] == {"127.0.0.1", "127.0.0.2"}
    assert "status" in answers["status"]


def test_parameters_after_an_early_crash(tmp_path):
    """A trial that dies before it asks: in NNI alone all later ones get another's parameters."""
    script = tmp_path / "trial.py"
    script.write_text(
        "import os, sys, runpy\n"
        "if os.environ['NNI_TRIAL_SEQ_ID'] == '0': sys.exit(7)\n"
        f"sys.argv = ['t', 'quadratic']\n"
        f"runpy.run_path({str(Path(__file__).with_name('nni_trial.py'))!r}, run_name='__main__')\n"
    )
    how = searched(
        tmp_path / "nni", tuner="TPE", trials=4, command=[sys.executable, script], concurrency=2,
        assessor=None,
    )  # fmt: skip
    result = run_nni_experiment(how, tell=None)
    assert [trial.status for trial in result.trials] == ["failed", *["finished"] * 3]
    for trial in result.trials[1:]:
        assert trial.objective == pytest.approx(expected(trial.params), abs=1e-9)


def test_all_failed_is_an_error(tmp_path):
    with pytest.raises(SearchError, match="none of its 3 trials.*RuntimeError: the data set is g"):
        run_nni_experiment(searched(tmp_path, "always_crashes", trials=6), tell=None)
    assert nni_processes(tmp_path) == []


def test_troubled_trials(tmp_path):
    how = searched(tmp_path, "troubled", trials=7, trial_seconds=25, concurrency=2, assessor=None)
    result = run_nni_experiment(how, tell=None)
    status = [trial.status for trial in result.trials]
    assert status == ["finished", *["failed"] * 5, "finished"]
    reasons = [trial.reason for trial in result.trials]
    assert reasons[1] == "ValueError: no such layer"
    assert "its process ended (" in reasons[2]
    assert "did not end within 25 s" in reasons[3]
    assert reasons[4] == "epoch 1: val_score is nan"
    assert "it is None instead of metrics" in reasons[5]


@pytest.mark.parametrize(
    "rule",
    [
        {"assessor_args": {"start_step": 1}},
        {"assessor": "Halving", "assessor_args": {"first_epoch": 1, "eta": 2}},
    ],
    ids=["Medianstop", "Halving"],
)
def test_stopped_trials_are_in_the_result(tmp_path, rule):
    """Trials whose curve is under the others' end early, and are not lost."""
    how = searched(tmp_path, "slow", trials=6, concurrency=1, seed=1, **rule)
    result = run_nni_experiment(how, tell=None)
    assert len(result.trials) == 6
    stopped = [trial for trial in result.trials if trial.status == "stopped"]
    assert stopped
    for trial in stopped:
        assert trial.epochs < 3
        # functions.slow: x, 2 x, 3 x
        assert trial.objective == pytest.approx(trial.params["x"] * trial.epochs)


@pytest.mark.parametrize("tuner", ["TPE", "GridSearch", "Evolution", "GP", "Metis", "Hyperband"])
def test_tuners(tmp_path, tuner):
    how = searched(
        tmp_path,
        numbers=tuner in ("GP", "Metis"),
        tuner=tuner,
        trials=4,
        concurrency=2,
        epochs=3,
        assessor=None,
    )
    result = run_nni_experiment(how, tell=None)
    assert len(result.trials) == 4
    for trial in result.trials:
        scale = (1 - 0.5**trial.epochs) / 0.9375
        assert trial.objective == pytest.approx(expected(trial.params) * scale, abs=1e-9)
    if tuner == "Hyperband":
        # of at most 3 epochs: a first round of three trials with one, then one goes on to three
        assert sorted(trial.epochs for trial in result.trials) == [1, 1, 1, 3]


def test_nnictl_create_resume_view_stop(tmp_path):
    """nnictl with our environment: right pairs, loopback, and nothing left after stop."""
    home = {**os.environ, "HOME": str(tmp_path), **environment()}
    (tmp_path / "space.json").write_text('{"x": {"_type": "uniform", "_value": [0, 1]}}')
    script = Path(__file__).with_name("nni_trial.py")
    (tmp_path / "nni.yml").write_text(
        f"searchSpaceFile: space.json\ntrialCommand: {sys.executable} {script} quadratic\n"
        "trialCodeDirectory: .\ntrialConcurrency: 2\nmaxTrialNumber: 3\n"
        f"experimentWorkingDirectory: {tmp_path / 'work'}\ntuner: {{name: Random}}\n"
        "trainingService: {platform: local}\n"
    )
    command, port = nnictl(), str(free_port(0))

    def run(*words):
        done = subprocess.run([*command, *words], env=home, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    created = run("create", "--config", str(tmp_path / "nni.yml"), "--port", port)
    name = re.search(r"Experiment ID:\s*(?:\x1b\[\d+m)?([A-Za-z0-9_-]+)", created)[1]
    folder = tmp_path / "work" / name

    def ended():
        return read_trials(folder, SPACE, OBJECTIVE) if (folder / "db/nni.sqlite").exists() else ()

    end = time.monotonic() + 180
    while len(ended()) < 3 and time.monotonic() < end:
        time.sleep(1)
    for trial in ended():
        assert trial.objective == pytest.approx(expected(trial.params), abs=1e-9)
    assert len(ended()) == 3
    run("stop", name)
    run("resume", name, "--port", port)
    run("update", "trialnum", name, "--value", "4")
    end = time.monotonic() + 120
    while len(ended()) < 4 and time.monotonic() < end:
        time.sleep(1)
    assert len(ended()) == 4
    for trial in ended():
        assert trial.objective == pytest.approx(expected(trial.params), abs=1e-9)
    run("stop", name)
    run("view", name, "--port", port)
    run("stop", name)
    end = time.monotonic() + 30
    while nni_processes(tmp_path) and time.monotonic() < end:
        time.sleep(0.5)
    assert nni_processes(tmp_path) == []


def test_a_tuner_that_does_not_answer(tmp_path, monkeypatch):
    """Stopped, not dead: NNI waits for it for ever."""
    monkeypatch.setattr(nni_manager, "NO_TRIAL_SECONDS", 10.0)

    def freeze(line):
        if line.startswith("NNI experiment"):
            for child in psutil.Process().children(recursive=True):
                if "--exp_params" in " ".join(child.cmdline()):
                    child.suspend()

    try:
        told = run_nni_experiment(searched(tmp_path, trials=3), tell=freeze).stopped_by
    except SearchError as error:  # where it was frozen before the first trial
        told = str(error)
    assert "NNI started no trial for 10 s, so its tuner probably hangs" in told
    assert nni_processes(tmp_path) == []


def test_names_with_signs_of_comments(tmp_path):
    """Which NNI's tuner by itself cuts off: it then waits for ever."""
    result = run_nni_experiment(
        NNISearch(
            command=[sys.executable, SCRIPT, "signs"],
            space=SIGNS,
            objective=OBJECTIVE,
            folder=tmp_path,
            tuner="TPE",
            trials=3,
            seconds=300,
        ),
        tell=None,
    )
    assert [trial.status for trial in result.trials] == ["finished"] * 3
    for trial in result.trials:
        assert set(trial.params) == {"weight_#00FF00", "net//"}
        assert trial.objective == trial.params["weight_#00FF00"]

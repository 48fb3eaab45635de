"""Searches whose parts are killed: nothing stays, no finished trial is lost, the rest goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.tuning.launch_search import TRIALS
from tests.tuning.nni.nni_trial import OBJECTIVE, SPACE
from tfcompress.tuning.nni.records import read_trials
from tfcompress.tuning.results import read_trial

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).with_name("launch_search.py")


LAUNCHED = []


@pytest.fixture(autouse=True)
def _nothing_left_open():
    """Pipes of what a test killed are closed."""
    yield
    for process in LAUNCHED:
        process.kill()
        with process:
            pass
    LAUNCHED.clear()


def launch(tool, folder, *more):
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", SCRIPT, tool, folder, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    LAUNCHED.append(process)
    return process


def processes_of(folder, session):
    """What a launch has left: by session, by command line, by environment."""
    found = []
    for process in psutil.process_iter():
        try:
            command, environ = " ".join(process.cmdline()), process.environ()
            in_session = os.getsid(process.pid) == session
        except (psutil.Error, ProcessLookupError):
            continue
        texts = (command, environ.get("NNI_OUTPUT_DIR", ""), environ.get("NNI_LOG_DIRECTORY", ""))
        if in_session or any(str(folder) in text for text in texts):
            found.append(process)
    return [process for process in found if process.pid != os.getpid()]


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.2)
    return value


def assert_nothing_is_left(folder, session, seconds=60):
    wait_for(lambda: not processes_of(folder, session), seconds)


def nni_folder(folder):
    return next((path.parent.parent for path in folder.glob("*/db/nni.sqlite")), None)


def finished(tool, folder):
    """Trials that have finished, by their parameters."""
    if tool == "nni":
        found = nni_folder(folder)
        trials = read_trials(found, SPACE, OBJECTIVE) if found else ()
    else:
        trials = [read_trial(path) for path in sorted((folder / "trials").glob("*"))]
    return [trial for trial in trials if trial and trial.status == "finished"]


def running_trials(folder):
    """Process ids of trials that train."""
    # os.walk passes over what goes while it looks; Path.rglob fails on it.
    paths = [Path(root, "pid") for root, _, files in os.walk(folder) if "pid" in files]
    ids = [int(path.read_text() or 0) for path in paths]
    return [pid for pid in ids if pid and psutil.pid_exists(pid)]


def resumed(tool, folder):
    process = launch(tool, folder, "resume")
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert_nothing_is_left(folder, process.pid)
    return output


@pytest.mark.parametrize("tool", ["nni", "keras-tuner", "workers"])
def test_the_launcher_is_killed(tmp_path, tool):
    process = launch(tool, tmp_path)
    done = wait_for(lambda: finished(tool, tmp_path))
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert_nothing_is_left(tmp_path, process.pid)
    before = {trial.params["x"]: trial.objective for trial in finished(tool, tmp_path)}
    assert len(before) >= len(done)
    output = resumed(tool, tmp_path)
    after = {trial.params["x"]: trial.objective for trial in finished(tool, tmp_path)}
    assert after.items() >= before.items(), output
    assert len(after) == TRIALS, output


@pytest.mark.parametrize("tool", ["nni", "keras-tuner", "workers"])
def test_a_trial_is_killed(tmp_path, tool):
    process = launch(tool, tmp_path)
    victim = wait_for(lambda: running_trials(tmp_path))[0]
    os.kill(victim, signal.SIGKILL)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert len(finished(tool, tmp_path)) == TRIALS - 1
    assert "failed: its process" in " ".join(output.split())
    assert_nothing_is_left(tmp_path, process.pid)


def test_nnis_manager_is_killed(tmp_path):
    process = launch("nni", tmp_path)
    wait_for(lambda: finished("nni", tmp_path))
    managers = [
        child
        for child in psutil.Process(process.pid).children()
        if "nni_node/main.js" in " ".join(child.cmdline())
    ]
    managers[0].kill()
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "the search ended early: NNI's manager ended" in " ".join(output.split())
    assert_nothing_is_left(tmp_path, process.pid)
    before = {trial.params["x"]: trial.objective for trial in finished("nni", tmp_path)}
    resumed("nni", tmp_path)
    after = {trial.params["x"]: trial.objective for trial in finished("nni", tmp_path)}
    assert after.items() >= before.items()
    assert len(after) == TRIALS


def test_nnis_tuner_is_killed(tmp_path):
    process = launch("nni", tmp_path)
    wait_for(lambda: running_trials(tmp_path))
    tuners = [
        child
        for child in psutil.Process(process.pid).children(recursive=True)
        if "--exp_params" in " ".join(child.cmdline()) and "python" in child.name()
    ]
    tuners[0].kill()
    output, errors = process.communicate(timeout=120)
    assert "tuner's process ended" in " ".join((output + errors).split())
    assert_nothing_is_left(tmp_path, process.pid)


def test_a_worker_is_killed(tmp_path):
    """Its trial fails, another worker takes its place, the search ends with every other trial."""
    process = launch("workers", tmp_path)
    trial = psutil.Process(wait_for(lambda: running_trials(tmp_path))[0])
    trial.parent().kill()
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert len(finished("workers", tmp_path)) == TRIALS - 1
    assert "its worker ended by SIGKILL" in " ".join(output.split())
    assert_nothing_is_left(tmp_path, process.pid)


@pytest.mark.parametrize("tool", ["nni", "keras-tuner", "workers"])
def test_control_c(tmp_path, tool):
    process = launch(tool, tmp_path)
    wait_for(lambda: running_trials(tmp_path))
    os.kill(process.pid, signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode != 0
    assert_nothing_is_left(tmp_path, process.pid)

"""NNI: trials outside an experiment, one small real experiment, bad input."""

import ast
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.tuning.nni.nni_trial import NUMBERS, OBJECTIVE, SPACE
from tfcompress.errors import ConfigError, DataError
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.folder import claimed, note, state_search
from tfcompress.tuning.nni.experiment import NNISearch, RemoteMachine, run_nni_experiment
from tfcompress.tuning.nni.records import read_trials
from tfcompress.tuning.nni.setup import environment, nnictl, patient_start, wait_for
from tfcompress.tuning.results import SearchError
from tfcompress.tuning.space import SearchSpace, Uniform
from tfcompress.tuning.trial import SearchObjective

SCRIPT = Path(__file__).with_name("nni_trial.py")


def search(folder, function="quadratic", numbers=False, **more):
    command = [sys.executable, SCRIPT, function, *(["numbers"] if numbers else [])]
    more = {"tuner": "Random", "seconds": 400, "command": command, **more}
    space = NUMBERS if numbers else SPACE
    return NNISearch(space=space, objective=OBJECTIVE, folder=folder, **more)


@pytest.mark.parametrize("tuner", ["GP", "Metis"])
def test_tuners_of_numbers_refuse_other_spaces(tmp_path, tuner):
    """NNI's dispatcher dies on them, and its experiment waits for ever."""
    with pytest.raises(
        ConfigError, match=f"{tuner} searches only numbers .* 'kind' is a choice of"
    ):
        search(tmp_path, tuner=tuner)
    assert search(tmp_path, numbers=True, tuner=tuner).tuner == tuner


def nni_processes(folder):
    """Processes of experiments in a folder: managers, tuners, trials."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        command = " ".join(process.info["cmdline"] or ())
        environ = process.info["environ"] or {}
        places = [environ.get(key, "") for key in ("NNI_OUTPUT_DIR", "NNI_LOG_DIRECTORY")]
        if any(str(folder) in text for text in (command, *places)):
            found.append(command)
    return found


def test_an_experiment(tmp_path):
    """Two at a time: parameters and results belong together; one crashes, and says why."""
    lines = []
    how = search(tmp_path, "crashes_second", trials=4, concurrency=2, assessor=None)
    result = run_nni_experiment(how, tell=lines.append)
    assert [trial.number for trial in result.trials] == list(range(4))
    for trial in result.trials:
        if trial.number == 1:
            assert trial.status == "failed"
            assert trial.reason == "ValueError: the second one"
            continue
        # functions.quadratic after four epochs
        expected = (1 - (trial.params["x"] - 0.3) ** 2) * 0.9375
        assert trial.objective == pytest.approx(expected, abs=1e-9)
        assert ("extra" in trial.params) == (trial.params["kind"] == "b")
        assert trial.metrics["val_accuracy"] == pytest.approx(expected / 2, abs=1e-9)
        assert [row["epoch"] for row in trial.history] == [1, 2, 3, 4]
        assert json.loads((Path(trial.folder) / "trial.json").read_text())["name"] == trial.name
    assert len({trial.params["x"] for trial in result.trials}) == 4
    assert nni_processes(tmp_path) == []
    assert len(lines) == 5
    with pytest.raises(SearchError, match="holds a search already"):
        run_nni_experiment(how, tell=None)


def test_outside_an_experiment(tmp_path):
    code = (
        "import sys; sys.argv = ['t', 'quadratic']; import runpy;"
        f"runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Intermediate result") == 4
    final = ast.literal_eval(re.search(r"Final result: ({.*?})", done.stdout)[1])
    # x = 0.5 is the middle of its range: (1 - 0.2^2) * (1 - 0.5^4) = 0.9
    assert final == pytest.approx({"default": 0.9, "val_score": 0.9, "val_accuracy": 0.45})


SCRIPT_OF_A_USER = """
import keras
import numpy as np
import tfcompress as tfc

space = tfc.SearchSpace({"rate": tfc.Uniform(0.0, 1.0)})
print("PARAMS", tfc.nni_parameters(space))
model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Conv2D(2, 1)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("sgd", loss, metrics=[*tfc.segmentation_metrics(2), "accuracy"])
data = np.ones((4, 4, 4, 1)), np.zeros((4, 4, 4), int)
callback = tfc.nni_callback(tfc.SearchObjective("val_mean_iou", also=("val_accuracy",)))
history = model.fit(*data, epochs=2, verbose=0, validation_data=data, callbacks=[callback]).history
print("HISTORY", history)
"""


def test_the_callback_reports_accuracy_and_mean_iou(tmp_path):
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT_OF_A_USER], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "PARAMS {'rate': 0.5}" in done.stdout
    history = ast.literal_eval(re.search(r"HISTORY ({.*})", done.stdout)[1])
    reported = re.findall(r"Intermediate result: ({.*?})", done.stdout)
    assert len(reported) == 2
    for epoch, text in enumerate(reported):
        values = ast.literal_eval(text)
        assert values["default"] == pytest.approx(history["val_mean_iou"][epoch])
        assert values["val_accuracy"] == pytest.approx(history["val_accuracy"][epoch])
    final = ast.literal_eval(re.search(r"Final result: ({.*?})", done.stdout)[1])
    assert final["default"] == pytest.approx(max(history["val_mean_iou"]))


def nni_database(folder):
    """An empty database with NNI's tables."""
    (folder / "db").mkdir()
    db = sqlite3.connect(folder / "db" / "nni.sqlite")
    db.executescript(
        "create table TrialJobEvent (timestamp, trialJobId, event, data, logPath, sequenceId,"
        " message, environmentId);"
        "create table MetricData (timestamp, trialJobId, parameterId, type, sequence, data);"
        "create table ExperimentProfile (startTime)"
    )
    return db


def test_records_join_on_the_parameter_that_was_reported(tmp_path):
    """What NNI's database holds after its mix-up: trial B ran with parameters 0, A with 1."""
    with nni_database(tmp_path) as db:
        db.execute("insert into ExperimentProfile values (1000)")
        for number, name in enumerate("AB"):
            given = json.dumps({"parameter_id": number, "parameters": {"x": number / 2}})
            for event, time, data in (("RUNNING", 2000, given), ("SUCCEEDED", 5000, None)):
                db.execute(
                    "insert into TrialJobEvent values (?, ?, ?, ?, '', ?, '', '')",
                    (time, name, event, data, number),
                )
            db.execute(
                "insert into MetricData values (3000, ?, ?, 'FINAL', 0, ?)",
                (name, str(1 - number), json.dumps(json.dumps({"default": 0.25 * number}))),
            )
    space = SearchSpace({"x": Uniform(0.0, 1.0)})
    first, second = read_trials(tmp_path, space, SearchObjective("score"))
    assert (first.name, first.params["x"], first.objective) == ("A", 0.5, 0.0)
    assert (second.name, second.params["x"], second.objective) == ("B", 0.0, 0.25)
    assert (second.started, second.seconds) == (1.0, 3.0)
    with pytest.raises(DataError, match="no NNI experiment"):
        read_trials(tmp_path / "db", space, SearchObjective("score"))


def test_an_experiment_whose_tables_are_being_made_has_no_trials(tmp_path):
    with closing(nni_database(tmp_path)) as db:
        db.execute("drop table MetricData")
        space = SearchSpace({"x": Uniform(0.0, 1.0)})
        assert read_trials(tmp_path, space, SearchObjective("score")) == ()


def test_ids_that_start_again_after_a_resume(tmp_path):
    """A resumed NNI may count from the start: trial 1 of the old and of the new are two trials."""
    with nni_database(tmp_path) as db:
        for time, name, x in ((1000, "old", 0.2), (5000, "new", 0.9)):
            given = json.dumps({"parameter_id": 1, "parameters": {"x": x}})
            for event, data in (("RUNNING", given), ("SUCCEEDED", None)):
                db.execute(
                    "insert into TrialJobEvent values (?, ?, ?, ?, '', 1, '', '')",
                    (time, name, event, data),
                )
            # the trial was cut off after two epochs and run again
            for number, value in ((0, 9.0), (1, 9.0), (0, x), (1, 2 * x), (2, 3 * x)):
                db.execute(
                    "insert into MetricData values (3000, ?, '1', 'PERIODICAL', ?, ?)",
                    (name, number, json.dumps(json.dumps({"default": value}))),
                )
    old, new = read_trials(
        tmp_path, SearchSpace({"x": Uniform(0.0, 1.0)}), SearchObjective("score")
    )
    assert [(t.number, t.name, t.params["x"]) for t in (old, new)] == [
        (0, "old", 0.2), (1, "new", 0.9),
    ]  # fmt: skip
    assert [row["score"] for row in old.history] == pytest.approx([0.2, 0.4, 0.6])
    assert new.objective == pytest.approx(2.7)


def test_two_searches_in_one_folder(tmp_path):
    how = search(tmp_path)
    with (
        claimed(tmp_path, {}, resume=False),
        pytest.raises(SearchError, match="another search is running in it"),
    ):
        run_nni_experiment(how, tell=None)


def test_hyperband_is_not_resumed_and_needs_trials(tmp_path):
    with pytest.raises(
        ConfigError, match="9 trials do not exceed the first round of Hyperband with 9"
    ):
        search(tmp_path, tuner="Hyperband", epochs=9, trials=9)
    how = search(tmp_path, tuner="Hyperband", epochs=9, trials=10)
    state = state_search(how.space, how.objective, how.tuner, how.epochs, how.seed)
    with claimed(tmp_path, state, resume=False):
        note(tmp_path, experiment="gone")
    (tmp_path / "gone" / "db").mkdir(parents=True)
    (tmp_path / "gone" / "db" / "nni.sqlite").touch()
    with pytest.raises(SearchError, match="Hyperband, so the search cannot continue"):
        run_nni_experiment(how, resume=True, tell=None)


def test_a_taken_port(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SearchError, match=f"port {port}.*choose a free PORT"):
            run_nni_experiment(search(tmp_path), port=port, tell=None)


def test_a_machine_that_does_not_answer(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    how = search(tmp_path, machines=(RemoteMachine(host="127.0.0.1", user="nobody", port=port),))
    with pytest.raises(SearchError, match=f"machine 127.0.0.1:{port}.*cannot be reached"):
        run_nni_experiment(how, tell=None)


@pytest.mark.parametrize("name", ["Random", "TPE"])
def test_a_resumed_tuner_draws_new_parameters(name):
    """Its seed alone would give the first parameters again: NNI's own tuners do."""
    from nni.algorithms.hpo.random_tuner import RandomTuner
    from nni.algorithms.hpo.tpe_tuner import TpeTuner

    from tfcompress.tuning.nni.advisors import PatchedRandom, PatchedTPE

    kinds = {"Random": (PatchedRandom, RandomTuner), "TPE": (PatchedTPE, TpeTuner)}
    space = {"x": {"_type": "uniform", "_value": [0, 1]}}

    def draws(kind, finished=()):
        tuner = kind(seed=0)
        tuner.update_search_space(space)
        if finished:
            tuner.import_data(list(finished))
        return [tuner.generate_parameters(i)["x"] for i in range(4)]

    mended, plain = kinds[name]
    first = draws(mended)
    assert first == draws(mended) == draws(plain)
    done = [{"parameter": {"x": x}, "value": x} for x in first[:2]]
    assert set(draws(plain, done)) & set(first)
    assert not set(draws(mended, done)) & set(first)
    assert draws(mended, done) == draws(mended, done)


def test_waiting_ends_with_an_answer_or_when_none_may_come():
    errors = iter([OSError("not yet"), OSError("not yet"), None])

    def answer():
        error = next(errors)
        if error:
            raise error

    wait_for(answer, lambda: True, pause=0)
    assert list(errors) == []

    def never():
        asked.append(1)
        raise OSError("refused")

    for seconds, alive in ((60, False), (0, True)):
        asked = []
        with pytest.raises(OSError, match="refused"):
            wait_for(never, lambda alive=alive: alive, seconds, pause=0.01)
        assert len(asked) == 1


def test_a_manager_that_is_slow_to_start(tmp_path):
    """A server that answers after six seconds: NNI alone gives up after four."""
    from nni.experiment import launcher

    port = free_port(0)
    (tmp_path / "api/v1/nni").mkdir(parents=True)
    (tmp_path / "api/v1/nni/check-status").write_text("{}")
    slow = (
        "import http.server as h, time; time.sleep(6);"
        f"h.HTTPServer(('127.0.0.1', {port}), h.SimpleHTTPRequestHandler).serve_forever()"
    )
    command = [sys.executable, "-c", slow, "main.js"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as server:
        try:
            with pytest.raises(OSError, match="refused"):
                launcher._check_rest_server(port)
            with patient_start():
                launcher._check_rest_server(port)
        finally:
            server.kill()
    with patient_start(), pytest.raises(OSError, match="refused"):
        launcher._check_rest_server(port)  # nobody is there to be waited for


def test_no_nnictl(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match=r"nnictl: there is no .*pip install 'nni==3.0'"):
        nnictl()


def test_nnictl_that_does_not_start(tmp_path, monkeypatch):
    script = tmp_path / "nnictl"
    script.write_text("#!/bin/sh\necho \"No module named 'pkg_resources'\" >&2\nexit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(ConfigError, match="pkg_resources.*setuptools<82"):
        nnictl()


def test_another_nni(monkeypatch):
    import nni

    monkeypatch.setattr(nni, "__version__", "2.10.1")
    with pytest.raises(ConfigError, match="2.10.1, not 3.0"):
        nnictl()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tuner": "SMAC"}, "unknown 'SMAC'.*TPE"),
        ({"assessor": "Bandit"}, "unknown 'Bandit'.*Medianstop"),
        ({"trials": 0}, "trials: it is 0"),
        ({"concurrency": 0}, "concurrency: it is 0"),
        ({"tuner": "Hyperband"}, "epochs: Hyperband needs a number"),
        ({"code_directory": "/no/such"}, "there is no folder /no/such"),
    ],
)
def test_bad_searches(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        search(tmp_path, **more)


def test_every_line_that_is_edited_is_in_nni(tmp_path):
    """The preload stops the manager on a line that is missing; none is."""
    variables = {**os.environ, **environment()}
    import nni_node

    folder = Path(nni_node.__path__[0])
    files = (
        "training_service/v3/compat.js", "rest_server/index.js", "rest_server/core.js",
        "core/tuner_command_channel.js", "core/nnimanager.js",
        "training_service/remote_v3/worker.js",
    )  # fmt: skip

    def required(path):
        # Compiling is enough: an edit that does not apply exits with 3 before the file runs.
        code = f"try {{ require({str(path)!r}) }} catch (error) {{}} process.exit(0)"
        return subprocess.run(
            [folder / "node", "-e", code], env=variables, capture_output=True, text=True
        )

    for file in files:
        assert required(folder / file).returncode == 0, file
        other = tmp_path / "nni_node" / file
        other.parent.mkdir(parents=True, exist_ok=True)
        other.write_text("// of another version\n")
        refused = required(other)
        assert refused.returncode == 3
        assert "Fix: install nni==3.0" in refused.stderr

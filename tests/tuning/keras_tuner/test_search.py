"""keras-tuner searches: each tuner, early stopping, troubled trials, resuming, two workers."""

import json
import os
import threading
import time
from concurrent import futures

import grpc
import psutil
import pytest

from tests.tuning import functions
from tests.tuning.tensorflow_function import on_tensorflow
from tfcompress.errors import ConfigError
from tfcompress.tuning.keras_tuner.search import search_with_keras_tuner
from tfcompress.tuning.keras_tuner.settings import KerasTunerSearch
from tfcompress.tuning.results import SearchError, read_trial
from tfcompress.tuning.space import Choice, SearchSpace, Uniform
from tfcompress.tuning.stopping import MedianStop
from tfcompress.tuning.trial import SearchObjective, Trial, TrialError

SPACE = SearchSpace({"x": Uniform(0.0, 1.0), "kind": Choice(("a", "b"))})
OBJECTIVE = SearchObjective("val_score", "max", ("val_accuracy",))


def search(folder, function=functions.quadratic, **more):
    more = {"isolate": False, "trials": 6, "tuner": "random", "space": SPACE, **more}
    return KerasTunerSearch(function=function, objective=OBJECTIVE, folder=folder, **more)


@pytest.mark.parametrize("tuner", ["random", "bayesian", "grid"])
def test_tuners(tmp_path, tuner):
    result = search_with_keras_tuner(search(tmp_path, tuner=tuner, stop_rule=None), tell=None)
    assert [trial.number for trial in result.trials] == list(range(6))
    for trial in result.trials:
        # quadratic: 1 - (x - 0.3)^2 times 1 - 0.5^4 after four epochs
        expected = (1 - (trial.params["x"] - 0.3) ** 2) * 0.9375
        assert trial.objective == pytest.approx(expected)
        assert trial.metrics["val_accuracy"] == pytest.approx(expected / 2)
        assert [row["epoch"] for row in trial.history] == [1, 2, 3, 4]
        record = json.loads((tmp_path / "trials" / f"{trial.number:04d}/trial.json").read_text())
        assert record["params"] == dict(trial.params)
    assert result.best.objective == max(trial.objective for trial in result.trials)
    assert len({json.dumps(trial.params) for trial in result.trials}) == 6
    # keras-tuner's own record has every epoch of every metric
    state = json.loads(next((tmp_path / "keras_tuner").glob("trial_*/trial.json")).read_text())
    assert len(state["metrics"]["metrics"]["val_accuracy"]["observations"]) == 4


def test_bayesian_comes_nearer_than_random(tmp_path):
    best = {}
    for tuner in ("random", "bayesian"):
        how = search(tmp_path / tuner, tuner=tuner, trials=12, seed=3, stop_rule=None)
        best[tuner] = abs(search_with_keras_tuner(how, tell=None).best.params["x"] - 0.3)
    assert best["bayesian"] < min(best["random"], 0.02)


def test_seed_repeats_a_search(tmp_path):
    runs = [
        search_with_keras_tuner(search(tmp_path / str(n), seed=seed, trials=3), tell=None)
        for n, seed in enumerate((5, 5, 6))
    ]
    params = [[dict(trial.params) for trial in run.trials] for run in runs]
    assert params[0] == params[1] != params[2]


def test_hyperband_grants_epochs_and_names_what_to_continue(tmp_path):
    seen = []

    def watched(params, trial):
        seen.append((trial.number, trial.epochs, trial.continues, dict(params)))
        return functions.quadratic(params, trial)

    how = search(tmp_path, watched, tuner="hyperband", epochs=9, trials=17)
    result = search_with_keras_tuner(how, tell=None)
    # Li et al. 2018, R = 9, eta = 3, as keras-tuner sizes its brackets: 9 of 1 epoch, 3 of 3,
    # 1 of 9; then 5 of 3 epochs (ceil(3 / 2 * 3) = 5) ...
    assert [epochs for _, epochs, *_ in seen[:13]] == [1] * 9 + [3] * 3 + [9]
    for number, _, continues, params in seen[9:13]:
        before = int(continues.name)
        assert seen[before][3] == params
        assert before < number
    first = sorted(result.trials[:9], key=lambda trial: -trial.objective)
    assert {int(continues.name) for *_, continues, _ in seen[9:12]} == {
        trial.number for trial in first[:3]
    }


def test_median_stop_ends_bad_trials(tmp_path):
    how = search(tmp_path, trials=14, stop_rule=MedianStop(start_epoch=2, least_trials=3))
    result = search_with_keras_tuner(how, tell=None)
    stopped = [trial for trial in result.trials if trial.status == "stopped"]
    assert stopped
    assert all(2 <= trial.epochs < 4 for trial in stopped)
    assert result.best.status == "finished"
    assert result.epochs < 14 * 4


@pytest.mark.slow
def test_troubled_trials_fail_and_the_search_goes_on(tmp_path):
    """Every kind of trouble in one search; the tests after this one have them one by one."""
    how = search(tmp_path, functions.troubled, trials=7, isolate=True, trial_seconds=45)
    lines = []
    result = search_with_keras_tuner(how, tell=lines.append)
    status = [trial.status for trial in result.trials]
    assert status == ["finished", *["failed"] * 5, "finished"]
    reasons = [trial.reason for trial in result.trials]
    assert reasons[1] == "ValueError: no such layer"
    assert "SIGKILL" in reasons[2]
    assert "did not end within 45 s" in reasons[3]
    assert reasons[4] == "epoch 1: val_score is nan"
    assert "it is None instead of metrics" in reasons[5]
    assert "{'val_score': 0.5}" in reasons[5]
    assert "no such layer" in (tmp_path / "trials/0001/log.txt").read_text()
    assert len(lines) == 7
    assert "trial 1 failed: ValueError: no such layer" in str(result.table())


def test_a_crash_and_a_kill_in_processes_of_their_own(tmp_path):
    how = search(tmp_path, functions.crash_or_kill, trials=2, isolate=True)
    with pytest.raises(SearchError, match="none of its 2 trials"):
        search_with_keras_tuner(how, tell=None)
    crashed, killed = (read_trial(tmp_path / f"trials/{number:04d}") for number in range(2))
    assert (crashed.status, killed.status) == ("failed", "failed")
    assert crashed.reason == "ValueError: no such layer"
    assert "no such layer" in (tmp_path / "trials/0000/log.txt").read_text()
    assert "SIGKILL" in killed.reason


def test_a_hang_ends_at_its_deadline_and_the_next_trial_comes(tmp_path):
    """Two seconds, start-up included: neither trial ends by itself."""
    how = search(tmp_path, functions.hangs, trials=2, isolate=True, trial_seconds=2)
    with pytest.raises(SearchError, match="none of its 2 trials.*did not end within 2 s"):
        search_with_keras_tuner(how, tell=None)
    for number in range(2):
        record = read_trial(tmp_path / f"trials/{number:04d}")
        assert record.status == "failed"
        assert "did not end within 2 s" in record.reason


def test_trials_that_give_nan_or_nothing_fail_and_the_search_goes_on(tmp_path):
    lines = []
    result = search_with_keras_tuner(
        search(tmp_path, functions.nan_or_nothing, trials=3), tell=lines.append
    )
    nan, nothing, finished = result.trials
    assert [t.status for t in (nan, nothing, finished)] == ["failed", "failed", "finished"]
    assert nan.reason == "epoch 1: val_score is nan"
    assert "it is None instead of metrics" in nothing.reason
    assert "{'val_score': 0.5}" in nothing.reason
    assert len(lines) == 3
    assert "trial 0 failed: epoch 1: val_score is nan" in str(result.table())


def test_a_search_gives_up_where_nothing_works(tmp_path):
    how = search(tmp_path, functions.always_crashes, trials=9)
    with pytest.raises(SearchError, match="none of its 3 trials.*the data set is gone"):
        search_with_keras_tuner(how, tell=None)


def no_process_is_left():
    children = psutil.Process().children(recursive=True)
    return all("resource_tracker" in " ".join(child.cmdline()) for child in children)


def test_two_workers_share_one_search(tmp_path):
    result = search_with_keras_tuner(search(tmp_path, trials=4), workers=2, tell=None)
    assert [trial.number for trial in result.trials] == [0, 1, 2, 3]
    for trial in result.trials:
        expected = (1 - (trial.params["x"] - 0.3) ** 2) * 0.9375
        assert trial.objective == pytest.approx(expected)
    assert len({trial.params["x"] for trial in result.trials}) == 4
    assert no_process_is_left()


@pytest.mark.slow
def test_two_workers_run_trials_in_processes_with_half_the_threads(tmp_path):
    how = search(tmp_path, on_tensorflow, trials=4, isolate=True, tuner="hyperband", epochs=3)
    result = search_with_keras_tuner(how, workers=2, tell=None)
    assert [trial.status for trial in result.trials] == ["finished"] * 4, result.table()
    assert [trial.epochs for trial in result.trials][:3] == [1, 1, 1]
    assert no_process_is_left()


def test_what_was_done_is_not_done_again(tmp_path):
    first = search_with_keras_tuner(search(tmp_path, trials=3), tell=None)
    with pytest.raises(SearchError, match="holds a search already.*RESUME=1"):
        search_with_keras_tuner(search(tmp_path, trials=5), tell=None)
    with pytest.raises(SearchError, match="another seed and tuner|another tuner and seed"):
        search_with_keras_tuner(search(tmp_path, seed=9, tuner="bayesian"), resume=True, tell=None)
    lines = []
    second = search_with_keras_tuner(search(tmp_path, trials=5), resume=True, tell=lines.append)
    assert len(lines) == 2
    assert second.trials[:3] == first.trials
    assert len({trial.params["x"] for trial in second.trials}) == 5


@pytest.mark.parametrize("where", [0, 1, 2])
def test_a_grid_goes_on_where_it_was_cut_off(tmp_path, where):
    space = SearchSpace({"x": Choice((0.1, 0.2, 0.3)), "flag": Choice((True, False))})

    def interrupted(params, trial):
        assert params["flag"] in (True, False)
        if trial.number == where and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            raise KeyboardInterrupt
        return functions.quadratic(params, trial)

    def how(trials):
        return search(
            tmp_path / "s", interrupted, tuner="grid", space=space, trials=trials, stop_rule=None
        )

    with pytest.raises(KeyboardInterrupt):
        search_with_keras_tuner(how(20), tell=None)
    result = search_with_keras_tuner(how(20), resume=True, tell=None)
    tried = {(trial.params["x"], trial.params["flag"]) for trial in result.trials}
    assert tried == {(x, flag) for x in (0.1, 0.2, 0.3) for flag in (True, False)}
    assert len(result.trials) == 6


@pytest.mark.slow
def test_workers_that_die_at_once(tmp_path):
    with pytest.raises(SearchError, match="worker tuner.*with code 3 before it got a trial"):
        search_with_keras_tuner(
            search(tmp_path, functions.DiesOnArrival(), isolate=True), workers=2, tell=None
        )


def test_an_oracle_that_raises_gives_its_lock_back(tmp_path):
    from tfcompress.tuning.keras_tuner.worker import make_tuner

    oracle = make_tuner(search(tmp_path)).oracle
    with pytest.raises(KeyError):
        oracle.update_trial("no such trial", {"val_score": 1.0})
    outcome = []
    thread = threading.Thread(target=lambda: outcome.append(oracle.create_trial("tuner0").status))
    thread.start()
    thread.join(timeout=30)
    assert outcome == ["RUNNING"]


def test_a_trial_that_was_cut_off_starts_again(tmp_path):
    def interrupted(params, trial):
        if trial.number == 1 and not (tmp_path / "once").exists():
            (tmp_path / "once").touch()
            trial.epoch(1, {"val_score": 5.0, "val_accuracy": 0.0})
            raise KeyboardInterrupt
        return functions.quadratic(params, trial)

    with pytest.raises(KeyboardInterrupt):
        search_with_keras_tuner(search(tmp_path, interrupted, trials=3), tell=None)
    how = search(tmp_path, interrupted, trials=3)
    result = search_with_keras_tuner(how, resume=True, tell=None)
    assert [trial.status for trial in result.trials] == ["finished"] * 3
    assert result.best.objective < 1  # the epoch of the cut-off attempt is gone


def test_time_is_up(tmp_path):
    def slow(params, trial):
        time.sleep(0.3)
        return functions.quadratic(params, trial)

    result = search_with_keras_tuner(search(tmp_path, slow, trials=50, seconds=1.0), tell=None)
    assert 1 <= len(result.trials) < 10
    assert result.stopped_by == "its time limit is reached"


def test_a_taken_port(tmp_path):
    server = grpc.server(futures.ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with pytest.raises(SearchError, match=f"port {port}.*choose a free PORT"):
            search_with_keras_tuner(search(tmp_path), workers=2, port=port, tell=None)
    finally:
        server.stop(None).wait()


def test_half_set_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "chief")
    with pytest.raises(ConfigError, match="these are not: KERASTUNER_ORACLE_IP, KERAS"):
        search_with_keras_tuner(search(tmp_path), tell=None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"tuner": "smac"}, "unknown 'smac'.*random, bayesian, hyperband, grid"),
        ({"trials": 0}, "trials: it is 0"),
        ({"tuner": "hyperband"}, "epochs: Hyperband needs a number"),
        (
            {"tuner": "hyperband", "epochs": 9, "trials": 9},
            "9 trials do not exceed the first round",
        ),
        ({"trial_seconds": 0}, "trial_seconds: it is 0"),
        ({"isolate": True, "function": lambda p, t: {}}, "cannot be sent.*isolate=False"),
    ],
)
def test_bad_searches(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        search(tmp_path, **more)


def test_reports_are_checked(tmp_path):
    trial = Trial(0, OBJECTIVE, tmp_path)
    with pytest.raises(
        TrialError, match="epoch 1: 'val_score'.* missing in the reported metrics .loss"
    ):
        trial.epoch(1, {"loss": 0.3})
    with pytest.raises(TrialError, match="'val_accuracy' is missing"):
        trial.epoch(1, {"val_score": 0.3})
    assert os.path.isdir(trial.folder)

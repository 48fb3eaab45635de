"""The searches as a user starts them, on generated data."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import keras
import pytest

from experiments.search.tasks import weights_by_group
from tests.experiments.processes import ROOT, kill_when, run
from tests.tuning.nni.test_experiment import nni_processes
from tfcompress.tuning.checks import free_port
from tfcompress.tuning.nni.setup import nnictl

pytestmark = pytest.mark.slow


def result_of(folder):
    return json.loads((folder / "search_result.json").read_text())


@pytest.mark.parametrize("module", ["search.unet_hpo", "search.unet_hpo_nni"])
def test_the_unets_training(tmp_path, module):
    folder = tmp_path / module.split(".")[1].replace("_", "-") / "default"
    output = run(module, "--smoke", "--root", tmp_path, "--concurrency", 2)
    assert "What it brought" in output
    found = result_of(folder)
    statuses = [trial["status"] for trial in found["trials"]]
    assert len(statuses) == 3
    assert "finished" in statuses
    for trial in found["trials"]:
        epochs = 3 if trial["status"] == "finished" else 1  # halving begins at the first
        assert trial["status"] in ("finished", "stopped"), trial["reason"]
        assert [row["epoch"] for row in trial["history"]][:epochs] == [1, 2, 3][:epochs]
        assert {"val_mean_iou", "val_accuracy"} <= trial["history"][0].keys()
        assert trial["objective"] == max(row["val_mean_iou"] for row in trial["history"])
    best = found["trials"][found["best"]]
    params = json.loads((folder / "best_params.json").read_text())
    assert params["learning_rate"] == best["params"]["learning_rate"]
    assert params["filters"][0] == best["params"]["width"]
    assert len(params["class_factors"]) == 6
    page = (folder / "report.html").read_text()
    for heading in ("Parameters of every trial", "Learning curves", "Importance"):
        assert heading in page
    assert nni_processes(tmp_path) == []
    # what it found goes into another target
    run(
        "unet.train", "--params", folder / "best_params.json", "--smoke", "--epochs", 1,
        "--root", tmp_path,
    )  # fmt: skip
    config = json.loads((tmp_path / "unet-train/default/config.json").read_text())
    assert config["class_factors"] == params["class_factors"]
    assert config["learning_rate"] == params["learning_rate"]


def test_the_unets_pruning(tmp_path):
    folder = tmp_path / "unet-hpo" / "default"
    run(
        "search.unet_hpo", "--smoke", "--root", tmp_path, "--what", "pruning", "--sparsity", 0.7,
        "--objective", "accuracy",
    )  # fmt: skip
    found = result_of(folder)
    assert found["objective"]["metric"] == "val_accuracy"
    for trial in found["trials"]:
        assert trial["objective"] == max(row["val_accuracy"] for row in trial["history"])
        assert all("val_mean_iou" in row for row in trial["history"])
    params = json.loads((folder / "best_params.json").read_text())
    run(
        "unet.level_prune", "--params", folder / "best_params.json", "--smoke", "--root", tmp_path,
        "--dense-epochs", 1, "--sparse-epoch", 2,
    )  # fmt: skip
    found = json.loads((tmp_path / "unet-level-prune/default/metrics.json").read_text())
    rows = found["pruning"]["rows"]
    for row in rows:
        glob = next(g for g in params["group_sparsity"] if row["path"].startswith(g[:-1]))
        wanted = params["group_sparsity"][glob]
        assert row["zeros"] / row["weights"] == pytest.approx(wanted, abs=0.02)
    dense = keras.saving.load_model(folder / "dense-seed0.keras", compile=False)
    whole = sum(weights_by_group(dense).values())
    assert sum(row["zeros"] for row in rows) / whole == pytest.approx(0.7, abs=0.01)


@pytest.mark.parametrize("tool", ["keras-tuner", "nni"])
def test_the_classifiers_training(tmp_path, tool):
    folder = tmp_path / "trash-hpo" / "default"
    run("search.trash_hpo", "--smoke", "--root", tmp_path, "--tool", tool)
    found = result_of(folder)
    assert found["objective"]["direction"] == "min"
    for trial in found["trials"]:
        assert trial["objective"] == min(row["val_score"] for row in trial["history"])
    assert (folder / "model.keras").is_file()


def test_a_killed_search_goes_on(tmp_path):
    folder = tmp_path / "unet-hpo" / "default"
    options = ("search.unet_hpo", "--smoke", "--root", tmp_path, "--early-stop", "no")
    record = folder / "search/trials/0000/trial.json"
    second = folder / "search/trials/0001/run/checkpoints/unet"
    kill_when(lambda: list(second.glob("epoch-000[12]")), *options)
    first = json.loads(record.read_text())
    refused = run(*options, code=2)
    assert "RESUME=1" in refused
    output = run(*options, "--resume")
    assert len(re.findall(r"trial +\d/3 ", output)) == 2
    trials = result_of(folder)["trials"]
    assert trials[0] == first
    assert [trial["status"] for trial in trials] == ["finished"] * 3
    assert [row["epoch"] for row in trials[1]["history"]] == [1, 2, 3]
    log = (folder / "search/trials/0001/log.txt").read_text()
    assert "resuming after epoch" in log


@pytest.mark.parametrize("module", ["search.unet_hpo", "search.trash_hpo"])
def test_hyperband_goes_on_from_shorter_trials(tmp_path, module):
    options = ("--smoke", "--root", tmp_path, "--tuner", "hyperband", "--trials", 4)
    run(module, *options, "--epochs", 3)
    found = result_of(tmp_path / module.split(".")[1].replace("_", "-") / "default")
    trials = found["trials"]
    assert [len(trial["history"]) for trial in trials] == [1, 1, 1, 3]
    before = [trial for trial in trials[:3] if trial["params"] == trials[3]["params"]]
    assert trials[3]["history"][0] == before[0]["history"][0], "the first epoch was trained anew"
    assert trials[3]["inherited"] == 1
    assert found["epochs"] == 5


def test_nni_create(tmp_path):
    port = free_port(0)
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "experiments.search.nni_create", "--smoke", "--trials", "2",
         "--root", tmp_path, "--port", str(port)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    name = re.search(r"experiment (\w+) runs", done.stdout)[1]
    try:
        trials = tmp_path / "nni" / name / "environments/local-env/trials"
        end = time.monotonic() + 300
        while len(list(trials.glob("*/trial.json"))) < 2:
            assert time.monotonic() < end
            time.sleep(1)
        for path in trials.glob("*/trial.json"):
            assert json.loads(path.read_text())["status"] == "finished", path.read_text()
    finally:
        subprocess.run([*nnictl(), "stop", name], env=environment, capture_output=True)
    end = time.monotonic() + 30
    while nni_processes(tmp_path) and time.monotonic() < end:
        time.sleep(0.5)
    assert nni_processes(tmp_path) == []


def test_bad_input(tmp_path):
    def refused(module, *arguments):
        return " ".join(run(module, *arguments, "--root", tmp_path, code=2).split())

    assert "keras-tuner has no 'TPE'" in refused("search.unet_hpo", "--smoke", "--tuner", "TPE")
    assert "nni has no 'bayesian'" in refused(
        "search.unet_hpo_nni", "--smoke", "--tuner", "bayesian"
    )
    assert "trials, concurrency: 0 and 1" in refused("search.trash_hpo", "--smoke", "--trials", 0)
    assert "there is no nowhere.keras" in refused("search.unet_hpo", "--dense", "nowhere.keras")
    params = tmp_path / "params.json"
    params.write_text('{"learning_speed": 1}')
    assert "unknown field 'learning_speed'" in refused("unet.train", "--params", params)
    assert "there is no nowhere.yml" in refused("search.nni_create", "--config-file", "nowhere.yml")
    space = Path(tmp_path / "space.json")
    space.write_text('{"x": {"_type": "uniform", "_value": [1, 0]}}')
    config = Path(tmp_path / "nni.yml")
    config.write_text(
        "searchSpaceFile: space.json\ntrialCommand: python t.py\ntuner: {name: TPE}\n"
        "trainingService: {platform: local}\n"
    )
    assert "'x' of the search space: its range from 1 to 0 is empty" in refused(
        "search.nni_create", "--config-file", config
    )

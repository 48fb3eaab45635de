"""Pruning and distillation of detectors from the command line's side."""

import csv
import json

import pytest
import torch

from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.detector.file import load_detector, save_detector
from experiments.handover import evaluate_model
from experiments.yolo import distill as yolo_distill
from experiments.yolo import prune as yolo_prune
from experiments.yolo import train as yolo_train
from experiments.yolo.detection import DETECTION_SMOKE
from tests.bridges.yolov5.tiny_detector import TINY, tiny_detector
from tests.experiments.processes import kill_when, message, metrics_of, run

NAMES = ("disc", "square", "triangle", "ring")
WIDE = TINY.replace("0.25", "0.5")
SMALL = {**DETECTION_SMOKE, "shapes": 8, "shape_side": 64, "side": 64, "batch": 4,
         "plain_epochs": 0}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The architecture file of a detector that trains in no time."""
    file = tmp_path_factory.mktemp("model") / "wide.yaml"
    file.write_text(WIDE)
    return str(file)


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    """A detector's file for the generated shapes."""
    folder = tmp_path_factory.mktemp("detector")
    detector = tiny_detector(folder, WIDE, names=NAMES).eval()
    return str(save_detector(folder / "given.pt", detector, 64))


def pruning(root, **fields):
    defaults = {"start_epochs": 1, "epochs": 2, "rounds": 2, "round_to": 2, "sparsity": 0.3}
    return yolo_prune.Config(**{**SMALL, **defaults, **fields}, root=str(root))


@pytest.fixture(scope="module")
def pruned(model, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    metrics = metrics_of(yolo_prune.PROGRAM, pruning(root, model=model, teacher="start"))
    return root / "yolo-prune" / "default", metrics


def test_a_pruning_leaves_its_files(pruned):
    folder, metrics = pruned
    names = {"start", "dense", "iterative", "random", "iterative+teacher"}
    assert {path.stem for path in folder.glob("*.pt")} == names == set(metrics["test"])
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "cost.png", "rounds.png", "channels.png", "map.png", "map50.png", "loss.png",
    }  # fmt: skip
    assert (folder / "report.html").stat().st_size > 50_000
    for name in names:
        cost = count_torch_cost(load_detector(folder / f"{name}.pt").detector, (3, 64, 64))
        assert metrics["cost"][name]["macs"] == cost.macs
        assert metrics["cost"][name]["parameters"] == cost.parameters
    assert metrics["cost"]["dense"]["macs"] == metrics["cost"]["start"]["macs"]
    for name in ("iterative", "random", "iterative+teacher"):
        assert metrics["cost"][name]["macs"] < 0.75 * metrics["cost"]["start"]["macs"]
        first, last = metrics["rounds"][name]
        assert last["macs"][1] == metrics["cost"][name]["macs"]
        assert last["macs"][0] == first["macs"][1]
    assert not list(folder.rglob("*_checkpoint.pt"))
    assert (folder / "rounds" / "iterative" / "round1_trained.pt").is_file()


def test_every_variant_has_the_same_epochs_and_its_parts_in_the_history(pruned):
    folder, _ = pruned
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("dense", "iterative", "random", "iterative+teacher"):
        own = [row for row in rows if row["model"] == name]
        assert [row["epoch"] for row in own] == ["1", "2"]
        taught = [bool(row["teacher_features"] and row["teacher_objectness"]) for row in own]
        assert taught == [name.endswith("teacher")] * 2


def test_a_finished_pruning_is_not_repeated(pruned, model, capsys):
    folder, metrics = pruned
    again = metrics_of(yolo_prune.PROGRAM, pruning(folder.parents[1], model=model, teacher="start"))
    assert again["cost"]["iterative"]["macs"] == metrics["cost"]["iterative"]["macs"]
    assert "nothing to do" in capsys.readouterr().out.replace("\n", " ")


def test_evaluate_model_takes_a_pruned_detector(pruned, capsys):
    folder, metrics = pruned
    config = evaluate_model.Config(
        model=str(folder / "iterative.pt"), data=str(folder / "generated_shapes")
    )
    numbers = metrics_of(evaluate_model.PROGRAM, config)
    assert numbers["cost"]["iterative.pt"]["macs"] == metrics["cost"]["iterative"]["macs"]
    assert numbers["test"]["map50"] == metrics["test"]["iterative"]["map50"]


def test_one_pruning_of_a_given_detector(detector_file, tmp_path, capsys):
    config = pruning(
        tmp_path, weights=detector_file, rounds=1, epochs=1, sparsity=0.0, target_macs=0.5
    )
    metrics = metrics_of(yolo_prune.PROGRAM, config)
    assert list(metrics["test"]) == ["start", "dense", "one-shot", "random"]
    share = metrics["cost"]["one-shot"]["macs"] / metrics["cost"]["start"]["macs"]
    assert share == pytest.approx(0.5, rel=0.03)
    start = load_detector(tmp_path / "yolo-prune" / "default" / "start.pt").detector
    given = load_detector(detector_file).detector
    for key, value in given.state_dict().items():
        assert torch.equal(start.state_dict()[key], value)
    shown = capsys.readouterr().out
    assert "one-shot, round 1 of 1" in shown
    assert "of MACs" in shown


def test_the_variants_that_are_asked_for():
    def named(**fields):
        return pruning(".", **fields).named()

    assert named() == ("dense", "iterative", "random")
    assert named(rounds=1) == ("dense", "one-shot", "random")
    assert named(teacher="start") == ("dense", "iterative", "random", "iterative+teacher")
    every = ("dense", "one-shot", "iterative", "random")
    assert named(variants=("all",)) == every
    assert named(variants=("all",), teacher="start") == (*every, *(f"{k}+teacher" for k in every))
    assert named(variants=("random", "dense")) == ("random", "dense")


def test_a_teacher_is_trained_and_teaches(model, tmp_path, capsys):
    config = yolo_distill.Config(
        **{**SMALL, "epochs": 2}, model=model, teacher_model=model, teacher_epochs=1,
        variants=("plain", "taught", "logits", "features"), logits="kl", temperature=2.0,
        root=str(tmp_path),
    )  # fmt: skip
    metrics = metrics_of(yolo_distill.PROGRAM, config)
    folder = tmp_path / "yolo-distill" / "default"
    assert list(metrics["test"]) == ["teacher", "plain", "taught", "logits", "features"]
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    parts = {
        name: {key for key in rows[0] if key.startswith("teacher_") and row[key]}
        for row in rows
        for name in [row["model"]]
    }
    logits = {"teacher_box", "teacher_objectness", "teacher_classes"}
    assert parts["plain"] == set()
    assert parts["logits"] == logits
    assert parts["features"] == {"teacher_features"}
    assert parts["taught"] == logits | {"teacher_features"}
    anchors = [
        load_detector(folder / f"{name}.pt").detector.head.anchors for name in metrics["test"]
    ]
    assert all(torch.equal(anchors[0], other) for other in anchors)
    assert (folder / "plots" / "teacher_features.png").is_file()
    assert "of MACs" in capsys.readouterr().out


def test_a_given_teacher_teaches_a_pruned_detector(pruned, detector_file, tmp_path):
    folder, _ = pruned
    config = yolo_distill.Config(
        **{**SMALL, "epochs": 1}, weights=str(folder / "iterative.pt"),
        teacher=str(folder / "dense.pt"), root=str(tmp_path),
    )  # fmt: skip
    metrics = metrics_of(yolo_distill.PROGRAM, config)
    assert list(metrics["test"]) == ["teacher", "start", "plain", "taught"]
    cost = metrics["cost"]
    assert cost["taught"]["macs"] == cost["start"]["macs"] < cost["teacher"]["macs"]


def test_yolo_train_with_a_teacher(model, detector_file, tmp_path):
    config = yolo_train.Config(
        **{**SMALL, "epochs": 1}, model=model, teacher=detector_file, root=str(tmp_path)
    )
    metrics_of(yolo_train.PROGRAM, config)
    with (tmp_path / "yolo-train" / "default" / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["teacher_features"]) > 0
    assert float(row["teacher_objectness"]) > 0


def test_bad_input_is_one_line(detector_file, model, tmp_path, capsys):
    other = tiny_detector(tmp_path, WIDE, names=("a", "b", "c", "d")).eval()
    other_file = str(save_detector(tmp_path / "other.pt", other, 64))
    for number, (module, argv, wanted) in enumerate(
        (
            (yolo_prune, ["--score", "hrank"], "score: unknown value 'hrank'"),
            (yolo_prune, ["--rounds", "9", "--epochs", "4"], "9 rounds in 4 epochs"),
            (yolo_prune, ["--variants", "sparse"], "'sparse' is unknown. Fix: use dense, one-shot"),
            (yolo_prune, ["--variants", "dense+teacher"], "there is no teacher for dense+teacher"),
            (yolo_prune, ["--teacher", "none.pt"], "teacher: there is no file none.pt"),
            (yolo_prune, ["--weights", "none.pt"], "none.pt: there is no such file"),
            (yolo_prune, ["--weights", other_file], "has the classes a, b, c, d, the data disc"),
            (yolo_prune, ["--model", model, "--sparsity", "0.97"], "it cannot be reached"),
            (yolo_prune, ["--model", model, "--sparsity", "0.001"], "it removes no channel"),
            (yolo_distill, ["--teacher", other_file], "has the classes a, b, c, d, the data disc"),
            (yolo_distill, ["--teacher", detector_file], "teacher: its maps are 2 with 2 anchors"),
            (yolo_distill, ["--logits", "none", "--features", "0"], "nothing is left to imitate"),
            (yolo_train, ["--teacher", detector_file], "teacher: its maps are 2 with 2 anchors"),
            (yolo_train, ["--teacher", "start"], "teacher: there is no file start"),
        )
    ):
        root = ["--smoke", "--root", str(tmp_path), "--run", str(number)]
        smoke = {**SMALL, "rounds": 2} if module is yolo_prune else SMALL
        assert wanted in message(module.PROGRAM, [*root, *argv], capsys, smoke), argv


@pytest.mark.slow
def test_a_killed_pruning_goes_on(model, tmp_path):
    """kill -9 between two rounds, resumed; the same files as without."""
    arguments = [
        "--smoke", "--model", model, "--round-to", "2", "--epochs", "4", "--teacher", "start",
        "--variants", "iterative", "random+teacher",
    ]  # fmt: skip
    folders = [tmp_path / name / "yolo-prune" / "default" for name in ("killed", "whole")]
    last = folders[0] / "rounds" / "random+teacher" / "round1_checkpoint.pt"
    kill_when(last.is_file, "yolo.prune", *arguments, "--root", tmp_path / "killed")
    refused = run("yolo.prune", *arguments, "--root", tmp_path / "killed", code=2)
    assert "it is unfinished" in refused
    run("yolo.prune", *arguments, "--root", tmp_path / "killed", "--resume")
    run("yolo.prune", *arguments, "--root", tmp_path / "whole")
    for name in ("start", "iterative", "random+teacher"):
        states = [load_detector(f / f"{name}.pt").detector.state_dict() for f in folders]
        for key, value in states[1].items():
            torch.testing.assert_close(states[0][key], value, rtol=0, atol=1e-6)
    metrics = [json.loads((folder / "metrics.json").read_text()) for folder in folders]
    assert metrics[0]["test"] == metrics[1]["test"]

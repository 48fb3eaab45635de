"""Detection experiments from the command line's side: files, reports, kills, bad input."""

import json

import pytest
import torch

from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.nas.architecture import FoundArchitecture, read_found, write_architecture
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.planner import plan_detector, prune_detector
from experiments.handover import evaluate_model
from experiments.yolo import detect as yolo_detect
from experiments.yolo import nas_multitrial as yolo_nas_multitrial
from experiments.yolo import nas_oneshot as yolo_nas_oneshot
from experiments.yolo import train as yolo_train
from experiments.yolo.detection import DETECTION_SMOKE
from models.yolov5.search_space import as_space, plain_choices
from tests.experiments.processes import kill_when, message, metrics_of, run
from tfcompress.reporting.run import to_json

TINY = {**DETECTION_SMOKE, "shapes": 8, "shape_side": 64, "side": 64, "epochs": 1, "batch": 4,
        "plain_epochs": 0}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    metrics = metrics_of(yolo_train.PROGRAM, yolo_train.Config(**TINY, root=str(root)))
    return root / "yolo-train" / "default", metrics


def test_a_training_leaves_its_files(trained):
    folder, metrics = trained
    assert {"model.pt", "report.html", "history.csv", "metrics.json", "log.txt"} <= {
        path.name for path in folder.iterdir()
    }
    assert {path.name for path in (folder / "plots").iterdir()} == {
        "precision_recall.png", "confusion.png", "detections.png", "map.png", "map50.png",
        "loss.png",
    }  # fmt: skip
    assert json.loads((folder / "metrics.json").read_text())["test"]["images"] == 2
    assert metrics["cost"]["yolov5n"]["parameters"] == 1_764_577
    loaded = load_detector(folder / "model.pt")
    assert loaded.side == 64
    assert loaded.detector.names == ("disc", "square", "triangle", "ring")


def test_a_finished_training_is_not_repeated(trained, capsys):
    folder, metrics = trained
    before = (folder / "model.pt").stat().st_mtime_ns
    again = metrics_of(yolo_train.PROGRAM, yolo_train.Config(**TINY, root=str(folder.parents[1])))
    assert again["best_epoch"] == metrics["best_epoch"]
    assert (folder / "model.pt").stat().st_mtime_ns == before
    assert "nothing to do" in capsys.readouterr().out.replace("\n", " ")


def test_a_pruned_file_is_trained_on_with_its_widths(trained, tmp_path):
    folder, _ = trained
    whole = load_detector(folder / "model.pt").detector
    small = prune_detector(whole, plan_detector(whole, PruneConfig(target_macs=0.5, side=64)))
    save_detector(tmp_path / "small.pt", small, 64)
    config = yolo_train.Config(**TINY, root=str(tmp_path), model=str(tmp_path / "small.pt"))
    metrics_of(yolo_train.PROGRAM, config)
    again = load_detector(tmp_path / "yolo-train" / "default" / "model.pt").detector
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in small.state_dict().items()
    }
    assert not torch.equal(again.head.m[0].weight, small.head.m[0].weight)


def test_detections_are_drawn_and_listed(trained, tmp_path):
    folder, _ = trained
    images = folder / "generated_shapes" / "images" / "test"
    config = yolo_detect.Config(
        model=str(folder / "model.pt"), images=str(images), confidence=0.001, root=str(tmp_path)
    )
    (table,) = yolo_detect.PROGRAM.run(config).tables
    out = tmp_path / "yolo-detect" / "default"
    assert len(table.rows) == len(list(out.glob("*_boxes.png"))) == 2
    lines = (out / "detections.csv").read_text().splitlines()
    assert lines[0] == "image,class,x0,y0,x1,y1,confidence"
    counted = sum(int(cell) for row in table.rows for cell in row[2:])
    assert len(lines) - 1 == counted
    for line in lines[1:]:
        x0, y0, x1, y1 = map(float, line.split(",")[2:6])
        assert 0 <= x0 <= x1 <= 64
        assert 0 <= y0 <= y1 <= 64


def test_evaluate_model_takes_a_detector(trained, tmp_path, capsys):
    folder, metrics = trained
    config = evaluate_model.Config(
        model=str(folder / "model.pt"), data=str(folder / "generated_shapes")
    )
    numbers = metrics_of(evaluate_model.PROGRAM, config)
    assert to_json(numbers["test"]) == to_json(metrics["test"])  # NaN, too
    assert numbers["cost"]["model.pt"]["macs"] == metrics["cost"]["yolov5n"]["macs"]
    assert "mAP50-95" in capsys.readouterr().out


@pytest.fixture
def found_file(tmp_path):
    choices = plain_choices("yolov5n") | {"conv_1": "k5p2", "c3_4": "x2"}
    return write_architecture(
        tmp_path / "architecture.json", FoundArchitecture(as_space("yolov5n"), choices)
    )


def test_a_found_architecture_is_trained_by_its_file(found_file, tmp_path):
    metrics_of(
        yolo_train.PROGRAM, yolo_train.Config(**TINY, root=str(tmp_path), model=str(found_file))
    )
    loaded = load_detector(tmp_path / "yolo-train" / "default" / "model.pt").detector
    assert loaded.choices["c3_4"] == "x2"
    assert loaded.model[1].conv.kernel_size == (5, 5)


def test_a_found_backbone_goes_into_a_detector(found_file, tmp_path, capsys):
    metrics_of(
        yolo_train.PROGRAM, yolo_train.Config(**TINY, root=str(tmp_path), backbone=str(found_file))
    )
    assert "taken from the new backbone" in capsys.readouterr().out
    loaded = load_detector(tmp_path / "yolo-train" / "default" / "model.pt").detector
    assert loaded.model[1].conv.kernel_size == (5, 5)


def test_weights_of_other_classes_are_taken_over_where_they_fit(trained, tmp_path, capsys):
    folder, _ = trained
    tensors = load_detector(folder / "model.pt").detector.state_dict()
    tensors["model.24.m.0.weight"] = torch.zeros(255, 64, 1, 1)
    file = tmp_path / "tensors.pt"
    torch.save(tensors, file)
    metrics_of(yolo_train.PROGRAM, yolo_train.Config(**TINY, root=str(tmp_path), weights=str(file)))
    shown = " ".join(capsys.readouterr().out.split())
    assert "model.24.m.0.weight is 255x64x1x1 in the file, 27x64x1x1 in the model" in shown


def test_bad_input_is_one_line(tmp_path, capsys):
    root = ["--smoke", "--root", str(tmp_path)]
    for module, argv, wanted in (
        (yolo_train, ["--model", "yolov9"], "architecture 'yolov9' is unknown; use"),
        (yolo_train, ["--side", "100", "--run", "b"], "side: it is 100"),
        (yolo_train, ["--data", "/nowhere", "--run", "c"], "/nowhere: there is no such file"),
        (yolo_train, ["--weights", "x.pt", "--run", "d"], "x.pt: there is no such file"),
        (yolo_train, ["--device", "cuda:9", "--run", "e"], "device: 'cuda:9'"),
        (yolo_nas_oneshot, ["--search-epochs", "1", "--warmup-search", "1"], "leave none for"),
        (yolo_nas_multitrial, ["--trials", "0"], "trials: it is 0"),
    ):
        assert wanted in message(module.PROGRAM, [*root, *argv], capsys, TINY)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["darts", "enas"])
def test_a_one_shot_search_end_to_end(strategy, tmp_path):
    config = yolo_nas_oneshot.Config(
        **{**TINY, "shapes": 16}, strategy=strategy, search_epochs=2, warmup_search=1,
        search_side=64, search_batch=4, inherit=True, root=str(tmp_path),
    )  # fmt: skip
    metrics = metrics_of(yolo_nas_oneshot.PROGRAM, config)
    folder = tmp_path / "yolo-nas" / "default"
    found = read_found(folder / "architecture.json")
    assert load_detector(folder / "found.pt").detector.choices == found.choices
    assert set(metrics["test"]) == {"found", "plain", "random", "inherited"}
    cost = metrics["cost"]
    assert cost["inherited"]["macs"] == cost["found"]["macs"]
    assert (folder / "plots" / "probabilities.png").is_file()
    assert (folder / "report.html").stat().st_size > 50_000


@pytest.mark.slow
def test_a_killed_multi_trial_search_goes_on(tmp_path):
    """kill -9 after the second trial; the trials that ended are not trained again."""
    arguments = [
        "--smoke", "--strategy", "random", "--trials", "4", "--root", str(tmp_path),
    ]  # fmt: skip
    folder = tmp_path / "yolo-nas" / "default"
    second = folder / "trials" / "trial-0001.json"
    kill_when(second.is_file, "yolo.nas_multitrial", *arguments)
    before = {file.name: file.read_text() for file in (folder / "trials").glob("*.json")}
    run("yolo.nas_multitrial", *arguments, "--resume")
    for name, text in before.items():
        assert (folder / "trials" / name).read_text() == text
    metrics = json.loads((folder / "metrics.json").read_text())
    assert [row["trial"] for row in metrics["search"]["trials"]] == [0, 1, 2, 3]
    found = read_found(folder / "architecture.json")
    best = metrics["search"]["trials"][metrics["search"]["best_trial"]]
    assert {label: best[label] for label in found.choices} == found.choices

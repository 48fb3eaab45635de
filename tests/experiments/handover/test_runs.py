"""Hand-over from the command line's side: files, exit codes, bad input."""

import json

import numpy as np
import pytest
import torch

import tfcompress as tfc
from bridges.handover.detectors import LiteDetector, OnnxDetector
from bridges.handover.export import export_detector, export_torch
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.to_keras import to_keras
from bridges.yolov5.data.synthetic import NAMES, write_shapes
from bridges.yolov5.detector.file import load_detector, save_detector
from experiments.handover import convert_compare, evaluate_model, torch_teacher
from experiments.handover.crossing import images_of
from experiments.yolo import int8 as yolo_int8
from experiments.yolo.detection import DETECTION_SMOKE
from models.yolov5.build import build_detector
from tests.bridges.handover.sample_models import settle, small_net
from tests.experiments.processes import message, metrics_of
from tfcompress.reporting.run import to_json

TINY = {**DETECTION_SMOKE, "shapes": 8, "shape_side": 64, "side": 64, "epochs": 1, "batch": 4,
        "plain_epochs": 0}  # fmt: skip


@pytest.fixture(scope="module")
def detector_file(tmp_path_factory):
    torch.manual_seed(0)
    detector = settle(build_detector("yolov5n", names=NAMES), 64)
    with torch.no_grad():
        for conv in detector.head.m:
            conv.bias.view(3, -1)[:, 4:] += 4  # it finds something
    return save_detector(tmp_path_factory.mktemp("detector") / "model.pt", detector, 64)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    return write_shapes(tmp_path_factory.mktemp("shapes") / "set", (4, 2, 4), 64)


def evaluate(file, data, capsys):
    numbers = metrics_of(
        evaluate_model.PROGRAM, evaluate_model.Config(model=str(file), data=str(data))
    )
    return numbers, capsys.readouterr().out


def test_evaluate_model_takes_every_file_of_a_detector(detector_file, shapes, tmp_path, capsys):
    detector = load_detector(detector_file).detector
    graph = export_detector(detector, 64, tmp_path / "d.onnx")
    lite = tfc.to_litert(to_keras(graph).model)
    LiteDetector(lite, OnnxDetector.of(graph).spec).save(tmp_path / "d.tflite")
    wanted, _ = evaluate(detector_file, shapes, capsys)
    for name in ("d.onnx", "d.tflite"):
        numbers, printed = evaluate(tmp_path / name, shapes, capsys)
        assert numbers["test"]["images"] == 4
        for key in ("map50", "map"):
            assert numbers["test"][key] == pytest.approx(wanted["test"][key], abs=2e-3)
        cost = numbers["cost"][name]
        assert cost["size_bytes"] == (tmp_path / name).stat().st_size
        assert cost["latency"]["median_ms"] > 0
        assert "mAP50-95" in printed
        assert "Cost at 64 pixels" in printed
    assert to_json(wanted)


def test_evaluate_model_takes_any_onnx_file(tmp_path, capsys):
    export_torch(small_net(), torch.rand(1, 3, 16, 16), tmp_path / "c.onnx")
    numbers, printed = evaluate(tmp_path / "c.onnx", "", capsys)
    assert set(numbers) == {"cost"}
    assert "onnxruntime, batch 1" in printed


def test_bad_input_is_one_line(detector_file, shapes, tmp_path, capsys):
    other = tmp_path / "other.pt"
    save_detector(other, build_detector("yolov5n", names=("a", "b")), 64)
    (tmp_path / "x.onnx").write_bytes(b"nothing")
    export_torch(small_net(), torch.rand(1, 3, 32, 32), tmp_path / "five.onnx")
    five = ["--images", "40", "--teacher", str(tmp_path / "five.onnx")]
    root, pt = ["--root", str(tmp_path)], ["--model", str(detector_file)]
    data = ["--data", str(shapes)]
    for module, argv, wanted in (
        (convert_compare, root, "MODEL: it is empty"),
        (convert_compare, [*root, "--model", "x.pt"], "x.pt: there is no such file"),
        (convert_compare, [*root, *pt, "--images", "/nowhere"], "/nowhere: there is no such file"),
        (convert_compare, [*root, *pt, "--side", "50"], "side: it is 50. Fix: give a multiple"),
        (convert_compare, [*root, *pt, "--tolerance", "0"], "tolerance: it is 0"),
        (yolo_int8, [*root, *data, "--model", str(other)], "its classes are a, b, the data's disc"),
        (yolo_int8, [*root, "--calibration", "0"], "calibration: it is 0"),
        (evaluate_model, ["--model", str(tmp_path / "x.onnx")], "it is no ONNX file"),
        (torch_teacher, [*root, *five], "five.onnx: it has 5 classes, and 9 are wanted"),
        (torch_teacher, [*root, "--teacher", "no.onnx"], "there is no no.onnx"),
    ):
        assert wanted in message(module.PROGRAM, argv, capsys, {})


def test_images_become_a_batch(shapes):
    images = images_of(str(shapes.parent / "images" / "test"), 32, 3)
    assert (images.shape, images.dtype) == ((3, 3, 32, 32), np.float32)
    assert 0 <= images.min() < images.max() <= 1
    assert images_of("", 64, 2).shape == (2, 3, 64, 64)


@pytest.mark.slow
def test_convert_compare_end_to_end(detector_file, tmp_path, capsys):
    """Within the tolerance it ends well, and with an impossible one with exit code 1."""
    settings = dict(model=str(detector_file), calibration=20, root=str(tmp_path))
    reports = metrics_of(convert_compare.PROGRAM, convert_compare.Config(**settings))
    printed = capsys.readouterr().out
    assert list(reports) == [
        "ONNX", "Keras", "LiteRT float32", "LiteRT int8", "LiteRT float32, layer by layer",
    ]  # fmt: skip
    for name, report in reports.items():
        if name != "LiteRT int8":
            assert report["passed"]
            outputs = [each for each in report["tensors"].values() if each["is_output"]]
            assert len(outputs) == 2
            assert all(each["max_abs"] < 1e-4 for each in outputs)
    assert "intermediate tensors compared: all within it" in printed
    inner = set(reports["LiteRT float32, layer by layer"]["tensors"])
    assert {"/model.0/act/Mul_output_0", "/model.23/cv3/act/Mul_output_0"} <= inner
    out = tmp_path / "convert-compare" / "default"
    assert {
        "model.onnx", "model.keras", "model-float32.tflite", "model-int8.tflite", "parity.json",
    } <= {file.name for file in out.iterdir()}  # fmt: skip
    numbers = json.loads((out / "parity.json").read_text())
    assert numbers["Keras"]["passed"]
    assert not numbers["LiteRT int8"]["passed"]
    strict = convert_compare.Config(**settings, tolerance=1e-12, layers=False, run="strict")
    assert convert_compare.PROGRAM.run(strict).exit_code == 1


@pytest.mark.slow
def test_a_pytorch_teacher_end_to_end(tmp_path):
    metrics = metrics_of(
        torch_teacher.PROGRAM, torch_teacher.Config(**torch_teacher.SMOKE, root=str(tmp_path))
    )
    assert 0 <= metrics["teacher_accuracy"] <= 1
    folder = tmp_path / "torch-teacher" / "default"
    assert OnnxModel.load(folder / "teacher.onnx").outputs[0].shape == (None, 9)
    fewer = {**torch_teacher.SMOKE, "images": 45, "run": "again"}
    teacher = str(folder / "teacher.onnx")
    metrics_of(
        torch_teacher.PROGRAM, torch_teacher.Config(**fewer, teacher=teacher, root=str(tmp_path))
    )
    cards = [
        json.loads((folder.parent / run / "classifier_card.json").read_text())
        for run in ("default", "again")
    ]
    assert cards[0]["normalization"] == cards[1]["normalization"], "not as its teacher was trained"
    names = {row["name"] for row in metrics["comparison"]["rows"]}
    assert {"plain float32", "distilled float32"} <= names
    assert (folder / "report.html").stat().st_size > 10_000


@pytest.mark.slow
def test_every_format_of_a_detector_end_to_end(detector_file, shapes, tmp_path):
    config = yolo_int8.Config(
        **{**TINY, "data": str(shapes)}, model=str(detector_file), calibration=4, root=str(tmp_path)
    )
    formats = metrics_of(yolo_int8.PROGRAM, config)["formats"]
    assert list(formats) == [
        "PyTorch", "ONNX", "LiteRT float32", "LiteRT float16", "LiteRT dynamic_int8",
        "LiteRT int8", "LiteRT int8, by way of Keras", "LiteRT int8, by way of Keras, whole levels",
    ]  # fmt: skip
    torch_map = formats["PyTorch"]["test"]["map50"]
    for name in ("ONNX", "LiteRT float32"):
        assert formats[name]["test"]["map50"] == pytest.approx(torch_map, abs=2e-3)
    sizes = {name: row["size_bytes"] for name, row in formats.items()}
    assert sizes["LiteRT int8"] < 0.3 * sizes["LiteRT float32"]
    folder = tmp_path / "yolo-int8" / "default"
    assert (folder / "report.html").stat().st_size > 10_000
    assert (folder / "plots" / "formats.png").is_file()
    again = LiteDetector.load(folder / "model-int8.tflite")
    assert again.model.float_ops == ()
    assert again.spec.parts

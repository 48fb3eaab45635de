"""ONNX to LiteRT: every format of a small net, and detectors that run as files."""

import hashlib
import os
import random

import numpy as np
import pytest
import torch

import tfcompress as tfc
from bridges.handover import HEADS
from bridges.handover.detectors import LiteDetector, OnnxDetector
from bridges.handover.export import export_detector, export_torch
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.parity import compare_tensors, litert_tensors, onnx_tensors
from bridges.handover.to_keras import to_keras
from bridges.handover.to_litert import FORMATS, to_litert
from tests.bridges.handover.sample_models import scenes, small_net
from tfcompress.errors import ConfigError, DataError, LayerError


@pytest.fixture(scope="module")
def net():
    return small_net()


@pytest.fixture(scope="module")
def file(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "n.onnx"
    export_torch(net, torch.rand(1, 3, 16, 16), path, output_names=["logits"], dynamic_batch=True)
    return path


def test_every_format_of_a_small_net(net, file, tmp_path, monkeypatch):
    """The file, the environment, the folder and the generators are as they were."""
    monkeypatch.chdir(tmp_path)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    environment, state = dict(os.environ), random.getstate()
    crossing = to_litert(file, FORMATS, scenes(24, 16, seed=5).numpy())
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before
    assert (dict(os.environ), random.getstate()) == (environment, state)
    assert list(tmp_path.iterdir()) == []

    assert tuple(crossing.files) == FORMATS
    assert crossing.parity.passed
    images = scenes(6, 16, seed=7).numpy()
    with torch.no_grad():
        wanted = net(torch.from_numpy(images)).numpy()
    span = wanted.max() - wanted.min()
    # float16 keeps 11 bits of each weight; 8 bits of weights, and then of activations too
    for (format, lite), allowed in zip(
        crossing.files.items(), (1e-6, 2e-3, 0.05, 0.1), strict=True
    ):
        found = lite.predict(images.transpose(0, 2, 3, 1))
        assert np.abs(found - wanted).max() <= allowed * span
        assert lite.format == format
        assert [port.name for port in lite.inputs] == ["images"]
        assert [port.key for port in lite.outputs] == ["logits"]
        assert lite.inputs[0].dtype == ("int8" if format == "int8" else "float32")
    assert crossing.files["int8"].float_ops == ()


@pytest.mark.slow
def test_inner_tensors_of_litert_by_name(net, file):
    """A graph that gives its inner tensors too: they come back under their names."""
    model = OnnxModel.load(file)
    inner = ["/stem/stem.2/Mul_output_0", "/pool/GlobalAveragePool_output_0"]
    images = scenes(2, 16, seed=7).numpy()
    crossing = to_litert(model.with_outputs(inner), images=images)
    assert set(crossing.output_names) == {"logits", *inner}
    found = litert_tensors(crossing.files["float32"], images, crossing.output_names)
    report = compare_tensors(onnx_tensors(model, images), found)
    assert {row.name for row in report.rows} == {"logits", *inner}
    assert report.first_apart is None


def test_bad_calibration_and_formats_are_refused_before_the_work(file, tmp_path):
    images = scenes(2, 16).numpy()
    for bad, wanted in (
        (None, "and there are none"),
        (images[:0], "and there are none"),
        (images.transpose(0, 2, 3, 1), r"shape \(16, 16, 3\), but .* takes \(3, 16, 16\)"),
        (scenes(2, 24).numpy(), r"shape \(3, 24, 24\), but .* takes \(3, 16, 16\)"),
        (images * np.nan, "not finite"),
    ):
        with pytest.raises(DataError, match=wanted):
            to_litert(file, ["int8"], bad)
    with pytest.raises(ConfigError, match="'int4' is unknown. Fix: use some of float32"):
        to_litert(file, ["int4"])
    with (
        pytest.warns(DeprecationWarning, match="'recipes' of to_litert.. is now called 'formats'"),
        pytest.raises(ConfigError, match="'int4' is unknown"),
    ):
        to_litert(file, recipes=["int4"])
    (tmp_path / "broken.onnx").write_bytes(b"nothing")
    with pytest.raises(DataError, match="it is no ONNX file that can be run"):
        to_litert(tmp_path / "broken.onnx")


def test_a_conversion_that_takes_too_long_is_ended(file):
    with pytest.raises(LayerError, match="was not done after 0.2 s"):
        to_litert(file, seconds=0.2)


@pytest.fixture(scope="module")
def crossed(yolov5n, tmp_path_factory):
    path = tmp_path_factory.mktemp("detector") / "d.onnx"
    return path, export_detector(yolov5n, 64, path, parts=True)


def test_a_detector_runs_as_files(crossed, yolov5n, tmp_path):
    """float32, by way of Keras; decoded boxes as PyTorch's."""
    path, model = crossed
    square = scenes(3, 64, seed=8)
    with torch.no_grad():
        wanted = yolov5n.decode(yolov5n(square))
    on_onnx = OnnxDetector.load(path)
    lite = LiteDetector(tfc.to_litert(to_keras(model).model), on_onnx.spec)
    lite.save(tmp_path / "d.tflite")
    for detect in (on_onnx, LiteDetector.load(tmp_path / "d.tflite")):
        found = detect(square)
        assert found.shape == wanted.shape
        np.testing.assert_allclose(found[..., :4], wanted[..., :4], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(found[..., 4:], wanted[..., 4:], atol=1e-5)
    runner = on_onnx.runner(1)
    assert len(runner.run()) == 6
    (latency,) = tfc.measure_latency([runner], repeats=2, warmup=0)
    assert (latency.runtime, latency.batch) == ("onnxruntime", 1)


def test_files_without_their_description(file, tmp_path):
    with pytest.raises(DataError, match="does not say how its maps become boxes"):
        OnnxDetector.load(file)
    lite = tfc.to_litert(to_keras(file).model)
    lite.save(tmp_path / "d.tflite")
    with pytest.raises(DataError, match="d.tflite: it does not say how its maps become boxes"):
        LiteDetector.load(tmp_path / "d.tflite")
    lite.with_card({HEADS: "{}"}).save(tmp_path / "d.tflite")
    with pytest.raises(DataError, match="description of the heads cannot be read"):
        LiteDetector.load(tmp_path / "d.tflite")

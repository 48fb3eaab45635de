"""Tensors matched by name: all of a detector's, and what happens where one differs."""

import numpy as np
import pytest
import torch

from bridges.handover.export import export_detector, export_torch
from bridges.handover.heads import with_plain_head
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.parity import (
    Tensors,
    compare_tensors,
    module_outputs,
    module_path,
    onnx_tensors,
    torch_tensors,
)
from tests.bridges.handover.sample_models import scenes, small_net
from tfcompress.errors import DataError

IMAGES = scenes(2, 64).numpy()


def test_paths_of_modules():
    assert module_path("/model.2/m/m.0/cv1/conv/Conv") == "model.2.m.0.cv1.conv"
    assert module_path("/stem/stem.2/Mul") == "stem.2"
    assert module_path("/Add") == ""


@pytest.fixture(scope="module")
def crossed(tmp_path_factory, yolov5n):
    file = tmp_path_factory.mktemp("onnx") / "d.onnx"
    return with_plain_head(yolov5n), export_detector(yolov5n, 64, file)


def test_every_module_of_a_detector_is_matched(crossed):
    deployed, model = crossed
    names = [port.name for port in model.outputs]
    wanted = torch_tensors(deployed, IMAGES, names)
    report = compare_tensors(wanted, onnx_tensors(model, IMAGES), module_outputs(model))
    assert report.passed
    assert report.first_apart is None
    of_modules = {name for name, reason in report.unmatched if "ONNX has no" in reason}
    # BatchNorms are folded: what is left of them computes nothing
    assert all(name.endswith(".bn") for name in of_modules)
    assert {"model.0.conv", "model.9.m", "model.9.m_2", "model.23.m.0.cv2.act", "level0"} <= {
        row.name for row in report.rows
    }
    assert len(report.rows) > 150
    assert report.max_abs < 1e-4
    assert "intermediate tensors compared: all within it" in str(report)


def test_the_first_layer_that_differs_is_named(crossed):
    """One weight of the ninth row's first convolution is moved: what comes before agrees."""
    _, model = crossed
    changed = OnnxModel(type(model.proto)(), "changed")
    changed.proto.CopyFrom(model.proto)
    weight = next(i for i in changed.proto.graph.initializer if i.name == "model.9.cv1.conv.weight")
    values = np.frombuffer(weight.raw_data, np.float32).copy()
    values[0] += 1
    weight.raw_data = values.tobytes()
    report = compare_tensors(onnx_tensors(model, IMAGES), onnx_tensors(changed, IMAGES))
    assert report.first_apart == "/model.9/cv1/conv/Conv_output_0"
    assert not report.passed
    assert "/model.9/cv1/conv/Conv_output_0 is the first beyond" in str(report)


def array(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_layouts_are_brought_together_by_their_permutation():
    """A square map of as many channels: only the permutation can tell which axis is which."""
    a = array(1, 3, 3, 3)
    wanted = Tensors("a", "NCHW", {"x": a}, ("x",))
    right = Tensors("b", "NHWC", {"x": a.transpose(0, 2, 3, 1)}, ("x",))
    wrong = Tensors("b", "NHWC", {"x": a}, ("x",))
    assert compare_tensors(wanted, right).passed
    assert not compare_tensors(wanted, wrong).passed


def test_what_is_not_matched_is_listed():
    wanted = Tensors("a", "NCHW", {"x": array(1, 2), "y": array(1, 3), "z": array(1, 4)}, ("x",))
    found = Tensors("b", "NCHW", {"x": array(1, 2), "y": array(3, 1), "w": array(1, 4)}, ("x",))
    report = compare_tensors(wanted, found)
    assert [row.name for row in report.rows] == ["x"]
    assert report.passed  # z and y are no outputs
    assert dict(report.unmatched) == {
        "y": "its shape differs: (1, 3) and (3, 1) as N, C, H, W",
        "z": "b has no tensor of this name",
        "w": "a has no tensor of this name",
    }
    assert "skipped (b has no tensor of this name): z" in str(report)


def test_an_output_without_a_partner_does_not_pass():
    wanted = Tensors("a", "NCHW", {"x": array(1, 2), "y": array(1, 3)}, ("x", "y"))
    found = Tensors("b", "NCHW", {"x": array(1, 2)}, ("x",))
    assert not compare_tensors(wanted, found).passed
    assert not compare_tensors(wanted, found, {"x": "x"}).passed
    inner = Tensors("a", "NCHW", {"x": array(1, 2)})
    assert not compare_tensors(inner, found).passed  # nothing says what the outputs are


def test_nothing_matched_is_an_error():
    wanted = Tensors("a", "NCHW", {"x": array(1, 2)}, ("x",))
    with pytest.raises(DataError, match="none of 1 and 1 tensors could be matched"):
        compare_tensors(wanted, Tensors("b", "NCHW", {"y": array(1, 2)}))
    with pytest.raises(DataError, match="they have no tensors"):
        compare_tensors(Tensors("a", "NCHW", {}), Tensors("b", "NCHW", {}))


def test_a_classifier_is_matched_too(tmp_path):
    net = small_net()
    model = export_torch(net, torch.rand(1, 3, 16, 16), tmp_path / "n.onnx")
    images = IMAGES[:, :, :16, :16]
    report = compare_tensors(
        torch_tensors(net, images), onnx_tensors(model, images), module_outputs(model)
    )
    # the exporter folds BatchNorm into the convolution: both stand for what the pair gives
    assert {"stem", "stem.2", "body", "body.1", "pool", "output_0"} <= {
        row.name for row in report.rows if row.parity.passed
    }
    assert report.passed

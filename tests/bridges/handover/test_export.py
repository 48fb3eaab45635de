"""ONNX files: what is written is what PyTorch and Keras compute; bad files and shapes."""

import keras
import numpy as np
import onnx
import pytest
import torch
from torch import nn

from bridges.handover import HEADS
from bridges.handover.export import OPSET, export_detector, export_keras, export_torch
from bridges.handover.heads import HeadSpec
from bridges.handover.onnx_model import OnnxModel
from models.yolov5.detect import decode
from tests.bridges.handover.sample_models import scenes, small_net
from tfcompress.errors import CompressionError, ConfigError, DataError, LayerError
from tfcompress.short_repr import LINE


@pytest.fixture(scope="module")
def images():
    return scenes(3, 16).numpy()


def test_a_classifier_crosses_with_a_fixed_batch(tmp_path, images):
    net = small_net()
    net.train()
    file = tmp_path / "net.onnx"
    export_torch(net, torch.rand(1, 3, 16, 16), file, output_names=["logits"])
    assert net.training  # the module is as it was
    model = OnnxModel.load(file)
    assert (model.opset, model.inputs[0].shape) == (OPSET, (1, 3, 16, 16))
    assert "inputs=(<float32 1x3x16x16>,)" in repr(model)  # and no weights
    assert len(repr(model)) <= LINE
    wanted = net.eval()(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(model.predict(images)["logits"], wanted, atol=1e-6)  # in chunks of 1


def test_a_free_batch(tmp_path, images):
    net = small_net()
    model = export_torch(net, torch.rand(1, 3, 16, 16), tmp_path / "n.onnx", dynamic_batch=True)
    assert model.inputs[0].shape == (None, 3, 16, 16)
    wanted = net(torch.from_numpy(images)).detach().numpy()
    np.testing.assert_allclose(model.predict(images)["output_0"], wanted, atol=1e-6)


@pytest.mark.parametrize("parts", [False, True])
def test_a_detectors_heads_cross_and_decode_to_the_same_boxes(tmp_path, yolov5n, parts):
    original = yolov5n
    before = {name: tensor.clone() for name, tensor in original.state_dict().items()}
    model = export_detector(original, 64, tmp_path / "d.onnx", parts=parts, dynamic_batch=True)
    assert all(torch.equal(before[k], v) for k, v in original.state_dict().items())
    spec = HeadSpec.from_json(OnnxModel.load(tmp_path / "d.onnx").metadata[HEADS], "d.onnx")
    assert spec == HeadSpec.of(original, 64, parts)
    assert [port.name for port in model.outputs] == list(spec.outputs) == sorted(spec.outputs)
    square = scenes(2, 64)
    with torch.no_grad():
        raw = original(square)
        wanted = decode(raw, original.head.anchors, original.head.stride).numpy()
    maps = {k: v.transpose(0, 2, 3, 1) for k, v in model.predict(square.numpy()).items()}
    found = spec.decode(maps)
    assert found.shape == (2, 3 * (64 + 16 + 4), 7)
    np.testing.assert_allclose(found[..., :4], wanted[..., :4], rtol=1e-4, atol=1e-3)  # pixels
    np.testing.assert_allclose(found[..., 4:], wanted[..., 4:], atol=1e-5)


def test_a_box_decoded_by_hand():
    """One cell (1, 0) of stride 8, anchor of 2x3 cells, all logits 0: sigmoid 0.5."""
    spec = HeadSpec(("a",), (((2.0, 3.0),),), (8.0,), 16, parts=False)
    boxes = spec.decode({"level0": np.zeros((1, 2, 2, 6), np.float32)})
    # center: (2 * 0.5 - 0.5 + (1, 0)) * 8; size: (2 * 0.5)^2 * (2, 3) * 8
    np.testing.assert_allclose(boxes[0, 1], [12, 4, 16, 24, 0.5, 0.5])
    with pytest.raises(DataError, match="5 channels, but 1 anchors of 6 values are 6"):
        spec.decode({"level0": np.zeros((1, 2, 2, 5), np.float32)})
    with pytest.raises(DataError, match="'level0': the model gives other"):
        spec.decode({"other": np.zeros((1, 2, 2, 6), np.float32)})
    with pytest.raises(DataError, match="heads cannot be read"):
        HeadSpec.from_json("{}", "x.onnx")


def test_a_keras_model_goes_back_to_onnx(tmp_path):
    x = inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="silu")(x)
    x = keras.layers.BatchNormalization()(x)
    outputs = [keras.layers.Conv2D(2, 1)(x), keras.layers.Dense(5)(keras.layers.Flatten()(x))]
    net = keras.Model(inputs, outputs)
    for dynamic in (False, True):
        model = export_keras(net, tmp_path / "k.onnx", dynamic_batch=dynamic)
        batch = np.random.default_rng(1).random((2, 16, 16, 3), np.float32)
        found = list(OnnxModel.load(tmp_path / "k.onnx").predict(batch).values())
        for wanted, array in zip(net(batch, training=False), found, strict=True):
            np.testing.assert_allclose(array, np.asarray(wanted), atol=1e-5)
        assert model.inputs[0].shape == (None if dynamic else 1, 16, 16, 3)


def test_intermediate_tensors_by_name(tmp_path, images):
    net = small_net()
    model = export_torch(net, torch.rand(1, 3, 16, 16), tmp_path / "n.onnx")
    tensors = model.tensors(images)
    assert list(tensors) == list(model.made)
    with torch.no_grad():
        stem = net.stem(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(tensors["/stem/stem.2/Mul_output_0"], stem, atol=1e-5)
    with pytest.raises(ConfigError, match="'nothing': no node of .* makes it"):
        model.tensors(images, ["nothing"])


class NoOnnx(nn.Module):
    def forward(self, x):
        return torch.linalg.svdvals(x)


def test_a_failed_export_leaves_the_old_file(tmp_path, yolov5n):
    file = tmp_path / "n.onnx"
    file.write_bytes(b"old")
    with pytest.raises(LayerError, match="PyTorch cannot write it as ONNX"):
        export_torch(NoOnnx(), torch.rand(1, 3, 4, 4), file)
    with pytest.raises(ConfigError, match="output_names: they are a, b, for 1 tensors"):
        export_torch(small_net(), torch.rand(1, 3, 16, 16), file, output_names=["a", "b"])
    with pytest.raises(ConfigError, match="side: it is 50. Fix: give a multiple of 32"):
        export_detector(yolov5n, 50, file)
    assert file.read_bytes() == b"old"


def test_what_does_not_agree_is_not_written(tmp_path):
    """A branch on the data is frozen by tracing: with a free batch the second input differs."""

    class Branch(nn.Module):
        def forward(self, x):
            return x * 2 if len(x) == 1 else x * 3

    with pytest.raises(LayerError, match="gives other values of 'output_0'"):
        export_torch(Branch(), torch.rand(1, 3), tmp_path / "b.onnx", dynamic_batch=True)
    assert not (tmp_path / "b.onnx").exists()


def test_broken_files_and_wrong_shapes(tmp_path, images):
    good = export_torch(small_net(), torch.rand(1, 3, 16, 16), tmp_path / "good.onnx")
    content = (tmp_path / "good.onnx").read_bytes()
    for name, data in (("half", content[: len(content) // 2]), ("empty", b""), ("text", b"hello")):
        file = tmp_path / f"{name}.onnx"
        file.write_bytes(data)
        with pytest.raises(DataError, match="it is no ONNX file|holds no operation"):
            OnnxModel.load(file)
    strange = onnx.ModelProto()
    strange.CopyFrom(good.proto)
    strange.graph.node[0].op_type = "Nonsense"
    with pytest.raises(DataError, match="it is no ONNX file"):
        OnnxModel.from_proto(strange)
    with pytest.raises(DataError, match="there is no such file"):
        OnnxModel.load(tmp_path / "none.onnx")
    for bad in (images.transpose(0, 2, 3, 1), images[..., :8], images[0]):
        with pytest.raises(CompressionError, match=r"the model takes \(1, 3, 16, 16\)"):
            good.predict(bad)
    with pytest.raises(DataError, match="2 arrays for 1 inputs"):
        good.predict([images, images])
    with pytest.raises(DataError, match=r"shape \(0, 3, 16, 16\)"):
        good.predict(images[:0])
    with pytest.raises(DataError, match="input 'images' is missing"):
        good.predict({"image": images})

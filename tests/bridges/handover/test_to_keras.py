"""ONNX to Keras: every converter against PyTorch, errors by node, and compression of the result."""

import keras
import numpy as np
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tfcompress as tfc
from bridges.handover.export import export_detector, export_torch
from bridges.handover.heads import with_plain_head
from bridges.handover.onnx_model import OnnxModel
from bridges.handover.to_keras import to_keras
from tests.bridges.handover.sample_models import scenes, settle, small_net
from tfcompress.errors import DataError, LayerError

ALLOWED_OPERATIONS = {"GetItem", "Erf"}  # of keras.ops; everything else is a layer of Keras


class Run(nn.Module):
    """A function of maps as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def conv(*args, **kwargs):
    torch.manual_seed(3)
    return nn.Sequential(nn.Conv2d(*args, **kwargs))


def signed(module):
    """A convolution before, so that values of both signs come in."""
    return nn.Sequential(
        conv(4, 4, 1), Run(module) if not isinstance(module, nn.Module) else module
    )


def shuffle(x):
    b, c, h, w = x.shape
    return x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


NETS = {
    "global average pool": nn.AdaptiveAvgPool2d(1),
    "mean over positions": lambda x: x.mean((2, 3)),
    "mean, axes kept": lambda x: x.mean((2, 3), keepdim=True),
    "flatten": lambda x: x.flatten(1),
    "flatten to a dense layer": nn.Sequential(nn.Flatten(), nn.Linear(4 * 9 * 11, 3)),
    "reshape to rows": lambda x: x.reshape(1, 396),
    "softmax of channels": lambda x: x.softmax(1),
    "softmax of rows": lambda x: x.softmax(2),
    "softmax of a vector": lambda x: x.mean((2, 3)).softmax(-1),
    "grouped": conv(4, 6, 3, groups=2, padding=1),
    "depthwise": conv(4, 4, 3, groups=4, padding=1, bias=False),
    "depthwise, doubled": conv(4, 8, 3, stride=2, groups=4, padding=1),
    "dilated": conv(4, 5, (3, 5), dilation=(2, 1), padding=(2, 2)),
    "strided, padded on every side": conv(4, 5, 3, stride=2, padding=1),
    "large padding": conv(4, 5, 6, stride=2, padding=2),
    "hard swish": signed(nn.Hardswish()),
    "hard sigmoid": signed(nn.Hardsigmoid()),
    "softplus": signed(nn.Softplus()),
    "silu": signed(nn.SiLU()),
    "gelu": signed(nn.GELU()),
    "erf": signed(torch.erf),
    "elu": signed(nn.ELU(0.5)),
    "leaky relu": signed(nn.LeakyReLU(0.2)),
    "relu6": signed(nn.ReLU6()),
    "hard tanh": signed(nn.Hardtanh(-0.2, 0.3)),
    "clamp below": signed(lambda x: x.clamp(min=-0.1)),
    "slice of channels": lambda x: x[:, 1:3],
    "slice of positions": lambda x: x[:, :, 2:-1, 1::2],
    "focus": lambda x: torch.cat([x[..., :8:2, ::2], x[..., 1:8:2, ::2]], 1),
    "split": lambda x: torch.cat(x.split([1, 3], 1)[::-1], 1),
    "chunks of rows": lambda x: torch.cat(x[:, :, :8].chunk(2, 2), 1),
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "bilinear, to a size": lambda x: F.interpolate(x, (13, 7), mode="bilinear"),
    "nearest": lambda x: F.interpolate(x, scale_factor=3),
    "max pool, same": signed(nn.MaxPool2d(5, 1, 2)),
    "max pool": signed(nn.MaxPool2d(2)),
    "max pool, ceil": signed(nn.MaxPool2d(2, ceil_mode=True)),
    "max pool, ceil, overlapping": signed(nn.MaxPool2d(3, 2, ceil_mode=True)),
    "max pool, padded": signed(nn.MaxPool2d(3, 2, 1)),
    "max pool, padded, of ReLU": nn.Sequential(signed(nn.ReLU()), nn.MaxPool2d(3, 2, 1)),
    "max pool, ceil, of ReLU": nn.Sequential(
        signed(nn.ReLU()), nn.MaxPool2d(4, 3, 1, ceil_mode=True)
    ),
    "average pool": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "channel shuffle": shuffle,
    "numbers": signed(lambda x: 1 - (3 * x - 0.5) / 2 + 0.25),
    "square": signed(lambda x: x * x),
    "gates": lambda x: x * x.mean((2, 3), keepdim=True).sigmoid(),
    "concatenated vectors": lambda x: torch.cat([x.mean((2, 3)), -x[:, 1:].mean((2, 3))], 1),
    "transposed": nn.ConvTranspose2d(4, 3, 2, 2),
}  # fmt: skip


def crossed(module, tmp_path, channels=4):
    module = module if isinstance(module, nn.Module) else Run(module)
    images = np.random.default_rng(0).random((1, channels, 9, 11), np.float32)
    model = export_torch(module, torch.from_numpy(images), tmp_path / "n.onnx")
    return to_keras(model), images, module.eval()


@pytest.mark.parametrize("name", NETS)
def test_an_operation_crosses(name, tmp_path):
    crossing, images, module = crossed(NETS[name], tmp_path)
    with torch.no_grad():
        wanted = module(torch.from_numpy(images)).numpy()
    crossing.model.save(tmp_path / "k.keras")
    again = keras.saving.load_model(tmp_path / "k.keras", safe_mode=True)
    found = np.asarray(again(images.transpose(0, 2, 3, 1)))
    found = found.transpose(0, 3, 1, 2) if found.ndim == 4 else found
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    for operation in again.operations:
        if not isinstance(operation, keras.layers.Layer):
            assert type(operation).__name__ in ALLOWED_OPERATIONS
        else:
            assert type(operation).__module__.startswith("keras.")
            assert not isinstance(operation, keras.layers.Lambda)
    weights = sum(p.numel() for p in module.parameters())
    assert sum(int(np.prod(w.shape)) for w in again.trainable_weights) == weights


def test_what_is_one_layer_in_keras_is_one(tmp_path):
    for name, activation in (("silu", "silu"), ("gelu", "gelu"), ("hard swish", "hard_silu")):
        crossing, *_ = crossed(NETS[name], tmp_path)
        assert [layer.__class__.__name__ for layer in crossing.model.layers] == [
            "InputLayer", "Conv2D", "Activation",
        ]  # fmt: skip
        assert crossing.model.layers[-1].get_config()["activation"] == activation


def test_batch_norms_that_are_not_folded_stay_trainable(tmp_path):
    torch.manual_seed(0)
    net = settle(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.BatchNorm2d(4)), 8)
    images = scenes(2, 8).numpy()
    crossing = to_keras(export_torch(net, torch.from_numpy(images[:1]), tmp_path / "n.onnx"))
    found = np.asarray(crossing.model(images.transpose(0, 2, 3, 1)))
    with torch.no_grad():
        wanted = net(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found.transpose(0, 3, 1, 2), wanted, atol=1e-5)
    assert crossing.trainable_weights == 4


def message(module, tmp_path, **kwargs):
    with pytest.raises(LayerError) as stop:
        crossed(module, tmp_path, **kwargs)
    return str(stop.value)


def test_an_operator_without_a_converter_is_named_with_its_node(tmp_path):
    text = message(lambda x: x.cumsum(1), tmp_path)
    assert "node '/CumSum': operator CumSum has no converter to Keras" in text


@pytest.mark.parametrize(
    ("function", "wanted"),
    [
        (lambda x: x.exp(), "node '/Exp': operator Exp would become a Lambda"),
        (
            lambda x: x * torch.arange(1.0, 5).view(1, 4, 1, 1),
            "node '/Mul': operator Mul cannot be a plain Keras layer: it takes a constant of shape "
            "(1, 4, 1, 1)",
        ),
        (lambda x: x.mean(1), "node '/ReduceMean': operator ReduceMean cannot be"),
        (lambda x: x / x.mean((2, 3), keepdim=True), "node '/Div': operator Div cannot be"),
        (lambda x: x.reshape(1, 2, 2, 9, 11), "it makes 5 axes; 2 (flattening) are possible"),
        (
            lambda x: F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True),
            "node '/Resize': operator Resize cannot be a plain Keras layer: mode 'linear'",
        ),
        (nn.MaxPool2d(4, 3, 2), "operator MaxPool cannot be a plain Keras layer"),
    ],
)
def test_what_is_no_plain_layer_is_named_with_its_node(function, wanted, tmp_path):
    assert wanted in message(function, tmp_path)


@pytest.mark.parametrize(
    ("attributes", "shape"),
    [
        (dict(kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1), [1, 4, 5, 6]),  # another shape
        (
            dict(kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
            [1, 4, 5, 6],
        ),  # other values
    ],
)
def test_a_conversion_that_differs_is_an_error(attributes, shape):
    """`onnx2keras` drops partial windows of an average pool, and counts padding, without a word."""
    made, number = onnx.helper.make_node, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [
            made("Relu", ["x"], ["a"], "first"),
            made("AveragePool", ["a"], ["b"], "second", **attributes),
            made("Relu", ["b"], ["y"], "third"),
        ],
        "pool",
        [onnx.helper.make_tensor_value_info("x", number, [1, 4, 9, 11])],
        [onnx.helper.make_tensor_value_info("y", number, shape)],
    )
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)])
    proto.ir_version = 8
    with pytest.raises(
        LayerError, match=r"node 'second' \(AveragePool\): the Keras model computes something else"
    ):
        to_keras(OnnxModel.from_proto(proto))


def test_nothing_is_left_changed_after_an_error(tmp_path):
    from onnx2keras.layers import AVAILABLE_CONVERTERS

    before = dict(AVAILABLE_CONVERTERS)
    message(lambda x: x.exp(), tmp_path)
    message(lambda x: x.mean(1), tmp_path)
    assert before == AVAILABLE_CONVERTERS
    assert keras.config.image_data_format() == "channels_last"


def test_inputs_of_free_size_and_broken_files(tmp_path):
    model = export_torch(small_net(), torch.rand(1, 3, 16, 16), tmp_path / "n.onnx")
    free = onnx.ModelProto()
    free.CopyFrom(model.proto)
    free.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(DataError, match=r"its shape \(1, 3, None, 16\) has free sizes"):
        to_keras(OnnxModel(free, "free"))
    (tmp_path / "broken.onnx").write_bytes(b"\x08\x07nothing")
    with pytest.raises(DataError, match="it is no ONNX file that can be run"):
        to_keras(tmp_path / "broken.onnx")


@pytest.fixture(scope="module")
def detector_in_keras(yolov5n, tmp_path_factory):
    file = tmp_path_factory.mktemp("detector") / "d.onnx"
    return to_keras(export_detector(yolov5n, 64, file), scenes(2, 64).numpy())


def maps(yolov5n, images):
    with torch.no_grad():
        said = with_plain_head(yolov5n)(torch.from_numpy(images))
    return [m.numpy().transpose(0, 2, 3, 1) for m in said]


def test_a_detector_crosses_with_all_its_weights(detector_in_keras, yolov5n):
    images = scenes(3, 64, seed=9).numpy()
    found = detector_in_keras.model(images.transpose(0, 2, 3, 1))
    for wanted, array in zip(maps(yolov5n, images), found, strict=True):
        np.testing.assert_allclose(np.asarray(array), wanted, atol=1e-4)
    deployed = with_plain_head(yolov5n)
    assert detector_in_keras.trainable_weights == len(list(deployed.parameters()))
    assert detector_in_keras.model.count_params() == sum(p.numel() for p in deployed.parameters())
    kinds = {type(layer).__name__ for layer in detector_in_keras.model.layers}
    assert kinds == {
        "InputLayer", "Conv2D", "ZeroPadding2D", "Activation", "Add", "Concatenate",
        "MaxPooling2D", "UpSampling2D",
    }  # fmt: skip
    assert f"{len(list(deployed.parameters()))} trainable weights" in str(detector_in_keras)


def test_a_detector_from_pytorch_loses_channels(detector_in_keras):
    """The whole network, neck and head included, shrinks; what is left computes the same."""
    model = detector_in_keras.model
    plan = tfc.plan_channels(model, tfc.ChannelConfig(target_macs=0.6, round_to=4))
    small = tfc.shrink(model, plan)
    share = tfc.count_cost(small).macs / tfc.count_cost(model).macs
    assert 0.55 < share <= 0.6
    assert [tuple(t.shape) for t in small.outputs] == [tuple(t.shape) for t in model.outputs]


def test_a_detector_from_pytorch_is_pruned_by_levels_and_trained(detector_in_keras):
    model = keras.models.clone_model(detector_in_keras.model)
    model.set_weights(detector_in_keras.model.get_weights())
    pruner = tfc.LevelPruner(model, [{"sparsity": 0.7, "op_types": ["default"]}])
    pruner.compress()
    model.compile("sgd", ["mse"] * 3, run_eagerly=True)
    images = scenes(4, 64).numpy().transpose(0, 2, 3, 1)
    model.fit(images, [np.zeros((4, n, n, 21), np.float32) for n in (8, 4, 2)], verbose=0)
    zeros = tfc.count_zeros(model)
    total = sum(layer.zeros for layer in zeros) / sum(layer.weights for layer in zeros)
    assert total == pytest.approx(0.7, abs=0.005)


def test_a_detector_from_pytorch_teaches_its_smaller_self(detector_in_keras):
    """By the maps of its heads; the smaller one comes nearer to it on images it did not see."""
    model = detector_in_keras.model
    small = tfc.shrink(model, tfc.plan_channels(model, tfc.ChannelConfig(target_macs=0.6)))
    heads = [tensor._keras_history.operation.name for tensor in model.outputs]
    images, others = (scenes(16, 64, seed=s).numpy().transpose(0, 2, 3, 1) for s in (5, 6))
    wanted = [np.asarray(head) for head in model(others, training=False)]

    def distance():
        found = [np.asarray(head) for head in small(others, training=False)]
        return np.mean([np.mean((a - b) ** 2) for a, b in zip(wanted, found, strict=True)])

    before = distance()
    hints = [tfc.Hint(teacher_layer_name=h, student_layer_name=h) for h in heads]
    distiller = tfc.Distiller(model, small, hints, task_weight=0)
    distiller.compile(keras.optimizers.Adam(1e-3), run_eagerly=True)  # a graph takes 20 s
    distiller.fit(images, epochs=3, batch_size=4, verbose=0)
    assert distance() < 0.3 * before


def test_a_detector_from_pytorch_becomes_int8(detector_in_keras, yolov5n):
    images = scenes(20, 64, seed=4).numpy()
    lite = tfc.to_litert(detector_in_keras.model, "int8", calibration=images.transpose(0, 2, 3, 1))
    assert lite.float_ops == ()
    for wanted, found in zip(
        maps(yolov5n, images[:4]), lite.predict(images[:4].transpose(0, 2, 3, 1)), strict=True
    ):
        assert tfc.compare_outputs(wanted, found).cosine > 0.99

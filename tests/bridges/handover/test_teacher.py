"""PyTorch teaches Keras: the teacher's logits arrive in `fit`, and what does not fit is refused."""

import keras
import numpy as np
import pytest
import torch
from torch import nn

import tfcompress as tfc
from bridges.handover.export import export_torch
from bridges.handover.teacher import onnx_teacher, torch_teacher
from tests.bridges.handover.sample_models import scenes, small_net
from tfcompress.errors import CompressionError, ConfigError, DataError

IMAGES = scenes(12, 16, seed=3).numpy().transpose(0, 2, 3, 1)
LABELS = np.arange(12) % 5


@pytest.fixture(scope="module")
def net():
    return small_net()


@pytest.fixture(scope="module")
def file(net, tmp_path_factory):
    path = tmp_path_factory.mktemp("onnx") / "teacher.onnx"
    export_torch(net, torch.rand(1, 3, 16, 16), path, dynamic_batch=True)
    return path


def student(classes=5):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, strides=4, activation="relu")(inputs)
    x = keras.layers.Dense(classes, activation="softmax")(keras.layers.Flatten()(x))
    return keras.Model(inputs, x)


def logits_of(net):
    with torch.no_grad():
        return net(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2).copy())).numpy()


def test_the_loss_is_that_of_the_teachers_own_logits(net, file):
    """By hand: T^2 times the divergence of the softened distributions, the mean over the batch."""
    small = student()
    own = keras.Model(small.input, small.layers[-1].output)
    q = np.log(np.asarray(own(IMAGES)).astype(np.float64))  # logits up to a constant
    soft = lambda z: np.exp(z / 2) / np.exp(z / 2).sum(1, keepdims=True)  # noqa: E731
    p, q = soft(logits_of(net).astype(np.float64)), soft(q)
    wanted = 4 * (p * np.log(p / q)).sum(1).mean()
    for teacher in (onnx_teacher(file), torch_teacher(net, (16, 16, 3))):
        distiller = tfc.Distiller(teacher, small, [tfc.SoftTargets(2.0)], task_weight=0)
        distiller.compile(keras.optimizers.SGD(0.0))
        history = distiller.fit(IMAGES, LABELS, batch_size=12, verbose=0).history
        assert history["soft_targets"][0] == pytest.approx(wanted, rel=1e-4)


def test_a_student_comes_nearer_to_its_teacher(net, file):
    small = student()
    distiller = tfc.Distiller(onnx_teacher(file), small, [tfc.SoftTargets(2.0)], task_weight=0)
    distiller.compile(keras.optimizers.Adam(0.05))
    losses = distiller.fit(IMAGES, LABELS, epochs=10, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < 0.6 * losses[0]


def test_a_module_in_training_stays_there(net):
    net.stem[1].train()
    before = net.stem[1].running_mean.clone()
    teacher = torch_teacher(net, (16, 16, 3))
    np.testing.assert_allclose(teacher.logits(IMAGES)[:1], teacher.logits(IMAGES[:1]), atol=1e-5)
    assert net.stem[1].training
    assert torch.equal(before, net.stem[1].running_mean)
    net.eval()


def test_another_scaling_for_the_teacher(net, file):
    teacher = onnx_teacher(file, preprocess=lambda images: images / 255)
    np.testing.assert_allclose(teacher.logits(IMAGES * 255), logits_of(net), atol=1e-4)


def test_other_classes_are_one_clear_error(file, net):
    with pytest.raises(ConfigError, match="it has 5 classes, and 7 are wanted"):
        onnx_teacher(file, classes=7)
    with pytest.raises(ConfigError, match="'SmallNet': it has 5 classes, and 7 are wanted"):
        torch_teacher(net, (16, 16, 3), classes=7)
    distiller = tfc.Distiller(onnx_teacher(file), student(7), [tfc.SoftTargets(2.0)])
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(CompressionError, match="5.*7|7.*5"):
        distiller.fit(IMAGES, LABELS, verbose=0)


def test_what_is_no_teacher(file, net, tmp_path):
    with pytest.raises(DataError, match=r"it takes images of \(16, 16, 3\)"):
        onnx_teacher(file).logits(IMAGES[:, :8])
    example = torch.rand(1, 3, 16, 16)
    probabilities = nn.Sequential(net, nn.Softmax(1))
    for module, wanted in (
        (probabilities, "it ends in Softmax, and distillation needs logits"),
        (net.stem, r"its outputs are \(1, 8, 8, 8\)"),
    ):
        export_torch(module, example, tmp_path / "t.onnx")
        with pytest.raises(DataError, match=wanted):
            onnx_teacher(tmp_path / "t.onnx")
    export_torch(net.head, torch.rand(1, 8), tmp_path / "h.onnx")
    with pytest.raises(DataError, match=r"its inputs are \(1, 8\)"):
        onnx_teacher(tmp_path / "h.onnx")
    with pytest.raises(DataError, match=r"it gives no tensor \(B, classes\)"):
        torch_teacher(net.stem, (16, 16, 3))

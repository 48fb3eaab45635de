"""torchvision's weights in Keras models: equal outputs, and what is not matched is listed."""

import keras
import numpy as np
import pytest
import torch

from bridges.handover.export import export_torch
from bridges.handover.to_keras import to_keras
from bridges.handover.weights import load_torchvision, torchvision_resnet
from models.shufflenet_v2 import shufflenet_v2
from tests.bridges.handover.sample_models import scenes, settle, small_net
from tests.bridges.handover.torchvision_nets import ResNet50, ShuffleNetV2
from tfcompress.errors import DataError, LayerError

IMAGES = scenes(2, 64, seed=6)


def outputs(model, net):
    with torch.no_grad():
        wanted = net(IMAGES).numpy()
    found = model(IMAGES.numpy().transpose(0, 2, 3, 1), training=False)
    return np.asarray(found), wanted


@pytest.fixture(scope="module")
def shufflenet():
    torch.manual_seed(0)
    return settle(ShuffleNetV2(), 64)


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return settle(ResNet50(), 64, batches=2)


@pytest.mark.parametrize("flavor", ["keras", "tf_keras"])
def test_shufflenet_gives_pytorchs_outputs(shufflenet, flavor, tmp_path):
    torch.save(shufflenet.state_dict(), tmp_path / "s.pt")
    model = shufflenet_v2(7, activation=None, flavor=flavor)
    report = load_torchvision(model, tmp_path / "s.pt")
    assert report.complete
    assert not report.unexpected
    counted = [k for k in shufflenet.state_dict() if not k.endswith("num_batches_tracked")]
    assert len(report.loaded) == len(counted) == len(model.weights)
    np.testing.assert_allclose(*outputs(model, shufflenet), atol=1e-5)


def test_resnet_gives_pytorchs_outputs(resnet):
    plain = keras.applications.ResNet50(weights=None, input_shape=(64, 64, 3), classes=7,
                                        classifier_activation=None)  # fmt: skip
    for layer in plain.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.ones(layer.bias.shape))  # of another training
    with pytest.raises(LayerError, match=r"halves the size where .* torchvision_resnet\(model\)"):
        load_torchvision(plain, resnet.state_dict())
    model = torchvision_resnet(plain)
    report = load_torchvision(model, resnet.state_dict())
    assert report.complete
    found, wanted = outputs(model, resnet)
    np.testing.assert_allclose(found, wanted, atol=1e-5 * max(1, np.abs(wanted).max()))


def test_other_classes_and_a_truncated_network_take_what_fits(shufflenet):
    model = shufflenet_v2(9, truncate=True)
    head = model.get_layer("head").get_weights()
    with pytest.raises(DataError, match=r"does not fit model .* partial=True"):
        load_torchvision(model, shufflenet.state_dict())
    assert not np.allclose(
        model.get_layer("stem").get_weights()[0],
        shufflenet.conv1[0].weight.detach().numpy().transpose(2, 3, 1, 0),
    )
    report = load_torchvision(model, shufflenet.state_dict(), partial=True)
    assert report.misshaped == (("fc.weight", (1024, 7), (96, 9)), ("fc.bias", (7,), (9,)))
    assert not report.missing
    ends = {name.split(".")[0] for name in report.unexpected}
    assert ends == {"stage4", "conv5"}
    assert "unknown to the model: stage4.0" in str(report)
    for before, after in zip(head, model.get_layer("head").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(
        model.get_layer("stage3_8_point2").get_weights()[0],
        shufflenet.stage3[7].branch2[5].weight.detach().numpy().transpose(2, 3, 1, 0),
    )


def test_missing_names_are_listed(shufflenet):
    tensors = {k: v for k, v in shufflenet.state_dict().items() if "conv5" not in k}
    with pytest.raises(DataError, match="5 missing in the file: conv5.0.weight, conv5.1.weight"):
        load_torchvision(shufflenet_v2(7), tensors)


def test_what_is_no_such_model_or_file(shufflenet, tmp_path):
    other = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)])
    for function in (lambda m: load_torchvision(m, {}), torchvision_resnet):
        with pytest.raises(LayerError, match="has not the layers of keras.applications' ResNet50"):
            function(other)
    torch.save(small_net(), tmp_path / "pickled.pt")
    with pytest.raises(DataError, match=r"pickled.*Fix: give what torch.save\(model.state_dict"):
        load_torchvision(shufflenet_v2(7), tmp_path / "pickled.pt")
    with pytest.raises(DataError, match="no tensor|does not fit"):
        load_torchvision(shufflenet_v2(7), {"a": torch.zeros(1)})


def test_shufflenet_crosses_whole_as_well(shufflenet, tmp_path):
    """Through ONNX: its shuffles, splits and depthwise convolutions as layers."""
    file = tmp_path / "s.onnx"
    crossing = to_keras(export_torch(shufflenet, IMAGES[:1], file))
    np.testing.assert_allclose(*outputs(crossing.model, shufflenet), atol=1e-5)

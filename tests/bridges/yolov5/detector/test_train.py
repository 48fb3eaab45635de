"""Training: it learns, it can be killed and continued, its file comes back, bad input is named."""

import pickle

import pytest
import torch
from torch import nn

from bridges.yolov5.data.augment import Augmentation
from bridges.yolov5.data.dataset import read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.detector.train import (
    TrainSettings,
    learning_rate_at,
    make_optimizer,
    pick_device,
    train_detector,
)
from models.yolov5.build import build_detector
from tests.bridges.yolov5.tiny_detector import tiny_detector
from tfcompress.errors import CompressionError, ConfigError, DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = write_shapes(tmp_path_factory.mktemp("set") / "shapes", counts=(12, 4, 4), size=64)
    return read_detection_data(file)


@pytest.fixture
def detector(tmp_path):
    return tiny_detector(tmp_path)


SETTINGS = TrainSettings(epochs=3, side=64, batch=4, warmup_epochs=1, plain_epochs=1)


def test_the_loss_falls_and_the_start_is_left_alone(data, detector):
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    same = Augmentation(mosaic=0, scale=0, translate=0)
    settings = TrainSettings(
        epochs=12, side=64, batch=4, warmup_epochs=1, learning_rate=0.01, augmentation=same
    )
    rows = []
    result = train_detector(detector, data, settings, on_epoch=lambda row, best: rows.append(row))
    assert tuple(rows) == result.history
    assert result.history[-1]["loss"] < 0.9 * result.history[0]["loss"]
    assert {"epoch", "loss", "box", "objectness", "classes", "val_map50", "val_map"} <= set(rows[0])
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())
    moved = result.detector.state_dict()["model.0.conv.weight"]
    assert not torch.equal(moved, before["model.0.conv.weight"])


def test_a_killed_training_ends_as_if_it_had_not_been(data, detector, tmp_path):
    whole = train_detector(detector, data, SETTINGS)

    class Killed(Exception):
        pass

    def kill(row, best):
        if row["epoch"] == 2:
            raise Killed

    file = tmp_path / "last.pt"
    with pytest.raises(Killed):
        train_detector(detector, data, SETTINGS, file, kill)
    seen = []
    resumed = train_detector(
        detector, data, SETTINGS, file, lambda row, best: seen.append(row["epoch"])
    )
    assert seen == [3]
    assert len(resumed.history) == 3
    assert resumed.best_epoch == whole.best_epoch
    for key, value in whole.detector.state_dict().items():
        torch.testing.assert_close(resumed.detector.state_dict()[key], value, rtol=0, atol=1e-6)


def test_the_last_epoch_is_always_evaluated(data, detector):
    settings = TrainSettings(epochs=2, side=64, batch=4, plain_epochs=0, validate_every=5)
    rows = train_detector(detector, data, settings).history
    assert ["val_map" in row for row in rows] == [False, True]


def test_a_checkpoint_of_other_settings_is_refused(data, detector, tmp_path):
    file = tmp_path / "last.pt"
    train_detector(detector, data, TrainSettings(epochs=1, side=64, batch=4), file)
    with pytest.raises(ConfigError, match="written with other settings"):
        train_detector(detector, data, TrainSettings(epochs=2, side=64, batch=4), file)


class Push:
    """Pushes the objectness towards a number that it learns, from 1 on."""

    def __init__(self):
        self.module = nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.module.weight)
        self.described = {"loss": "push"}

    def __call__(self, detector, images, outputs, targets):
        assert images.shape[1:] == (3, 64, 64)
        assert targets.shape[1] == 6
        assert outputs[0].shape[1:] == (8, 32, 32)
        goal = self.module.weight.sum()
        raw = outputs[len(detector.model) - 1]
        value = sum((level[..., 4] - goal).square().mean() for level in raw)
        return value, {"push": float(value.detach())}


def test_an_added_loss_is_trained_on_with_its_own_parameters(data, detector):
    settings = TrainSettings(epochs=6, side=64, batch=4, optimizer="sgd", learning_rate=0.02)
    push = Push()
    rows = train_detector(detector, data, settings, extra_losses=[push]).history
    assert rows[-1]["push"] < 0.8 * rows[0]["push"]
    assert push.module.weight.item() < 0.9  # it starts far above the objectness
    for row in rows:
        parts = row["box"] + row["objectness"] + row["classes"] + row["push"]
        assert row["loss"] == pytest.approx(parts, rel=1e-6)


def test_a_killed_training_with_an_added_loss_goes_on(data, detector, tmp_path):
    whole = Push()
    expected = train_detector(detector, data, SETTINGS, extra_losses=[whole])

    class Killed(Exception):
        pass

    def kill(row, best):
        raise Killed

    file = tmp_path / "last.pt"
    with pytest.raises(Killed):
        train_detector(detector, data, SETTINGS, file, kill, [Push()])
    with pytest.raises(ConfigError, match="written with other settings"):
        train_detector(detector, data, SETTINGS, file)
    again = Push()
    resumed = train_detector(detector, data, SETTINGS, file, extra_losses=[again])
    assert again.module.weight.item() == pytest.approx(whole.module.weight.item(), abs=1e-6)
    for key, value in expected.detector.state_dict().items():
        torch.testing.assert_close(resumed.detector.state_dict()[key], value, rtol=0, atol=1e-6)


def test_the_file_of_a_detector(detector, tmp_path):
    detector.names = ("a", "b", "c", "d")
    file = save_detector(tmp_path / "model.pt", detector, 64, {"map": 0.5})
    loaded = load_detector(file)
    assert (loaded.side, loaded.details, loaded.detector.names) == (64, {"map": 0.5}, tuple("abcd"))
    x = torch.rand(1, 3, 64, 64)
    for a, b in zip(detector.eval()(x), loaded.detector(x), strict=True):
        assert torch.equal(a, b)
    assert torch.equal(detector.head.anchors, loaded.detector.head.anchors)


def test_files_that_are_no_detectors(detector, tmp_path):
    with pytest.raises(DataError, match="there is no such file"):
        load_detector(tmp_path / "missing.pt")
    file = tmp_path / "pickle.pt"
    file.write_bytes(pickle.dumps({"model": 1}))
    with pytest.raises(DataError, match="no detector file"):
        load_detector(file)
    torch.save(detector, file)
    with pytest.raises(DataError, match="convert it to plain tensors"):
        load_detector(file)


def test_the_learning_rate_by_hand():
    settings = TrainSettings(epochs=10, learning_rate=0.1, final_rate=0.2, warmup_epochs=2)
    rates = [learning_rate_at(progress, settings) for progress in (0, 1, 5, 10)]
    # half of the cosine's (1 + cos(pi / 10)) / 2 = 0.97553 at epoch 1
    assert rates == pytest.approx([0, 0.1 * 0.5 * (0.2 + 0.8 * 0.97553), 0.06, 0.02], abs=1e-6)


def test_biases_and_normalisation_are_not_decayed(detector):
    decayed, free = make_optimizer(detector, SETTINGS).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.01, 0)
    assert all(p.ndim == 4 for p in decayed["params"])
    assert all(p.ndim == 1 for p in free["params"])
    count = len(decayed["params"]) + len(free["params"])
    assert count == len(list(detector.parameters()))


def test_bad_settings(data):
    for wrong, message in (
        ({"epochs": 0}, "epochs: it is 0"),
        ({"side": 100}, "side: it is 100. Fix: give a multiple of 32"),
        ({"optimizer": "lion"}, "'lion' is unknown"),
        ({"learning_rate": -1}, "learning_rate: it is -1"),
    ):
        with pytest.raises(ConfigError, match=message):
            TrainSettings(**wrong)
    with pytest.raises(ConfigError, match="it has 2 classes, the data 4"):
        train_detector(build_detector("yolov5n", n_classes=2), data, SETTINGS)
    with pytest.raises(ConfigError, match="device: 'tpu7'"):
        pick_device("tpu7")


def test_a_loss_that_is_no_number_stops_the_training(data, detector):
    with torch.no_grad():
        detector.model[0].conv.weight.fill_(float("nan"))
    with pytest.raises(CompressionError, match="epoch 1: the loss is no longer a number"):
        train_detector(detector, data, SETTINGS)

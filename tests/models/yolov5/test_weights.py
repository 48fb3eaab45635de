"""Weight files: plain tensors load, pickled modules never run, names and shapes are listed."""

import pickle

import pytest
import torch

from models.yolov5.build import build_detector
from models.yolov5.weights import WeightsError, load_weights, read_tensors


@pytest.fixture(scope="module")
def detector():
    return build_detector("yolov5n", n_classes=2)


def test_a_state_dict_comes_back(detector, tmp_path):
    file = tmp_path / "tensors.pt"
    torch.save(detector.state_dict(), file)
    other = build_detector("yolov5n", n_classes=2)
    report = load_weights(other, file)
    assert report.complete
    assert len(report.loaded) == len(detector.state_dict())
    x = torch.rand(1, 3, 64, 64)
    for a, b in zip(detector.eval()(x), other.eval()(x), strict=True):
        assert torch.equal(a, b)


def test_a_half_precision_file_of_old_names(detector, tmp_path):
    """Public files are float16, and old ones have an anchor grid."""
    file = tmp_path / "tensors.pt"
    tensors = {key: value.half() for key, value in detector.state_dict().items()}
    torch.save({"state_dict": {**tensors, "model.24.anchor_grid": torch.zeros(3)}}, file)
    other = build_detector("yolov5n", n_classes=2)
    assert load_weights(other, file).complete
    assert other.model[0].conv.weight.dtype == torch.float32


class Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code of the file ran')",))


def test_pickled_objects_are_refused_unread(detector, tmp_path):
    file = tmp_path / "module.pt"
    torch.save({"model": detector}, file)
    with pytest.raises(WeightsError, match=r"pickled Python objects.*state_dict\(\)"):
        read_tensors(file)
    file.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError, match="pickled Python objects|cannot be read"):
        read_tensors(file)


def test_files_that_are_none(tmp_path):
    with pytest.raises(WeightsError, match="there is no such file"):
        read_tensors(tmp_path / "missing.pt")
    file = tmp_path / "text.pt"
    file.write_text("no weights")
    with pytest.raises(WeightsError, match=r"text\.pt"):
        read_tensors(file)
    torch.save({"epoch": 3}, file)
    with pytest.raises(WeightsError, match="does not hold tensors by name"):
        read_tensors(file)


def test_another_models_file_lists_names_and_shapes(detector):
    tensors = build_detector("yolov5n", n_classes=5).state_dict()
    del tensors["model.0.conv.weight"]
    tensors["extra"] = torch.zeros(1)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    with pytest.raises(WeightsError) as error:
        load_weights(detector, tensors)
    text = str(error.value)
    assert "missing in the file: model.0.conv.weight" in text
    assert "unknown to the model: extra" in text
    assert "model.24.m.0.weight is 30x64x1x1 in the file, 21x64x1x1 in the model" in text
    assert all(torch.equal(before[key], value) for key, value in detector.state_dict().items())

    report = load_weights(detector, tensors, partial=True)
    assert report.missing == ("model.0.conv.weight",)
    assert len(report.misshaped) == 6
    with pytest.raises(WeightsError, match="no tensor matches"):
        load_weights(detector, {"a": torch.zeros(1)}, partial=True)

"""Architecture files: they come back, older ones are read, foreign ones are refused."""

import json

import pytest
import torch

from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.nas.architecture import FoundArchitecture, read_found, write_architecture
from models.yolov5.search_space import as_space, list_choices, plain_choices
from tfcompress.errors import DataError


@pytest.fixture
def found():
    choices = plain_choices("yolov5n") | {"conv_1": "k5p2", "c3_4": "x2", "c3_4_m1": "x1_5"}
    return FoundArchitecture(as_space("yolov5n"), choices, {"strategy": "random"})


def test_a_file_comes_back(found, tmp_path):
    file = write_architecture(tmp_path / "a.json", found)
    content = json.loads(file.read_text())
    assert content["version"] == 3
    assert content["choices"]["conv_1"] == "k5p2"
    again = read_found(file)
    assert again.choices == found.choices
    assert again.details == {"strategy": "random"}
    for a, b in zip(
        found.detector(("a",)).state_dict().items(),
        again.detector(("a",)).state_dict().items(),
        strict=True,
    ):
        assert (a[0], a[1].shape) == (b[0], b[1].shape)


def test_a_found_detectors_file_comes_back(found, tmp_path):
    detector = found.detector(("a", "b")).eval()
    loaded = load_detector(save_detector(tmp_path / "m.pt", detector, 64)).detector
    assert loaded.choices == found.choices
    x = torch.rand(1, 3, 64, 64)
    for a, b in zip(detector(x), loaded(x), strict=True):
        assert torch.equal(a, b)


def test_the_table_marks_what_is_not_plain(found):
    rows = {row[1]: row for row in found.table().rows}
    assert rows["conv_1"] == ("1", "conv_1", "k5p2", "k3p1")
    assert rows["conv_3"] == ("3", "conv_3", "k3p1", "")


V1 = {
    "nasconv_0": "1", "nasconv_1": "1", "nasconv_2-1": "0", "nasconv_2-2": "1", "nasconv_3": "0",
    "nasconv_4-1": "1", "nasconv_4-2": "0", "nasconv_5": "1", "nasconv_6-1": "0",
    "nasconv_6-2": "0", "nasconv_7": "0", "nasconv_8-1": "1", "nasconv_8-2": "1",
}  # fmt: skip


def test_version_1_holds_kernels_alone(tmp_path):
    file = tmp_path / "v1.json"
    file.write_text(json.dumps(V1))
    choices = read_found(file).choices
    assert (choices["conv_0"], choices["conv_1"], choices["conv_3"]) == ("k4p1", "k5p2", "k3p1")
    assert (choices["c3_2_cv1"], choices["c3_2_cv2"]) == ("k1p0", "k3p1")
    assert {choices["conv_0_act"], choices["c3_8_cv2_act"]} == {"silu"}
    assert {choices["c3_2"], choices["c3_6_m2"]} == {"x1"}
    assert read_found(file).detector().model[1].conv.kernel_size == (5, 5)


def test_version_2_holds_everything(tmp_path):
    """Its bottlenecks are counted: per C3 of n, 3 n of the widths and n that nothing used."""
    v2 = {
        **V1,
        **{f"{key}_act": "0" for key in V1},
        "nasconv_5_act": "2",
        "nasconv_6-1_act": "1",
        "c3_2": "0", "c3_4": "2", "c3_6": "1", "c3_8": "0",
        **{f"model_{k}": 1 for k in range(1, 29)},
    }  # fmt: skip
    assert len(v2) == 58
    # c3_2 (n 1) has 1 to 4, c3_4 (n 2) 5 to 12: its third width 9 and 10;
    # c3_6 (n 3) 13 to 24: its second width 16 to 18; c3_8 25 to 28: its first 25
    v2 |= {"model_1": 1.5, "model_2": 2, "model_10": 2, "model_16": 1.5, "model_25": 2}
    file = tmp_path / "v2.json"
    file.write_text(json.dumps(v2))
    choices = read_found(file).choices
    assert [choices[f"c3_{i}"] for i in (2, 4, 6, 8)] == ["x1", "x2", "x1_5", "x1"]
    assert (choices["conv_5_act"], choices["c3_6_cv1_act"]) == ("relu", "identity")
    widths = {label: choices[label] for label in choices if "_m" in label}
    assert widths == {
        "c3_2_m0": "x1_5", "c3_4_m0": "x1", "c3_4_m1": "x2", "c3_6_m0": "x1_5", "c3_6_m1": "x1",
        "c3_6_m2": "x1", "c3_8_m0": "x2",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no json", "it is no JSON"),
        ("[]", "it holds no choices"),
        ('{"weights": 1}', r"its keys \(weights"),
        ('{"nasconv_0": "7"}', "'nasconv_0' is '7'. Fix: give an index below 3"),
        ('{"nasconv_0": "0", "model_1": 3}', "'model_1' is 3"),
        ('{"format": "tfcompress-architecture", "version": 9}', "it has version 9"),
        ('{"format": "tfcompress-architecture", "version": 3}', "is missing"),
    ],
)
def test_files_that_are_none(tmp_path, text, message):
    file = tmp_path / "a.json"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_found(file)
    assert "a.json" in str(error.value)
    with pytest.raises(DataError, match="there is no such file"):
        read_found(tmp_path / "missing.json")


def test_choices_of_another_space(found, tmp_path):
    file = write_architecture(tmp_path / "a.json", found)
    content = json.loads(file.read_text())
    first = next(iter(list_choices("blocks_nas")))
    for change, message in (
        ({first: "inception"}, f"choice '{first}' is not in the space of yolov5n"),
        ({"conv_1": "k9p4"}, r"'conv_1' is 'k9p4'. Fix: give one of \['k3p1'"),
    ):
        changed = {**content, "choices": {**content["choices"], **change}}
        file.write_text(json.dumps(changed))
        with pytest.raises(DataError, match=message):
            read_found(file)
    with pytest.raises(DataError, match="choice 'conv_0' is missing"):
        FoundArchitecture(as_space("yolov5n"), {})

"""Transplants: exact where nothing changed, by hand where widths did."""

from dataclasses import replace

import pytest
import torch

from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.nas.transplant import transplant
from models.yolov5.architecture_file import read_architecture
from models.yolov5.build import (
    Backbone,
    assemble_backbone,
    build_backbone,
    build_detector,
    resolve,
)
from models.yolov5.search_space import build_backbone_space, frozen_pick, plain_choices
from tfcompress.errors import LayerError


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    detector = build_detector("yolov5n", names=("a", "b"))
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return detector.eval()


def backbone_of(detector):
    """The detector's own backbone, as a model of its own."""
    backbone = build_backbone("yolov5n")
    backbone.load_state_dict(
        {k: v for k, v in detector.state_dict().items() if int(k.split(".")[1]) < 10}
    )
    return backbone


def test_an_unchanged_backbone_changes_nothing(detector):
    done = transplant(detector, backbone_of(detector))
    assert done.resized == ()
    assert set(done.copied) | set(done.backbone) == set(detector.state_dict())
    x = torch.rand(2, 3, 96, 96)
    for a, b in zip(detector(x), done.detector.eval()(x), strict=True):
        assert torch.equal(a, b)


def test_a_found_backbone_of_the_same_widths_keeps_the_neck(detector):
    choices = plain_choices("yolov5n") | {"conv_1": "k5p2", "c3_4": "x2", "conv_7_act": "relu"}
    backbone = build_backbone_space("yolov5n", frozen_pick(choices))
    done = transplant(detector, backbone)
    assert done.resized == ()
    new = done.detector.state_dict()
    for name, tensor in detector.state_dict().items():
        if int(name.split(".")[1]) >= 10:
            assert torch.equal(new[name], tensor)
    assert new["model.1.conv.weight"].shape[-1] == 5
    backbone.model[1].conv.weight.data.zero_()
    assert done.detector.model[1].conv.weight.abs().max() > 0  # a copy, not the same module


def widths(*changes):
    """yolov5n's backbone with the channels of some rows changed."""
    architecture = resolve(read_architecture("yolov5n"))
    rows = list(architecture.backbone)
    for row, channels in changes:
        rows[row] = replace(rows[row], args=(channels, *rows[row].args[1:]))
    return assemble_backbone(replace(architecture, backbone=tuple(rows)))


def test_other_widths_resize_the_layers_that_read_them(detector):
    """Row 6 (P4) 128 to 96 and row 4 (P3) 64 to 80; row 9 256 to 320."""
    done = transplant(detector, widths((6, 96), (4, 80), (9, 320)))
    # row 10 reads 9; row 13 the upsampled 10 beside 6; row 17 the upsampled 14 beside 4
    sizes = {layer.name: (layer.before, layer.after, layer.kept) for layer in done.resized}
    assert sizes == {
        "model.10.conv": (256, 320, 256),
        "model.13.cv1.conv": (256, 224, 224),
        "model.13.cv2.conv": (256, 224, 224),
        "model.17.cv1.conv": (128, 144, 128),
        "model.17.cv2.conv": (128, 144, 128),
    }
    new, old = done.detector.model[13].cv1.conv.weight, detector.model[13].cv1.conv.weight
    assert torch.equal(new[:, :128], old[:, :128])  # from row 10
    assert torch.equal(new[:, 128:], old[:, 128:224])  # the first 96 channels of row 6
    raw = done.detector.eval()(torch.rand(1, 3, 96, 96))
    assert [tuple(level.shape[2:4]) for level in raw] == [(12, 12), (6, 6), (3, 3)]
    assert "128 kept, 16 new" in str(done)
    assert detector.model[13].cv1.conv.in_channels == 256


def test_narrowing_equals_a_map_whose_last_channels_are_zero(detector):
    """The first 96 channels of P4 alone: as the old neck with the other 32 at zero."""
    narrow = widths((6, 96))
    done = transplant(detector, narrow).detector.eval()
    new_row, old_row = done.model[13], detector.model[13]
    low, high = torch.rand(1, 128, 8, 8), torch.rand(1, 96, 8, 8)
    padded = torch.cat((low, high, torch.zeros(1, 32, 8, 8)), 1)
    torch.testing.assert_close(new_row(torch.cat((low, high), 1)), old_row(padded))


@pytest.mark.parametrize("changes", [((6, 96), (4, 80), (9, 320)), ()])
def test_a_transplanted_detectors_file_comes_back(detector, changes, tmp_path):
    """Other widths; and a backbone of another depth, yolov5m's, at its own widths."""
    backbone = widths(*changes) if changes else build_backbone("yolov5m")
    new = transplant(detector, backbone).detector.eval()
    loaded = load_detector(save_detector(tmp_path / "m.pt", new, 96)).detector
    x = torch.rand(1, 3, 96, 96)
    for a, b in zip(new(x), loaded(x), strict=True):
        assert torch.equal(a, b)
    assert loaded.channels == new.channels


def test_backbones_that_do_not_fit(detector):
    rows = list(build_backbone("yolov5n").model)[:3]
    with pytest.raises(LayerError, match="are not wired as the first rows of yolov5n"):
        transplant(detector, Backbone(rows, [0, 0, 1], [16, 32, 32]))
    architecture = read_architecture("yolov5n")
    rows = list(architecture.backbone)
    rows[7] = replace(rows[7], args=(1024, 3, 1))
    flat = assemble_backbone(replace(architecture, backbone=tuple(rows)))
    with pytest.raises(LayerError, match=r"model\.\d: its map is 16x16 for 256 pixels, and was 8"):
        transplant(detector, flat)

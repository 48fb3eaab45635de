"""Architectures: published parameter counts, names of the public files, decoding, bad YAML."""

import math

import pytest
import torch

from models.yolov5.architecture_file import ArchitectureError, read_architecture, shipped
from models.yolov5.build import build_backbone, build_classifier, build_detector, scaled_channels
from models.yolov5.fuse import fused


def count(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("yolov5n", 1_867_405),
        ("yolov5s", 7_225_885),
        ("yolov5m", 21_172_173),
        ("yolov5l", 46_533_693),
        ("yolov5x", 86_705_005),
    ],
)
def test_published_parameter_counts(name, published):
    assert count(fused(build_detector(name))) == published


def test_fusing_keeps_the_outputs():
    detector = build_detector("yolov5n", n_classes=3).eval()
    for module in detector.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -1, 1)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.rand(1, 3, 64, 64)
    for before, after in zip(detector(x), fused(detector)(x), strict=True):
        torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_names_and_shapes_of_the_public_files():
    """Names as in the public yolov5n checkpoint: rows by number, parts by their role."""
    shapes = {
        key: tuple(value.shape) for key, value in build_detector("yolov5n").state_dict().items()
    }
    assert shapes["model.0.conv.weight"] == (16, 3, 6, 6)
    assert shapes["model.2.m.0.cv2.bn.running_var"] == (16,)
    assert shapes["model.6.m.2.cv1.conv.weight"] == (64, 64, 1, 1)
    assert shapes["model.9.cv2.conv.weight"] == (256, 512, 1, 1)
    assert shapes["model.13.cv1.conv.weight"] == (64, 256, 1, 1)
    assert shapes["model.24.anchors"] == (3, 3, 2)
    assert shapes["model.24.m.2.bias"] == (255,)
    assert {key.split(".")[1] for key in shapes} == {
        *map(str, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 13, 14, 17, 18, 20, 21, 23, 24))
    }
    assert not [key for key in shapes if "stride" in key]


def test_strides_anchors_and_first_biases():
    detector = build_detector("yolov5n")
    assert detector.head.stride.tolist() == [8, 16, 32]
    assert detector.head.anchors[0, 0].tolist() == [10 / 8, 13 / 8]
    assert detector.head.anchors[2, 2].tolist() == [373 / 32, 326 / 32]
    bias = detector.head.m[0].bias.detach().view(3, 85)
    # 8 objects among 80 x 80 cells; PyTorch's own start is within 1 / sqrt(64)
    assert bias[:, 4].mean() == pytest.approx(math.log(8 / 6400), abs=0.13)
    assert bias[:, 5:].mean() == pytest.approx(math.log(0.6 / 79), abs=0.13)


def test_decoding_by_hand():
    detector = build_detector("yolov5n", names=("a",))
    raw = [torch.zeros(1, 3, size, size, 6) for size in (8, 4, 2)]
    raw[1][0, 2, 1, 3] = torch.tensor([0.0, 0.0, 0.0, math.log(3), 2.0, -2.0])
    boxes = detector.decode(raw)
    assert boxes.shape == (1, 3 * (64 + 16 + 4), 6)
    box = boxes[0, 3 * 64 + 2 * 16 + 1 * 4 + 3]
    # sigmoid 0.5: the middle of cell (3, 1) of 16 pixels; anchor 59 x 119; (2 * 0.75)^2 = 2.25
    assert box[:4].tolist() == pytest.approx([56, 24, 59, 119 * 2.25], rel=1e-5)
    assert box[4:].tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1 / (1 + math.exp(2))])


def test_any_size_and_any_mode_give_the_same_kind_of_output():
    detector = build_detector("yolov5n", n_classes=2)
    for mode in (True, False):
        raw = detector.train(mode)(torch.rand(2, 3, 96, 64))
        assert [tuple(level.shape) for level in raw] == [
            (2, 3, 12, 8, 7),
            (2, 3, 6, 4, 7),
            (2, 3, 3, 2, 7),
        ]


@pytest.mark.parametrize(
    ("name", "width"), [("n", 256), ("s", 512), ("m", 768), ("l", 1024), ("x", 1280)]
)
def test_the_classifiers_head_has_the_backbones_width(name, width):
    backbone = build_backbone(f"yolov5{name}")
    model = build_classifier(backbone, 10)
    assert (backbone.out_channels, model.head.in_features) == (width, width)
    if name == "n":
        assert model(torch.rand(2, 3, 64, 64)).shape == (2, 10)


def test_a_backbone_is_the_detectors_first_rows():
    backbone, detector = build_backbone("yolov5n"), build_detector("yolov5n")
    assert len(backbone.model) == 10
    own = {key: value.shape for key, value in backbone.state_dict().items()}
    assert own == {key: detector.state_dict()[key].shape for key in own}
    assert [type(m).__name__ for m in build_backbone("yolov5sb").model][-2:] == ["C3", "SPPF"]


def test_widths_go_up_to_a_multiple_of_eight():
    assert [scaled_channels(c, 0.33) for c in (64, 255, 8)] == [24, 88, 8]


def test_shipped_architectures_are_listed():
    assert {"yolov5n", "yolov5x", "yolov5sb", "yolov5sb_nas"} <= set(shipped())


def test_every_module_can_stand_in_a_file(tmp_path):
    rows = """
  - [-1, 1, Focus, [16, 3]]
  - [-1, 2, CrossConv, [16, 3, 1]]
  - [-1, 2, C3x, [16]]
  - [-1, 1, C3TR, [16]]
  - [-1, 1, C3SPP, [16, [3, 5]]]
  - [-1, 1, C3Ghost, [16]]
  - [-1, 1, BottleneckCSP, [16]]
  - [-1, 1, SPP, [16, [3, 5]]]
  - [-1, 2, GhostConv, [16]]
  - [-1, 1, GhostBottleneck, [16, 3, 1]]
  - [-1, 1, DWConv, [16, 3]]
  - [-1, 1, MixConv2d, [16, [1, 3]]]
  - [-1, 3, Bottleneck, [16]]
  - [-1, 1, nn.BatchNorm2d, []]
  - [-1, 1, nn.ConvTranspose2d, [16, 2, 2]]
  - [-1, 1, DWConvTranspose2d, [8, 2, 2]]
  - [[-1, -1], 1, Concat, [1]]
"""
    file = tmp_path / "all.yaml"
    file.write_text("backbone:" + rows)
    backbone = build_backbone(file)
    assert backbone.channels[-1] == 16
    assert backbone(torch.rand(2, 3, 32, 32)).shape == (2, 16, 64, 64)
    assert len(backbone.model[1]) == 2
    assert len(backbone.model[12]) == 3


HEAD = "nc: 2\nanchors: [[10, 13]]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backbone: [[-1, 1, Conv, [8]]\n", r"line \d: it is not valid YAML"),
        ("- 1\n", "does not hold a mapping"),
        ("nc: 2\n", "'backbone' is missing"),
        ("nc: two\nbackbone: []\n", "line 1: 'nc' is 'two'"),
        ("backbone: []\nwidht_multiple: 1\n", "line 2: unknown key 'widht_multiple'; use nc"),
        ("backbone: []\nwidth_multiple: 0\n", "line 2: 'width_multiple' is 0"),
        ("backbone:\n  - [-1, 1, Conv]\n", "line 2, backbone row 0: .* is not \\[from, number"),
        ("backbone:\n  - [x, 1, Conv, [8]]\n", "line 2, backbone row 0: 'from' is 'x'"),
        ("backbone:\n  - [-1, 0, Conv, [8]]\n", "'number' is 0"),
        ("backbone:\n  - [-1, 1, Conv, 8]\n", "'args' is 8"),
        ("backbone:\n  - [-1, 1, Convv, [8]]\n", "line 2, .* module 'Convv' is unknown; use B"),
        ("backbone:\n  - [3, 1, Conv, [8]]\n", "reads row 3, which is not before it"),
        ("backbone:\n  - [-1, 1, Conv, [8, 3, 1, 1, 1, 1, silu, 9]]\n", "row 0: Conv: "),
        ("backbone:\n  - [-1, 1, Conv, []]\n", "the first of 'args' is the number of channels"),
        ("anchors: [[1, 2, 3]]\nbackbone: []\n", "line 1: 'anchors' is"),
        (HEAD + "backbone:\n  - [-1, 1, Conv, [8]]\n", "has no 'head'"),
        (
            HEAD + "backbone:\n  - [-1, 1, Conv, [8]]\nhead:\n  - [-1, 1, Conv, [8]]\n",
            "last row is not Detect",
        ),
        (
            HEAD
            + "backbone:\n  - [-1, 1, Conv, [8]]\nhead:\n  - [[0, 0], 1, Detect, [nc, anchors]]\n",
            "anchors of 1 levels for 2 maps",
        ),
    ],
)
def test_bad_files_name_the_line_and_the_key(tmp_path, text, message):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    build = build_detector if text.startswith(HEAD) else build_backbone
    with pytest.raises(ArchitectureError, match=message) as error:
        build(file)
    assert "broken" in str(error.value)


def test_unknown_names():
    with pytest.raises(ArchitectureError, match="'yolov5z' is unknown; use blocks_nas, yolov5l"):
        read_architecture("yolov5z")
    with pytest.raises(ArchitectureError, match="there is no such file"):
        read_architecture("missing.yaml")
    with pytest.raises(ArchitectureError, match="2 names for 3 classes"):
        build_detector("yolov5n", n_classes=3, names=("a", "b"))

"""The space of backbones: readable choices, plain ones give YOLOv5, no dead modules."""

import random

import pytest
import torch
from torch import nn

from models.yolov5.architecture_file import ArchitectureError
from models.yolov5.build import build_backbone, build_detector
from models.yolov5.search_space import (
    build_backbone_space,
    build_detector_space,
    frozen_pick,
    list_choices,
    plain_choices,
)


def test_choices_of_yolov5s():
    choices = list_choices("yolov5sb_nas")
    assert choices["conv_0"] == ("k6p2", "k4p1", "k8p3")
    assert choices["conv_1"] == ("k3p1", "k1p0", "k5p2")
    assert choices["conv_0_act"] == ("silu", "identity", "relu")
    assert choices["c3_2"] == ("x1", "x1_5", "x2")
    assert choices["c3_2_cv1"] == ("k1p0", "k3p1")
    assert choices["c3_6_m2"] == ("x1", "x1_5", "x2")
    # 5 convolutions and 8 inside the C3s, kernel and activation each; 4 widths; 1 + 2 + 3 + 1
    assert len(choices) == 2 * 13 + 4 + 7


def test_a_plain_architecture_becomes_searchable():
    assert list_choices("yolov5s") == list_choices("yolov5sb_nas") == list_choices("yolov5sb")
    assert len(list_choices("yolov5l")) == 2 * 13 + 4 + 3 + 6 + 9 + 3


@pytest.mark.parametrize("name", ["yolov5n", "yolov5s"])
def test_the_first_options_are_the_plain_backbone(name):
    plain, frozen = (
        build_backbone(name),
        build_backbone_space(name, frozen_pick(plain_choices(name))),
    )
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    assert {key: value.shape for key, value in frozen.state_dict().items()} == shapes
    frozen.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 64, 64)
    assert torch.equal(frozen.eval()(x), plain.eval()(x))


def some_choices(name, seed):
    generator = random.Random(seed)
    return {label: generator.choice(options) for label, options in list_choices(name).items()}


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", ["yolov5n", "blocks_nas"])
@pytest.mark.parametrize("size", [64, 96, 224])
def test_any_choice_keeps_the_shape(name, seed, size):
    backbone = build_backbone_space(name, frozen_pick(some_choices(name, seed))).eval()
    expected = {"yolov5n": (256, size // 32), "blocks_nas": (128, size // 16)}[name]
    assert backbone(torch.rand(1, 3, size, size)).shape == (1, expected[0], *expected[1:] * 2)


@pytest.mark.parametrize("name", ["yolov5n", "blocks_nas"])
def test_every_module_is_used(name):
    """After a backward pass every parameter has a gradient."""
    for seed in range(4):
        backbone = build_backbone_space(name, frozen_pick(some_choices(name, seed)))
        backbone(torch.rand(2, 3, 96, 96)).sum().backward()
        assert not [n for n, p in backbone.named_parameters() if p.grad is None]


def test_every_kind_of_block():
    (options,) = {options for label, options in list_choices("blocks_nas").items()}
    kinds = {name.split("_")[0] for name in options}
    assert kinds == {
        "residual",
        "bottleneck",
        "separable",
        "inception",
        "maxpool",
        "avgpool",
        "identity",
    }
    for option in options:
        choices = dict.fromkeys(list_choices("blocks_nas"), option)
        backbone = build_backbone_space("blocks_nas", frozen_pick(choices))
        assert backbone(torch.rand(2, 3, 64, 64)).shape == (2, 128, 4, 4)
    same = dict.fromkeys(list_choices("blocks_nas"), "identity")
    assert isinstance(build_backbone_space("blocks_nas", frozen_pick(same)).model[2], nn.Identity)


def test_chosen_options_are_what_is_built():
    choices = plain_choices("yolov5n") | {
        "conv_1": "k5p2", "conv_1_act": "relu", "c3_2": "x2", "c3_2_cv1": "k3p1", "c3_2_m0": "x1_5",
    }  # fmt: skip
    backbone = build_backbone_space("yolov5n", frozen_pick(choices))
    assert backbone.model[1].conv.kernel_size == (5, 5)
    assert backbone.model[1].conv.padding == (2, 2)
    assert isinstance(backbone.model[1].act, nn.ReLU)
    c3 = backbone.model[2]
    # 32 channels: hidden 16, twice that, and 1.5 times that in the bottleneck
    assert c3.cv1.conv.weight.shape == (32, 32, 3, 3)
    assert c3.cv2.conv.weight.shape == (32, 32, 1, 1)
    assert c3.m[0].cv1.conv.weight.shape == (48, 32, 1, 1)
    assert c3.cv3.conv.weight.shape == (32, 64, 1, 1)


def test_a_detector_of_choices():
    choices = plain_choices("yolov5n")
    detector = build_detector_space("yolov5n", frozen_pick(choices), names=("a", "b"))
    plain = build_detector("yolov5n", names=("a", "b"))
    detector.load_state_dict(plain.state_dict())
    x = torch.rand(1, 3, 64, 64)
    for a, b in zip(detector.eval()(x), plain.eval()(x), strict=True):
        assert torch.equal(a, b)


def test_wrong_choices():
    choices = plain_choices("yolov5n")
    with pytest.raises(ArchitectureError, match=r"'conv_3' is 'k9p4'; give one of \['k3p1'"):
        build_backbone_space("yolov5n", frozen_pick(choices | {"conv_3": "k9p4"}))
    del choices["c3_4"]
    with pytest.raises(ArchitectureError, match="choice 'c3_4' is missing"):
        build_backbone_space("yolov5n", frozen_pick(choices))
    with pytest.raises(ArchitectureError, match="has no 'head'"):
        build_detector_space("yolov5sb_nas", frozen_pick({}))

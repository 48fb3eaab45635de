"""Pruned equals zeroed; targets are met; what goes is what the score says; bad input is named."""

import copy
import json
import random

import numpy as np
import pytest
import torch

from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.detector.file import load_detector, save_detector
from bridges.yolov5.detector.loss import DetectionLoss
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.cost import DetectorCost
from bridges.yolov5.prune.groups import find_groups
from bridges.yolov5.prune.planner import (
    DetectorPlan,
    plan_detector,
    prune_detector,
    zero_removed,
)
from bridges.yolov5.prune.scores import score_groups
from models.yolov5.build import build_backbone, build_detector
from models.yolov5.search_space import (
    build_backbone_space,
    build_detector_space,
    frozen_pick,
    list_choices,
)
from tests.bridges.yolov5.tiny_detector import TINY, as_trained, tiny_detector
from tfcompress.errors import ConfigError, LayerError, NothingToRemove

# Every kind of row, each read by the next; what cannot be narrowed stays.
ZOO = """
nc: 2
anchors: [[10, 13, 16, 30], [30, 61, 62, 45]]
backbone:
  - [-1, 1, Focus, [16, 3]]
  - [-1, 1, DWConv, [16, 3, 2]]
  - [-1, 1, GhostConv, [32, 3, 2]]
  - [-1, 2, GhostBottleneck, [32]]
  - [-1, 1, GhostBottleneck, [32, 3, 2]]
  - [-1, 1, C3Ghost, [32]]
  - [-1, 1, BottleneckCSP, [32]]
  - [-1, 1, MixConv2d, [32, [1, 3]]]
  - [-1, 1, CrossConv, [32, 3, 1, 1, 1.0, True]]
  - [-1, 1, C3x, [32]]
  - [-1, 1, C3SPP, [32, [3, 5]]]
  - [-1, 1, SPP, [32, [3, 5]]]
  - [-1, 1, Conv, [32, 3, 1, 1, 4]]
  - [-1, 1, C3TR, [32]]
  - [-1, 1, BatchNorm2d, []]
  - [-1, 1, Conv, [48, 3, 2]]
head:
  - [-1, 1, DWConvTranspose2d, [48, 2, 2]]
  - [-1, 1, Conv, [32]]
  - [[-1, 14, 9], 1, Concat, [1]]
  - [-1, 1, Conv, [32]]
  - [[-1, 15], 1, Detect, [nc, anchors]]
"""


def searched(build, source):
    """A random architecture of the space."""
    generator = random.Random(1)
    choices = {name: generator.choice(options) for name, options in list_choices(source).items()}
    network = build(source, frozen_pick(choices))
    network.choices = choices
    return network


NETWORKS = {
    "yolov5n": lambda folder: build_detector("yolov5n", names=("a", "b", "c")),
    "searched": lambda folder: searched(build_detector_space, "yolov5n"),
    "tiny": tiny_detector,
    "backbone": lambda folder: searched(build_backbone_space, "blocks_nas"),
    "zoo": lambda folder: tiny_detector(folder, ZOO),
}
LARGE = {
    "yolov5s": lambda folder: build_detector("yolov5s"),
    "yolov5m": lambda folder: build_detector("yolov5m"),
    "yolov5l": lambda folder: build_detector("yolov5l"),
    "yolov5sb": lambda folder: build_backbone("yolov5sb"),
    "yolov5sb_nas": lambda folder: searched(build_backbone_space, "yolov5sb_nas"),
}


def outputs(network, side=96):
    x = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        y = network(x)
    return y if isinstance(y, list) else [y]


def zeroed_by_hand(network, plan):
    """Filters that go, and what the BatchNorm beside them does with their outputs, set to zero."""
    network = copy.deepcopy(network)
    for group in plan.groups:
        gone = sorted(set(range(group.width)) - set(group.kept))
        for maker in group.makers if gone else ():
            conv = network.get_submodule(maker)
            norm = network.get_submodule(maker.removesuffix("conv") + "bn")
            assert conv.out_channels == group.width
            tensors = (conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var)
            with torch.no_grad():
                for tensor in tensors:
                    tensor[gone] = 0
    return network


def check_contract(network, masked, small):
    whole = outputs(network)
    for before, expected, found in zip(whole, outputs(masked), outputs(small), strict=True):
        assert (before - expected).abs().max() > 1e-3  # the channels that went did matter
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["yolov5n", "searched", "tiny"])
@pytest.mark.parametrize("scope", ["global", "group"])
def test_pruned_equals_zeroed(name, scope, tmp_path):
    network = as_trained(NETWORKS[name](tmp_path))
    config = PruneConfig(sparsity=0.4, scope=scope, round_to=4, side=64, score="random")
    plan = plan_detector(network, config)
    small = prune_detector(network, plan)
    check_contract(network, zeroed_by_hand(network, plan), small)
    assert plan.sparsity == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize("name", ["backbone", "zoo"])
def test_pruned_equals_zeroed_for_every_block(name, tmp_path):
    network = as_trained(NETWORKS[name](tmp_path))
    plan = plan_detector(network, PruneConfig(sparsity=0.2, round_to=4, side=64, score="l1"))
    small = prune_detector(network, plan)
    check_contract(network, zero_removed(network, plan), small)


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_every_shipped_architecture_is_pruned(name, tmp_path):
    network = as_trained(LARGE[name](tmp_path))
    plan = plan_detector(network, PruneConfig(target_macs=0.5, side=64))
    assert plan.macs[1] / plan.macs[0] == pytest.approx(0.5, rel=0.02)
    check_contract(network, zero_removed(network, plan), prune_detector(network, plan))


def test_the_given_detector_is_left_as_it_is(tmp_path):
    detector = as_trained(tiny_detector(tmp_path)).train()
    before = copy.deepcopy(detector)
    plan = plan_detector(detector, PruneConfig(sparsity=0.3, round_to=4, side=64))
    small = prune_detector(detector, plan)
    assert detector.training
    assert not small.training
    assert detector.channels == before.channels != small.channels
    for key, value in before.state_dict().items():
        assert torch.equal(detector.state_dict()[key], value)
    for parameter in detector.parameters():
        assert parameter.requires_grad
        assert parameter.grad is None


def test_blocks_that_cannot_be_narrowed_say_why(tmp_path):
    reasons = {g.name: g.frozen for g in find_groups(tiny_detector(tmp_path, ZOO)) if g.frozen}
    text = " ".join(reasons.values())
    assert reasons["model.20.m.0"] == reasons["model.20.m.1"] == "the head's outputs"
    assert "model.12.conv is a convolution with 4 groups" in text  # its channels in and out
    assert "a Linear cannot be given another width" in text or "cannot be followed" in text
    assert "model.16: a DWConvTranspose2d cannot be given another width" in text


def test_groups_follow_additions_and_concatenations(tmp_path):
    """yolov5n by hand: the shortcut of a C3, SPPF's four copies, the neck's long ways."""
    groups = {group.name: group for group in find_groups(build_detector("yolov5n"))}
    assert groups["model.4.cv1.conv"].layers("maker") == (
        "model.4.cv1.conv", "model.4.m.0.cv2.conv", "model.4.m.1.cv2.conv",
    )  # fmt: skip
    pyramid = groups["model.9.cv1.conv"]
    (reader,) = [cut for cut in pyramid.cuts if cut.part == "reader"]
    assert reader.layer == "model.9.cv2.conv"
    assert reader.channels[reader.units == 5].tolist() == [5, 128 + 5, 256 + 5, 384 + 5]
    skip = groups["model.6.cv3.conv"]  # P4: behind the 128 upsampled channels of row 10
    assert skip.layers("reader") == ("model.7.conv", "model.13.cv1.conv", "model.13.cv2.conv")
    (late,) = [cut for cut in skip.cuts if cut.layer == "model.13.cv1.conv"]
    assert late.channels.tolist() == list(range(128, 256))
    assert [g.name for g in groups.values() if g.frozen] == [f"model.24.m.{i}" for i in range(3)]


def test_the_plan_states_the_size_of_what_comes_out(tmp_path):
    detector = as_trained(build_detector("yolov5n", n_classes=2))
    plan = plan_detector(detector, PruneConfig(target_macs=0.5, side=96))
    small = prune_detector(detector, plan)
    for network, index in ((detector, 0), (small, 1)):
        cost = count_torch_cost(network, (3, 96, 96))
        assert (plan.macs[index], plan.parameters[index]) == (cost.macs, cost.parameters)
    assert plan.macs[1] / plan.macs[0] == pytest.approx(0.5, rel=0.02)
    for group in plan.groups:
        assert group.frozen or group.kept_width % 8 == 0
        assert group.kept_width >= 0.1 * group.width
    file = tmp_path / "plan.json"
    plan.save(file)
    again = DetectorPlan.load(file)
    assert again.groups == plan.groups
    for a, b in zip(outputs(small), outputs(prune_detector(detector, again)), strict=True):
        assert torch.equal(a, b)
    shown = str(plan)
    assert "Channel plan: 50.0% of the MACs kept" in shown
    assert "the head's outputs" in shown
    assert f"MACs {plan.macs[0]:,} -> {plan.macs[1]:,}" in shown


@pytest.mark.parametrize("name", ["yolov5n", "searched"])
def test_a_pruned_detectors_file_comes_back(name, tmp_path):
    detector = as_trained(NETWORKS[name](tmp_path))
    small = prune_detector(detector, plan_detector(detector, PruneConfig(sparsity=0.3, side=64)))
    loaded = load_detector(save_detector(tmp_path / "small.pt", small, 96)).detector
    for a, b in zip(outputs(small), outputs(loaded), strict=True):
        assert torch.equal(a, b)
    assert loaded.channels == small.channels
    with torch.no_grad():
        maps = small.outputs(torch.zeros(1, 3, 64, 64))
    assert all(maps[row].shape[1] == small.channels[row] for row in maps if 0 <= row < 24)


def test_pruning_twice_is_pruning(tmp_path):
    detector = as_trained(tiny_detector(tmp_path))
    for _ in range(2):
        plan = plan_detector(detector, PruneConfig(target_macs=0.7, round_to=2, side=64))
        small = prune_detector(detector, plan)
        check_contract(detector, zeroed_by_hand(detector, plan), small)
        detector = small


WEAK = [1, 4, 6, 9]
"""Channels of the second convolution that each score is to find."""


def weaken(detector, score):
    """Make WEAK what a score calls unimportant, by its definition, and nothing else."""
    block = detector.model[1]
    with torch.no_grad():
        if score in ("l1", "l2"):
            block.conv.weight[WEAK] *= 0.1
        elif score == "fpgm":  # at the mean of all filters, the distances to them are small
            block.conv.weight[WEAK] = block.conv.weight.mean(0, keepdim=True)
        elif score == "gamma":
            block.bn.weight[WEAK] *= -0.01
        elif score == "apoz":  # the output of SiLU is below zero: never active
            block.bn.bias.fill_(50)
            block.bn.bias[WEAK] = -50
        elif score == "mean_activation":
            block.bn.bias[WEAK], block.bn.weight[WEAK] = 0.001, 0
        else:  # a map of zeros: nothing changes without it
            block.bn.bias[WEAK], block.bn.weight[WEAK] = 0, 0


@pytest.mark.parametrize(
    "score", ["l1", "l2", "fpgm", "gamma", "apoz", "mean_activation", "taylor"]
)
def test_the_channels_that_a_score_calls_unimportant_go(score, tmp_path):
    detector = as_trained(tiny_detector(tmp_path))
    weaken(detector, score)
    others = [f"model.{row}.*" for row in (0, 2, 3, 4)]
    batches = [(torch.rand(2, 3, 64, 64), torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.4]]))] * 2
    free = [g for g in find_groups(detector, others) if not g.frozen]
    assert [g.name for g in free] == ["model.1.conv"]
    total = sum(g.width for g in find_groups(detector))
    config = PruneConfig(
        sparsity=4 / total, score=score, exclude=tuple(others), round_to=1, side=64
    )
    plan = plan_detector(detector, config, batches)
    (group,) = [g for g in plan.groups if not g.frozen]
    assert sorted(set(range(16)) - set(group.kept)) == WEAK


def test_scores_by_hand(tmp_path):
    """Two layers make the group of a C3's shortcut: each counts alike, relative to its mean."""
    detector = as_trained(tiny_detector(tmp_path))
    (group,) = [g for g in find_groups(detector) if g.name == "model.3.cv1.conv"]
    found = score_groups(detector, [group], "l1")["model.3.cv1.conv"]
    sums = []
    for path in ("model.3.cv1.conv", "model.3.m.0.cv2.conv"):
        weight = detector.get_submodule(path).weight.detach().numpy()
        total = np.abs(weight).sum((1, 2, 3))
        sums.append(total / total.mean())
    np.testing.assert_allclose(found, (sums[0] + sums[1]) / 2, rtol=1e-5)


def test_taylor_by_hand(tmp_path):
    """|mean over positions of a * dL/da|, by autograd on the map itself."""
    detector = as_trained(tiny_detector(tmp_path))
    pixels = torch.rand(1, 3, 64, 64)
    targets = torch.tensor([[0, 1, 0.5, 0.5, 0.3, 0.4]])
    (group,) = [g for g in find_groups(detector) if g.name == "model.1.conv"]
    found = score_groups(detector, [group], "taylor", [(pixels, targets)])["model.1.conv"]
    with torch.no_grad():
        middle = detector.model[1](detector.model[0](pixels))
    middle.requires_grad_()
    p2 = detector.model[2](middle)
    p3 = detector.model[3](p2)
    raw = detector.model[5]([p3, detector.model[4](p3)])
    loss = DetectionLoss(detector.head.anchors, 4, 64)
    (gradient,) = torch.autograd.grad(loss(raw, targets)[0], middle)
    expected = (middle * gradient).mean((0, 2, 3)).abs().detach().numpy()
    np.testing.assert_allclose(found, expected / expected.mean(), rtol=1e-4)


def test_the_same_share_of_each_layer(tmp_path):
    detector = as_trained(build_detector("yolov5n", n_classes=2))
    config = PruneConfig(sparsity=0.25, scope="group", round_to=1, side=64)
    for group in plan_detector(detector, config).groups:
        if not group.frozen:
            assert group.kept_width / group.width == pytest.approx(0.75, abs=0.05)


def test_a_latency_target(tmp_path):
    """A clock that shows the MACs: 60 % of them take 60 % of the time."""
    detector = as_trained(tiny_detector(tmp_path))

    def clock(model):
        return count_torch_cost(model, (3, 64, 64)).macs / 1e6

    before = clock(detector)
    config = PruneConfig(target_latency_ms=0.6 * before, round_to=1, side=64)
    plan = plan_detector(detector, config, measure=clock)
    assert plan.latency_ms[0] == before
    assert clock(prune_detector(detector, plan)) == pytest.approx(0.6 * before, rel=0.05)
    with pytest.raises(ConfigError, match="cannot be reached: the smallest permitted model"):
        plan_detector(
            detector, PruneConfig(target_latency_ms=1e-4 * before, side=64), measure=clock
        )
    with pytest.raises(NothingToRemove, match="the detector already takes"):
        plan_detector(detector, PruneConfig(target_latency_ms=2 * before, side=64), measure=clock)
    with pytest.raises(ConfigError, match="there is nothing to measure with"):
        plan_detector(detector, config)


@pytest.mark.parametrize("target", ["target_parameters", "target_macs"])
def test_costs_of_a_plan_are_those_of_the_detector(target, tmp_path):
    """What the search counts is what `count_torch_cost` counts on the smaller detector."""
    detector = as_trained(build_detector("yolov5n", n_classes=2))
    plan = plan_detector(detector, PruneConfig(**{target: 0.5}, round_to=2, side=64))
    small = count_torch_cost(prune_detector(detector, plan), (3, 64, 64))
    cost = DetectorCost(detector, find_groups(detector), 64)
    counts = {group.name: len(group.kept) for group in plan.groups}
    assert cost.parameters(counts) == small.parameters == plan.parameters[1]
    assert cost.macs(counts) == pytest.approx(small.macs, rel=1e-9)
    reached = {"target_parameters": plan.parameters, "target_macs": plan.macs}[target]
    assert reached[1] / reached[0] == pytest.approx(0.5, rel=0.02)


def test_the_score_was_called_method(tmp_path):
    with pytest.warns(DeprecationWarning, match="'method' of PruneConfig.. is now called 'score'"):
        config = PruneConfig(sparsity=0.3, method="l1", round_to=4, side=64)
    assert config == PruneConfig(sparsity=0.3, score="l1", round_to=4, side=64)
    plan = plan_detector(as_trained(tiny_detector(tmp_path)), config)
    plan.save(tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text())
    content["config"]["method"] = content["config"].pop("score")
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert DetectorPlan.load(tmp_path / "old.json") == DetectorPlan.load(tmp_path / "plan.json")


def test_bad_configs():
    for wrong, message in (
        ({}, "it has 0 targets"),
        ({"sparsity": 0.3, "target_macs": 0.5}, r"it has 2 targets \(sparsity, target_macs\)"),
        ({"sparsity": 30.0}, r"sparsity: it is 30.0, but must be in \(0, 1\). Fix: write 0.3"),
        (
            {"sparsity": 0.3, "score": "hrank"},
            "score: unknown value 'hrank'. Fix: use l1, l2, fpgm, apoz",
        ),
        ({"sparsity": 0.3, "scope": "layer"}, "scope: unknown value 'layer'"),
        ({"sparsity": 0.3, "round_to": 0}, "round_to: it is 0"),
        ({"sparsity": 0.3, "min_kept": 2}, "min_kept: it is 2"),
        ({"sparsity": 0.3, "side": 100}, "side: it is 100"),
        ({"target_latency_ms": 0}, "target_latency_ms: it is 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            PruneConfig(**wrong)


def test_what_cannot_be_is_one_error(tmp_path):
    detector = as_trained(tiny_detector(tmp_path))
    for config, message in (
        (PruneConfig(sparsity=0.95, side=64), "it cannot be reached: at least .* channels stay"),
        (PruneConfig(target_macs=0.01, side=64), "at least .* MACs stay; frozen: model.5.m.0"),
        (PruneConfig(sparsity=0.1, score="apoz", side=64), "batches: there is none, and apoz"),
        (PruneConfig(sparsity=0.3, exclude=("backbone.*",)), "'backbone.*' matches no convolution"),
        (PruneConfig(sparsity=0.3, exclude=("*",)), "every channel is frozen"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan_detector(detector, config)
    with pytest.raises(
        NothingToRemove, match="it removes no channel: the smallest step is 8 channels"
    ):
        plan_detector(detector, PruneConfig(sparsity=0.005, side=64))
    plan = plan_detector(detector, PruneConfig(sparsity=0.3, round_to=4, side=64))
    with pytest.raises(LayerError, match="the detector has .* channels, the plan"):
        prune_detector(build_detector("yolov5n"), plan)
    with pytest.raises(LayerError, match="apply the plan to the detector that it was made for"):
        prune_detector(tiny_detector(tmp_path, TINY.replace("0.25", "0.5")), plan)
    with pytest.raises(ConfigError, match="taylor needs a loss, and so a head"):
        plan_detector(
            build_backbone("yolov5sb"), PruneConfig(sparsity=0.3, score="taylor", side=64)
        )

"""Rounds: the schedule, what they keep and reach, and that a kill changes nothing."""

import pytest
import torch

from bridges.yolov5.data.dataset import read_detection_data
from bridges.yolov5.data.synthetic import write_shapes
from bridges.yolov5.detector.cost import count_torch_cost
from bridges.yolov5.detector.file import load_detector
from bridges.yolov5.detector.train import TrainSettings, train_detector
from bridges.yolov5.distill.teacher import Distillation
from bridges.yolov5.prune.config import PruneConfig
from bridges.yolov5.prune.planner import DetectorPlan, plan_detector
from bridges.yolov5.prune.rounds import (
    SCHEDULE,
    epochs_of_rounds,
    prune_in_rounds,
    settings_of_round,
    step_of_round,
)
from bridges.yolov5.prune.slim import GammaPenalty
from models.yolov5.build import build_detector
from tests.bridges.yolov5.tiny_detector import TINY, as_trained, tiny_detector
from tfcompress.errors import ConfigError, NothingToRemove

NAMES = ("disc", "square", "triangle", "ring")
WIDE = TINY.replace("0.25", "0.5")
SETTINGS = TrainSettings(epochs=4, side=64, batch=4)
CONFIG = PruneConfig(sparsity=0.3439, round_to=2, side=64)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    file = write_shapes(tmp_path_factory.mktemp("set") / "shapes", counts=(8, 4, 4), size=64)
    return read_detection_data(file)


@pytest.fixture
def detector(tmp_path):
    return as_trained(tiny_detector(tmp_path, WIDE, names=NAMES))


def test_the_schedule():
    assert epochs_of_rounds(101, 4) == SCHEDULE == (5, 5, 5, 86)
    assert epochs_of_rounds(101, 1) == (101,)
    assert epochs_of_rounds(202, 4) == (10, 10, 10, 172)
    assert epochs_of_rounds(20, 3) == (1, 1, 18)
    assert epochs_of_rounds(4, 4) == (1, 1, 1, 1)
    for epochs, rounds in ((3, 4), (5, 0)):
        with pytest.raises(ConfigError, match=f"{rounds} rounds in {epochs} epochs"):
            epochs_of_rounds(epochs, rounds)


def test_settings_of_a_round():
    settings = TrainSettings(epochs=100, warmup_epochs=3, plain_epochs=5)
    early, last = (settings_of_round(settings, 5, last) for last in (False, True))
    assert (early.epochs, early.warmup_epochs, early.plain_epochs) == (5, 1, 0)
    assert (last.warmup_epochs, last.plain_epochs, last.fit_anchors) == (1, 2, False)
    assert settings_of_round(settings, 86).warmup_epochs == 3


@pytest.mark.parametrize(
    ("config", "share"),
    [(CONFIG, 1 - 0.3439), (PruneConfig(target_macs=0.4, round_to=1, side=64), 0.4)],
)
def test_rounds_reach_their_target_in_equal_steps(config, share, data, detector, tmp_path):
    """Of the channels 0.9, 0.81 and so on of 1 are left; of the MACs 0.4^(1/2) and 0.4."""
    rounds = 4 if config.sparsity else 2
    result = prune_in_rounds(detector, data, config, SETTINGS, (1,) * rounds, tmp_path / "run")
    first = result.rounds[0].plan
    width, macs = sum(group.width for group in first.groups), first.macs[0]
    for number, done in enumerate(result.rounds, 1):
        left = sum(group.kept_width for group in done.plan.groups) / width
        left = left if config.sparsity else done.plan.macs[1] / macs
        assert left == pytest.approx(share ** (number / rounds), rel=0.03)
    assert [row["epoch"] for row in result.history] == list(range(1, rounds + 1))
    assert [row["round"] for row in result.history] == list(range(1, rounds + 1))
    assert len(result.table().rows) == rounds + 1


def test_every_round_goes_on_with_the_weights_before(data, tmp_path):
    """Neck and head too: what a round starts from is the last one's weights without channels."""
    detector = as_trained(build_detector("yolov5n", names=NAMES))

    def stop(number, row, best):
        if number == 2:
            raise InterruptedError

    folder = tmp_path / "run"
    with pytest.raises(InterruptedError):
        prune_in_rounds(
            detector, data, PruneConfig(sparsity=0.2, side=64), SETTINGS, (1, 1), folder, stop
        )
    trained = load_detector(folder / "round1_trained.pt").detector.state_dict()
    pruned = load_detector(folder / "round2_pruned.pt").detector.state_dict()
    plan = DetectorPlan.load(folder / "round2_plan.json")
    kept = {maker: list(g.kept) for g in plan.groups for maker in g.makers}
    by_reader = {reader: g for g in plan.groups for reader in g.readers}
    for layer in ("model.14.conv", "model.17.m.0.cv2.conv", "model.21.conv"):  # the neck
        weight = trained[f"{layer}.weight"][kept[layer]]
        columns = list(by_reader[layer].kept)
        assert torch.equal(pruned[f"{layer}.weight"], weight[:, columns])
    for level, reader in enumerate(("model.24.m.0", "model.24.m.1", "model.24.m.2")):
        columns = list(by_reader[reader].kept)
        assert torch.equal(
            pruned[f"model.24.m.{level}.weight"], trained[f"{reader}.weight"][:, columns]
        )
        assert torch.equal(pruned[f"{reader}.bias"], trained[f"{reader}.bias"])


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("score", "where", "done"),
    [
        ("l2", "plan 1", 0),
        ("taylor", "epoch 1 of 1", 1),
        ("random", "plan 2", 2),
        ("l2", "epoch 1 of 2", 3),
    ],
)
def test_killed_rounds_end_as_if_they_had_not_been(score, where, done, data, detector, tmp_path):
    config = PruneConfig(sparsity=0.3, round_to=2, score=score, side=64)

    def taught(number, small):
        return [Distillation(detector, small, side=64)]

    def go(folder, on_epoch=lambda *a: None, on_plan=lambda *a: None):
        return prune_in_rounds(
            detector, data, config, SETTINGS, (2, 2), folder, on_epoch, on_plan, taught
        )

    def at_epoch(number, row, best):
        if where == f"epoch {row['epoch']} of {number}":
            raise Killed

    def at_plan(number, plan, score):
        if where == f"plan {number}":
            raise Killed

    whole = go(tmp_path / "whole")
    with pytest.raises(Killed):
        go(tmp_path / "killed", at_epoch, at_plan)
    seen = []
    resumed = go(tmp_path / "killed", lambda number, row, best: seen.append((number, row["epoch"])))
    expected = [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert (
        seen == expected[{"plan 1": 0, "epoch 1 of 1": 1, "plan 2": 2, "epoch 1 of 2": 3}[where] :]
    )
    assert [r.plan for r in resumed.rounds] == [r.plan for r in whole.rounds]
    for key, value in whole.detector.state_dict().items():
        torch.testing.assert_close(resumed.detector.state_dict()[key], value, rtol=0, atol=1e-6)


def test_the_folder_of_another_target_is_refused(data, detector, tmp_path):
    prune_in_rounds(detector, data, CONFIG, SETTINGS, (1,), tmp_path / "run")
    other = PruneConfig(sparsity=0.2, round_to=2, side=64)
    with pytest.raises(ConfigError, match="it was made for another target or score"):
        prune_in_rounds(detector, data, other, SETTINGS, (1,), tmp_path / "run")


def test_the_step_of_a_parameter_target(detector):
    """Half the parameters in two rounds: 0.5^(1/2) of the first, then half over what is left."""
    config = PruneConfig(target_parameters=0.5, round_to=1, side=64)
    first = step_of_round(config, (), 0.5, detector)
    assert first.target_parameters == pytest.approx(0.5**0.5)
    plan = plan_detector(detector, first)
    before, after = plan.parameters
    second = step_of_round(config, (plan,), 1.0, detector)
    assert second.target_parameters == pytest.approx(0.5 * before / after)


def test_rounds_to_a_latency(data, detector, tmp_path):
    """A clock that shows the MACs: 0.8 and 0.64 of the time; killed, the steps stay the same."""

    def clock(model):
        clock.called += 1
        return count_torch_cost(model, (3, 64, 64)).macs / 1e6 + 1e-9 * clock.called

    clock.called = 0
    before = clock(detector)
    config = PruneConfig(target_latency_ms=0.64 * before, round_to=1, side=64)
    for _ in range(2):
        result = prune_in_rounds(
            detector, data, config, SETTINGS, (1, 1), tmp_path / "run", measure=clock
        )
        times = [done.plan.latency_ms[1] / before for done in result.rounds]
        assert times == pytest.approx([0.8, 0.64], rel=0.05)
    with pytest.raises(ConfigError, match="there is nothing to measure with"):
        prune_in_rounds(detector, data, config, SETTINGS, (1, 1), tmp_path / "other")


def test_steps_that_are_too_small(data, detector, tmp_path):
    config = PruneConfig(sparsity=0.02, round_to=8, side=64)
    with pytest.raises(NothingToRemove, match="it removes no channel|have removed as much already"):
        prune_in_rounds(detector, data, config, SETTINGS, (1,) * 4, tmp_path / "run")


def test_a_penalty_makes_gammas_small(data, detector):
    """The part is the sum itself; the gradient, a sign, makes every gamma smaller."""
    norms = [m for m in detector.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    total = sum(float(norm.weight.detach().abs().sum()) for norm in norms)
    penalty = GammaPenalty(0.05)
    value, parts = penalty(detector, torch.zeros(1), {}, torch.zeros(0, 6))
    assert value.item() == pytest.approx(0.05 * total, rel=1e-5)
    assert parts == {"gammas": pytest.approx(0.05 * total, rel=1e-5)}
    value.backward()
    assert norms[0].weight.grad.tolist() == pytest.approx([0.05] * 16)
    settings = TrainSettings(
        epochs=6, side=64, batch=4, warmup_epochs=0, fit_anchors=False, learning_rate=0.05
    )
    rows = train_detector(detector, data, settings, extra_losses=[penalty]).history
    assert rows[-1]["gammas"] < 0.8 * rows[0]["gammas"]
    with pytest.raises(ConfigError, match="strength: it is 0"):
        GammaPenalty(0)

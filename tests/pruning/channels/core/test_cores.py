"""The NumPy cores of channel pruning, with values worked out by hand."""

import numpy as np
import pytest

from tfcompress.errors import ConfigError, NothingToRemove
from tfcompress.pruning.channels.core.budget import Candidate, counts_at, meet
from tfcompress.pruning.channels.core.latency import meet_latency, meet_measured
from tfcompress.pruning.channels.core.options import PlannerOptions
from tfcompress.pruning.channels.core.scores import (
    apoz,
    fpgm,
    l1,
    l2,
    mean_activation,
    normalized,
    per_unit,
    taylor,
)
from tfcompress.pruning.channels.core.targets import meet_share
from tfcompress.pruning.channels.core.units import FIXED, Lanes, Units

KERNEL = np.array([[3.0, 0.0, -1.0], [-4.0, 0.0, 1.0]])  # two weights for each of three channels


def test_weight_scores():
    np.testing.assert_allclose(l1(KERNEL), [7, 0, 2])
    np.testing.assert_allclose(l2(KERNEL), [5, 0, np.sqrt(2)])
    # Distances: 0-1: 5; 0-2: |(4, -5)| = sqrt(41); 1-2: sqrt(2).
    wanted = [5 + np.sqrt(41), 5 + np.sqrt(2), np.sqrt(41) + np.sqrt(2)]
    np.testing.assert_allclose(fpgm(KERNEL), wanted)


def test_activation_scores():
    values = np.array([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.5], [0.0, 0.0]])
    np.testing.assert_allclose(apoz(values), [0.5, 0.25])
    np.testing.assert_allclose(mean_activation(values), [1.0, 0.125])


def test_taylor_is_the_change_of_a_linear_loss():
    """For loss = sum(c * a), zeroing channel k changes it by exactly sum over positions c_k a_k."""
    generator = np.random.default_rng(0)
    a, c = generator.normal(size=(1, 6, 3)), generator.normal(size=(1, 6, 3))
    zeroed = [np.sum(c * a) - np.sum(c * np.where(np.arange(3) == k, 0, a)) for k in range(3)]
    np.testing.assert_allclose(taylor(a, c), np.abs(zeroed) / 6)


def test_taylor_averages_absolute_values_over_samples():
    a = np.array([[[1.0]], [[-1.0]]])
    np.testing.assert_allclose(taylor(a, np.ones_like(a)), [1.0])  # not 0


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("mean", [0.5, 1.5]),
        ("max", [1 / 3, 1]),
        ("gaussian", [-1, 1]),
        ("none", [1, 3]),
    ],
)
def test_normalized(how, wanted):
    np.testing.assert_allclose(normalized(np.array([1.0, 3.0]), how), wanted)


def test_per_unit():
    values, units = np.array([1.0, 2.0, 6.0, 9.0]), np.array([0, 1, 1, -1])
    np.testing.assert_allclose(per_unit(values, units, 3, "mean"), [1, 4, 0])
    np.testing.assert_allclose(per_unit(values, units, 3, "sum"), [1, 8, 0])
    np.testing.assert_allclose(per_unit(values, units, 3, "max"), [1, 6, 0])


def candidate(name, scores, **more):
    scores = np.array(scores, float)
    locked = more.pop("locked", [False] * len(scores))
    return Candidate(name, scores, np.array(locked), **more)


def test_least_important_units_leave_first_and_locked_ones_stay():
    group = candidate("a", [5, 1, 3, 2], locked=[False, True, False, False])
    assert group.kept(2).tolist() == [0, 1]
    assert group.least == 1


def test_rounding_and_minimum():
    group = candidate("a", range(20), round_to=8)
    assert [group.count(n) for n in (20, 19, 12.1, 11.9, 3)] == [20, 16, 16, 8, 8]
    pairs = candidate("b", range(12), size=2, round_to=8)  # steps of 4 units are 8 channels
    assert [pairs.count(n) for n in (12, 9, 1)] == [12, 8, 4]
    assert candidate("c", range(10), minimum=7).count(1) == 7


def test_global_scope_takes_the_least_important_anywhere():
    groups = [candidate("a", [1, 2, 3, 4]), candidate("b", [5, 6, 7, 8])]
    assert counts_at(groups, 0.5, "global") == {"a": 1, "b": 4}  # one unit stays in each
    assert counts_at(groups, 0.5, "group") == {"a": 2, "b": 2}


def test_fixed_sparsity_is_left_alone():
    groups = [candidate("a", range(10), sparsity=0.3), candidate("b", range(10))]
    assert counts_at(groups, 0.5, "group") == {"a": 7, "b": 5}
    assert counts_at(groups, 0.5, "global") == {"a": 7, "b": 5}


def test_meet_finds_the_nearest_permitted_cost():
    groups = [candidate("a", np.arange(64)), candidate("b", np.arange(64) + 0.5)]

    def cost(counts):
        return 3.0 * counts["a"] + counts["a"] * counts["b"]

    target = 0.37 * cost({"a": 64, "b": 64})
    counts = meet(groups, cost, target, "global")
    assert cost(counts) == pytest.approx(target, rel=0.02)
    every = [abs(cost({"a": a, "b": b}) - target) for a in range(1, 65) for b in (a - 1, a, a + 1)]
    assert abs(cost(counts) - target) <= 3 * min(every) + 0.005 * target


def test_single_steps_close_the_gap_that_rounding_leaves():
    groups = [candidate("a", range(16), round_to=8), candidate("b", range(64), round_to=8)]

    def cost(counts):
        return 10.0 * counts["a"] + counts["b"]

    # Shares of both move together: (16, 64) 224, (8, 32) 112; 136 is (8, 56).
    counts = meet(groups, cost, 136, "group")
    assert counts == {"a": 8, "b": 56}


def test_units_join_and_freeze():
    units = Units()
    a, b = units.fresh(3), units.fresh(3)
    units.join(a, b, "x")
    assert units.roots(b).tolist() == a.tolist()
    units.freeze(b[:1], "output")
    assert [units.frozen(u) for u in a.tolist()] == ["output", "", ""]
    units.join(a[1:2], np.array([FIXED]), "meets the input")
    assert units.frozen(int(b[1])) == "meets the input"


def test_reason_survives_a_join_in_either_order():
    units = Units()
    a, b = units.fresh(1), units.fresh(1)
    units.freeze(b, "why")
    units.join(a, b, "")
    assert units.frozen(int(a[0])) == "why"


def test_lanes_along_an_axis():
    lanes = Lanes.along((4, 5, 3), -1, np.array([7, 8, 9]))
    assert lanes.units.shape == (1, 1, 3)
    assert lanes.axes == (2,)
    assert not Lanes.fixed((4, 5)).carries


def test_a_share_of_ten_units():
    """Two groups of five, one channel at a time: 70 % are seven, the least important ones go."""
    groups = [
        Candidate(n, np.arange(5) + add, np.zeros(5, bool)) for n, add in (("a", 0), ("b", 2))
    ]

    def channels(counts):
        return sum(counts.values())

    # Scores 0 to 4 and 2 to 6: 0 and 1 of "a" go, then the first 2, which is of "a" too.
    counts, notes = meet_share(groups, channels, 0.7, "channels", "30% removed", "global")
    assert (counts, notes) == ({"a": 2, "b": 5}, [])
    frozen = [("c", "the head")]
    with pytest.raises(ConfigError, match=r"at least 20.0% of the channels stay; frozen: c"):
        meet_share(groups, channels, 0.1, "channels", "90% removed", "global", frozen)
    coarse = [Candidate("a", np.arange(10), np.zeros(10, bool), round_to=4)]
    counts, notes = meet_share(coarse, channels, 0.7, "channels", "30% removed", "global")
    assert counts == {"a": 8}  # of 4, 8 and 10
    assert "reached 80.0% of the channels instead of 70.0%: the next step (round_to=4" in notes[0]


def test_a_measurement_with_an_overhead():
    """1 ms and 0.1 ms for each unit of 100, 11 ms in all; 6 ms are 50 units.

    A share of 6 / 11 is 55 units, 6.5 ms; the next try, kept away from the edges of what is left to
    search, is 0.9 of that share: 49 units, 5.9 ms, within 5 %.
    """
    tried = []

    def counts_for(share):
        tried.append(round(100 * share))
        return {"a": tried[-1]}

    counts, taken = meet_measured(counts_for, lambda c: 1 + c["a"] / 10, wanted=6.0, before=11.0)
    assert tried == [55, 49]
    assert counts == {"a": 49}
    assert taken == pytest.approx(5.9)


def test_a_latency_on_a_machine_that_slows_down():
    """1 ms and 0.1 ms per unit: 11 ms whole, 6 ms at 50 units; then the clock doubles."""
    groups = [candidate("a", range(100))]
    taken = []

    def milliseconds(counts):
        slower = 2 if taken else 1
        taken.append(counts)
        return slower * (1 + (100 if counts is None else counts["a"]) / 10)

    options = PlannerOptions(target_latency_ms=6.0, min_kept=0)
    counts, notes, latency = meet_latency(groups, options, lambda c: c["a"], milliseconds)
    assert (counts, notes, latency) == ({"a": 49}, [], (11.0, pytest.approx(5.9)))
    assert [c is None for c in taken] == [True, False, True, False, True]  # each beside the whole


def test_a_latency_out_of_reach_is_noted_or_refused():
    """10 ms of 20 are overhead: 5 ms cannot be reached, the least is 10.1 ms."""
    groups = [candidate("a", range(100))]

    def milliseconds(counts):
        return 10 + (100 if counts is None else counts["a"]) / 10

    def meet(**more):
        options = PlannerOptions(target_latency_ms=5.0, min_kept=0)
        return meet_latency(groups, options, lambda c: c["a"], milliseconds, **more)

    _, notes, (before, after) = meet()
    assert before == 20.0
    assert after < 11
    assert "instead of 5.00 ms, the nearest of what was tried" in notes[0]
    with pytest.raises(ConfigError, match="the smallest permitted model takes 10.10 ms"):
        meet(refuse_unreachable=True)
    with pytest.raises(NothingToRemove, match="the network already takes 20.00 ms"):
        slow = PlannerOptions(target_latency_ms=30.0)
        meet_latency(groups, slow, lambda c: c["a"], milliseconds, "the network")

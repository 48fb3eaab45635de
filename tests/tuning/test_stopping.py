"""When a trial stops: the median rule and successive halving, worked out by hand."""

import pytest

from tfcompress.errors import ConfigError
from tfcompress.tuning.stopping import HalvingStop, MedianStop, replay

OTHERS = [[0.2, 0.4, 0.6, 0.8], [0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.4]]
# Running averages at epoch 3: 0.4, 0.2, 0.4 -> median 0.4; at epoch 4: 0.5, 0.25 -> 0.375.


@pytest.mark.parametrize(
    ("curve", "stops"),
    [
        ([0.1, 0.2, 0.39], True),
        ([0.1, 0.2, 0.41], False),
        ([0.45, 0.1, 0.1], False),  # its best so far counts
        ([0.1, 0.1], False),  # before start_epoch
        ([0.1, 0.1, 0.1, 0.1], False),  # only two others got there
    ],
)
def test_maximized(curve, stops):
    assert MedianStop(start_epoch=3, least_trials=3).should_stop(curve, OTHERS, "max") == stops


def test_minimized():
    rule = MedianStop(start_epoch=2, least_trials=2)
    others = [[4.0, 2.0], [8.0, 4.0], [2.0, 2.0]]  # averages 3, 6, 2: median 3
    assert rule.should_stop([5.0, 3.1], others, "min")
    assert not rule.should_stop([5.0, 2.9], others, "min")


def test_bad_numbers():
    with pytest.raises(ConfigError, match="start_epoch 0"):
        MedianStop(start_epoch=0)


def test_replay_by_hand():
    curves = [[0.4, 0.5, 0.6], [0.2, 0.3, 0.9], [0.3, 0.6, 0.7]]
    rule = MedianStop(start_epoch=2, least_trials=1)
    # The second: 0.3 < mean(0.4, 0.5) = 0.45, ends after two epochs and never gets to 0.9. The
    # third: 0.6 against the median of 0.45 and 0.25; at three epochs only 0.5 is left to compare.
    found = replay(rule, curves)
    assert (found.epochs, found.whole, found.stopped) == (8, 9, 1)
    assert (found.best, found.whole_best) == (0.7, 0.9)


@pytest.mark.parametrize(
    ("curve", "stops"),
    [
        ([0.3], False),  # 0.4 is better, 0.2 and 0.1 are not: the second of four goes on
        ([0.15], True),  # the third of four
        ([0.3, 0.1, 0.1], False),  # no rung: 1, 2, 4, 8 ...
        ([0.1, 0.39], True),  # the third of three at epoch 2: the one that ended at 1 is not there
        ([0.1, 0.41], False),  # above both: 0.4, and the best so far of [0.4, 0.3]
        ([0.39, 0.1], True),  # its best so far counts, and is too low
    ],
)
def test_halving_keeps_the_better_half_of_who_got_there(curve, stops):
    others = [[0.2, 0.4, 0.6, 0.8], [0.4, 0.3], [0.1]]
    assert HalvingStop().should_stop(curve, others, "max") == stops


def test_halving_minimized_by_three():
    rule = HalvingStop(first_epoch=2, eta=3)
    others = [[4.0, 2.0], [8.0, 4.0], [2.0, 3.0]]  # best so far 2, 4, 2: two of four go on
    assert not rule.should_stop([9.0], others, "min")
    assert rule.should_stop([9.0, 2.5], others, "min")
    assert not rule.should_stop([9.0, 1.0], others, "min")
    assert not rule.should_stop([9.0, 9.0], [], "min")
    with pytest.raises(ConfigError, match="eta 1"):
        HalvingStop(eta=1)


def test_replayed_halving_by_hand():
    curves = [
        [0.4, 0.5, 0.6, 0.7],
        [0.2, 0.9, 0.9, 0.9],
        [0.5, 0.6, 0.6, 0.6],
        [0.6, 0.5, 0.5, 0.5],
    ]
    # The second stops at epoch 1 (second of two) and never gets to 0.9; the third passes it (first
    # of three), and at 2 (first of two), and ends; the fourth is the first of four at epoch 1, at
    # epoch 2 its 0.6 ties with the third's and passes, and at epoch 4 it is second to 0.7 of three.
    found = replay(HalvingStop(), curves)
    assert (found.epochs, found.stopped, found.best) == (13, 1, 0.7)

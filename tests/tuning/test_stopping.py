"""The median stopping rule, worked out by hand."""

import pytest

from tfcompress.errors import ConfigError
from tfcompress.tuning.stopping import MedianStop, replay

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

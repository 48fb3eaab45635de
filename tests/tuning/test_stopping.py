"""The median stopping rule, worked out by hand."""

import pytest

from tfcompress.errors import ConfigError
from tfcompress.tuning.stopping import MedianStop

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

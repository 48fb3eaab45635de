import pytest

from tfcompress.errors import ConfigError
from tfcompress.pruning.schedules import Constant, Polynomial, agp


def test_polynomial_is_zhu_and_gupta():
    """s_t = s_f + (s_i - s_f)(1 - (t - t0)/(T - t0))^3 with t0 = 100, T = 300, at t = 200."""
    schedule = Polynomial(100, 300, initial=0.2)
    assert schedule.at(99, 0.8) == 0.0
    assert schedule.at(100, 0.8) == pytest.approx(0.2)
    assert schedule.at(200, 0.8) == pytest.approx(0.8 + (0.2 - 0.8) * 0.5**3)
    assert schedule.at(300, 0.8) == 0.8
    assert schedule.at(10_000, 0.8) == 0.8


def test_a_layer_with_a_low_target_starts_there():
    assert Polynomial(0, 10, initial=0.5).at(0, 0.3) == pytest.approx(0.3)


def test_due_at_begin_at_every_frequency_and_at_end():
    schedule = Polynomial(10, 35, frequency=10)
    assert [t for t in range(60) if schedule.due(t - 1, t)] == [10, 20, 30, 35]


def test_due_when_steps_come_several_at_once():
    schedule = Polynomial(10, 35, frequency=10)
    jumps = [t for t in range(0, 60, 4) if schedule.due(t - 4, t)]
    assert jumps == [12, 20, 32, 36]


def test_agp_counts_epochs():
    schedule = agp(end_epoch=4)
    assert schedule.unit == "epoch"
    assert [schedule.at(epoch, 0.8) for epoch in (0, 2, 4)] == pytest.approx([0, 0.7, 0.8])
    assert [e for e in range(8) if schedule.due(e - 1, e)] == [0, 1, 2, 3, 4]


def test_constant():
    schedule = Constant(5, end=25, frequency=10)
    assert (schedule.at(4, 0.8), schedule.at(5, 0.8)) == (0.0, 0.8)
    assert [t for t in range(60) if schedule.due(t - 1, t)] == [5, 15, 25]
    assert Constant(0, frequency=3).due(1000, 1003)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Polynomial(10, 5), "0 <= begin < end"),
        (lambda: Polynomial(-1, 5), "0 <= begin < end"),
        (lambda: Polynomial(0, 5, initial=1.0), r"must be in \[0, 1\)"),
        (lambda: Polynomial(0, 5, power=0), "positive power"),
        (lambda: Polynomial(0, 5, frequency=0), "frequency of at least 1"),
        (lambda: Polynomial(0, 5, unit="batch"), "use 'step' or 'epoch'"),
        (lambda: Constant(5, 4), "0 <= begin <= end"),
        (lambda: Constant(0, frequency=0), "use at least 1"),
    ],
)
def test_bad_schedules(make, message):
    with pytest.raises(ConfigError, match=message):
        make()

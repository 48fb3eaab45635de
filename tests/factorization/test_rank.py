"""Ranks by hand, and EVBMF on matrices whose rank is known."""

import numpy as np
import pytest

from tfcompress.factorization.rank import RANKS, by_energy, by_evbmf, by_ratio

RANDOM = np.random.default_rng(0)


def low_rank(rows, columns, rank, noise, scale=1.0):
    product = RANDOM.normal(size=(rows, rank)) @ RANDOM.normal(size=(rank, columns))
    return scale * (product + noise * RANDOM.normal(size=(rows, columns)))


def test_ratio():
    matrix = np.ones((24, 90))
    assert [by_ratio(matrix, r) for r in (0.25, 0.01, 1.0)] == [6, 2, 24]
    assert by_ratio(np.ones((1, 9)), 1.0) == 1, "never above the full rank"


def test_energy():
    matrix = np.diag([2.0, 1.0, 1.0, 0.0])  # squares 4, 1, 1
    assert [by_energy(matrix, e) for e in (0.5, 4 / 6, 0.7, 5 / 6, 1.0)] == [1, 1, 2, 2, 3]
    assert by_energy(np.zeros((3, 3)), 0.9) == 1


@pytest.mark.parametrize("shape", [(64, 200), (200, 64), (128, 128)])
@pytest.mark.parametrize("rank", [3, 17])
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_evbmf_finds_the_rank_below_noise(shape, rank, noise):
    assert by_evbmf(low_rank(*shape, rank, noise)) == rank
    assert by_evbmf(low_rank(*shape, rank, noise, scale=1e-3)) == rank


def test_evbmf_of_pure_noise_and_of_nothing():
    assert by_evbmf(RANDOM.normal(size=(64, 200))) == 1
    assert by_evbmf(np.zeros((4, 4))) == 1
    assert by_evbmf(low_rank(64, 200, 16, 0.1), 0.5) == 8


def test_rules():
    assert set(RANKS) == {"ratio", "energy", "evbmf"}

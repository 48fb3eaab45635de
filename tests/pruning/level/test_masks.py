import numpy as np
import pytest

from tfcompress.errors import ConfigError
from tfcompress.pruning.level.masks import (
    Block,
    NOfM,
    Unstructured,
    keep_largest,
    kth_smallest,
    mask_of,
    masks_of_pool,
    n_to_prune,
    parse_granularity,
)


@pytest.mark.parametrize(
    ("size", "sparsity", "expected"),
    [(10, 0.8, 8), (27, 0.8, 21), (100, 0.29, 29), (3, 0.3, 0), (1_000_000, 0.123456, 123_456)],
)
def test_count_is_rounded_down_as_nni_does(size, sparsity, expected):
    assert n_to_prune(size, sparsity) == expected


def test_smallest_go_and_of_ties_the_earlier():
    score = np.array([[3.0, 1.0], [2.0, 1.0], [1.0, 4.0]])
    np.testing.assert_array_equal(
        keep_largest(score, 2), [[True, False], [True, False], [True, True]]
    )
    assert keep_largest(score, 0).all()


@pytest.mark.parametrize("n_prune", [0, 1, 7, 50, 99])
def test_exactly_as_many_go_even_when_all_are_equal(n_prune):
    for score in (np.zeros((10, 10)), np.random.default_rng(0).random((10, 10))):
        assert np.count_nonzero(~keep_largest(score, n_prune)) == n_prune


def test_equals_a_full_sort():
    score = np.random.default_rng(1).integers(0, 20, (30, 40)).astype(float)
    order = np.argsort(score.reshape(-1), kind="stable")
    expected = np.ones(score.size, bool)
    expected[order[:777]] = False
    np.testing.assert_array_equal(keep_largest(score, 777).reshape(-1), expected)


@pytest.mark.parametrize("k", [0, 1, 49_999, 100_000, 159_998, 199_999])
@pytest.mark.parametrize("kind", ["normal", "sorted", "ties", "constant", "periodic", "outliers"])
def test_selection_from_a_sample_is_exact(kind, k):
    """Orders and ties that make a sample unlike the whole must not change the result."""
    generator = np.random.default_rng(0)
    values = {
        "normal": np.abs(generator.normal(size=200_000)),
        "sorted": np.sort(generator.random(200_000)),
        "ties": generator.integers(0, 3, 200_000).astype(float),
        "constant": np.ones(200_000),
        "periodic": np.tile(np.r_[0.0, np.ones(19)], 10_000),  # the sample sees only zeros
        "outliers": np.r_[np.zeros(199_990), np.arange(10.0)],
    }[kind]
    assert kth_smallest(values, k) == np.sort(values)[k]


def test_block_by_hand():
    """2x2 blocks of means 1, 4, 3, 2: half of the weights means the blocks of 1 and 2 go."""
    score = np.block([[np.full((2, 2), 1.0), np.full((2, 2), 4.0)],
                      [np.full((2, 2), 3.0), np.full((2, 2), 2.0)]])  # fmt: skip
    keep = mask_of(score, 0.5, Block(2, 2))
    np.testing.assert_array_equal(keep, score >= 3)


def test_block_at_an_edge_is_smaller_and_counts_its_own_mean():
    """Five outputs in blocks of 1x2: the last block has one weight, whose mean is itself."""
    score = np.array([[1.0, 1.0, 5.0, 5.0, 0.5]])
    np.testing.assert_array_equal(
        mask_of(score, 0.2, Block(1, 2)), [[True, True, True, True, False]]
    )
    np.testing.assert_array_equal(
        mask_of(score, 0.6, Block(1, 2)), [[False, False, True, True, False]]
    )


def test_blocks_never_exceed_the_target():
    score = np.random.default_rng(0).random((3, 3, 7, 10))
    keep = mask_of(score, 0.8, Block(2, 4))
    assert 0.7 < np.count_nonzero(~keep) / keep.size <= 0.8


def test_n_of_m_by_hand():
    """2:4 along inputs; the column's ties keep the earlier."""
    score = np.array([[1.0, 5.0], [2.0, 5.0], [4.0, 5.0], [3.0, 5.0]])
    np.testing.assert_array_equal(
        mask_of(score, 0.5, NOfM(2, 4)),
        [[False, True], [False, True], [True, False], [True, False]],
    )


def test_every_group_of_m_keeps_n():
    score = np.random.default_rng(0).random((3, 3, 8, 5))
    keep = mask_of(score, 0.75, NOfM(1, 4))
    groups = np.moveaxis(keep, -2, -1).reshape(-1, 4)
    np.testing.assert_array_equal(groups.sum(axis=1), 1)
    assert keep.shape == score.shape


def test_pool_shares_one_budget():
    """Six weights, half go: the three smallest over both arrays."""
    masks = masks_of_pool([np.array([1.0, 9.0]), np.array([2.0, 3.0, 8.0, 7.0])], 0.5)
    np.testing.assert_array_equal(masks[0], [False, True])
    np.testing.assert_array_equal(masks[1], [False, False, True, True])


def test_nan_has_no_order():
    with pytest.raises(ConfigError, match="1 of 3 scores are NaN"):
        mask_of(np.array([1.0, np.nan, 2.0]), 0.3, Unstructured())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("unstructured", Unstructured()), ("1x4", Block(1, 4)), ("2:4", NOfM(2, 4))],
)
def test_granularity_texts(text, expected):
    assert parse_granularity(text) == expected
    assert str(expected) == text
    assert parse_granularity(expected) is expected


@pytest.mark.parametrize("text", ["", "4", "1x1", "0x4", "4:2", "4:4", "0:4", "block"])
def test_texts_that_are_no_pattern(text):
    with pytest.raises(ConfigError, match="is not a pattern"):
        parse_granularity(text)

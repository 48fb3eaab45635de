"""Kernels that keep zeros and clusters while they train; values worked out by hand."""

import numpy as np
import pytest

from tfcompress.quantization.training.preserve import TiedValues, clusters_of, preserve


def test_a_cluster_takes_its_mean():
    tied = TiedValues(np.array([[0, 0, 1], [2, 1, 0]]), np.array([1.0, 1.0, 0.0]))
    after = np.asarray(tied(np.array([[1.0, 3.0, 5.0], [7.0, 6.0, 2.0]], np.float32)))
    np.testing.assert_allclose(after, [[2.0, 2.0, 5.5], [0.0, 5.5, 2.0]])


def test_an_earlier_constraint_comes_first():
    tied = TiedValues(np.array([0, 0]), np.array([1.0]), inner=lambda w: abs(w))
    np.testing.assert_allclose(np.asarray(tied(np.array([-2.0, 4.0], np.float32))), [3.0, 3.0])


def test_clusters_are_found():
    kernel = np.array([[0.5, -1.0, 0.5, 0.5], [0.5, -1.0, -1.0, 0.5]], np.float32)
    index, values = clusters_of(kernel)
    np.testing.assert_array_equal(values, [-1.0, 0.5])
    np.testing.assert_array_equal(index, [[1, 0, 1, 1], [1, 0, 0, 1]])
    assert clusters_of(np.random.default_rng(0).normal(size=(8, 8))) is None


def test_clusters_of_each_channel():
    generator = np.random.default_rng(0)
    kernel = np.stack(
        [generator.choice(generator.normal(size=4), size=(3, 3, 8)) for _ in range(70)], axis=-1
    )
    index, values = clusters_of(kernel)
    assert len(values) == 4 * 70
    np.testing.assert_array_equal(values[index], kernel)


@pytest.mark.parametrize(
    ("what", "kept"),
    [
        ("sparsity", "50.0% zeros"),
        ("clusters", "3 values"),
        ("both", "50.0% zeros, 3 values"),
    ],
)
def test_variables_of_both_flavors(library, what, kept):
    layer = library.layers.Dense(4, use_bias=False)
    layer.build((None, 4))
    start = np.tile(np.array([0.0, 0.0, 0.5, -1.0], np.float32), (4, 1))
    layer.kernel.assign(start)
    assert preserve(layer.kernel, what) == kept
    model = library.Sequential([library.Input((4,)), layer])
    model.compile(library.optimizers.Adam(0.1), "mse")
    generator = np.random.default_rng(0)
    model.fit(generator.random((16, 4)), generator.random((16, 4)), epochs=3, verbose=0)
    after = np.asarray(layer.kernel)
    assert not np.array_equal(after, start)
    if what in ("sparsity", "both"):
        assert not after[start == 0].any()
    if what in ("clusters", "both"):
        assert len(np.unique(after)) == 3


def test_nothing_to_keep(library):
    layer = library.layers.Dense(4)
    layer.build((None, 4))
    assert preserve(layer.kernel, "both") == ""

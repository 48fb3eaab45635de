"""Tucker and SVD factors of kernels."""

import numpy as np
import pytest

from tfcompress.factorization.svd import svd
from tfcompress.factorization.tucker import tucker

RANDOM = np.random.default_rng(0)


def test_full_rank_is_exact():
    kernel = RANDOM.normal(size=(3, 3, 8, 6)).astype(np.float32)
    factors = tucker(kernel, 8, 6)
    assert [f.shape for f in (factors.first, factors.core, factors.last)] == [
        (1, 1, 8, 8),
        (3, 3, 8, 6),
        (1, 1, 6, 6),
    ]
    np.testing.assert_allclose(factors.product(), kernel, rtol=1e-4, atol=1e-5)
    matrix = RANDOM.normal(size=(8, 6)).astype(np.float32)
    first, last = svd(matrix, 6)
    np.testing.assert_allclose(first @ last, matrix, rtol=1e-4, atol=1e-5)


def test_a_kernel_of_low_rank_is_found():
    kernel = np.einsum(
        "ir,hwrs,so->hwio",
        RANDOM.normal(size=(8, 2)),
        RANDOM.normal(size=(3, 3, 2, 3)),
        RANDOM.normal(size=(3, 6)),
    )
    np.testing.assert_allclose(tucker(kernel, 2, 3).product(), kernel, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [1, 3])
def test_svd_is_the_best_of_its_rank(rank):
    matrix = RANDOM.normal(size=(8, 6))
    first, last = svd(matrix, rank)
    left = np.linalg.svd(matrix, compute_uv=False)[rank:]
    assert np.linalg.norm(matrix - first @ last) == pytest.approx(np.linalg.norm(left), rel=1e-5)
    np.testing.assert_allclose(np.linalg.norm(first), np.linalg.norm(last), rtol=1e-4)


def test_tucker_is_no_worse_than_truncating_each_mode():
    """Orthogonal iteration starts from the truncated SVDs and only improves on them."""
    kernel = RANDOM.normal(size=(3, 3, 12, 10))
    u_in = np.linalg.svd(kernel.transpose(2, 0, 1, 3).reshape(12, -1))[0][:, :4]
    u_out = np.linalg.svd(kernel.transpose(3, 0, 1, 2).reshape(10, -1))[0][:, :5]
    start = np.einsum("hwio,ij,ok->hwjk", kernel, u_in @ u_in.T, u_out @ u_out.T)
    truncated = np.linalg.norm(kernel - start)
    assert np.linalg.norm(kernel - tucker(kernel, 4, 5).product()) <= truncated * (1 + 1e-6)

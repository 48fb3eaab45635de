"""Tucker-2: a k x k convolution as a 1x1, a k x k with fewer channels, and a 1x1."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class TuckerFactors:
    """Kernels of three consecutive convolutions that approximate one, all float32.

    Attributes:
        first: Kernel of the first 1x1 convolution, `(1, 1, inputs, rank_in)`.
        core: Kernel of the k x k convolution, `(height, width, rank_in, rank_out)`.
        last: Kernel of the last 1x1 convolution, `(1, 1, rank_out, outputs)`.
    """

    first: np.ndarray
    core: np.ndarray
    last: np.ndarray

    def product(self) -> np.ndarray:
        """The kernel that they approximate, `(height, width, inputs, outputs)`."""
        inner = np.einsum("ir,hwrs->hwis", self.first[0, 0], self.core)
        return np.einsum("hwis,so->hwio", inner, self.last[0, 0])


def tucker(kernel: np.ndarray, rank_in: int, rank_out: int) -> TuckerFactors:
    """Tucker-2 decomposition over the channel modes, by higher-order orthogonal iteration.

    Reference: Kim et al.: "Compression of Deep Convolutional Neural Networks for Fast and Low Power
    Mobile Applications", ICLR 2016, section 3.1.

    Args:
        kernel: Kernel of a Conv2D, `(height, width, inputs, outputs)`.
        rank_in: Number of channels that the core reads, from 1 to `inputs`.
        rank_out: Number of channels that the core gives, from 1 to `outputs`.

    Returns:
        The kernels of the three convolutions.
    """
    from tensorly.decomposition import partial_tucker

    (core, (inputs, outputs)), _ = partial_tucker(
        np.asarray(kernel, np.float64),
        rank=[rank_in, rank_out],
        modes=[2, 3],
        init="svd",
        n_iter_max=100,
        tol=1e-6,
        random_state=0,
    )
    return TuckerFactors(
        first=inputs[None, None].astype(np.float32),
        core=np.asarray(core, np.float32),
        last=outputs.T[None, None].astype(np.float32),
    )

"""What the tests of LevelPruner share: the tiny model's zeros, and its training."""

import numpy as np

DEFAULT = [{"sparsity": 0.8, "op_types": ["default"]}]
# 216, 8, 8192 and 48 weights, each rounded down at 0.8.
EXPECTED_ZEROS = 172 + 6 + 6553 + 38


def zeros(model):
    names = ("conv", "hidden", "head")
    kernels = [np.asarray(model.get_layer(name).kernel) for name in names]
    kernels.append(np.asarray(model.get_layer("slopes").alpha))
    return sum(kernel.size - np.count_nonzero(kernel) for kernel in kernels)


def fit(model, images, **arguments):
    return model.fit(*images, batch_size=8, verbose=0, **arguments)


def compiled(model, optimizer="adam", **arguments):
    model.compile(optimizer, "sparse_categorical_crossentropy", **arguments)
    return model

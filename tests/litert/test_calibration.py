import warnings

import numpy as np
import pytest
import tensorflow as tf

from tfcompress.errors import DataError
from tfcompress.litert.calibration import CalibrationWarning, calibration_samples

X = np.random.default_rng(0).random((40, 4, 4, 2), dtype=np.float32)
Y = np.arange(40)
ONE = (["image"], [(4, 4, 2)])


def stacked(samples):
    return np.concatenate([sample[0] for sample in samples])


@pytest.mark.parametrize(
    "calibration",
    [
        X,
        [X],
        {"image": X},
        tf.constant(X),
        tf.data.Dataset.from_tensor_slices(X),
        tf.data.Dataset.from_tensor_slices(X).batch(16),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(16),
        tf.data.Dataset.from_tensor_slices(({"image": X}, Y)).batch(7),
        [(X[i : i + 8], Y[i : i + 8]) for i in range(0, 40, 8)].__iter__(),
    ],
    ids=["array", "list", "dict", "tensor", "single", "batches", "labeled", "dicts", "iterator"],
)
def test_every_form_gives_the_same_samples(calibration):
    samples = calibration_samples(calibration, *ONE)
    assert samples[0][0].shape == (1, 4, 4, 2)
    np.testing.assert_array_equal(stacked(samples), X)


def test_arrays_are_sampled_evenly():
    samples = calibration_samples(X, *ONE, at_most=20)
    assert len(samples) == 20
    np.testing.assert_array_equal(samples[0][0][0], X[0])
    np.testing.assert_array_equal(samples[-1][0][0], X[39])


def test_several_inputs():
    other = np.random.default_rng(1).random((40, 3), np.float32)
    samples = calibration_samples([X, other], ["a", "b"], [(4, 4, 2), (3,)])
    assert [part.shape for part in samples[5]] == [(1, 4, 4, 2), (1, 3)]


def test_free_axes_take_any_size():
    assert len(calibration_samples(X, ["image"], [(None, None, 2)])) == 40


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (X[:, :3], r"shape \(3, 4, 2\), but the model takes \(4, 4, 2\)"),
        (X[0], r"shape \(4, 2\)"),
        (np.zeros((0, 4, 4, 2), np.float32), "holds no sample"),
        ([X, X], "2 arrays for 1 inputs"),
        ({"picture": X}, "input 'image' is missing"),
        (3, "it is a int"),
        (np.where(X > 0.99, np.nan, X), "values that are not finite"),
        (tf.data.Dataset.from_tensor_slices(X[:, :3]).batch(4), r"shape \(3, 4, 2\)"),
    ],
)
def test_bad_calibration(calibration, message):
    with pytest.raises(DataError, match=message):
        calibration_samples(calibration, *ONE)


def test_few_and_constant_samples_warn_with_the_reason():
    with pytest.warns(CalibrationWarning, match="only 3 calibration samples"):
        calibration_samples(X[:3], *ONE)
    with pytest.warns(CalibrationWarning, match="'image' is constant"):
        calibration_samples(np.full_like(X, 0.5), *ONE)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calibration_samples(X, *ONE)

import numpy as np
import pytest

from tfcompress.errors import DataError
from tfcompress.evaluation.latency import WITH_AMX, measure_latency
from tfcompress.evaluation.parity import compare_outputs
from tfcompress.evaluation.sparsity import count_zeros, total_zeros
from tfcompress.litert.amx import has_amx
from tfcompress.litert.model import to_litert


def test_latency_of_keras_and_litert_in_turn(tiny_model, images):
    lite = to_litert(tiny_model, "int8", images[0])
    keras_time, lite_time = measure_latency([tiny_model, lite], repeats=7, warmup=1)
    assert keras_time.runtime == "TensorFlow"
    assert lite_time.runtime == "LiteRT XNNPACK" + (WITH_AMX if has_amx() else "")
    assert lite_time.threads == 1
    for latency in (keras_time, lite_time):
        assert 0 < latency.min_ms <= latency.median_ms <= latency.p90_ms
        assert (latency.repeats, latency.batch) == (7, 1)
    (slow,) = measure_latency([lite], repeats=3, threads=2, xnnpack=False)
    assert (slow.runtime, slow.threads) == ("LiteRT reference kernels", 2)
    assert "2 thread(s)" in str(slow)


def test_parity_by_hand():
    """Signal 1 + 4 = 5, noise 0.01 + 0.04 = 0.05: 20 dB."""
    parity = compare_outputs(np.array([[1.0, 2.0]]), np.array([[1.1, 1.8]]))
    assert parity.max_abs == pytest.approx(0.2)
    assert parity.mean_abs == pytest.approx(0.15)
    assert parity.snr_db == pytest.approx(20.0)
    assert parity.cosine == pytest.approx((1.1 + 3.6) / (5 * (1.21 + 3.24)) ** 0.5)
    assert parity.agreement == 1.0


def test_differences_against_a_tolerance_by_hand():
    """|d| is 0.1, 0, 1; the tolerance 0.05 + 0.1 |a| is 0.15, 0.05, 0.45: one of three beyond."""
    reference, other = np.array([[1.0, 0.0, -4.0]]), np.array([[1.1, 0.0, -5.0]])
    parity = compare_outputs(reference, other, atol=0.05, rtol=0.1)
    assert (parity.min_abs, parity.max_abs) == (0, pytest.approx(1))
    assert (parity.min_rel, parity.max_rel) == (pytest.approx(0.1), pytest.approx(0.25))
    assert parity.mean_rel == pytest.approx(0.175)  # where the reference is 0 nothing is relative
    assert parity.beyond == pytest.approx(1 / 3)
    assert not parity.passed
    assert compare_outputs(reference, other, atol=1.1).passed


def test_what_is_no_number_never_passes():
    ones, broken = np.ones((1, 2)), np.array([[1.0, np.nan]])
    assert compare_outputs(ones, broken, atol=np.inf).beyond == 0.5
    assert not compare_outputs(broken, broken).passed
    assert np.isnan(compare_outputs(np.zeros((1, 2)), ones).max_rel)


def test_parity_of_equals_and_of_strangers():
    a = np.random.default_rng(0).random((4, 3))
    assert compare_outputs(a, a).snr_db == np.inf
    assert compare_outputs(a, a).max_abs == 0
    assert compare_outputs(np.array([[0.0, 1.0]]), np.array([[1.0, 0.0]])).agreement == 0
    with pytest.raises(DataError, match="their shapes differ"):
        compare_outputs(a, a[:, :2])
    with pytest.raises(DataError, match="they are empty"):
        compare_outputs(a[:0], a[:0])


def test_zeros_of_kernels_alone(tiny_model):
    kernel = np.asarray(tiny_model.get_layer("head").kernel).copy()
    kernel[0] = 0
    tiny_model.get_layer("head").kernel.assign(kernel)
    by_layer = {layer.name: (layer.weights, layer.zeros) for layer in count_zeros(tiny_model)}
    assert by_layer == {
        "conv": (216, 0),
        "slopes": (8, 0),
        "hidden": (8192, 0),
        "head": (48, 3),
    }
    total = total_zeros(tiny_model)
    assert (total.weights, total.zeros) == (8464, 3)
    assert total.sparsity == 3 / 8464

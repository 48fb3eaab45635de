"""Two LiteRT files compared operator by operator, against errors worked out by hand."""

import numpy as np
import pytest

from tfcompress.errors import DataError
from tfcompress.litert.compare import compare_layers
from tfcompress.litert.model import to_litert
from tfcompress.litert.tensor_layers import TensorLayers

SAMPLES = [[np.array([[3.0, 4.0]], np.float32)]]


@pytest.fixture
def model(library):
    """Doubles its input, then halves it."""
    layers = library.layers
    x = inputs = library.Input((2,))
    x = layers.Dense(2, activation="relu", name="double")(x)
    model = library.Model(inputs, layers.Dense(2, name="halve")(x))
    set_factors(model, 2.0, 0.5)
    return model


def set_factors(model, double, halve):
    for name, factor in (("double", double), ("halve", halve)):
        model.get_layer(name).set_weights([factor * np.eye(2), np.zeros(2)])


def test_an_error_is_where_it_is_made(model):
    right = to_litert(model)
    set_factors(model, 2.2, 0.5)
    wrong = to_litert(model)
    compared = compare_layers(wrong, right, TensorLayers.of_model(model), SAMPLES)
    assert compared.samples == 1
    assert compared.unmatched == ()
    first, second = compared.rows
    assert [(row.path, row.kind) for row in compared.rows] == [
        ("double", "FULLY_CONNECTED"),
        ("halve", "FULLY_CONNECTED"),
    ]
    # (6.6, 8.8) where (6, 8) is right: a tenth of the signal, 20 dB
    assert first.snr_db == pytest.approx(20, abs=1e-3)
    assert first.max_error == pytest.approx(0.8, abs=1e-5)
    assert first.rms_error == pytest.approx(np.sqrt((0.6**2 + 0.8**2) / 2), abs=1e-5)
    assert first.rms_steps == 0  # a float tensor has no steps
    # (3.3, 4.4) where (3, 4) is right: as far off as its input, nothing is lost here
    assert second.snr_db == pytest.approx(20, abs=1e-3)
    assert second.lost_db == pytest.approx(0, abs=1e-3)
    assert second.max_error == pytest.approx(0.4, abs=1e-5)


def test_a_file_equals_itself(model):
    lite = to_litert(model)
    compared = compare_layers(lite, lite, TensorLayers.of_model(model), SAMPLES)
    assert [row.max_error for row in compared.rows] == [0, 0]


def test_files_of_other_models(model, library):
    x = library.Input((2,))
    other = library.Model(x, library.layers.Softmax(name="other")(x), name="stranger")
    with pytest.raises(DataError, match="none of its 2 operators bears .* layer of 'stranger'"):
        compare_layers(to_litert(model), to_litert(other), TensorLayers.of_model(other), SAMPLES)

"""Macro F1 against scikit-learn, and the competition's score by hand."""

import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from tfcompress.errors import DataError
from tfcompress.evaluation.classification import MacroF1, trash_score

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.integers(0, 5, 300)
SCORES = RANDOM.random((300, 5)).astype(np.float32) + np.eye(5, dtype=np.float32)[LABELS] / 3


@pytest.mark.parametrize("form", ["indices", "column", "one-hot"])
def test_streaming_macro_f1(form):
    labels = {"indices": LABELS, "column": LABELS[:, None], "one-hot": np.eye(5)[LABELS]}[form]
    metric = MacroF1()
    for start in range(0, 300, 70):
        metric.update_state(labels[start : start + 70], SCORES[start : start + 70])
    expected = f1_score(LABELS, SCORES.argmax(-1), average="macro")
    assert float(metric.result()) == pytest.approx(expected, abs=1e-6)
    metric.reset_state()
    metric.update_state(labels[:1], SCORES[:1])
    assert np.isfinite(float(metric.result()))


def test_in_compile_and_in_a_saved_model(tmp_path):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(5, activation="softmax")(inputs))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[MacroF1()])
    model.fit(SCORES, LABELS, verbose=0)
    found = model.evaluate(SCORES, LABELS, verbose=0, return_dict=True)["macro_f1"]
    predicted = model.predict(SCORES, verbose=0).argmax(-1)
    assert found == pytest.approx(f1_score(LABELS, predicted, average="macro"), abs=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.evaluate(SCORES, LABELS, verbose=0, return_dict=True)["macro_f1"] == found


@pytest.mark.parametrize(
    ("macs", "f1", "score"),
    [
        (1_862_490, 0.5176, 0.5156),  # a team's public entry
        (13_878_369, 0.8367, 1.0),
        (0, 0.499, 1.0),
        (0, 0.5, 1 - 0.5 / 0.8367),
        (0, 1.0, 0.5 * (1 - 1 / 0.8367)),
    ],
)
def test_score(macs, f1, score):
    assert trash_score(macs, f1) == pytest.approx(score, abs=5e-5)


def test_score_of_impossible_numbers():
    with pytest.raises(DataError, match="use MACs >= 0, F1 from 0 to 1"):
        trash_score(1e6, 1.2)

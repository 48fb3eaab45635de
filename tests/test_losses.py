"""Dice and focal loss against `segmentation_models` and against numbers worked out by hand."""

import keras
import numpy as np
import pytest

from models.backbones import load_segmentation_models
from tfcompress.errors import CompressionError, ConfigError, DataError
from tfcompress.losses import (
    CategoricalFocalLoss,
    DiceFocalLoss,
    DiceLoss,
    F1CrossEntropyLoss,
    MacroF1Loss,
)

LOSSES = [DiceLoss, CategoricalFocalLoss, DiceFocalLoss, MacroF1Loss, F1CrossEntropyLoss]


@pytest.fixture(scope="module")
def reference():
    """segmentation_models on Keras 3."""
    return load_segmentation_models()


@pytest.fixture
def batch():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 6, (3, 8, 8))
    logits = generator.normal(size=(3, 8, 8, 6))
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    return labels, np.eye(6, dtype=np.float32)[labels], probabilities.astype(np.float32)


@pytest.mark.parametrize("weights", [None, [0.1666] * 6, [0.05, 0.3, 0.1, 0.15, 0.2, 0.2]])
def test_dice_equals_segmentation_models(reference, batch, weights):
    _, one_hot, predicted = batch
    theirs = reference.losses.DiceLoss(class_weights=None if weights is None else np.array(weights))
    ours = DiceLoss(class_weights=weights, normalize_weights=False)
    assert float(ours(one_hot, predicted)) == pytest.approx(
        float(theirs(one_hot, predicted)), abs=1e-6
    )


def test_focal_equals_segmentation_models(reference, batch):
    _, one_hot, predicted = batch
    theirs = float(reference.losses.CategoricalFocalLoss(alpha=0.3, gamma=1.5)(one_hot, predicted))
    assert float(CategoricalFocalLoss(0.3, 1.5)(one_hot, predicted)) == pytest.approx(
        theirs, abs=1e-6
    )


def test_sum_equals_segmentation_models(reference, batch):
    _, one_hot, predicted = batch
    weights = np.array([0.1666] * 6)
    theirs = reference.losses.DiceLoss(class_weights=weights) + (
        1 * reference.losses.CategoricalFocalLoss()
    )
    ours = DiceFocalLoss(class_weights=weights.tolist(), normalize_weights=False)
    assert float(ours(one_hot, predicted)) == pytest.approx(
        float(theirs(one_hot, predicted)), abs=1e-6
    )


def test_dice_by_hand():
    """Two pixels, two classes: TP = (0.8, 0.6), |y| = (1, 1), |p| = (1.2, 0.8)."""
    labels = np.array([[0, 1]])
    predicted = np.array([[[0.8, 0.2], [0.4, 0.6]]], np.float32)
    expected = 1 - (1.6 / 2.2 + 1.2 / 1.8) / 2
    assert float(DiceLoss(smooth=0.0)(labels, predicted)) == pytest.approx(expected, abs=1e-6)
    weighted = 1 - (1.5 * 1.6 / 2.2 + 0.5 * 1.2 / 1.8) / 2
    loss = DiceLoss(class_weights=[3, 1], smooth=0.0)
    assert float(loss(labels, predicted)) == pytest.approx(weighted, abs=1e-6)


def test_focal_by_hand():
    """-(0.25 * 0.2^2 * log 0.8 + 0.25 * 0.4^2 * log 0.6) / 4 values."""
    labels = np.array([[0, 1]])
    predicted = np.array([[[0.8, 0.2], [0.4, 0.6]]], np.float32)
    expected = -0.25 * (0.04 * np.log(0.8) + 0.16 * np.log(0.6)) / 4
    assert float(CategoricalFocalLoss()(labels, predicted)) == pytest.approx(expected, abs=1e-7)


def test_small_weights_do_not_floor_a_perfect_prediction():
    """System C's six weights of 0.1666 floor Dice at 0.8334; normalized they do not."""
    labels = np.arange(6).reshape(1, 6)
    perfect = np.eye(6, dtype=np.float32)[labels]
    assert float(DiceLoss([0.1666] * 6, normalize_weights=False)(labels, perfect)) == pytest.approx(
        0.8334, abs=1e-4
    )
    assert float(DiceLoss([0.1666] * 6)(labels, perfect)) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_label_forms_agree(loss, batch, dtype):
    labels, one_hot, predicted = batch
    values = [
        float(loss()(form.astype(dtype), predicted))
        for form in (labels, labels[..., None], one_hot)
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-7)
    assert values[0] == pytest.approx(values[2], abs=1e-7)


@pytest.mark.parametrize("loss", LOSSES)
def test_logits_and_half_precision(loss, batch):
    labels, _, predicted = batch
    expected = float(loss()(labels, predicted))
    logits = np.log(predicted) + 3.0
    assert float(loss(from_logits=True)(labels, logits)) == pytest.approx(expected, abs=1e-5)
    half = keras.ops.cast(predicted, "float16")
    assert float(loss()(labels, half)) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("shape", [(3, 8, 8, 5), (3, 8), (3, 8, 8, 1, 1)])
def test_labels_that_fit_neither_way(loss, batch, shape):
    with pytest.raises(DataError, match="neither as class indices nor as one-hot"):
        loss()(np.zeros(shape, np.int32), batch[2])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0], "one number per class"),
        ([[1.0]] * 6, "one number per class"),
        ([1, 1, -1, 1, 1, 1], "negative"),
        ([0.0] * 6, "sums to 0"),
        ([1.0, float("nan")], "non-finite"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(CompressionError, match=message):
        DiceLoss(class_weights=np.array(weights, dtype=float))


@pytest.mark.parametrize("loss", LOSSES)
def test_wrong_number_of_weights(loss, batch):
    wrong = loss(
        class_weights=[1.0] * 5, **({"weigh_focal": True} if loss is DiceFocalLoss else {})
    )
    with pytest.raises(ConfigError, match="5 weights, but the model has 6 classes"):
        wrong(batch[0], batch[2])


@pytest.mark.parametrize("loss", LOSSES)
def test_compiled_model_trains_saves_and_loads(loss, batch, tmp_path):
    labels, _, _ = batch
    x = np.random.default_rng(2).random((3, 8, 8, 2), dtype=np.float32)
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, keras.layers.Conv2D(6, 1, activation="softmax")(inputs))
    model.compile("adam", loss(class_weights=[1, 2, 3, 1, 1, 1]))
    model.fit(x, labels, verbose=0)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.loss.get_config() == model.loss.get_config()
    assert loaded.evaluate(x, labels, verbose=0) == pytest.approx(
        model.evaluate(x, labels, verbose=0), abs=1e-6
    )


def test_mixed_precision_model_trains(batch):
    labels, _, _ = batch
    x = np.random.default_rng(2).random((3, 8, 8, 2), dtype=np.float32)
    inputs = keras.Input((8, 8, 2))
    output = keras.layers.Conv2D(6, 1, activation="softmax", dtype="mixed_float16")(inputs)
    model = keras.Model(inputs, output)
    model.compile("adam", DiceFocalLoss())
    assert np.isfinite(model.fit(x, labels, verbose=0).history["loss"]).all()


LABELS = np.array([0, 1, 1, 2])
PREDICTED = np.float32([[0.8, 0.1, 0.1], [0.2, 0.6, 0.2], [0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])


def test_macro_f1_by_hand():
    precision = np.array([0.8 / 1.6, 0.9 / 1.1, 0.8 / 1.3])
    recall = np.array([0.8 / 1, 0.9 / 2, 0.8 / 1])
    expected = 1 - np.mean(2 * precision * recall / (precision + recall))
    assert float(MacroF1Loss()(LABELS, PREDICTED)) == pytest.approx(expected, abs=1e-6)
    assert float(MacroF1Loss()(LABELS, np.eye(3)[LABELS])) == pytest.approx(0, abs=1e-6)
    # An absent class counts with F1 = 0, and a batch of one works: F1 is 2 * 0.8 / 1.8 for class 0.
    assert float(MacroF1Loss()(LABELS[:1], PREDICTED[:1])) == pytest.approx(
        1 - 2 * 0.8 / 1.8 / 3, abs=1e-6
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_f1_and_cross_entropy(smoothing):
    theirs = keras.losses.CategoricalCrossentropy(label_smoothing=smoothing)
    cross_entropy = float(theirs(np.eye(3)[LABELS], PREDICTED))
    f1 = float(MacroF1Loss()(LABELS, PREDICTED))
    for share in (0.0, 0.5, 1.0):
        ours = F1CrossEntropyLoss(share, label_smoothing=smoothing)
        assert float(ours(LABELS, PREDICTED)) == pytest.approx(
            (1 - share) * f1 + share * cross_entropy, abs=1e-6
        )


def test_f1_shares_out_of_range():
    with pytest.raises(ConfigError, match="ce_share: it is 1.5"):
        F1CrossEntropyLoss(1.5)
    with pytest.raises(ConfigError, match="label_smoothing: it is -0.1"):
        F1CrossEntropyLoss(label_smoothing=-0.1)

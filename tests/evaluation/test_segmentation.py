import zipfile

import keras
import numpy as np
import pytest
from sklearn import metrics as reference

from tfcompress.evaluation.segmentation import (
    accuracy,
    confusion_matrices,
    f1_per_class,
    iou_per_class,
    jaccard,
    macro_f1,
    mean_iou,
    precision_recall,
    segmentation_metrics,
)


@pytest.fixture
def maps():
    generator = np.random.default_rng(0)
    return generator.integers(0, 4, (3, 10, 10)), generator.integers(0, 4, (3, 10, 10))


def test_equal_to_scikit_learn(maps):
    labels, predicted = maps
    confusion = confusion_matrices(labels, predicted, 4).sum(axis=0)
    flat = labels.reshape(-1), predicted.reshape(-1)
    np.testing.assert_array_equal(confusion, reference.confusion_matrix(*flat))
    np.testing.assert_allclose(
        iou_per_class(confusion), reference.jaccard_score(*flat, average=None)
    )
    assert mean_iou(confusion) == pytest.approx(reference.jaccard_score(*flat, average="macro"))
    assert accuracy(confusion) == pytest.approx(reference.accuracy_score(*flat))
    np.testing.assert_allclose(f1_per_class(confusion), reference.f1_score(*flat, average=None))
    assert macro_f1(confusion) == pytest.approx(reference.f1_score(*flat, average="macro"))


def test_by_hand_with_an_ignored_pixel():
    """True 0 0 1 1 (one 255), predicted 0 1 1 1: IoU of 0 is 1/2, of 1 is 2/3; class 2 absent."""
    labels = np.array([[0, 0, 1, 1, 255]])
    predicted = np.array([[0, 1, 1, 1, 0]])
    confusion = confusion_matrices(labels, predicted, 3)[0]
    np.testing.assert_array_equal(confusion, [[1, 1, 0], [0, 2, 0], [0, 0, 0]])
    np.testing.assert_allclose(iou_per_class(confusion), [1 / 2, 2 / 3, np.nan])
    assert mean_iou(confusion) == pytest.approx(7 / 12)
    assert accuracy(confusion) == 3 / 4


def test_one_matrix_per_sample(maps):
    labels, predicted = maps
    each = confusion_matrices(labels, predicted, 4)
    for i in range(3):
        np.testing.assert_array_equal(
            each[i], reference.confusion_matrix(labels[i].reshape(-1), predicted[i].reshape(-1))
        )


def test_collapse_to_the_largest_class_keeps_accuracy_and_loses_iou():
    """Why mean IoU is the objective: 80 % accuracy, mean IoU 0.4."""
    labels = np.array([[0] * 8 + [1] * 2])
    confusion = confusion_matrices(labels, np.zeros_like(labels), 2)[0]
    assert accuracy(confusion) == 0.8
    assert mean_iou(confusion) == pytest.approx(0.4)


def test_precision_recall_is_scikit_learns():
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, (2, 20, 20))
    scores = generator.random((2, 20, 20, 4))
    labels[0, 0, 0] = 255
    curves = precision_recall(labels, scores, at_most_points=50)
    counted = labels.reshape(-1) < 4
    for label in range(3):
        truth = (labels.reshape(-1) == label)[counted]
        chosen = scores.reshape(-1, 4)[counted][:, label]
        assert curves[label]["average_precision"] == pytest.approx(
            reference.average_precision_score(truth, chosen)
        )
        precision, recall, _ = reference.precision_recall_curve(truth, chosen)
        whole = set(zip(precision, recall, strict=True))
        assert set(zip(curves[label]["precision"], curves[label]["recall"], strict=True)) <= whole
        assert len(curves[label]["recall"]) <= 100
    assert curves[3] == {}


def test_soft_jaccard_by_hand():
    """Two pixels: sum(y p) = 1.4, sum y = 2, sum p = 2: (1.4 + 1) / (4 - 1.4 + 1)."""
    predicted = np.array([[[0.8, 0.2], [0.4, 0.6]]], np.float32)
    for labels in (np.array([[0, 1]]), np.eye(2, dtype=np.float32)[[[0, 1]]]):
        assert float(jaccard(labels, predicted)) == pytest.approx(2.4 / 3.6)


def test_soft_jaccard_of_a_uniform_prediction_of_six_classes():
    labels = np.random.default_rng(0).integers(0, 6, (4, 64, 64))
    uniform = np.full((4, 64, 64, 6), 1 / 6, np.float32)
    assert float(jaccard(labels, uniform)) == pytest.approx(0.0909, abs=1e-3)


def test_streaming_metrics_equal_the_whole(maps):
    labels, _ = maps
    scores = np.random.default_rng(1).random((3, 10, 10, 4)).astype(np.float32)
    metrics = segmentation_metrics(4, ["Road", "Bare land", "c", "d"])
    assert [m.name for m in metrics] == [
        "mean_iou",
        "iou_road",
        "iou_bare_land",
        "iou_c",
        "iou_d",
    ]
    for i in range(3):
        for metric in metrics:
            metric.update_state(labels[i : i + 1], scores[i : i + 1])
    confusion = confusion_matrices(labels, scores.argmax(axis=-1), 4).sum(axis=0)
    assert float(metrics[0].result()) == pytest.approx(float(mean_iou(confusion)), abs=1e-6)
    np.testing.assert_allclose(
        [float(m.result()) for m in metrics[1:]], iou_per_class(confusion), atol=1e-6
    )


def test_metrics_compile_and_save(tmp_path):
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(inputs))
    metrics = [*segmentation_metrics(3, ignored=255), jaccard]
    model.compile("adam", "sparse_categorical_crossentropy", metrics=metrics)
    x = np.random.default_rng(0).random((4, 8, 8, 2), dtype=np.float32)
    y = np.random.default_rng(0).integers(0, 3, (4, 8, 8))
    history = model.fit(x, y, verbose=0).history
    assert {"mean_iou", "jaccard"} <= set(history)
    model.save(tmp_path / "m.keras")
    assert keras.saving.load_model(tmp_path / "m.keras").evaluate(x, y, verbose=0)


def test_a_model_saved_with_the_old_name_of_the_metric_loads(tmp_path):
    inputs = keras.Input((8, 8, 2))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1, activation="softmax")(inputs))
    model.compile("adam", "sparse_categorical_crossentropy", metrics=[jaccard])
    model.save(tmp_path / "new.keras")
    with (
        zipfile.ZipFile(tmp_path / "new.keras") as new,
        zipfile.ZipFile(tmp_path / "old.keras", "w") as old,
    ):
        for name in new.namelist():
            data = new.read(name)
            if name == "config.json":
                assert data.count(b"tfcompress>jaccard") == 1
                data = data.replace(b"tfcompress>jaccard", b"tfcompress>jacard_coef")
            old.writestr(name, data)
    x, y = np.ones((1, 8, 8, 2)), np.zeros((1, 8, 8))
    loaded = keras.saving.load_model(tmp_path / "old.keras")
    assert "jaccard" in loaded.evaluate(x, y, verbose=0, return_dict=True)

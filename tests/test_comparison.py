import gzip
import json

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, f1_score, jaccard_score

from models.unet import multi_unet_model
from tfcompress.comparison import Comparison, ModelRow, compare
from tfcompress.errors import ConfigError, DataError
from tfcompress.evaluation.bootstrap import Difference
from tfcompress.litert.model import to_litert
from tfcompress.pruning.level.pruner import LevelPruner


def test_segmentation_models_side_by_side(library, tmp_path):
    model = multi_unet_model(3, 16, 16, 2, filters=(4, 8), flavor=library.__name__)
    generator = np.random.default_rng(0)
    x = generator.random((20, 16, 16, 2), dtype=np.float32)
    y = generator.integers(0, 3, (20, 16, 16)).astype(np.uint8)
    y[0, 0] = 255
    pruned = library.models.clone_model(model)
    pruned.set_weights(model.get_weights())
    LevelPruner(pruned, [{"sparsity": 0.5}]).compress()
    lite = to_litert(pruned, "int8", x)
    result = compare(model, pruned, lite, data=(x, y), names=["dense", "pruned", "int8"], repeats=3)

    dense, half, int8 = result.rows
    assert [row.format for row in result.rows] == ["Keras float32", "Keras float32", "LiteRT int8"]
    assert (dense.sparsity, half.sparsity) == (0.0, pytest.approx(0.5, abs=0.01))
    assert int8.sparsity >= half.sparsity
    assert len({row.macs for row in result.rows}) == 1
    assert int8.size_bytes == len(lite.content)
    assert int8.gzip_bytes == len(gzip.compress(lite.content))
    model.save(tmp_path / "m.keras")
    assert dense.size_bytes == pytest.approx((tmp_path / "m.keras").stat().st_size, rel=0.01)

    assert dense.memory_bytes is None
    assert int8.memory_bytes > int8.size_bytes
    assert "memory: peak of loading the LiteRT file" in str(result)

    counted = y.reshape(-1) < 3
    predicted = model.predict(x, verbose=0).argmax(axis=-1).reshape(-1)[counted]
    truth = y.reshape(-1)[counted]
    assert dense.quality["mean_iou"] == pytest.approx(
        jaccard_score(truth, predicted, average="macro")
    )
    assert dense.quality["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    np.testing.assert_allclose(dense.iou, jaccard_score(truth, predicted, average=None))
    assert dense.differences == {}
    difference = int8.differences["mean_iou"]
    assert difference.value == pytest.approx(int8.quality["mean_iou"] - dense.quality["mean_iou"])
    assert difference.low <= difference.value <= difference.high

    text = str(result)
    assert "LiteRT int8" in text
    assert "class 2" in text
    assert json.loads(json.dumps(result.to_dict()))["rows"][1]["name"] == "pruned"


def test_classification_and_data_sets(tiny_model, images):
    x, y = images
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(10)
    result = compare(tiny_model, data=data, latency=False)
    predicted = tiny_model.predict(x, verbose=0).argmax(axis=-1)
    assert result.rows[0].quality["accuracy"] == pytest.approx(accuracy_score(y, predicted))
    assert result.rows[0].quality["macro_f1"] == pytest.approx(
        f1_score(y, predicted, average="macro")
    )
    assert result.rows[0].latency is None
    assert result.samples == 64
    one_hot = compare(tiny_model, data=(x, np.eye(3)[y]), latency=False)
    assert one_hot.rows[0].quality == result.rows[0].quality


def test_optimizer_state_is_not_counted_as_size(tiny_model, images):
    before = compare(tiny_model, latency=False).rows[0].size_bytes
    tiny_model.compile("adam", "sparse_categorical_crossentropy")
    tiny_model.fit(*images, verbose=0)
    after = compare(tiny_model, latency=False).rows[0].size_bytes
    assert after == pytest.approx(before, rel=0.01)
    assert tiny_model.optimizer is not None
    tiny_model.fit(*images, verbose=0)


def test_bad_calls(tiny_model, images):
    with pytest.raises(ConfigError, match="no model is given"):
        compare()
    with pytest.raises(ConfigError, match="2 names for 1 models"):
        compare(tiny_model, names=["a", "b"], latency=False)
    with pytest.raises(DataError, match=r"labels of shape \(64, 2\)"):
        compare(tiny_model, data=(images[0], np.zeros((64, 2))), latency=False)
    with pytest.raises(ConfigError, match="2 names for 3 classes"):
        compare(tiny_model, data=images, classes=["a", "b"], latency=False)


def row(name, quality, gzip_bytes, difference=None):
    """A row with what the choice of the best looks at."""
    differences = {} if difference is None else {"mean_iou": Difference(*difference, 0.95)}
    metrics = {} if quality is None else {"mean_iou": quality}
    return ModelRow(name, "", 1, 0, 1, gzip_bytes, gzip_bytes, None, metrics, differences, ())


def test_the_best_row_and_the_smallest_that_is_as_good():
    rows = (
        row("dense", 0.80, 1000),
        row("pruned", 0.81, 500, (0.01, -0.01, 0.03)),
        row("int8", 0.79, 100, (-0.01, -0.03, 0.0)),
        row("tiny", 0.60, 10, (-0.20, -0.30, -0.10)),
        row("copy", 0.81, 600, (0.01, -0.01, 0.03)),
    )
    comparison = Comparison(rows, ("a", "b"), 8)
    assert comparison.best.name == "pruned"  # as good as "copy", and smaller
    assert comparison.smallest_as_good.name == "int8"  # its interval reaches 0; that of "tiny" not
    assert Comparison(rows[:1], (), 8).smallest_as_good.name == "dense"


def test_without_data_no_row_is_the_best():
    comparison = Comparison((row("dense", None, 1000),), (), 0)
    assert comparison.best is None
    assert comparison.smallest_as_good is None

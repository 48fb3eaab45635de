"""ShuffleNetV2: the published sizes, the shuffle, and what a user may do with it."""

import numpy as np
import pytest

from models.shufflenet_v2 import shufflenet_v2
from tfcompress.evaluation.cost import count_cost
from tfcompress.graph.layers import flavor_of
from tfcompress.litert.model import to_litert


@pytest.mark.parametrize(
    ("side", "truncate", "macs"),
    [(32, True, 494_496), (64, True, 1_975_392), (32, False, 814_368), (64, False, 3_229_824)],
)
def test_costs_of_the_trash_classifier(side, truncate, macs, library):
    model = shufflenet_v2(9, side, side, truncate=truncate, flavor=library.__name__)
    assert flavor_of(model) == library.__name__
    assert count_cost(model).macs == macs
    if truncate:
        assert sum(np.prod(w.shape) for w in model.trainable_weights) == 54_057


@pytest.mark.parametrize(
    ("scale", "millions", "mega_macs"),
    [(0.5, 1.4, 41), (1.0, 2.3, 146), (1.5, 3.5, 299), (2.0, 7.4, 591)],
)
def test_published_sizes(scale, millions, mega_macs):
    """Table 5 and 8 of the paper, at 224x224 with 1000 classes."""
    model = shufflenet_v2(1000, 224, 224, scale=scale)
    assert sum(np.prod(w.shape) for w in model.trainable_weights) / 1e6 == pytest.approx(
        millions, abs=0.06
    )
    assert count_cost(model).macs / 1e6 == pytest.approx(mega_macs, rel=0.02)


def test_the_shuffle_interleaves_the_halves(library):
    model = shufflenet_v2(9, 32, 32, flavor=library.__name__)
    concat, joined = model.get_layer("stage2_2_concat"), model.get_layer("stage2_2_join")
    both = library.Model(model.input, [concat.output, joined.output])
    image = np.random.default_rng(0).random((1, 32, 32, 3), dtype=np.float32)
    before, after = (np.asarray(x)[0, 0, 0] for x in both(image))
    np.testing.assert_array_equal(after[0::2], before[:24])
    np.testing.assert_array_equal(after[1::2], before[24:])


def test_it_trains_and_converts():
    model = shufflenet_v2(4, 32, 32, truncate=True, dropout=0.2)
    # Two steps: to trace the graph takes a quarter of a minute; trash-train's test does it.
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)
    images = np.random.default_rng(0).random((8, 32, 32, 3), dtype=np.float32)
    model.fit(images, np.arange(8) % 4, batch_size=4, verbose=0)
    lite = to_litert(model, "int8", np.tile(images, (4, 1, 1, 1)))
    assert lite.float_ops == ()
    np.testing.assert_allclose(lite.predict(images), model.predict(images, verbose=0), atol=0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(scale=0.7), "scale is 0.7; use one of 0.5, 1.0, 1.5, 2.0"),
        (dict(height=16), "16x64; use at least 32x32"),
        (dict(n_classes=1), "n_classes is 1"),
        (dict(flavor="torch"), "flavor is 'torch'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        shufflenet_v2(**arguments)

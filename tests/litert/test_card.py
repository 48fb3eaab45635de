"""Cards in LiteRT files: read back, replaced, unseen by the runtime, safe from strangers."""

import io
import zipfile

import keras
import numpy as np
import pytest

from tfcompress.errors import DataError
from tfcompress.litert.card import NAME, read_card, with_card
from tfcompress.litert.model import LiteModel, to_litert

CARD = {"classes": ["road", "water"], "scaling": "minmax", "patch": 8}


@pytest.fixture(scope="module")
def lite():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 3))
    return to_litert(keras.Model(inputs, keras.layers.Conv2D(2, 3)(inputs)))


def test_the_runtime_does_not_see_it(lite, tmp_path):
    carded = lite.with_card(CARD)
    assert lite.card == {}
    assert carded.card == CARD
    assert carded.content.startswith(lite.content)
    assert len(carded.content) - len(lite.content) < 400
    carded.save(tmp_path / "model.tflite")
    again = LiteModel.load(tmp_path / "model.tflite")
    assert again.card == CARD
    assert [port.key for port in again.inputs] == [port.key for port in lite.inputs]
    x = np.random.default_rng(0).random((3, 8, 8, 3)).astype("float32")
    np.testing.assert_array_equal(again.predict(x), lite.predict(x))
    with zipfile.ZipFile(tmp_path / "model.tflite") as archive:  # as unzip sees it
        assert archive.namelist() == [NAME]


def test_another_card_takes_its_place(lite):
    once = lite.with_card(CARD)
    twice = once.with_card({"classes": []})
    assert twice.card == {"classes": []}
    assert twice.content == lite.with_card({"classes": []}).content
    assert once.content == lite.with_card(CARD).content  # no date in it
    assert once.with_card({}).content == lite.content


def archive_of(name, text):
    buffer = io.BytesIO(b"model")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return buffer.getvalue()


def test_archives_of_others_are_left_alone():
    labels = archive_of("labels.txt", "road")
    assert read_card(labels) == {}
    assert with_card(labels, CARD).startswith(labels[:40])
    assert read_card(archive_of(NAME, "no json")) == {}
    assert read_card(archive_of(NAME, "[1, 2]")) == {}
    assert read_card(archive_of(NAME, " " * 2_000_000)) == {}


def test_bad_cards(lite):
    with pytest.raises(DataError, match="card: Object of type set is not JSON"):
        lite.with_card({"classes": {1, 2}})
    with pytest.raises(DataError, match="card: it has 1,"):
        lite.with_card({"text": "a" * 1_000_001})

"""What trash-tucker refuses before any work."""

import numpy as np
import pytest

from experiments.trash.tucker import PROGRAM, Config
from models.shufflenet_v2 import shufflenet_v2
from tfcompress.data.trash import write_trash
from tfcompress.errors import CompressionError
from tfcompress.factorization.factorize import plan_factorization
from tfcompress.litert.model import to_litert


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tucker")
    model = shufflenet_v2(5, 32, 32, truncate=True)
    model.save(folder / "five.keras")
    images = np.random.default_rng(0).normal(size=(100, 32, 32, 3)).astype("float32")
    to_litert(model, "int8", images).save(folder / "five.tflite")
    (folder / "broken.keras").write_bytes(b"no zip")
    write_trash(folder / "trash", images=60)
    return folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "model: its path is empty"),
        ({"model": "missing.keras"}, "missing.keras"),
        ({"model": "broken.keras"}, "broken.keras"),
        ({"model": "five.tflite"}, "is no Keras 3 model"),
        ({"model": "five.keras", "data": "nowhere"}, "nowhere"),
        ({"model": "five.keras", "data": "trash"}, "use the data that it was trained for"),
        ({"model": "five.keras", "data": "trash", "by": "entropy"}, "'entropy' is unknown"),
        ({"model": "five.keras", "data": "trash", "value": 0.0}, "value of 'macs': it is 0"),
        ({"model": "five.keras", "data": "trash", "value": 0.001}, "MACs"),
        ({"model": "five.keras", "data": "trash", "exclude": ("haed",)}, "haed"),
    ],
)
def test_bad_input_is_one_error(tmp_path, files, fields, message):
    fields = {k: str(files / v) if k in ("model", "data") else v for k, v in fields.items()}
    with pytest.raises(CompressionError) as found:
        PROGRAM.run(Config(**fields, root=str(tmp_path)))
    assert message in str(found.value)
    assert not list(tmp_path.rglob("*.keras"))


def test_the_classifier_is_planned_once(tmp_path, files, monkeypatch):
    calls = []

    def counted(*arguments, **named):
        calls.append(arguments)
        return plan_factorization(*arguments, **named)

    monkeypatch.setattr("experiments.trash.tucker.plan_factorization", counted)
    fields = {"model": str(files / "five.keras"), "data": str(files / "trash"), "value": 0.8}
    with pytest.raises(CompressionError, match="use the data that it was trained for"):
        PROGRAM.run(Config(**fields, root=str(tmp_path)))
    assert len(calls) == 1

"""The int8 debugger against errors computed otherwise, and layers that stay in float."""

import numpy as np
import pytest

from models.unet import multi_unet_model
from tfcompress.errors import ConfigError, DataError
from tfcompress.litert.model import to_litert
from tfcompress.quantization.report import debug_quantization


@pytest.fixture
def unet(library):
    return multi_unet_model(4, 16, 16, 3, filters=(8, 16), batch_norm=True, flavor=library.__name__)


@pytest.fixture(scope="module")
def batch():
    return np.random.default_rng(0).random((20, 16, 16, 3), dtype=np.float32)


def test_every_operator_is_compared(unet, library, batch):
    lite = to_litert(unet, "int8", batch)
    report = debug_quantization(unet, lite, batch)
    assert report.unmatched == ()
    assert report.samples == 20
    paths = [row.path for row in report.rows]
    assert paths == [
        "down1_a_relu",
        "down1_b_relu",
        "down1_pool",
        "bottom_a_relu",
        "bottom_b_relu",
        "up1_transpose",
        "up1_skip",
        "up1_a_relu",
        "up1_b_relu",
        "head",
        "head",  # the convolution, then softmax
    ]
    assert [row.kind for row in report.rows[-2:]] == ["CONV_2D", "SOFTMAX"]
    # The first layer's error, from outputs of models cut there.
    cut = library.Model(unet.inputs, unet.get_layer("down1_a_relu").output)
    want = cut.predict(batch, verbose=0)
    got = to_litert(cut, "int8", batch).predict(batch)
    row = report.rows[0]
    assert row.rms_error == pytest.approx(np.sqrt(np.mean((got - want) ** 2)), rel=0.1)
    assert row.snr_db == pytest.approx(
        10 * np.log10(np.sum(want**2) / np.sum((got - want) ** 2)), abs=1.0
    )
    # And the last one's, from whole predictions.
    difference = lite.predict(batch) - unet.predict(batch, verbose=0)
    assert report.rows[-1].rms_error == pytest.approx(np.sqrt(np.mean(difference**2)), rel=0.1)
    assert 0.2 < report.rows[0].rms_steps < 1
    lines = str(report).splitlines()
    worst = min(report.rows, key=lambda r: r.snr_db)
    assert lines[4].split()[0] == worst.path
    (axes,) = report.plot().axes
    (line,) = axes.lines
    assert list(line.get_xdata()) == [r.snr_db for r in report.rows]
    labels = [label.get_text() for label in axes.get_yticklabels()]
    assert labels[:2] == ["down1_a_relu (conv_2d)", "down1_b_relu (conv_2d)"]


def test_keep_float_acts_on_it(unet, batch):
    lite = to_litert(unet, "int8", batch)
    report = debug_quantization(unet, lite, batch)
    chosen = report.worst(2)
    assert len(chosen) == 2
    better = to_litert(unet, "int8", batch, keep_float=chosen)
    assert sum(int(op.partition(" x")[2] or 1) for op in better.float_ops) == 2
    assert better.inputs[0].dtype == better.outputs[0].dtype == "int8"
    rows = {row.path: row for row in debug_quantization(unet, better, batch).rows}
    assert [path for path, row in rows.items() if row.rms_steps == 0] == sorted(
        chosen, key=list(rows).index
    )
    before = {row.path: row.snr_db for row in report.rows}
    assert rows["up1_b_relu"].snr_db > before["up1_b_relu"]


def test_a_fused_layer_stays_in_float_with_its_operator(unet, batch):
    lite = to_litert(unet, "int8", batch, keep_float=["down1_a_conv"])
    assert lite.float_ops == ("CONV_2D",)


def test_layers_of_models_inside(library, batch):
    """Two models inside have a layer of the same name."""
    layers = library.layers

    def inner(name, width):
        x = inputs = library.Input((16, 16, width))
        return library.Model(inputs, layers.Conv2D(8, 3, name="conv")(x), name=name)

    inputs = library.Input((16, 16, 3))
    x = layers.ZeroPadding2D(1, name="pad")(inner("left", 3)(inputs))
    model = library.Model(inputs, inner("right", 8)(x))
    lite = to_litert(model, "int8", batch)
    paths = [row.path for row in debug_quantization(model, lite, batch).rows]
    assert paths == ["left/conv", "right/conv"]  # the padding became part of the convolution
    assert to_litert(model, "int8", batch, keep_float=["right/conv"]).float_ops == ("CONV_2D",)


def test_bad_input(unet, library, batch):
    lite = to_litert(unet, "int8", batch)
    layers = library.layers
    x = library.Input((16, 16, 3))
    other = library.Model(x, layers.ReLU()(layers.Dense(2, name="other")(x)), name="stranger")
    with pytest.raises(DataError, match="none of its .*operators bears the name of a layer"):
        debug_quantization(other, lite, batch)
    with pytest.raises(DataError, match=r"\(8, 8, 3\)"):
        debug_quantization(unet, lite, batch[:, :8, :8])
    with pytest.raises(ConfigError, match="no layer is named 'haed'.*head"):
        to_litert(unet, "int8", batch, keep_float=["haed"])
    with pytest.raises(ConfigError, match="down1_dropout: no operator of the file"):
        to_litert(unet, "int8", batch, keep_float=["down1_dropout"])
    with pytest.raises(ConfigError, match="it goes with format 'int8'"):
        to_litert(unet, "float32", keep_float=["head"])

"""Conversion of both flavors, measured on the bytes through the real interpreter."""

from functools import cache, partial

import keras
import numpy as np
import pytest

from models.unet import multi_unet_model
from tfcompress.errors import ConfigError, DataError, LayerError
from tfcompress.litert.file import read_litert_file
from tfcompress.litert.formats import FORMATS
from tfcompress.litert.model import LiteModel, Port, to_litert

BATCH = np.random.default_rng(0).random((20, 32, 32, 3), dtype=np.float32)


@cache
def unet_of(flavor):
    keras.utils.set_random_seed(0)
    return multi_unet_model(4, 32, 32, 3, filters=(8, 16), flavor=flavor)


@cache
def converted(flavor, format="float32"):
    return to_litert(unet_of(flavor), format, BATCH)


@pytest.fixture
def unet(library):
    """One for all tests, which leave it as it is."""
    return unet_of(library.__name__)


@pytest.fixture
def convert(library):
    """The file of `unet` in a format; each is converted once."""
    return partial(converted, library.__name__)


@pytest.fixture
def batch():
    return BATCH


TOLERANCE = {"float32": 1e-6, "float16": 1e-3, "dynamic_int8": 0.03, "int8": 0.03, "int16x8": 0.03}


@pytest.mark.parametrize("format", FORMATS)
def test_formats(unet, convert, batch, format):
    expected = unet.predict(batch, verbose=0)
    lite = convert(format)
    output = lite.predict(batch)
    assert output.shape == expected.shape
    assert output.dtype == np.float32
    np.testing.assert_allclose(output, expected, atol=TOLERANCE[format])
    ports = {"int8": "int8", "int16x8": "int16"}.get(format, "float32")
    assert (lite.inputs[0].dtype, lite.outputs[0].dtype) == (ports, ports)
    assert lite.inputs[0].shape == (1, 32, 32, 3)
    assert (lite.float_ops == ()) == (format in ("int8", "int16x8"))
    stored = {"float32": "float32", "float16": "float16"}.get(format, "int8")
    formats = {tensor.dtype for _, tensor in lite.file.weights()}
    if format == "dynamic_int8":  # transposed convolutions and small kernels stay in float
        assert formats == {"int8", "float32"}
    else:
        assert formats == {stored}


@pytest.mark.parametrize("activation", ["silu", "gelu", "hard_silu", "softplus"])
def test_activations_with_gradients_of_their_own(activation):
    """TensorFlow cannot save silu's gradient; the file must come out all the same."""
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Activation(activation)(inputs))
    x = np.linspace(-4, 4, 40, dtype=np.float32).reshape(10, 4)
    lite = to_litert(model)
    assert lite.inputs[0].name == model.inputs[0].name
    np.testing.assert_allclose(lite.predict(x), model.predict(x, verbose=0), atol=1e-5)


def test_sizes_follow_the_format(convert):
    sizes = {format: convert(format).size_bytes for format in FORMATS}
    assert 0.45 < sizes["float16"] / sizes["float32"] < 0.65
    assert 0.2 < sizes["int8"] / sizes["float32"] < 0.5


def test_raw_numbers(convert, batch):
    lite = convert("int8")
    port_in, port_out = lite.inputs[0], lite.outputs[0]
    raw = lite.predict(port_in.quantize(batch), raw=True)
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(port_out.dequantize(raw), lite.predict(batch))


def test_port_arithmetic_by_hand():
    """Scale 0.5, zero point -1: 1.2 -> 2.4 -> 2 - 1 = 1; -100 saturates at -128."""
    port = Port("x", "x", (1, 2), "int8", 0.5, -1)
    np.testing.assert_array_equal(port.quantize(np.array([1.2, -100.0])), [1, -128])
    np.testing.assert_allclose(port.dequantize(np.array([1, -128], np.int8)), [1.0, -63.5])


def test_order_of_several_inputs_and_outputs_is_the_models(library):
    layers = library.layers
    image, vector = library.Input((6, 6, 2), name="z_image"), library.Input((5,), name="a_vector")
    x = layers.Concatenate()([layers.Flatten()(image), vector])
    outputs = [layers.Dense(3)(x), layers.Dense(2)(x), layers.Dense(4)(x)]
    model = library.Model([image, vector], outputs)
    generator = np.random.default_rng(0)
    feed = [generator.random((7, 6, 6, 2), np.float32), generator.random((7, 5), np.float32)]
    lite = to_litert(model, "float32")
    assert [port.name for port in lite.inputs] == ["z_image", "a_vector"]
    for ours, theirs in zip(lite.predict(feed), model.predict(feed, verbose=0), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    int8 = to_litert(model, "int8", [np.repeat(part, 4, axis=0) for part in feed])
    for ours, theirs in zip(int8.predict(feed), model.predict(feed, verbose=0), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.1)


def test_save_and_load(convert, batch, tmp_path):
    lite = convert("int8")
    lite.save(tmp_path / "m.tflite")
    assert (tmp_path / "m.tflite").stat().st_size == lite.size_bytes
    loaded = LiteModel.load(tmp_path / "m.tflite")
    np.testing.assert_array_equal(loaded.predict(batch), lite.predict(batch))
    assert loaded.float_ops == ()


def test_full_disk_leaves_the_previous_file(convert, tmp_path, monkeypatch):
    lite = convert("float32")
    lite.save(tmp_path / "m.tflite")
    before = (tmp_path / "m.tflite").read_bytes()

    def no_space(self, content):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(content)

    monkeypatch.setattr("pathlib.Path.write_bytes", no_space)
    with pytest.raises(OSError, match="No space left"):
        lite.save(tmp_path / "m.tflite")
    assert (tmp_path / "m.tflite").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_dynamic_and_larger_batches(unet, batch):
    free = to_litert(unet, "float32", batch_size=None)
    assert free.inputs[0].shape[0] == -1
    four = to_litert(unet, "int8", batch, batch_size=4)
    assert four.inputs[0].shape == (4, 32, 32, 3)
    np.testing.assert_allclose(four.predict(batch), unet.predict(batch, verbose=0), atol=0.03)
    with pytest.raises(DataError, match="3 samples do not fill batches of 4"):
        four.predict(batch[:3])


def test_operators_left_in_float_are_listed(library):
    """tf.math.erf has no integer kernel (nor a builtin one); GELU does, so use atan2's kin."""
    inputs = library.Input((8, 8, 3))
    x = library.layers.Conv2D(4, 3, activation="relu")(inputs)
    x = library.layers.Activation("sin")(x) if hasattr(library.activations, "sin") else Sin(x)
    model = library.Model(inputs, library.layers.Conv2D(2, 1)(x))
    data = np.random.default_rng(0).random((20, 8, 8, 3), dtype=np.float32)
    lite = to_litert(model, "int8", data)
    assert lite.float_ops == ("SIN",)
    np.testing.assert_allclose(lite.predict(data), model.predict(data, verbose=0), atol=0.1)


def Sin(x):
    """sin as an operation node of either flavor."""
    import tensorflow as tf

    if type(x).__module__.startswith("keras."):
        import keras

        return keras.ops.sin(x)
    return tf.math.sin(x)


def test_zeros_are_counted_in_the_bytes(library):
    """A kernel of 3x3x8x16 with 90 % zeros, dense and sparsely encoded, in three formats."""
    inputs = library.Input((8, 8, 8))
    layer = library.layers.Conv2D(16, 3, use_bias=False, name="c")
    model = library.Model(inputs, layer(inputs))
    generator = np.random.default_rng(0)
    kernel = generator.uniform(0.5, 1, (3, 3, 8, 16)) * generator.choice([-1, 1], (3, 3, 8, 16))
    kernel.reshape(-1)[generator.permutation(1152)[: int(1152 * 0.9)]] = 0
    layer.kernel.assign(kernel)
    data = generator.random((20, 8, 8, 8), dtype=np.float32)
    for format in ("float32", "float16", "int8"):
        for sparse in (False, True):
            lite = to_litert(model, format, data, sparse_encoding=sparse)
            ((kind, tensor),) = lite.file.weights()
            assert kind == "CONV_2D"
            assert tensor.is_sparse == sparse
            assert (tensor.size, tensor.zeros) == (1152, 1036)
            np.testing.assert_allclose(
                lite.predict(data), model.predict(data, verbose=0), atol=0.06, rtol=0.05
            )


def test_activations_are_no_weights(convert):
    lite = convert("int8")
    kernels = {t.shape for _, t in lite.file.weights()}
    assert len(lite.file.weights()) == 8  # 2 + 2 + transposed + 2 + head
    assert (1, 32, 32, 3) not in kernels


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (dict(format="int4"), ConfigError, "format: 'int4' is unknown.*dynamic_int8"),
        (dict(format="int8"), DataError, "measures ranges on data, and none was given"),
        (
            dict(format="int8", calibration=np.zeros((20, 16, 16, 3))),
            DataError,
            r"shape \(16, 16, 3\), but the model takes \(32, 32, 3\)",
        ),
        (dict(format="dynamic_int8", sparse_encoding=True), ConfigError, "refuses sparse weights"),
    ],
)
def test_bad_arguments(unet, arguments, error, message):
    with pytest.raises(error, match=message):
        to_litert(unet, **arguments)


def test_inputs_that_do_not_fit(convert, batch):
    lite = convert("float32")
    with pytest.raises(DataError, match=r"samples have shape \(16, 16, 3\)"):
        lite.predict(batch[:, :16, :16])
    with pytest.raises(DataError, match="2 arrays for 1 inputs"):
        lite.predict([batch, batch])
    with pytest.raises(DataError, match="there is no sample"):
        lite.predict(batch[:0])


def test_models_that_cannot_be_converted(library):
    inputs = library.Input((None, None, 3))
    model = library.Model(inputs, library.layers.Conv2D(2, 1)(inputs))
    with pytest.raises(LayerError, match="has a free axis"):
        to_litert(model)

    class Net(library.Model):
        def call(self, x):
            return x

    net = Net()
    net(np.zeros((1, 4), np.float32))
    with pytest.raises(LayerError, match="its input shapes are not known"):
        to_litert(net)


def test_files_that_are_none(tmp_path):
    with pytest.raises(DataError, match="does not start as one"):
        read_litert_file(b"not a model at all")
    with pytest.raises(DataError, match="there is no such file"):
        LiteModel.load(tmp_path / "missing.tflite")


def test_a_file_that_would_crash_the_interpreter_is_refused(convert):
    flatbuffer_utils = pytest.importorskip("tensorflow.lite.tools.flatbuffer_utils")
    content = convert("float32").content
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    model.subgraphs[0].operators[-1].inputs[0] = -1  # the softmax's
    broken = bytes(flatbuffer_utils.convert_object_to_bytearray(model))
    with pytest.raises(DataError, match="operator SOFTMAX of .*one of its inputs is missing"):
        LiteModel.from_bytes(broken)

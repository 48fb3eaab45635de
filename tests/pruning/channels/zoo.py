"""Small models, one per way in which channels run; each takes the Keras library to build with."""

import numpy as np


def _conv(library, x, n, name, size=3, **more):
    return library.layers.Conv2D(n, size, padding="same", name=name, **more)(x)


def plain(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 3))
    x = _conv(library, x, 8, "a", activation="relu")
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.PReLU(shared_axes=[1, 2], name="slopes")(x)
    x = layers.MaxPooling2D(name="pool")(x)
    x = _conv(library, x, 6, "b", activation="relu")
    return library.Model(inputs, _conv(library, x, 3, "head", 1), name="plain")


def residual(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 3))
    x = _conv(library, x, 8, "stem")
    y = layers.BatchNormalization(name="n1")(_conv(library, x, 8, "b1", activation="relu"))
    x = layers.Add(name="add1")([x, y])
    y = _conv(library, layers.Activation("relu", name="act")(x), 8, "b2")
    x = layers.Add(name="add2")([x, y])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return library.Model(inputs, layers.Dense(4, name="head")(x), name="residual")


def concat(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 3))
    a = _conv(library, x, 4, "a")
    b = layers.BatchNormalization(name="nb")(_conv(library, x, 6, "b"))
    x = layers.Concatenate(name="cat")([a, b, x])
    x = layers.BatchNormalization(name="n")(x)
    c = _conv(library, x, 13, "c")
    x = layers.Add(name="tie")([x, c])
    return library.Model(inputs, _conv(library, x, 2, "head"), name="concat")


def flatten(library):
    layers = library.layers
    x = inputs = library.Input((6, 6, 3))
    x = _conv(library, x, 5, "a", activation="relu")
    x = layers.Cropping2D(1, name="crop")(layers.ZeroPadding2D(2, name="pad")(x))
    x = layers.Flatten(name="flat")(x)
    x = layers.Dense(10, activation="relu", name="hidden")(x)
    x = layers.Reshape((1, 1, 10), name="form")(x)
    x = layers.UpSampling2D(2, name="up")(x)
    return library.Model(inputs, _conv(library, x, 2, "head"), name="flatten")


def depthwise(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 3))
    x = layers.Activation("relu")(_conv(library, x, 6, "expand"))
    x = layers.DepthwiseConv2D(3, depth_multiplier=2, name="dw")(x)
    x = layers.BatchNormalization(name="n")(x)
    x = layers.SeparableConv2D(8, 3, padding="same", activation="relu", name="sep")(x)
    x = _conv(library, x, 8, "as_groups", groups=8)
    x = _conv(library, x, 16, "four_groups", groups=4)
    return library.Model(inputs, _conv(library, x, 2, "head"), name="depthwise")


def squeeze_excite(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 3))
    x = layers.BatchNormalization(name="n")(_conv(library, x, 8, "a"))
    s = layers.GlobalAveragePooling2D(keepdims=True, name="squeeze")(x)
    s = _conv(library, s, 4, "reduce", 1, activation="relu")
    s = _conv(library, s, 8, "gate", 1, activation="sigmoid")
    x = layers.Multiply(name="scale")([x, s])
    m = _conv(library, x, 1, "place", 1, activation="sigmoid")
    x = layers.Multiply(name="everywhere")([x, m])
    return library.Model(inputs, _conv(library, x, 2, "head"), name="squeeze_excite")


def transposed(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 3))
    skip = _conv(library, x, 4, "down", activation="relu")
    x = _conv(
        library, layers.AveragePooling2D(2, name="pool")(skip), 8, "bottom", activation="relu"
    )
    x = layers.Conv2DTranspose(6, 2, 2, padding="same", name="up")(x)
    x = layers.Concatenate(name="cat")([x, skip])
    return library.Model(inputs, _conv(library, x, 3, "head", activation="softmax"), name="trans")


def one_and_three_dimensions(library):
    layers = library.layers
    a = library.Input((10, 3))
    x = layers.Conv1D(6, 3, activation="relu", name="c1")(a)
    x = layers.Conv1DTranspose(4, 2, 2, name="t1")(x)
    x = layers.GlobalMaxPooling1D(name="p1")(x)
    b = library.Input((4, 4, 4, 2))
    y = layers.Conv3D(5, 2, activation="relu", name="c3")(b)
    y = layers.Conv3DTranspose(4, 2, name="t3")(y)
    y = layers.GlobalAveragePooling3D(name="p3")(y)
    z = layers.Maximum(name="max")([x, y])
    return library.Model([a, b], [layers.Dense(2, name="h1")(z), layers.Dense(3, name="h2")(x)])


def group_norm(library):
    layers = library.layers
    x = inputs = library.Input((8, 8, 3))
    x = layers.GroupNormalization(4, name="gn")(_conv(library, x, 12, "a"))
    x = layers.Permute((3, 1, 2), name="first")(x)
    x = layers.Permute((2, 3, 1), name="last")(x)
    x = layers.LayerNormalization(name="ln")(_conv(library, x, 6, "b"))
    return library.Model(inputs, _conv(library, x, 2, "head"), name="group_norm")


def nested_and_shared(library):
    layers = library.layers
    h = inner = library.Input((8, 8, 6), name="inner_in")
    h = layers.BatchNormalization(name="n")(_conv(library, h, 8, "c", activation="relu"))
    block = library.Model(inner, _conv(library, h, 6, "d"), name="block")
    tail = library.Sequential(
        [library.Input((8, 8, 6)), layers.Conv2D(5, 3, name="s1"), layers.Conv2D(4, 1, name="s2")],
        name="tail",
    )
    shared = layers.Conv2D(6, 3, padding="same", activation="relu", name="shared")
    a, b = library.Input((8, 8, 3), name="one"), library.Input((8, 8, 3), name="two")
    x, y = block(shared(a)), block(shared(b))
    x = layers.Subtract(name="minus")([tail(x), tail(y)])
    return library.Model([a, b], _conv(library, x, 2, "head"), name="nested")


def sequential(library):
    layers = library.layers
    return library.Sequential(
        [
            library.Input((8, 8, 3)),
            layers.Conv2D(8, 3, activation="relu", name="a"),
            layers.Flatten(name="flat"),
            layers.Dense(6, activation="relu", name="b"),
            layers.Dense(3, name="head"),
        ],
        name="seq",
    )


def attention(library):
    layers = library.layers
    x = inputs = library.Input((7, 3))
    x = layers.Dense(8, name="embed")(x)
    y = layers.MultiHeadAttention(4, 3, name="mha")(x, x)
    x = layers.Add(name="add")([x, y])
    y = layers.Dense(12, activation="gelu", name="up")(x)
    x = layers.Add(name="add2")([x, layers.Dense(8, name="down")(y)])
    x = layers.GlobalAveragePooling1D(name="pool")(x)
    return library.Model(inputs, layers.Dense(2, name="head")(x), name="attention")


def recurrent(library):
    layers = library.layers
    inputs = library.Input((5,), dtype="int32")
    x = layers.Embedding(11, 8, name="embed")(inputs)
    x = layers.Conv1D(6, 3, padding="same", name="c")(x)
    x = layers.LSTM(4, name="lstm")(x)
    return library.Model(inputs, layers.Dense(2, name="head")(x), name="recurrent")


def operations(library):
    """Bare operations: arithmetic with constants, slices, reshapes, a channel shuffle."""
    if library.__name__ == "keras":
        from keras import ops

        shape, swap, join = ops.reshape, ops.transpose, ops.concatenate
    else:
        import tensorflow as tf

        shape, swap, join = tf.reshape, tf.transpose, tf.concat
    x = inputs = library.Input((4, 4, 3))
    x = _conv(library, x, 8, "a", activation="relu")
    x = x * np.linspace(0.5, 2, 8).astype("float32") * 0.5
    x = shape(x, (-1, 4, 4, 2, 4))
    x = swap(x, (0, 1, 2, 4, 3))
    x = shape(x, (-1, 4, 4, 8))
    y = _conv(library, x, 6, "b")
    left, right = y[:, :, :, :3], y[:, :, :, 3:]
    x = join([left + 0.0, right * 2.0], -1)
    return library.Model(inputs, _conv(library, x, 2, "head"), name="operations")


def scales(library):
    """Layers with one number per channel that are no normalization of the field's kind."""
    layers = library.layers
    x = inputs = library.Input((6, 6, 3))
    x = layers.Rescaling(1 / 255, name="pixels")(x)
    x = _conv(library, x, 6, "a", activation="relu")
    x = layers.Rescaling([1.0, 2.0, 3.0, 0.5, 0.1, 4.0], offset=0.0, name="per_channel")(x)
    x = _conv(library, x, 5, "b")
    x = layers.Normalization(mean=[0.1, 0.2, 0.3, 0.4, 0.5], variance=[1, 2, 3, 4, 5], name="m")(x)
    x = layers.BatchNormalization(name="n")(x)
    x = layers.UnitNormalization(name="unit")(_conv(library, x, 7, "c"))
    x = layers.Softmax(name="soft")(_conv(library, x, 4, "d"))
    return library.Model(inputs, _conv(library, x, 2, "head"), name="scales")


def joins(library):
    """Merges of every kind, a concatenation along height, padding and a repeated vector."""
    layers = library.layers
    x = inputs = library.Input((6, 6, 3))
    a, b = _conv(library, x, 8, "a", activation="relu"), _conv(library, x, 8, "b")
    x = layers.Concatenate(axis=1, name="tall")([a, b])
    x = layers.Average(name="average")([x, _conv(library, x, 8, "c")])
    x = layers.Minimum(name="minimum")([x, _conv(library, x, 8, "d")])
    x = layers.SpatialDropout2D(0.1, name="drop")(layers.LeakyReLU(name="leaky")(x))
    x = layers.GlobalMaxPooling2D(name="pool")(x)
    x = layers.RepeatVector(3, name="repeat")(x)
    x = layers.Dense(6, activation="tanh", name="hidden")(x)
    return library.Model(inputs, layers.Dense(2, name="head")(x), name="joins")


ZOO = {
    function.__name__: function
    for function in (
        plain,
        residual,
        concat,
        flatten,
        depthwise,
        squeeze_excite,
        transposed,
        one_and_three_dimensions,
        group_norm,
        nested_and_shared,
        sequential,
        attention,
        recurrent,
        operations,
        scales,
        joins,
    )
}


def inputs_for(model, count=3, seed=1):
    """Random inputs of a model, as it takes them."""
    generator = np.random.default_rng(seed)
    arrays = []
    for tensor in model.inputs:
        shape = (count, *tensor.shape[1:])
        if "int" in str(tensor.dtype):
            arrays.append(generator.integers(0, 11, shape).astype("int32"))
        else:
            arrays.append(generator.normal(size=shape).astype("float32"))
    return arrays[0] if len(arrays) == 1 else arrays


def outputs_of(model, inputs):
    """Outputs in inference, as a list of arrays."""
    made = model(inputs, training=False)
    return [np.asarray(value) for value in (made if isinstance(made, (list, tuple)) else [made])]

"""A compile state in tf_keras: values of losses and steps of optimizers are those of Keras 3."""

import keras
import numpy as np
import pytest
import tf_keras

from models.unet import multi_unet_model
from tfcompress.errors import ConfigError
from tfcompress.pruning.schedules import Polynomial
from tfcompress.pruning.tfmot.cluster import tfmot_cluster
from tfcompress.pruning.tfmot.prune import tfmot_prune
from tfcompress.quantization.training.tfmot import quantize_aware
from tfcompress.twin.training import check_training, compile_arguments


def model(**compiled):
    x = keras.Input((3,))
    made = keras.Model(x, keras.layers.Dense(4, name="out")(x))
    if compiled:
        made.compile(**compiled)
    return made


LOSSES = [
    keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    keras.losses.Huber(delta=0.3),
    keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction="sum"),
    keras.losses.MeanSquaredError(reduction="mean"),
    "mse",
    keras.losses.mean_absolute_error,
]


@pytest.mark.parametrize("index", range(len(LOSSES)))
def test_losses(index):
    theirs = compile_arguments(model(optimizer="sgd", loss=LOSSES[index]))["loss"]
    generator = np.random.default_rng(0)
    outputs = generator.normal(size=(5, 4)).astype("float32")
    labels = generator.integers(0, 4, 5)
    if "Sparse" not in type(LOSSES[index]).__name__:
        labels = np.eye(4, dtype="float32")[labels]
    ours = keras.losses.get(LOSSES[index]) if isinstance(LOSSES[index], str) else LOSSES[index]
    theirs = tf_keras.losses.get(theirs) if isinstance(theirs, str) else theirs
    np.testing.assert_allclose(
        np.asarray(ours(labels, outputs)), np.asarray(theirs(labels, outputs)), rtol=1e-5
    )


OPTIMIZERS = {
    "adam": lambda: keras.optimizers.Adam(0.01, beta_1=0.8, clipnorm=0.5),
    "adamw": lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
    "momentum": lambda: keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    "schedule": lambda: keras.optimizers.RMSprop(
        keras.optimizers.schedules.CosineDecay(0.1, 4, alpha=0.1)
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name):
    """Three steps on the same gradients end at the same values."""
    ours = OPTIMIZERS[name]()
    theirs = compile_arguments(model(optimizer=ours, loss="mse"))["optimizer"]
    start = np.array([1.0, -2.0, 3.0], "float32")
    a, b = keras.Variable(start), tf_keras.backend.variable(start)
    for gradient in ([1.0, 2.0, -3.0], [0.5, 0.0, 1.0], [-1.0, 1.0, 0.2]):
        gradient = keras.ops.convert_to_tensor(np.array(gradient, "float32"))
        ours.apply([gradient], [a])
        theirs.apply_gradients([(gradient, b)])
    np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-4)


def test_metrics_weights_and_steps():
    made = model(
        optimizer="adam",
        loss="mse",
        loss_weights=[0.5],
        metrics=["accuracy", keras.metrics.TopKCategoricalAccuracy(2)],
        steps_per_execution=3,
    )
    arguments = compile_arguments(made)
    assert arguments["steps_per_execution"] == 3
    assert arguments["loss_weights"] == [0.5]
    flat = arguments["metrics"]
    flat = flat[0] if isinstance(flat[0], list) else flat
    assert flat[0] == "accuracy"
    assert isinstance(flat[1], tf_keras.metrics.TopKCategoricalAccuracy)
    assert flat[1].get_config()["k"] == 2


IMAGES = np.random.default_rng(0).random((20, 16, 16, 3), dtype=np.float32)
WAYS = {
    "pruned": lambda model, train: tfmot_prune(
        model,
        Polynomial(0, 2, frequency=1),
        [{"sparsity": 0.5, "op_types": ["default"]}],
        train=train,
    ),
    "clustered": lambda model, train: tfmot_cluster(model, 4, train=train),
    "int8": lambda model, train: quantize_aware(model, train=train, calibration=IMAGES),
}


@pytest.mark.parametrize("way", WAYS)
def test_dropout_drops_while_tfmot_trains(way):
    """What wraps the twin's layers must leave that to whoever calls the model, too."""
    model = multi_unet_model(4, 16, 16, 3, filters=(8, 16), dropout=0.5)
    labels = np.zeros((20, 16, 16), int)
    differences = []

    def train(twin):
        twin.compile("sgd", "sparse_categorical_crossentropy")
        twin.fit(IMAGES, labels, batch_size=4, verbose=0)
        once, again = (np.asarray(twin(IMAGES, training=True)) for _ in range(2))
        differences.append(np.abs(once - again).max())

    WAYS[way](model, train)
    assert differences[0] > 0.01


def own_loss(y_true, y_pred):
    return y_pred[..., 0]


class OwnMetric(keras.metrics.Mean):
    pass


BAD = {
    "loss": (dict(optimizer="sgd", loss=own_loss), "loss .*own_loss.*not Keras' own"),
    "newer loss": (dict(optimizer="sgd", loss="dice"), "loss .*dice.*does not exist in both"),
    "optimizer": (
        dict(optimizer=keras.optimizers.Muon(0.1), loss="mse"),
        "optimizer 'Muon': it does not exist in both Keras 3 and tf_keras",
    ),
    "accumulation": (
        dict(optimizer=keras.optimizers.SGD(0.1, gradient_accumulation_steps=2), loss="mse"),
        "tf_keras has no gradient_accumulation_steps",
    ),
    "metric": (dict(optimizer="sgd", loss="mse", metrics=[OwnMetric()]), "metric 'OwnMetric'"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_cross_says_to_pass_train(name):
    compiled, message = BAD[name]
    with pytest.raises(ConfigError, match=f"{message}.*Fix: pass train="):
        compile_arguments(model(**compiled))


def test_it_is_said_before_any_work():
    with pytest.raises(ConfigError, match="it is not compiled"):
        check_training(model(), None, {"x": 1})
    check_training(model(), lambda twin: None, None)

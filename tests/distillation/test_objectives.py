"""Distillation losses in trainings: in our Distiller and in Keras' own."""

import keras
import numpy as np
import pytest

from models.unet import multi_unet_model
from tests.distillation.tiny import RANDOM, X, Y, distil, feature_pair, net
from tfcompress.distillation.distiller import Distiller
from tfcompress.distillation.objectives import (
    AttentionTransfer,
    ChannelWise,
    Contrastive,
    Decoupled,
    Hint,
    PixelWise,
    Relational,
    SoftTargets,
)


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(0)
    trained = net(16)
    trained.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    trained.fit(X, Y, epochs=20, verbose=0)
    return trained


@pytest.mark.parametrize(
    "make",
    [SoftTargets, Decoupled]
    + [
        lambda kind=kind: kind(**feature_pair("hidden")) for kind in (Hint, Relational, Contrastive)
    ],
    ids=["SoftTargets", "Decoupled", "Hint", "Relational", "Contrastive"],
)
def test_every_loss_falls_here_and_in_keras_own_distiller(make, teacher):
    objective = make()
    name = objective.name
    history = distil(Distiller(teacher, net(4), [objective]), epochs=15)
    assert history[name][-1] < 0.9 * history[name][0]
    theirs = keras.distillation.Distiller(teacher, net(4), make())
    theirs.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy")
    logs = theirs.fit(X, Y, batch_size=16, epochs=15, verbose=0).history
    assert logs["distillation_loss"][-1] < logs["distillation_loss"][0]
    trained = {w.path.split("/")[-2] for w in theirs.trainable_weights}
    adapters = {w.path.split("/")[-2] for w in objective.trainable_weights}
    assert adapters <= trained


@pytest.mark.parametrize(
    "losses",
    [
        [PixelWise(), ChannelWise()],
        [
            ChannelWise(adapter="always", **feature_pair("down1_b_relu")),
            AttentionTransfer(**feature_pair("bottom_b_relu")),
            Hint(teacher_layer_name="bottom_b_relu", student_layer_name="down1_b_relu"),
        ],
    ],
    ids=["logits", "features"],
)
def test_dense_prediction(losses):
    teacher, student = (
        multi_unet_model(4, 16, 16, 3, filters=f, batch_norm=True) for f in ((16, 32), (4, 8))
    )
    images = RANDOM.random((8, 16, 16, 3), dtype=np.float32)
    labels = RANDOM.integers(0, 4, (8, 16, 16))
    distiller = Distiller(teacher, student, losses)
    distiller.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    history = distiller.fit(images, labels, epochs=12, batch_size=4, verbose=0).history
    for loss in losses:
        assert history[loss.name][-1] < history[loss.name][0]


def test_schedules_of_weight_and_temperature():
    falling = keras.optimizers.schedules.PiecewiseConstantDecay([3], [1.0, 0.0])
    rising = keras.optimizers.schedules.PiecewiseConstantDecay([3], [2.0, 8.0])
    keras.utils.set_random_seed(0)
    teacher, student = net(16), net(4)
    distiller = Distiller(
        teacher, student, [SoftTargets(rising, weight=falling)], task_weight=falling
    )
    history = distil(distiller, epochs=3)  # 4 steps in each: 0..3, 4..7, ...
    assert history["loss"][0] > 0
    assert history["loss"][1:] == [0.0, 0.0]
    config = SoftTargets(rising, weight=falling).get_config()
    assert SoftTargets.from_config(config).get_config() == config


def test_a_binary_head_of_one_sigmoid():
    """One logit is that of the second of two classes."""
    teacher, student = (net(width, activation="sigmoid", classes=1) for width in (16, 4))
    distiller = Distiller(teacher, student, SoftTargets(), task_weight=0.0)
    distiller.compile(keras.optimizers.Adam(1e-2), "binary_crossentropy")
    history = distiller.fit(X, (Y > 0).astype("float32"), epochs=10, verbose=0).history
    assert history["soft_targets"][-1] < history["soft_targets"][0]

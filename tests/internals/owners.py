"""An object of each kind that has private attributes, made with the installed packages."""

import tempfile

import numpy as np

from tfcompress.twin.legacy import load_tfmot


def keras_objects(library):
    """Owners that both Keras have."""
    layers = library.layers
    inputs = library.Input((4,))
    model = library.Model(inputs, layers.Dense(2)(layers.ReLU()(inputs)))
    model.compile(library.optimizers.SGD(use_ema=True), "mse")
    model.fit(np.ones((2, 4)), np.ones((2, 2)), verbose=0)
    attention = layers.MultiHeadAttention(2, 2)
    x = library.Input((3, 4))
    attention(x, x)
    return {
        "symbolic tensor": inputs,
        "functional model": model,
        "Sequential model": library.Sequential([library.Input((4,)), layers.Dense(2)]),
        "compiled model": model,
        "model": model,
        "layer": model.layers[-1],
        "called layer": model.layers[-1],
        "variable": model.layers[-1].kernel,
        "loss or metric of a function": library.losses.CategoricalCrossentropy(),
        "Lambda layer": layers.Lambda(lambda x: x, output_shape=(4,)),
        "MultiHeadAttention layer": attention,
        "optimizer": model.optimizer,
        "built optimizer": model.optimizer,
        "built optimizer with use_ema": model.optimizer,
        "optimizer class": library.optimizers.Optimizer,
    }


def of_keras():
    import keras

    from tfcompress.internals.keras import SAVEABLE

    return {**keras_objects(keras), "KerasSaveable": SAVEABLE.get()}


def of_tf_keras():
    import tf_keras

    half = tf_keras.layers.Dense(2, dtype="mixed_float16")
    half.build((None, 4))
    return {**keras_objects(tf_keras), "autocast variable": half.kernel}


def of_tensorflow():
    import tensorflow as tf

    with tf.distribute.MirroredStrategy(["CPU:0"]).scope():
        mirrored = tf.Variable([1.0])
    return {
        "tf.Variable": tf.Variable([1.0]),
        "mirrored variable": mirrored,
        "graph": tf.function(lambda: tf.constant(1)).get_concrete_function().graph,
    }


def of_tfmot():
    load_tfmot()
    from tfcompress.internals.tfmot import CLUSTERING_REGISTRY, PRUNE_REGISTRY

    return {"registry of layers": [PRUNE_REGISTRY.get(), CLUSTERING_REGISTRY.get()]}


def of_keras_tuner():
    import keras_tuner

    best = keras_tuner.Objective("x", "max")
    grid = keras_tuner.oracles.GridSearchOracle(objective=best, max_trials=1)
    hyperband = keras_tuner.oracles.HyperbandOracle(objective=best, max_epochs=3)
    grid._set_project_dir(tempfile.mkdtemp(), "search")
    return {
        "oracle": grid,
        "placed oracle": grid,
        "grid oracle": grid,
        "Hyperband oracle": hyperband,
    }


def of_nni():
    import nni.nas.strategy
    import torch
    from nni.experiment import Experiment
    from nni.nas.nn.pytorch import ModelSpace
    from nni.nas.oneshot.pytorch.supermodule.differentiable import DifferentiableMixedLayer
    from nni.nas.oneshot.pytorch.supermodule.sampling import PathSamplingLayer

    class Space(ModelSpace):
        def __init__(self):
            super().__init__()
            options = {name: torch.nn.Identity() for name in "ab"}
            alpha = torch.nn.Parameter(torch.zeros(2))
            self.mixed = DifferentiableMixedLayer(options, alpha, torch.nn.Softmax(-1), "mixed")
            self.sampled = PathSamplingLayer(options, "sampled")

    space = Space()
    return {
        "Experiment": Experiment("local"),
        "RegularizedEvolution": nni.nas.strategy.RegularizedEvolution(),
        "differentiable choice": space.mixed,
        "sampled choice": space.sampled,
    }


def of_torch():
    import torch

    joined = torch.cat([torch.zeros(1, 2, requires_grad=True)] * 2, 1)
    return {"gradient of a concatenation": joined.grad_fn}


def nothing():
    return {}


OWNERS = {
    "keras": of_keras,
    "tf_keras": of_tf_keras,
    "tensorflow": of_tensorflow,
    "tensorflow-model-optimization": of_tfmot,
    "keras-tuner": of_keras_tuner,
    "nni": of_nni,
    "onnx2keras": nothing,
    "torch-pruning": nothing,
    "torch": of_torch,
}

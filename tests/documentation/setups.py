"""What the code blocks of each page take as given: tiny models, few images.

A page's setup makes its namespace; `PAGES` says which setup is whose.
"""

import importlib
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np

SIDE = 8
CLASSES = 3


def samples(count, seed):
    """Images whose brightest channel is their class."""
    generator = np.random.default_rng(seed)
    images = generator.random((count, SIDE, SIDE, 3), dtype=np.float32)
    return images, images.mean(axis=(1, 2)).argmax(axis=-1)


def classifier(width=16, name="mine", learning_rate=1e-2):
    """Two convolutions and a softmax, compiled."""
    import keras

    layers = keras.layers
    inputs = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Conv2D(width, 3, padding="same", name="stem")(inputs)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="active")(x)
    x = layers.Conv2D(2 * width, 3, padding="same", activation="relu", name="wide")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, layers.Dense(CLASSES, activation="softmax", name="head")(x))
    model.name = name
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def build(learning_rate=1e-3, optimizer="adam", momentum=0.0, width=8):
    """A model of searched parameters."""
    return classifier(width, learning_rate=learning_rate)


@cache
def trained_weights():
    """Those of the classifier after an epoch; each page has a model of its own with them."""
    model = classifier()
    model.fit(*samples(352, seed=0), epochs=1, verbose=0)
    return model.get_weights()


def basics():
    """What docs/index.md promises for every page."""
    import keras

    import tfcompress as tfc

    images, labels = samples(352, seed=0)  # eleven batches of 32
    model = classifier()
    model.set_weights(trained_weights())
    return {
        "keras": keras,
        "np": np,
        "tfc": tfc,
        "model": model,
        "images": images,
        "labels": labels,
        "val": samples(64, seed=1),
        "test": samples(64, seed=2),
    }


def with_teacher():
    """A teacher and a student beside the basics."""
    return {
        **basics(),
        "teacher": classifier(24, "big"),
        "student": classifier(8, "small"),
    }


def with_builder():
    """A function that a search calls."""
    return {**basics(), "build": build}


def tiny_detector_file(width=0.25):
    """An architecture of two levels, as a user would write it."""
    detectors = importlib.import_module("tests.bridges.yolov5.tiny_detector")
    text = detectors.TINY.replace("width_multiple: 0.25", f"width_multiple: {width}")
    Path("tiny.yaml").write_text(text, encoding="utf-8")
    return "tiny.yaml"


def yolov5():
    """An architecture that trains in seconds."""
    return {**basics(), "architecture": tiny_detector_file()}


def crossing():
    """PyTorch models, and a file of torchvision's tensors."""
    models = importlib.import_module("tests.bridges.handover.sample_models")
    return {
        **with_teacher(),
        "classifier": models.small_net(CLASSES),
        "student": student_of_pictures(),
        "detector": detector(),
        **torchvision_file(1000),
    }


def student_of_pictures():
    """A student for images of 32x32."""
    import keras

    layers = keras.layers
    return keras.Sequential(
        [keras.Input((32, 32, 3)), layers.Conv2D(8, 3, 2), layers.Flatten(), layers.Dense(CLASSES)]
    )


def detector(names=("disc", "ring", "square", "cross"), width=0.25):
    """A small detector whose normalizations look trained."""
    detectors = importlib.import_module("tests.bridges.yolov5.tiny_detector")
    build_detector = importlib.import_module("models.yolov5.build").build_detector
    return detectors.as_trained(build_detector(tiny_detector_file(width), names=names))


def torchvision_file(classes):
    """`shufflenetv2_x1.pt`, as torch.save writes it."""
    import torch

    nets = importlib.import_module("tests.bridges.handover.torchvision_nets")
    net = nets.ShuffleNetV2((24, 116, 232, 464, 1024), classes)
    torch.save(net.state_dict(), "shufflenetv2_x1.pt")
    return {}


def readme():
    """README: the basics, and a classifier in PyTorch."""
    import torch

    models = importlib.import_module("tests.bridges.handover.sample_models")
    return {
        **basics(),
        "classifier": models.small_net(CLASSES),
        "example": torch.zeros(1, 3, SIDE, SIDE),
    }


def stopwatch(monkeypatch):
    """Latency that depends on the model alone: 20 ms for all MACs of the given classifier.

    The clock of a busy machine has no place in a test.
    """
    latency = importlib.import_module("tfcompress.evaluation.latency")
    macs_of = importlib.import_module("tfcompress.comparison")._macs_of
    whole = macs_of(classifier())

    def measured(models, **_):
        return [
            SimpleNamespace(median_ms=20 * macs_of(model) / whole, runtime="stand-in")
            for model in models
        ]

    monkeypatch.setattr(latency, "measure_latency", measured)


PAGES = {
    "README.md": readme,
    "docs/guides/distillation.md": with_teacher,
    "docs/guides/search.md": with_builder,
    "docs/guides/recipes.md": with_builder,
    "docs/guides/yolov5.md": yolov5,
    "docs/guides/crossing.md": crossing,
}
"""Setup of each page; `basics` for the others."""

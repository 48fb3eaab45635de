"""What the examples share: scikit-learn's digits, a small network, its training and its test."""

import keras
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images `(N, 8, 8, 1)` from 0 to 1 and labels `(N,)`: for training, then for the test."""
    found = load_digits()
    images = (found.images[..., None] / 16).astype("float32")
    train, test, train_labels, test_labels = train_test_split(
        images, found.target, test_size=0.5, random_state=0, stratify=found.target
    )
    return train, train_labels, test, test_labels


def network(width: int, name: str) -> keras.Model:
    """Two convolutions and a head; `width` channels, then twice as many."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(2 * width, 3, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10, activation="softmax"),
        ],
        name=name,
    )


def train(model: keras.Model, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Train a network, or a Distiller around one."""
    model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
    model.fit(images, labels, 32, epochs, verbose=0)


def tested(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy of a network, printed and returned."""
    accuracy = float((model.predict(images, verbose=0).argmax(-1) == labels).mean())
    print(f"{model.name:16} {model.count_params():7,} weights   accuracy {accuracy:.4f}")
    return accuracy

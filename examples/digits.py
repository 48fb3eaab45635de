"""What the examples share: scikit-learn's digits and a small convolutional network."""

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

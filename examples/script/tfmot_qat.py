"""plain.py, then trained on with int8 in mind by TFMOT, which alone refuses Keras 3 models."""

import sys

import keras
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import tfcompress as tfc

EPOCHS = int(sys.argv[1]) if len(sys.argv) > 1 else 30

found = load_digits()
images, test_images, labels, test_labels = train_test_split(
    found.images[..., None].astype("float32") / 16, found.target, test_size=0.3, random_state=0
)


def network(width: int, learning_rate: float = 3e-3) -> keras.Model:
    """A compiled network for images of 8x8."""
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(width, 3, padding="same", activation="relu"),
            keras.layers.MaxPooling2D(),
            keras.layers.Conv2D(2 * width, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    optimizer = keras.optimizers.Adam(learning_rate)
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


keras.utils.set_random_seed(0)
model = network(16)
model.fit(images, labels, epochs=EPOCHS, verbose=2)

print(model.evaluate(test_images, test_labels, verbose=0, return_dict=True))
model.save("digits.keras")
trained = tfc.quantize_aware(model, fit=dict(x=images, y=labels, epochs=2))
lite = trained.to_litert()
lite.save("digits.tflite")
print(tfc.compare(model, lite, data=(test_images, test_labels)))

"""plain.py, then several techniques in a row, each measured and within a budget."""

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
data = tfc.CompressionData(
    train=(images[:1000], labels[:1000]),
    val=(images[1000:], labels[1000:]),
    test=(test_images, test_labels),
)
steps = [{"channel_prune": {"target_macs": 0.5, "epochs": EPOCHS // 2}}, "int8"]
result = tfc.compress(model, data, {"steps": steps}, folder="compressed")
print(result)

"""plain.py, and 80 % of its weights are zero in the end."""

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
pruner = tfc.LevelPruner(
    model,
    [{"sparsity": 0.8, "op_types": ["default"]}],
    scope="global",
    schedule=tfc.Polynomial(begin=0, end=EPOCHS * 40 // 2, frequency=10),  # 40 steps an epoch
)
pruner.compress()
model.fit(images, labels, epochs=EPOCHS, verbose=2, callbacks=[pruner.callback()])
print(pruner.report())

print(model.evaluate(test_images, test_labels, verbose=0, return_dict=True))
pruner.save("digits.keras")

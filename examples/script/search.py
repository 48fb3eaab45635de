"""plain.py, its learning rate and width searched by keras-tuner, in trials that stop early."""

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


def train(params: dict, trial: tfc.Trial) -> dict[str, float]:
    """One trial; the best of its epochs counts."""
    callbacks = [trial.callback(), keras.callbacks.ModelCheckpoint(trial.folder / "model.keras")]
    history = network(**params).fit(
        images, labels, epochs=EPOCHS, verbose=2, validation_split=0.2, callbacks=callbacks
    )
    return {name: values[-1] for name, values in history.history.items()}


if __name__ == "__main__":  # trials are processes that import this file
    space = tfc.SearchSpace(
        {"learning_rate": tfc.LogUniform(1e-4, 1e-1), "width": tfc.Choice((8, 16, 32))}
    )
    result = tfc.search_with_keras_tuner(
        tfc.KerasTunerSearch(
            function=train,
            space=space,
            objective=tfc.SearchObjective("val_accuracy"),
            folder="search",
            trials=6,
            stop_rule=tfc.HalvingStop(first_epoch=2),
        )
    )
    print(result.table())
    model = keras.saving.load_model(f"{result.best.folder}/model.keras")
    print(model.evaluate(test_images, test_labels, verbose=0, return_dict=True))

"""Masks and step ride in a user's own checkpoints."""

import numpy as np
import pytest

from tfcompress.errors import LayerError
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.schedules import Polynomial

DEFAULT = [{"sparsity": 0.8, "op_types": ["default"]}]


def build(library):
    """The same model each time, other random weights each time."""
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="conv")(inputs)
    x = layers.Dense(16, activation="relu")(layers.Flatten()(x))
    model = library.Model(inputs, layers.Dense(3, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    pruner = LevelPruner(model, DEFAULT, schedule=Polynomial(0, 24, frequency=1))
    pruner.compress()
    return model, pruner


def same_masks(a, b):
    pairs = zip(a.masks.values(), b.masks.values(), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


@pytest.mark.parametrize("kind", ["weights.h5", "tf"])
def test_model_checkpoint_restores_masks_and_step(library, images, tmp_path, kind):
    if kind == "tf" and library.__name__ == "keras":
        pytest.skip("Keras 3 writes .weights.h5 only")
    path = str(tmp_path / ("ckpt.weights.h5" if kind == "weights.h5" else "ckpt"))
    model, pruner = build(library)
    checkpoint = library.callbacks.ModelCheckpoint(path, save_weights_only=True)
    model.fit(*images, batch_size=8, verbose=0, callbacks=[pruner.callback(), checkpoint])
    assert pruner.step == 8

    other, restored = build(library)
    other.optimizer.build(other.trainable_variables)
    other.load_weights(path)
    assert restored.step == 8
    assert same_masks(pruner, restored)
    assert restored.report().leaked == 0
    other.fit(*images, batch_size=8, epochs=2, verbose=0, callbacks=[restored.callback()])
    assert restored.step == 24
    assert restored.report().sparsity == pytest.approx(0.8, abs=1e-3)
    assert restored.report().leaked == 0


class Killed(Exception):
    pass


def test_backup_and_restore_goes_on_with_the_same_masks(library, images, tmp_path):
    model, pruner = build(library)

    class KillInSecondEpoch(library.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if self.epoch == 1 and batch == 3:
                raise Killed

        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch
            if epoch == 1:
                KillInSecondEpoch.masks = pruner.masks

    def callbacks(of, *more):
        return [of.callback(), library.callbacks.BackupAndRestore(str(tmp_path / "b")), *more]

    with pytest.raises(Killed):
        model.fit(
            *images,
            batch_size=8,
            epochs=3,
            verbose=0,
            callbacks=callbacks(pruner, KillInSecondEpoch()),
        )
    other, restored = build(library)
    seen = {}

    class Watch(library.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            seen.setdefault("first epoch", epoch)
            seen.setdefault("step", restored.step)
            seen.setdefault("masks", restored.masks)

    other.fit(*images, batch_size=8, epochs=3, verbose=0, callbacks=callbacks(restored, Watch()))
    assert (seen["first epoch"], seen["step"]) == (1, 8)
    for before, after in zip(KillInSecondEpoch.masks.values(), seen["masks"].values(), strict=True):
        np.testing.assert_array_equal(before, after)
    assert restored.step == 24
    assert restored.report().leaked == 0


def test_a_plain_model_reads_a_pruned_checkpoint(library, images, tmp_path):
    model, pruner = build(library)
    pruner.advance(24)
    model.save_weights(tmp_path / "w.weights.h5")
    plain = library.models.clone_model(model)
    plain.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(plain.predict(images[0], verbose=0),
                                  model.predict(images[0], verbose=0))  # fmt: skip


def test_masks_of_another_selection_are_refused(library, tmp_path):
    model, _ = build(library)
    model.save_weights(tmp_path / "w.weights.h5")
    fresh = library.models.clone_model(model)
    LevelPruner(fresh, [{"sparsity": 0.5, "op_types": ["Dense"]}]).compress()
    with pytest.raises((LayerError, ValueError), match="they belong to other weights"):
        fresh.load_weights(tmp_path / "w.weights.h5")

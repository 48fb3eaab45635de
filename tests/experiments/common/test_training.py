"""Checkpoints of the training loop: a killed training goes on where it was."""

import json
import shutil

import keras
import numpy as np
import pytest

from experiments.common.training import BEST, BRANCH, Training, train
from models.unet import multi_unet_model
from tfcompress.data.augment import NO_AUGMENTATION
from tfcompress.data.folder import Patches, SegmentationData
from tfcompress.data.palette import Palette
from tfcompress.evaluation.segmentation import segmentation_metrics
from tfcompress.losses import DiceFocalLoss
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.schedules import Polynomial
from tfcompress.reporting.run import open_run


class Killed(BaseException):
    """Like a kill: no `except Exception` stops it."""


class KillAt(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise Killed


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)

    def patches(n):
        images = generator.random((n, 16, 16, 1), dtype=np.float32)
        return Patches(images, (images[..., 0] > 0.5).astype(np.uint8), ("a",) * n)

    groups = {"train": ("a",), "val": ("b",), "test": ("c",)}
    return SegmentationData(Palette.numbered(2), patches(16), patches(4), patches(4), groups)


@pytest.fixture
def run(tmp_path):
    opened = open_run(tmp_path, "e", "r", {})
    yield opened
    opened.close()


def build(seed=0):
    keras.utils.set_random_seed(seed)
    model = multi_unet_model(2, 16, 16, 1, filters=(4, 8))
    model.compile(keras.optimizers.Adam(1e-2), DiceFocalLoss(), metrics=segmentation_metrics(2))
    return model


def fit(model, data, run, how, callbacks=()):
    return train(model, data, NO_AUGMENTATION, how, run, callbacks)


def test_history_best_and_branch(data, run):
    model = build()
    how = Training("U-Net", "unet", epochs=4, batch=4, keep_epoch=2)
    history = fit(model, data, run, how)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    best = max(history, key=lambda row: row["val_mean_iou"])
    measured = model.evaluate(data.val.images, data.val.labels, verbose=0, return_dict=True)
    assert measured["mean_iou"] == pytest.approx(best["val_mean_iou"], abs=1e-6)
    folder = run.path("checkpoints", "unet")
    assert sorted(path.name for path in folder.iterdir()) == [BRANCH, "epoch-0004"]
    assert json.loads((folder / "epoch-0004" / "progress.json").read_text())["best"] == best


@pytest.mark.parametrize("at", [(0, 1), (2, 3)])
def test_killed_training_goes_on_after_its_last_epoch(data, run, at):
    how = Training("U-Net", "unet", epochs=4, batch=4)
    with pytest.raises(Killed):
        fit(build(), data, run, how, [KillAt(*at)])
    model = build(seed=1)  # a new process starts from other random weights
    history = fit(model, data, run, how)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert int(model.optimizer.iterations.numpy()) == 4 * int(
        max(history, key=lambda row: row["val_mean_iou"])["epoch"]
    )


def test_a_finished_training_only_loads_its_best(data, run):
    how = Training("U-Net", "unet", epochs=2, batch=4)
    first = build()
    history = fit(first, data, run, how)
    again = build(seed=1)
    assert fit(again, data, run, how) == history
    for one, other in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_half_written_checkpoint_is_passed_over(data, run):
    how = Training("U-Net", "unet", epochs=3, batch=4)
    with pytest.raises(Killed):
        fit(build(), data, run, how, [KillAt(2, 0)])
    folder = run.path("checkpoints", "unet")
    shutil.copytree(folder / "epoch-0002", folder / ".epoch-0003.abc.tmp" / "epoch-0003")
    (folder / ".epoch-0003.abc.tmp" / "epoch-0003" / BEST).write_bytes(b"half")
    assert len(fit(build(), data, run, how)) == 3
    assert not list(folder.glob(".*.tmp"))


def test_pruning_goes_on_with_the_same_masks(data, run):
    how = Training("pruned", "pruned", epochs=4, batch=4, choose_from=4)

    def pruned(seed):
        model = build(seed)
        pruner = LevelPruner(
            model,
            [{"sparsity": 0.8, "op_types": ["default"]}],
            schedule=Polynomial(0, 12, frequency=1),
        )
        pruner.compress()
        return model, pruner

    model, pruner = pruned(0)
    with pytest.raises(Killed):
        fit(model, data, run, how, [pruner.callback(), KillAt(2, 1)])
    after_two_epochs = {}

    class Remember(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            after_two_epochs.setdefault(epoch, (other_pruner.step, other_pruner.masks))

    other, other_pruner = pruned(1)
    history = fit(other, data, run, how, [other_pruner.callback(), Remember()])
    step, masks = after_two_epochs[2]
    assert step == 8
    dropped = sum(np.count_nonzero(~mask) for mask in masks.values())
    expected = sum(int(mask.size * 0.8 * (1 - (1 - 8 / 12) ** 3)) for mask in masks.values())
    assert dropped == expected
    for key, mask in masks.items():
        assert not (other_pruner.masks[key] & ~mask).any(), "a pruned weight came back"
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert other_pruner.report().sparsity == pytest.approx(0.8, abs=0.01)
    assert other_pruner.report().leaked == 0


def test_best_is_chosen_among_the_epochs_allowed(data, run):
    how = Training("U-Net", "unet", epochs=3, batch=4, choose_from=3)
    fit(build(), data, run, how)
    progress = json.loads(
        run.path("checkpoints", "unet", "epoch-0003", "progress.json").read_text()
    )
    assert progress["best"]["epoch"] == 3


def test_no_epoch_leaves_the_model_as_it_is(data, run):
    model = build()
    before = model.get_weights()
    assert fit(model, data, run, Training("U-Net", "unet", epochs=0, batch=4)) == []
    for weight, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(now, weight)

"""The contract of LevelPruner: schedules, scopes, granularities, files, reports, errors."""

import warnings

import numpy as np
import pytest

from tests.pruning.level.tiny_training import DEFAULT, EXPECTED_ZEROS, compiled, fit, zeros
from tfcompress.errors import CompressionError, ConfigError, LayerError
from tfcompress.litert.model import to_litert
from tfcompress.pruning.level.pruner import LevelPruner
from tfcompress.pruning.schedules import Constant, Polynomial, agp


def test_polynomial_schedule_moves_masks_without_a_new_trace(tiny_model, images):
    pruner = LevelPruner(tiny_model, DEFAULT, schedule=Polynomial(0, 16, frequency=1))
    _, masks = pruner.compress()
    assert all(mask.all() for mask in masks.values())
    compiled(tiny_model)
    fit(tiny_model, images, callbacks=[pruner.callback()])
    assert pruner.step == 8
    expected = sum(int(n * 0.8 * (1 - 0.5**3)) for n in (216, 8, 8192, 48))
    assert zeros(tiny_model) == expected
    function = tiny_model.train_function
    history = fit(tiny_model, images, callbacks=[pruner.callback()])
    assert zeros(tiny_model) == EXPECTED_ZEROS
    assert tiny_model.train_function is function
    assert history.history["sparsity"] == pytest.approx([EXPECTED_ZEROS / 8464])


def test_schedule_counts_steps_per_execution(tiny_model, images):
    pruner = LevelPruner(tiny_model, DEFAULT, schedule=Polynomial(0, 16, frequency=4))
    pruner.compress()
    fit(
        compiled(tiny_model, steps_per_execution=4),
        images,
        epochs=2,
        callbacks=[pruner.callback()],
    )
    assert pruner.step == 16
    assert zeros(tiny_model) == EXPECTED_ZEROS


def test_agp_by_epochs(tiny_model, images):
    pruner = LevelPruner(tiny_model, DEFAULT, schedule=agp(end_epoch=2))
    pruner.compress()
    compiled(tiny_model)
    history = fit(tiny_model, images, epochs=3, callbacks=[pruner.callback()]).history
    shares = [sum(int(n * s) for n in (216, 8, 8192, 48)) / 8464 for s in (0, 0.7, 0.8)]
    assert history["sparsity"] == pytest.approx(shares)


def test_schedule_in_a_custom_loop(tiny_model):
    pruner = LevelPruner(tiny_model, DEFAULT, schedule=Polynomial(2, 4, frequency=1))
    pruner.compress()
    assert [pruner.advance() for _ in range(6)] == [False, False, True, True, False, False]
    assert zeros(tiny_model) == EXPECTED_ZEROS


def test_freeze_release_recompute(tiny_model, images):
    pruner = LevelPruner(tiny_model, DEFAULT)
    pruner.compress()
    compiled(tiny_model)
    pruner.release()
    fit(tiny_model, images, epochs=2)
    assert zeros(tiny_model) < 100
    pruner.recompute()
    assert zeros(tiny_model) == EXPECTED_ZEROS
    fit(tiny_model, images)
    assert zeros(tiny_model) == EXPECTED_ZEROS

    growing = LevelPruner(tiny_model, DEFAULT, schedule=Constant(5))
    growing.compress()
    growing.freeze()
    growing.advance(100)
    assert all(mask.all() for mask in growing.masks.values())


def test_global_scope_shares_the_budget(tiny_model):
    tiny_model.get_layer("hidden").kernel.assign(
        0.001 * np.asarray(tiny_model.get_layer("hidden").kernel)
    )
    pruner = LevelPruner(tiny_model, DEFAULT, scope="global")
    pruner.compress()
    by_layer = {row.path: row.sparsity for row in pruner.report().rows}
    assert by_layer["hidden"] > 0.82
    assert by_layer["conv"] < 0.05
    assert pruner.report().zeros == int(8464 * 0.8)


@pytest.mark.parametrize(
    ("granularity", "sparsity", "unit"), [("1x4", 0.75, (1, 4)), ("4x2", 0.5, (4, 2))]
)
def test_blocks_hold(tiny_model, images, granularity, sparsity, unit):
    config_list = [{"sparsity": sparsity, "op_names": ["hidden"]}]
    pruner = LevelPruner(tiny_model, config_list, granularity=granularity)
    pruner.compress()
    fit(compiled(tiny_model), images)
    kernel = np.asarray(tiny_model.get_layer("hidden").kernel)
    rows, columns = unit
    blocks = (kernel == 0).reshape(512 // rows, rows, 16 // columns, columns)
    assert np.isin(blocks.sum(axis=(1, 3)), (0, rows * columns)).all()
    assert pruner.report().sparsity == sparsity


def test_two_of_four_is_exact_and_says_what_it_leaves(library, images):
    layers = library.layers
    inputs = library.Input((8, 8, 3))
    x = layers.Conv2D(8, 3, name="three_channels")(inputs)
    x = layers.Conv2DTranspose(4, 2, name="up")(x)
    x = layers.Flatten()(x)
    model = library.Model(inputs, layers.Dense(3, activation="softmax", name="head")(x))
    config_list = [{"sparsity": 0.5, "op_types": ["default"]}]
    pruner = LevelPruner(model, config_list, granularity="2:4")
    pruner.compress()
    fit(compiled(model), images)
    head = np.asarray(model.get_layer("head").kernel)
    np.testing.assert_array_equal((head.reshape(-1, 4, 3) == 0).sum(axis=1), 2)
    up = np.asarray(model.get_layer("up").kernel)  # (2, 2, outputs, inputs)
    np.testing.assert_array_equal((up.reshape(2, 2, 4, 2, 4) == 0).sum(axis=-1), 2)
    report = pruner.report()
    assert report.sparsity == 0.5
    reason = "kernel has 3 inputs, which is not a multiple of 4"
    assert ("three_channels", reason) in report.skipped


def test_random_score_is_the_control(tiny_model):
    pruner = LevelPruner(tiny_model, DEFAULT, score="random", seed=3)
    _, masks = pruner.compress()
    kept = np.abs(np.asarray(tiny_model.get_layer("hidden").kernel))[masks[("hidden", "kernel")]]
    assert np.median(kept) < 0.08  # a magnitude mask would keep the top fifth, all above 0.08
    assert zeros(tiny_model) == EXPECTED_ZEROS


def test_saved_file_is_plain_and_hold_keeps_its_zeros(tiny_model, library, images, tmp_path):
    pruner = LevelPruner(tiny_model, DEFAULT)
    pruner.compress()
    fit(compiled(tiny_model), images)
    pruner.save(tmp_path / "pruned.keras")
    fit(tiny_model, images)
    assert zeros(tiny_model) == EXPECTED_ZEROS, "saving must not take the masks off"

    loaded = library.models.load_model(tmp_path / "pruned.keras")
    assert zeros(loaded) == EXPECTED_ZEROS
    assert not [name for name in vars(loaded) if "tfcompress" in name]
    held = LevelPruner.hold(loaded)
    fit(loaded, images, epochs=2)
    assert zeros(loaded) == EXPECTED_ZEROS
    assert held.report().leaked == 0


def test_without_hold_a_copy_loses_its_zeros(tiny_model, library, images):
    """What the documentation says cannot hold, and the mend."""
    pruner = LevelPruner(tiny_model, DEFAULT)
    pruner.compress()
    clone = library.models.clone_model(tiny_model)
    clone.set_weights(tiny_model.get_weights())
    fit(compiled(clone), images)
    assert zeros(clone) < EXPECTED_ZEROS / 2
    clone.set_weights(tiny_model.get_weights())
    LevelPruner.hold(clone)
    fit(clone, images)
    assert zeros(clone) == EXPECTED_ZEROS


def test_report_shows_a_leak_and_hold_mends_it(tiny_model):
    pruner = LevelPruner(tiny_model, DEFAULT)
    pruner.compress()
    kernel = tiny_model.get_layer("hidden").kernel
    kernel.assign(np.ones_like(np.asarray(kernel)))
    assert pruner.report().leaked == 6553
    assert "6,553 leaked: call LevelPruner.hold(model)" in str(pruner.report())
    with pytest.raises(LayerError, match="6553 pruned weights are no longer zero"):
        pruner.save("never.keras")
    LevelPruner.hold(tiny_model)
    assert pruner.report().leaked == 0


def test_hold_mends_a_step_that_was_traced_before(library, images):
    """An outer model was trained, then an inner one is pruned: the outer trace has no masks."""
    inner = library.Sequential(
        [library.Input((8, 8, 3)), library.layers.Flatten(), library.layers.Dense(8)], name="inner"
    )
    outer = library.Sequential([inner, library.layers.Dense(3, activation="softmax", name="out")])
    fit(compiled(outer), images)
    pruner = LevelPruner(inner, DEFAULT)
    pruner.compress()
    fit(outer, images)
    assert pruner.report().leaked > 500
    LevelPruner.hold(outer)
    fit(outer, images)
    assert pruner.report().leaked == 0
    assert pruner.report().zeros == 1228  # of 1536


def test_full_disk_leaves_the_previous_file(tiny_model, library, tmp_path, monkeypatch):
    pruner = LevelPruner(tiny_model, DEFAULT)
    pruner.compress()
    pruner.save(tmp_path / "m.keras")
    before = (tmp_path / "m.keras").read_bytes()

    def no_space(path, *args, **kwargs):
        path.write_bytes(b"half of a file")
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")

    monkeypatch.setattr(tiny_model, "save", no_space)
    with pytest.raises(OSError, match="No space left"):
        pruner.save(tmp_path / "m.keras")
    assert (tmp_path / "m.keras").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]
    assert pruner.masks, "the pruner must survive a failed save"


def test_pruned_model_converts_to_litert(tiny_model, images):
    LevelPruner(tiny_model, DEFAULT).compress()
    lite = to_litert(tiny_model, "int8", images[0])
    by_size = {tensor.size: tensor.zeros for _, tensor in lite.file.weights()}
    assert by_size[8192] >= 6553
    assert by_size[216] >= 172


def test_sparsity_zero_for_some_layers(tiny_model):
    config_list = [
        {"sparsity": 0.8, "op_types": ["Dense"]},
        {"sparsity": 0.0, "op_names": ["head"]},
    ]
    pruner = LevelPruner(tiny_model, config_list)
    _, masks = pruner.compress()
    assert masks[("head", "kernel")].all()
    assert zeros(tiny_model) == 6553


def test_report_prints_and_goes_to_json(tiny_model):
    import json

    pruner = LevelPruner(tiny_model, DEFAULT)
    pruner.compress()
    report = pruner.report()
    text = str(report)
    assert "hidden" in text
    assert "80.0%" in text
    assert "skipped (BatchNormalization matches no entry): norm" in text
    assert json.loads(json.dumps(report.to_dict()))["zeros"] == EXPECTED_ZEROS
    assert report.model_weights == tiny_model.count_params()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scope": "model"}, "'model' is unknown"),
        ({"score": "l7"}, "'l7' is unknown"),
        ({"granularity": "two of four"}, "is not a pattern"),
        ({"granularity": "1x4", "scope": "global"}, "'global' cannot share 1x4 patterns"),
        ({"granularity": "2:4"}, r"sparsity is 0\.8, but 2:4 means 0\.5"),
    ],
)
def test_bad_arguments(tiny_model, arguments, message):
    with pytest.raises(ConfigError, match=message):
        LevelPruner(tiny_model, DEFAULT, **arguments)


def test_a_pattern_cannot_grow(tiny_model):
    with pytest.raises(ConfigError, match="cannot grow"):
        LevelPruner(
            tiny_model,
            [{"sparsity": 0.5, "op_types": ["Dense"]}],
            granularity="2:4",
            schedule=Polynomial(0, 10),
        )


def test_nothing_to_prune(library):
    inputs = library.Input((8, 8, 3))
    model = library.Model(inputs, library.layers.BatchNormalization(name="norm")(inputs))
    with pytest.raises(LayerError, match="nothing would be pruned: norm: BatchNormalization"):
        LevelPruner(model, [{"sparsity": 0.8}])


def test_targets_that_round_down_to_nothing(library):
    inputs = library.Input((2,))
    model = library.Model(inputs, library.layers.Dense(2)(inputs))
    pruner = LevelPruner(model, [{"sparsity": 0.2}])
    with pytest.raises(LayerError, match="every target rounds down to zero weights"):
        pruner.compress()


def test_nan_weights(tiny_model):
    kernel = tiny_model.get_layer("head").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(CompressionError, match="scores are NaN"):
        LevelPruner(tiny_model, DEFAULT).compress()


def test_hold_on_a_dense_model(tiny_model):
    with pytest.raises(LayerError, match="no prunable weight contains zeros"):
        LevelPruner.hold(tiny_model)


def test_not_a_model():
    with pytest.raises(LayerError, match="neither a Keras 3 nor a tf_keras model"):
        LevelPruner("model.keras", DEFAULT)


def test_masks_before_compress(tiny_model):
    with pytest.raises(LayerError, match="call compress"):
        LevelPruner(tiny_model, DEFAULT).masks  # noqa: B018


def test_loading_dense_weights_puts_the_masks_on_them(tiny_model, library, images, tmp_path):
    path = str(tmp_path / "dense.weights.h5")
    tiny_model.save_weights(path)
    pruner = LevelPruner(tiny_model, DEFAULT)
    pruner.compress()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tiny_model.load_weights(path)
    assert any("contain no pruning masks" in str(w.message) for w in caught)
    assert zeros(tiny_model) == EXPECTED_ZEROS

"""compress: what each step gives, rolled back, resumed, exported; on digits, with real training."""

import json
import shutil

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import tfcompress as tfc
from tfcompress.errors import ConfigError, DataError, RunError
from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.sparsity import total_zeros
from tfcompress.litert.model import LiteModel
from tfcompress.pipeline.data import CompressionData
from tfcompress.pipeline.outcome import Outcome, front
from tfcompress.pipeline.step import StepKind, StepResult
from tfcompress.pipeline.steps import STEPS, TrainOptions
from tfcompress.pipeline.training import fit_keras


def network(width=16, rate=5e-3):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False, name="first")(inputs)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    x = layers.MaxPooling2D()(x)
    x = layers.Conv2D(2 * width, 3, padding="same", activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(10, activation="softmax", name="classes")(x))
    adam = keras.optimizers.Adam(rate)
    model.compile(adam, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.fixture(scope="module")
def data():
    digits = load_digits()
    images = (digits.images[..., None] / 16).astype("float32")
    labels = digits.target.astype("int32")
    return CompressionData(
        train=(images[:1200], labels[:1200]),
        val=(images[1200:1500], labels[1200:1500]),
        test=(images[1500:], labels[1500:]),
    )


@pytest.fixture(scope="module")
def model(data):
    trained = network()
    trained.fit(*data.train, epochs=20, batch_size=32, verbose=0)
    return trained


RECIPE = {
    "budget": {"quality_drop": 0.1, "macs": 0.5},
    "steps": [
        {"channel_prune": {"target_macs": 0.4, "epochs": 3, "round_to": 2}},
        {"distill": {"epochs": 2}},
        {"level_prune": {"sparsity": 0.5, "epochs": 2}},
        {"train": {"epochs": 1}},
        "int8",
    ],
}


@pytest.fixture(scope="module")
def done(model, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compressed")
    before = [weight.copy() for weight in model.get_weights()]
    lines = []
    result = tfc.compress(model, data, RECIPE, folder, card={"n": 10}, tell=lines.append)
    for weight, earlier in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, earlier)
    return result, lines


def test_every_step_is_read_off_its_files(done, model, data):
    result, lines = done
    assert [o.kind for o in result.outcomes] == [
        "start", "channel_prune", "distill", "level_prune", "train", "int8",
    ]  # fmt: skip
    assert sum("kept" in line or "rolled back" in line for line in lines) == 5
    start = result.outcomes[0]
    assert start.macs == count_cost(model).macs
    for outcome in result.outcomes:
        folder = result.folder / outcome.folder
        assert outcome.size_bytes == (folder / "model.tflite").stat().st_size
        lite = LiteModel.load(folder / "model.tflite")
        predicted = lite.predict(data.val[0]).argmax(-1)
        from sklearn.metrics import f1_score

        wanted = f1_score(data.val[1], predicted, average="macro")
        assert outcome.quality == pytest.approx(wanted, abs=1e-6)
    assert result.outcomes[1].macs <= 0.42 * start.macs


def test_zeros_hold_through_the_steps_after(done):
    result, _ = done
    pruned, trained, lite = result.outcomes[3:]
    whole = keras.saving.load_model(result.folder / pruned.folder / "model.keras")
    again = keras.saving.load_model(result.folder / trained.folder / "model.keras")
    assert pruned.kept
    assert total_zeros(again).zeros == total_zeros(whole).zeros > 0.45 * total_zeros(whole).weights
    kernels = [layer.get_layer("second").kernel.numpy() for layer in (whole, again)]
    assert not np.array_equal(*kernels)  # it trained
    assert np.array_equal(kernels[0] == 0, kernels[1] == 0)
    assert lite.zeros >= total_zeros(again).zeros


def test_zeros_of_a_model_that_came_pruned_hold(model, data, tmp_path):
    path = tmp_path / "pruned.keras"
    model.save(path)
    came = keras.saving.load_model(path)
    tfc.LevelPruner(came, [{"sparsity": 0.7, "op_types": ["Conv2D"]}]).compress()
    zeros = total_zeros(came).zeros
    lines = []
    result = tfc.compress(
        came, data, {"steps": [{"train": {"epochs": 1}}]}, tmp_path / "made", tell=lines.append
    )
    assert [outcome.zeros for outcome in result.outcomes] == [zeros, zeros]
    assert (
        lines[0]
        == f"the model has {zeros / result.outcomes[0].parameters:.1%} zeros, which are kept"
    )


def test_the_chosen_model_is_exported(done, data):
    result, _ = done
    assert result.missed == ()
    assert result.chosen in result.kept
    assert result.chosen.quality >= result.outcomes[0].quality - 0.1
    assert result.chosen.macs <= 0.5 * result.outcomes[0].macs
    exported = result.files[".tflite"].read_bytes()
    assert exported == (result.folder / result.chosen.folder / "model.tflite").read_bytes()
    assert LiteModel.load(result.files[".tflite"]).card == {"n": 10}
    assert result.split == "test"
    assert result.comparison.samples == len(data.test[0])
    assert len(result.comparison.rows) == len(result.kept)
    written = json.loads((result.folder / "result.json").read_text())
    assert written["chosen"] == result.chosen.name
    assert "chosen" in str(result)


def test_a_finished_recipe_is_not_run_again(done, model, data):
    result, _ = done

    def never(*args):
        raise AssertionError("it trains again")

    again = tfc.compress(model, data, RECIPE, result.folder, fit=never, tell=None)
    assert again.outcomes == result.outcomes
    longer = {**RECIPE, "steps": RECIPE["steps"][:2]}
    assert len(tfc.compress(model, data, longer, result.folder, fit=never, tell=None).outcomes) == 3


def test_a_folder_of_an_earlier_version_is_continued(done, model, data, tmp_path):
    """Then an option had another name, and another one did not exist."""
    result, _ = done
    folder = tmp_path / "older"
    shutil.copytree(result.folder, folder)
    older = 0
    for path in folder.glob("*/recipe.json"):
        spec = json.loads(path.read_text())
        for step in spec["steps"]:
            if "int8" in step:
                step["int8"]["recipe"] = step["int8"].pop("format")
                del step["int8"]["samples"]
                older += 1
        path.write_text(json.dumps(spec))
    assert older

    def never(*args):
        raise AssertionError("it trains again")

    again = tfc.compress(model, data, RECIPE, folder, fit=never, tell=None)
    assert [o.name for o in again.outcomes] == [o.name for o in result.outcomes]


def test_other_steps_or_models_do_not_mix(done, model, data):
    result, _ = done
    other = {**RECIPE, "steps": [{"channel_prune": {"target_macs": 0.6, "epochs": 3}}]}
    with pytest.raises(RunError, match=r"01-channel_prune.*other options"):
        tfc.compress(model, data, other, result.folder, tell=None)
    with pytest.raises(RunError, match="begun with another model"):
        tfc.compress(network(12), data, RECIPE, result.folder, tell=None)


def ruin(model, options, context):
    """A step that sets every kernel to zero."""
    model.set_weights([0 * weight for weight in model.get_weights()])
    return StepResult(model, ("ruined",))


def test_a_step_over_its_budget_is_rolled_back(model, data, tmp_path):
    kinds = {**STEPS, "ruin": StepKind(ruin, TrainOptions, "for the test")}
    recipe = {"steps": ["ruin", {"int8": {"budget": {"quality_drop": 0.2}}}]}
    result = tfc.compress(model, data, recipe, tmp_path, kinds=kinds, tell=None)
    start, ruined, lite = result.outcomes
    assert (ruined.kept, lite.kept) == (False, True)
    assert ruined.missed[0].startswith(f"quality fell by {start.quality - ruined.quality:.4f}")
    assert start.quality > 0.85
    assert lite.quality > start.quality - 0.1  # made of the start, not of the ruin
    assert "1 ruin was rolled back: quality fell by" in str(result.table())
    assert [row.name for row in result.comparison.rows] == ["0 start, float32", "2 int8, int8"]


def test_a_budget_that_nothing_meets_is_said(model, data, tmp_path):
    recipe = {"budget": {"macs": 0.1}, "steps": ["int8"]}
    result = tfc.compress(model, data, recipe, tmp_path, tell=None)
    assert result.chosen.kind == "int8"
    assert result.missed == ("macs is 1.000 of the start, not 0.1",)
    assert "NOT within the budget: macs is 1.000" in str(result.table())


def test_a_loss_of_ones_own(model, data, tmp_path):
    """One that Keras cannot make from its config: it is shared with the step's model."""
    mine = keras.Model.from_config(model.get_config())
    mine.set_weights(model.get_weights())
    seen = []

    def loss(y_true, y_pred):
        seen.append(1)
        return keras.losses.sparse_categorical_crossentropy(y_true, y_pred)

    mine.compile("adam", loss)
    recipe = {"budget": {"quality_drop": 1.0}, "steps": [{"train": {"epochs": 1}}]}
    result = tfc.compress(mine, data, recipe, tmp_path, tell=None)
    assert seen
    assert result.outcomes[1].kept


class Killed(Exception):
    pass


def test_a_killed_recipe_goes_on_with_the_step_it_was_in(model, data, tmp_path):
    fits = []

    def killed(fitted, samples, how):
        fits.append(how.name)
        if len(fits) == 2:
            raise Killed
        return fit_keras(fitted, samples, how)

    recipe = {"budget": {"quality_drop": 1.0}, "steps": [{"train": {"epochs": 1}}, "distill"]}
    with pytest.raises(Killed):
        tfc.compress(model, data, recipe, tmp_path, fit=killed, tell=None)
    kept = (tmp_path / "01-train" / "model.keras").read_bytes()
    result = tfc.compress(model, data, recipe, tmp_path, fit=killed, tell=None)
    assert fits == ["train", "distill", "distill"]
    assert (tmp_path / "01-train" / "model.keras").read_bytes() == kept
    assert len(result.outcomes) == 3


@pytest.mark.slow
def test_factors_and_int8_in_training(model, data, tmp_path):
    recipe = {
        "budget": {"quality_drop": 0.2},
        "steps": [{"factorize": {"by": "energy", "value": 0.8, "epochs": 2}}, "qat"],
    }
    result = tfc.compress(model, data, recipe, tmp_path, tell=None)
    start, factored, lite = result.outcomes
    assert factored.macs < start.macs
    assert (lite.format, lite.kept) == ("int8", True)
    assert factored.notes[0].endswith(f"MACs {start.macs:,} -> {factored.macs:,}")


@pytest.mark.slow
def test_a_search_comes_first(model, data, tmp_path):
    space = tfc.SearchSpace({"width": tfc.Choice((4, 8)), "rate": tfc.LogUniform(1e-3, 2e-2)})
    builder = tfc.Builder(lambda p: network(p["width"], p["rate"]), space)
    recipe = {
        "budget": {"quality_drop": 1.0},
        "steps": [{"architecture": {"trials": 3, "epochs": 1, "tuner": "random"}}, "int8"],
    }
    result = tfc.compress(model, data, recipe, tmp_path, builder=builder, tell=None)
    trials = json.loads((tmp_path / "01-architecture" / "history.json").read_text())
    scores = [trial["score"] for trial in trials]
    whole = count_cost(model).macs
    for trial in trials:
        expected = trial["quality"] - 0.05 * trial["macs"] / whole
        assert trial["score"] == pytest.approx(expected, abs=1e-9)
    best = trials[int(np.argmax(scores))]
    assert result.outcomes[1].macs == best["macs"]
    assert result.outcomes[1].notes[0].startswith(f"trial {best['epoch']} of 3: ")


def outcome(number, quality, macs):
    return Outcome(
        number, "step", quality, macs, 10, 0, 100 * macs, macs / 2, 5.0, 0.0, True, (), (), "int8"
    )


def test_the_front_by_hand():
    a, b, c, d = (outcome(1, 0.9, 10), outcome(2, 0.8, 4), outcome(3, 0.85, 6), outcome(4, 0.7, 5))
    assert front([a, b, c, d], "macs") == (b, c, a)
    assert front([a, b, c, d], "latency_ms") == (b, c, a)
    assert b.speed == 2.5


def test_what_would_fail_late_fails_first(model, data, tmp_path, monkeypatch):
    def refused(content, match, given=model, kind=ConfigError, **more):
        with pytest.raises(kind, match=match):
            tfc.compress(given, data, {"steps": content}, tmp_path / "x", tell=None, **more)
        assert not (tmp_path / "x").exists()

    refused(["hpo"], "nothing says what. Fix: pass builder=")
    builder = tfc.Builder(lambda p: network(), tfc.SearchSpace({"rate": tfc.Uniform(1e-3, 1e-2)}))
    for key, value in (("TUNER_ID", "tuner0"), ("ORACLE_IP", "127.0.0.1"), ("ORACLE_PORT", "1")):
        monkeypatch.setenv(f"KERASTUNER_{key}", value)
    refused(["hpo"], "a recipe's is not shared. Fix: unset KERASTUNER_TUNER_ID", builder=builder)
    refused([{"level_prune": {"exclude": ["thrid"]}}], "thrid")
    refused(["train", {"channel_prune": {"target_macs": 0.001}}], "target|reach")
    uncompiled = keras.Model.from_config(model.get_config())
    refused(["train"], "it is not compiled", uncompiled)
    with pytest.raises(DataError, match=r"train: it has 3 inputs and 2 labels"):
        CompressionData(train=(np.zeros(3), np.zeros(2)), val=data.val)
    with pytest.raises(DataError, match=r"val: it is a list"):
        CompressionData(train=data.train, val=[1])

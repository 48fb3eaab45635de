"""The command `tfcompress`, run as a user runs it: files in, files out, one clear error."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import tfcompress
from tfcompress.cli.main import COMMANDS, main
from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.sparsity import total_zeros
from tfcompress.litert.model import LiteModel


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model, its test samples, and images."""
    keras.utils.set_random_seed(0)
    place = tmp_path_factory.mktemp("files")
    layers = keras.layers
    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(inputs)
    x = layers.Conv2D(32, 3, padding="same", activation="relu", name="second")(x)
    x = layers.GlobalAveragePooling2D()(x)
    classes = layers.Dense(4, activation="softmax", name="classes")(x)
    keras.Model(inputs, classes).save(place / "model.keras")
    rng = np.random.default_rng(0)
    samples = rng.random((40, 16, 16, 3)).astype("float32")
    np.savez(place / "test.npz", inputs=samples, labels=rng.integers(0, 4, 40))
    np.save(place / "inputs.npy", samples)
    (place / "images").mkdir()
    for i in range(12):
        pixels = rng.integers(0, 256, (24, 20, 3), np.uint8)
        Image.fromarray(pixels).save(place / "images" / f"{i}.png")
    return place


def run(capsys, *argv):
    main([str(a) for a in argv])
    return capsys.readouterr().out


def test_inspect(folder, capsys):
    model = keras.saving.load_model(folder / "model.keras")
    shown = run(capsys, "inspect", folder / "model.keras")
    assert f"{count_cost(model).macs:,}" in shown
    assert "16 of 16" in shown  # channels of `first` that may go
    assert "outputs" in shown or "output" in shown  # the classes stay, and why


def test_prune_channels(folder, capsys, tmp_path):
    before = (folder / "model.keras").read_bytes()
    out = tmp_path / "small.keras"
    shown = run(capsys, "prune", folder / "model.keras", out, "--target-macs", "0.5")
    whole, small = (keras.saving.load_model(path) for path in (folder / "model.keras", out))
    assert 0.4 < count_cost(small).macs / count_cost(whole).macs <= 0.51
    assert (folder / "model.keras").read_bytes() == before
    assert str(out) in shown.replace("\n", "")


def test_prune_weights(folder, capsys, tmp_path):
    out = tmp_path / "sparse.keras"
    run(capsys, "prune", folder / "model.keras", out, "--sparsity", "0.75", "--exclude", "classes")
    zeros = total_zeros(keras.saving.load_model(out))
    # of 3*16*9 + 16*32*9 + 32*4 weights three quarters of the first two kernels
    assert zeros.zeros == 0.75 * (432 + 4608)
    shown = run(capsys, "inspect", out)
    assert shown.count("75.0%") >= 2


@pytest.mark.parametrize("calibration", ["inputs.npy", "test.npz", "images"])
def test_quantize(folder, capsys, tmp_path, calibration):
    out = tmp_path / "model.tflite"
    run(capsys, "quantize", folder / "model.keras", out, "--calibration", folder / calibration)
    lite = LiteModel.load(out)
    assert (lite.inputs[0].dtype, lite.float_ops) == ("int8", ())
    scale = lite.inputs[0].scale
    assert scale == pytest.approx(1 / 255, rel=0.05)  # inputs go from 0 to 1


def test_compare(folder, capsys, tmp_path):
    lite = tmp_path / "model.tflite"
    run(capsys, "quantize", folder / "model.keras", lite, "--format", "float16")
    shown = run(capsys, "compare", folder / "model.keras", lite, "--data", folder / "test.npz")
    assert "macro F1" in shown
    assert "LiteRT" in shown
    assert "on 40 samples" in shown


@pytest.mark.parametrize("flag", [["--recipe", "float16"], ["--recipe=float16"]])
def test_the_old_flag_of_quantize_works_and_says_its_new_name(folder, capsys, tmp_path, flag):
    out = tmp_path / "model.tflite"
    main(["quantize", str(folder / "model.keras"), str(out), *flag])
    assert "--recipe of quantize is now called --format" in capsys.readouterr().err
    assert out.stat().st_size < 0.7 * _float32_size(folder)


def _float32_size(folder):
    """Bytes of the model's weights in float32: 3*16*9 + 16 + 16*32*9 + 32 + 32*4 + 4 numbers."""
    return 4 * (432 + 16 + 4608 + 32 + 128 + 4)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["inspect", "none.keras"], "none.keras: there is no such file"),
        (["inspect", "model.h5"], "its suffix '.h5' is not supported"),
        (["prune", "{model}", "out.keras"], "prune: it needs one target"),
        (["prune", "{model}", "out.h5", "--sparsity", "0.5"], "out.h5: it does not end in .keras"),
        (["prune", "{model}", "no/out.keras", "--sparsity", "0.5"], "its folder does not exist"),
        (["prune", "{model}", "out.keras", "--sparsity", "2"], "sparsity: it is 2"),
        (["prune", "{model}", "out.keras", "--sparsity", "0"], "sparsity: it is 0"),
        (["quantize", "{model}", "out.tflite"], "int8 measures ranges on data, and none is given"),
        (["quantize", "{model}", "out.tflite", "--format", "int2"], "int2"),
        (["compare", "{model}", "--data", "none.npz"], "none.npz: there is no such file"),
    ],
)
def test_bad_input(folder, capsys, tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    model = str(folder / "model.keras")
    with pytest.raises(SystemExit) as ended:
        main([part.format(model=model) for part in argv])
    assert ended.value.code == 2
    told = capsys.readouterr().err.replace("\n", "")
    assert message in told
    assert told.count("error:") == 1
    assert list(tmp_path.iterdir()) == []


RECIPE = """
budget: {quality_drop: 1.0}
steps:
  - channel_prune: {target_macs: 0.5, epochs: 1}
  - distill: {epochs: 1}
  - int8
"""


@pytest.fixture
def to_compress(folder, tmp_path):
    """Arguments of compress, of which the model and the recipe are replaceable."""
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    data = folder / "test.npz"
    return ["--recipe", tmp_path / "recipe.yaml", "--train", data, "--val", data, "--batch", "8"]


def test_compress(folder, capsys, tmp_path, to_compress):
    model, out = folder / "model.keras", tmp_path / "out"
    loss = ["--loss", "sparse_categorical_crossentropy"]
    shown = run(capsys, "compress", model, out, *to_compress, *loss)
    assert f"wrote {out}/chosen.tflite" in shown.replace("\n", "")
    outcomes = json.loads((out / "result.json").read_text())["outcomes"]
    assert [o["kind"] for o in outcomes] == ["start", "channel_prune", "distill", "int8"]
    assert 0.4 < outcomes[-1]["macs"] / count_cost(keras.saving.load_model(model)).macs <= 0.51
    began = (out / "01-channel_prune" / "model.keras").stat().st_mtime_ns
    run(capsys, "compress", model, out, *to_compress, *loss)  # all steps are there
    assert (out / "01-channel_prune" / "model.keras").stat().st_mtime_ns == began


def test_compress_takes_a_tf_keras_file(folder, capsys, tmp_path, to_compress):
    """It crosses to Keras 3, and trains there."""
    old = tmp_path / "old.keras"
    tfcompress.to_tf_keras(keras.saving.load_model(folder / "model.keras")).save(old)
    (tmp_path / "recipe.yaml").write_text("budget: {quality_drop: 1.0}\nsteps: [train, int8]")
    loss = ["--loss", "sparse_categorical_crossentropy"]
    run(capsys, "compress", old, tmp_path / "out", *to_compress, *loss)
    written = json.loads((tmp_path / "out" / "result.json").read_text())
    assert [outcome["kind"] for outcome in written["outcomes"]] == ["start", "train", "int8"]
    assert (tmp_path / "out" / "chosen.tflite").is_file()


@pytest.mark.parametrize(
    ("recipe", "more", "message"),
    [
        (RECIPE, [], "model.keras: it comes without a loss and an optimizer"),
        (RECIPE, ["--loss", "softly"], "loss: Keras has no 'softly'"),
        (RECIPE, ["--test", "none.npz"], "none.npz: there is no such file"),
        ("steps: [{distill: {epoch: 1}}]", [], "step 1 (distill): unknown field 'epoch'"),
    ],
)
def test_compress_refuses_before_any_step(
    folder, capsys, tmp_path, to_compress, recipe, more, message
):
    (tmp_path / "recipe.yaml").write_text(recipe)
    more = more if "--loss" in more or not more else [*more, "--loss", "mse"]
    argv = ["compress", folder / "model.keras", tmp_path / "out", *to_compress, *more]
    with pytest.raises(SystemExit) as ended:
        run(capsys, *argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_as_a_program(folder):
    for command in COMMANDS:
        done = subprocess.run(
            [sys.executable, "-m", "tfcompress.cli.main", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert command in done.stdout

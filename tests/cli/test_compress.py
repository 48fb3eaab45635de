"""`tfcompress compress`: a recipe from files, refused early, continued after Ctrl-C."""

import contextlib
import json
import shlex
import signal
import subprocess
import sys
import time

import keras
import pytest

import tfcompress
from tfcompress.evaluation.cost import count_cost

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


def test_compress(folder, run, tmp_path, to_compress):
    model, out = folder / "model.keras", tmp_path / "out"
    loss = ["--loss", "sparse_categorical_crossentropy"]
    shown = run("compress", model, out, *to_compress, *loss)
    assert f"wrote {out}/chosen.tflite" in shown.replace("\n", "")
    outcomes = json.loads((out / "result.json").read_text())["outcomes"]
    assert [o["kind"] for o in outcomes] == ["start", "channel_prune", "distill", "int8"]
    assert 0.4 < outcomes[-1]["macs"] / count_cost(keras.saving.load_model(model)).macs <= 0.51
    began = (out / "01-channel_prune" / "model.keras").stat().st_mtime_ns
    run("compress", model, out, *to_compress, *loss)  # all steps are there
    assert (out / "01-channel_prune" / "model.keras").stat().st_mtime_ns == began


def test_compress_takes_a_tf_keras_file(folder, run, tmp_path, to_compress):
    """It crosses to Keras 3, and trains there."""
    old = tmp_path / "old.keras"
    tfcompress.to_tf_keras(keras.saving.load_model(folder / "model.keras")).save(old)
    (tmp_path / "recipe.yaml").write_text("budget: {quality_drop: 1.0}\nsteps: [train, int8]")
    loss = ["--loss", "sparse_categorical_crossentropy"]
    run("compress", old, tmp_path / "out", *to_compress, *loss)
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
    folder, run, capsys, tmp_path, to_compress, recipe, more, message
):
    (tmp_path / "recipe.yaml").write_text(recipe)
    more = more if "--loss" in more or not more else [*more, "--loss", "mse"]
    argv = ["compress", folder / "model.keras", tmp_path / "out", *to_compress, *more]
    with pytest.raises(SystemExit) as ended:
        run(*argv)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err.replace("\n", "")
    assert not (tmp_path / "out").exists()


def test_after_ctrl_c_the_typed_command_goes_on(folder, run, tmp_path, to_compress):
    """A real SIGINT in the second step; then what it says is done, and the first step is kept."""
    (tmp_path / "recipe.yaml").write_text(
        "budget: {quality_drop: 1.0}\nsteps: [{channel_prune: {target_macs: 0.5, epochs: 1}}, "
        "{train: {epochs: 100}}]"
    )
    typed = ["compress", folder / "model.keras", tmp_path / "my out", *to_compress]
    typed = [str(part) for part in (*typed, "--loss", "sparse_categorical_crossentropy")]
    errors = tmp_path / "errors.txt"
    with errors.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tfcompress", *typed],
            stdout=subprocess.PIPE,
            stderr=file,
            text=True,
        )
    for line in process.stdout:
        if line.startswith("step 2 of 2"):
            break
    # As a user does who sees no answer: TensorFlow may swallow a signal while it traces a graph,
    # and the hundred epochs take five seconds.
    deadline = time.monotonic() + 120
    while "interrupted" not in errors.read_text() and time.monotonic() < deadline:
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=0.5)
    process.communicate(timeout=120)
    told = errors.read_text()
    assert process.returncode == 130, told
    assert "Traceback" not in told
    *_, said, command = told.splitlines()
    assert said == ("interrupted; finished steps are kept. To go on, run the same command again:")
    words = shlex.split(command)
    assert words == [sys.executable, "-m", "tfcompress", *typed]
    first = tmp_path / "my out" / "01-channel_prune" / "model.keras"
    assert not (tmp_path / "my out" / "result.json").exists()
    began = first.stat().st_mtime_ns
    run(*words[3:])
    assert first.stat().st_mtime_ns == began
    outcomes = json.loads((tmp_path / "my out" / "result.json").read_text())["outcomes"]
    assert [o["kind"] for o in outcomes] == ["start", "channel_prune", "train"]

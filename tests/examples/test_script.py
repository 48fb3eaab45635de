"""The script that was trained without compression, and the same with each technique: all run."""

import difflib
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from tfcompress.evaluation.cost import count_cost
from tfcompress.evaluation.sparsity import count_zeros

SCRIPTS = Path(__file__).resolve().parents[2] / "examples" / "script"
TECHNIQUES = sorted(path.stem for path in SCRIPTS.glob("*.py") if path.stem != "plain")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a script in an empty folder; its variables."""
    monkeypatch.chdir(tmp_path)

    def run_script(name, epochs=8):
        monkeypatch.setattr(sys, "argv", [name, str(epochs)])
        return runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")

    return run_script


@pytest.mark.parametrize("name", [name for name in TECHNIQUES if name != "search"])
def test_a_technique_is_a_few_lines(name):
    plain, changed = ((SCRIPTS / f"{n}.py").read_text().splitlines() for n in ("plain", name))
    added = [line for line in difflib.ndiff(plain, changed) if line.startswith("+ ")]
    assert 3 <= len(added) <= 15, added


def test_plain(run):
    run("plain")
    model = keras.saving.load_model("digits.keras")
    assert model.count_params() == 5130


def test_level_pruning(run):
    run("level_pruning")
    layers = count_zeros(keras.saving.load_model("digits.keras"))
    zeros = sum(layer.zeros for layer in layers)
    assert zeros / 5072 == pytest.approx(0.8, abs=0.01)  # 9 * 16 + 144 * 32 + 320 weights


def test_channel_pruning(run):
    run("channel_pruning")
    model = keras.saving.load_model("digits.keras")
    # Of 64 * 9 * 16 + 16 * 144 * 32 + 320; a channel of the first convolution is 3 %.
    assert count_cost(model).macs / 83264 == pytest.approx(0.5, abs=0.03)


def test_factorization(run):
    run("factorization")
    assert count_cost(keras.saving.load_model("digits.keras")).macs < 0.65 * 83264


def test_distillation(run):
    found = run("distillation")
    model = keras.saving.load_model("digits.keras")
    assert model.count_params() == 5130
    accuracy = (model.predict(found["test_images"]).argmax(-1) == found["test_labels"]).mean()
    assert accuracy > 0.5, "ten classes: chance is 0.1"


def test_int8(run):
    from ai_edge_litert.interpreter import Interpreter

    run("int8")
    assert Interpreter("digits.tflite").get_input_details()[0]["dtype"] == np.int8


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("tfmot_qat", "digits.tflite"),
        ("recipe", "compressed"),
        ("search", "search/trials/0000/model.keras"),
    ],
)
def test_in_a_process_of_its_own(tmp_path, name, made):
    root = SCRIPTS.parents[1]
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / f"{name}.py"), "8"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / made).exists()

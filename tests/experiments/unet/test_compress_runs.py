"""Recipes as a user starts them, killed in between, on generated data."""

import json

import keras
import numpy as np
import pytest

from tests.experiments.processes import kill_when, run


@pytest.mark.slow
def test_unet_compress_killed_and_resumed(tmp_path):
    folder = tmp_path / "unet-compress" / "default"
    steps = folder / "steps"
    options = ("unet.compress", "--smoke", "--root", tmp_path)
    kill_when(lambda: (steps / "01-channel_prune" / "outcome.json").is_file(), *options)
    first = (steps / "01-channel_prune" / "model.keras").read_bytes()
    output = run(*options, "--resume")
    assert (steps / "01-channel_prune" / "model.keras").read_bytes() == first
    lines = [line.split()[0] for line in output.splitlines() if "val mIoU" in line]
    assert "dense" not in lines, "the dense U-Net was trained again"
    assert "channel_prune" not in lines, "a finished step was done again"
    metrics = json.loads((folder / "metrics.json").read_text())
    kinds = [outcome["kind"] for outcome in metrics["outcomes"]]
    assert kinds == ["start", "channel_prune", "distill", "int8"]
    start, *_, lite = metrics["outcomes"]
    assert 0.17 < lite["macs"] / start["macs"] < 0.22
    assert (steps / "chosen.tflite").stat().st_size in (
        o["size_bytes"] for o in metrics["outcomes"]
    )
    assert len(list((folder / "plots").glob("front_*.png"))) == 3
    assert "Step by step" in (folder / "report.html").read_text()
    assert "nothing to do" in run(*options)


@pytest.mark.slow
def test_trash_compress_by_a_recipe_of_ones_own(tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "budget: {quality_drop: 1.0}\nsteps: [{level_prune: {sparsity: 0.5}}, int8]\n"
    )
    run("trash.compress", "--smoke", "--root", tmp_path, "--recipe", recipe)
    folder = tmp_path / "trash-compress" / "default"
    metrics = json.loads((folder / "metrics.json").read_text())
    pruned, lite = metrics["outcomes"][1:]
    saved = keras.saving.load_model(folder / "steps" / "01-level_prune" / "model.keras")
    kernels = [
        layer.kernel.numpy()
        for layer in saved.layers
        if type(layer).__name__ in ("Conv2D", "Dense")
    ]
    shares = [np.mean(kernel == 0) for kernel in kernels]
    assert np.allclose(shares, 0.5, atol=0.01)
    assert lite["zeros"] >= pruned["zeros"]
    recipe.write_text("steps: [{level_prune: {sparsities: 0.5}}]")
    bad = run("trash.compress", "--root", tmp_path, "--recipe", recipe, code=2)
    assert "step 1 (level_prune): unknown field 'sparsities'" in bad.replace("\n", " ")

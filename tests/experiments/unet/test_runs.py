"""Every experiment as a user starts it: a process of its own, on generated data."""

import json
import shutil

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.experiments.processes import kill_when, run
from tests.reporting.browser import CHROMIUM, assert_nothing_is_cut
from tests.reporting.html_page import assert_page_is_whole, findings
from tfcompress.litert.model import LiteModel


def check_level_prune_run(folder, names=()):
    metrics = json.loads((folder / "metrics.json").read_text())
    dense, pruned, int8, *channels = metrics["comparison"]["rows"]
    assert dense["sparsity"] < 0.01
    assert pruned["sparsity"] == pytest.approx(0.8, abs=0.005)
    assert int8["sparsity"] >= pruned["sparsity"] - 0.005
    assert [row["name"] for row in channels] == list(names)
    for row in channels:
        assert row["macs"] == pytest.approx(0.5 * dense["macs"], rel=0.05)
    assert json.loads((folder / "status.json").read_text()) == {"state": "finished"}
    page = assert_page_is_whole(folder / "report.html")
    assert len(page.all("img")) == 9
    best = max(metrics["comparison"]["rows"], key=lambda row: row["quality"]["mean_iou"])
    found = ("Best mean IoU", f"{best['quality']['mean_iou']:.4f}", best["name"])
    assert findings(page)[0] == found
    for name in (
        "mean_iou", "loss", "predictions", "precision_recall", "confusion", "worst",
        "layer_sparsity",
    ):  # fmt: skip
        with Image.open(folder / "plots" / f"{name}.png") as picture:
            assert picture.width > 300
    lite = LiteModel.load(folder / "pruned-int8-seed0.tflite")
    counted = [(tensor.size, tensor.zeros) for _, tensor in lite.file.weights()]
    sizes, zeros = map(sum, zip(*counted, strict=True))
    assert zeros / sizes == pytest.approx(int8["sparsity"])
    return metrics


def test_unet_level_prune_runs_to_its_end(tmp_path):
    output = run("unet.level_prune", "--smoke", "--root", tmp_path)
    check_level_prune_run(tmp_path / "unet-level-prune" / "default")
    assert "E0000" not in output, "TensorFlow's messages must stay away"


@pytest.mark.slow
def test_demo_and_what_follows_it(tmp_path):
    output = run("demo", "--smoke", "--root", tmp_path)
    folder = tmp_path / "demo" / "default"
    check_level_prune_run(folder, ["50% of the MACs float32", "50% of the MACs int8"])
    for width in (400, 900, 1700) if CHROMIUM else ():
        assert_nothing_is_cut(folder / "report.html", tmp_path / "browser", width)
    assert "Comparison, measured on the finished models" in output
    assert "E0000" not in output, "TensorFlow's messages must stay away"
    assert "Warning" not in output.replace("CalibrationWarning", "")

    before = (folder / "metrics.json").stat().st_mtime_ns
    assert "nothing to do" in run("demo", "--smoke", "--root", tmp_path)
    assert (folder / "metrics.json").stat().st_mtime_ns == before
    clash = run("demo", "--smoke", "--root", tmp_path, "--epochs", "5", code=2)
    assert "another configuration (epochs: 4, now 5)" in clash
    again = run("demo", "--config", folder / "config.json", "--root", tmp_path, "--run", "default")
    assert "nothing to do" in again

    images = folder / "generated_tiles" / "Tile 1" / "images"
    alone = tmp_path / "alone"  # a LiteRT file says by itself how it is fed
    alone.mkdir()
    shutil.copy(folder / "pruned-int8-seed0.tflite", alone)
    for place, model in ((folder, "dense-seed0.keras"), (alone, "pruned-int8-seed0.tflite")):
        out = tmp_path / "unet-predict" / model
        text = run(
            "unet.predict", "--model", place / model, "--images", images, "--root", tmp_path,
            "--run", model,
        )  # fmt: skip
        assert "1 masks and overlays" in text
        mask = np.asarray(Image.open(out / "image_part_001_mask.png"))
        assert mask.shape == (128, 128, 3)
        colors = {tuple(color) for color in mask.reshape(-1, 3).tolist()}
        assert colors <= {
            (0x3C, 0x10, 0x98),
            (0x84, 0x29, 0xF6),
            (0x6E, 0xC1, 0xE4),
            (0xFE, 0xDD, 0x3A),
            (0xE2, 0xA9, 0x29),
            (0x9B, 0x9B, 0x9B),
        }
        tiles = folder / "generated_tiles"
        text = run("handover.evaluate_model", "--model", place / model, "--data", tiles, "--layers")
        assert "mIoU" in text


@pytest.mark.slow
def test_unet_train_and_int8_of_its_model(tmp_path):
    run("unet.train", "--smoke", "--root", tmp_path)
    folder = tmp_path / "unet-train" / "default"
    history = (folder / "history.csv").read_text().splitlines()
    assert len(history) == 1 + 4
    page = (folder / "report.html").read_text()
    assert "Multi-class U-Net" in page
    output = run(
        "unet.int8", "--smoke", "--root", tmp_path, "--model", folder / "model.keras",
        "--data", folder / "generated_tiles",
    )  # fmt: skip
    rows = json.loads((tmp_path / "unet-int8" / "default" / "metrics.json").read_text())
    formats = [row["name"] for row in rows["comparison"]["rows"]]
    assert formats == ["float32", "float16", "dynamic_int8", "int8", "int16x8"]
    assert "many times slower than float32" in output


@pytest.mark.slow
def test_smoke_of_experiments_that_start_from_a_file(tmp_path):
    assert "1 masks and overlays" in run("unet.predict", "--smoke", "--root", tmp_path)
    assert "mIoU" in run("handover.evaluate_model", "--smoke", "--root", tmp_path)


@pytest.mark.slow
def test_two_seeds_and_a_pattern(tmp_path):
    output = run("unet.level_prune", "--smoke", "--root", tmp_path, "--seeds", "0", "1")
    assert "Mean IoU on the test images over 2 seeds" in output
    run(
        "unet.level_prune", "--smoke", "--root", tmp_path, "--run", "pattern",
        "--granularity", "2:4", "--sparsity", "0.5", "--scope", "layer",
    )  # fmt: skip
    metrics = json.loads((tmp_path / "unet-level-prune/pattern/metrics.json").read_text())
    assert metrics["pruning"]["sparsity"] == 0.5


@pytest.mark.slow
def test_unet_channel_prune_and_its_resume(tmp_path):
    folder = tmp_path / "unet-channel-prune" / "default"
    kill_when(
        lambda: (folder / "checkpoints/macs50-seed0/round-01.keras").is_file(),
        "unet.channel_prune",
        "--smoke",
        "--root",
        tmp_path,
    )
    output = run("unet.channel_prune", "--smoke", "--root", tmp_path, "--resume")
    assert "dense    1/4" not in output, "the dense U-Net was trained again"
    assert "macs50: round 1" not in output, "the first round was done again"
    assert "macs50: round 2" in output
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["comparison"]["rows"]}
    assert list(rows) == [
        "dense float32",
        "dense int8",
        "50% MACs float32",
        "50% MACs int8",
        "50% MACs, random channels float32",
        "50% MACs, from scratch float32",
    ]
    whole = rows["dense float32"]
    for name in ("50% MACs float32", "50% MACs, random channels float32"):
        assert rows[name]["macs"] == pytest.approx(0.5 * whole["macs"], rel=0.05)
    assert rows["50% MACs, from scratch float32"]["macs"] == rows["50% MACs float32"]["macs"]
    for name in ("dense int8", "50% MACs float32"):
        assert rows["50% MACs int8"]["size_bytes"] < rows[name]["size_bytes"]
    assert set(metrics["plans"]) == {"macs50", "macs50-random"}
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 7
    for words in ("Sensitivity of each group", "Channel plan", "MACs against latency"):
        assert words in page
    history = (folder / "history.csv").read_text().splitlines()[1:]
    assert len(history) == 4 + 3 + 3 + 4


@pytest.mark.slow
def test_unet_tfmot_prune_and_its_resume(tmp_path):
    folder = tmp_path / "unet-tfmot-prune" / "default"
    kill_when(
        lambda: (folder / "checkpoints/tfmot-seed0/history.json").is_file(),
        "unet.tfmot_prune",
        "--smoke",
        "--root",
        tmp_path,
    )
    output = run("unet.tfmot_prune", "--smoke", "--root", tmp_path, "--resume")
    assert "its U-Nets are trained already" in output
    assert output.count("tfmot ") in (3, 4), "at most the epoch of the kill is done again"
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["comparison"]["rows"]}
    assert len(rows) == 6
    for name in ("LevelPruner float32", "TFMOT float32", "LevelPruner int8", "TFMOT int8"):
        assert rows[name]["sparsity"] == pytest.approx(0.8, abs=0.02)
    history = (folder / "history.csv").read_text().splitlines()[1:]
    assert len(history) == 4 + 3 + 3
    assert "Time of an epoch" in (folder / "report.html").read_text()
    refused = run("unet.tfmot_prune", "--smoke", "--root", tmp_path, "--granularity", "1x4", code=2)
    assert "TFMOT lays blocks over Dense kernels only" in refused


@pytest.mark.slow
def test_unet_qat_from_a_run_and_its_resume(tmp_path):
    run("unet.level_prune", "--smoke", "--root", tmp_path)
    source = tmp_path / "unet-level-prune" / "default"
    tiles = source / "generated_tiles"
    flags = ("--smoke", "--root", tmp_path, "--from-run", source, "--data", tiles)
    flags = (*flags, "--qat-epochs", 3)
    folder = tmp_path / "unet-qat" / "default"
    history = folder / "checkpoints/dense-qat-seed0/history.json"
    kill_when(lambda: history.is_file(), "unet.qat", *flags)
    output = run("unet.qat", *flags, "--resume")
    again = [line for line in output.splitlines() if line.startswith("QAT ")]
    assert len(again) in (2, 3), "at most the epoch of the kill is done again"
    assert again[-1].split()[1] == "3/3"
    assert [row["epoch"] for row in json.loads(history.read_text())] == [1, 2, 3]
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["comparison"]["rows"]}
    assert list(rows) == [
        "dense float32",
        "dense int8 (PTQ)",
        "dense int8 (QAT)",
        "80% zeros float32",
        "80% zeros int8 (PTQ)",
        "80% zeros int8 (PQAT)",
    ]
    assert rows["80% zeros int8 (PQAT)"]["sparsity"] >= rows["80% zeros float32"]["sparsity"]
    assert rows["dense int8 (QAT)"]["sparsity"] < 0.1
    for name in ("dense int8 (QAT)", "80% zeros int8 (PQAT)"):
        assert rows[name]["size_bytes"] < 0.5 * rows["dense float32"]["size_bytes"]
        assert metrics["debug"][name]["rows"]
        assert not metrics["debug"][name]["unmatched"]
    # Ranges start from calibration, so even a short training in int8 is near the calibrated file.
    noise = {
        name: np.median([row["snr_db"] for row in report["rows"]])
        for name, report in metrics["debug"].items()
    }
    assert noise["dense int8 (QAT)"] > noise["dense int8 (PTQ)"] - 3
    page = (folder / "report.html").read_text()
    assert "Where int8 differs from float" in page
    assert "worst first" in output
    bad = run("unet.qat", "--smoke", "--root", tmp_path, "--from-run", tmp_path, code=2)
    assert "give the folder of a finished unet-level-prune run" in bad.replace("\n", " ")


# What the folder shows at the moment of the kill.
MOMENTS = {
    "training": lambda f: (f / "checkpoints/dense-seed0/epoch-0002").is_dir(),
    "pruning": lambda f: (f / "checkpoints/pruned-seed0/epoch-0004").is_dir(),
    "export": lambda f: (f / "dense-seed0.tflite").is_file(),
    "report": lambda f: (f / "plots").is_dir(),
}


def masks_in(folder):
    newest = max(folder.glob("checkpoints/pruned-seed0/epoch-*"))
    with h5py.File(newest / "state.weights.h5") as file:
        store = file["_tfcompress_pruning/vars"]
        return {name: np.array(store[name]) for name in store if name.startswith("mask")}


@pytest.mark.slow
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(tmp_path, moment):
    arguments = ("--smoke", "--root", tmp_path, "--epochs", "6", "--sparse-epoch", "4")
    folder = tmp_path / "unet-level-prune" / "default"
    kill_when(lambda: MOMENTS[moment](folder), "unet.level_prune", *arguments)
    before = masks_in(folder) if moment == "pruning" else {}

    assert "it is unfinished" in run("unet.level_prune", *arguments, code=2)
    output = run("unet.level_prune", *arguments, "--resume")
    check_level_prune_run(folder)
    rows = (folder / "history.csv").read_text().splitlines()[1:]
    assert len(rows) == 6 + 5
    if moment == "training":
        assert "dense: resuming after epoch" in output
    if moment == "pruning":
        assert "pruned: resuming after epoch" in output
        for name, mask in masks_in(folder).items():
            assert not (mask & ~before[name]).any(), "a pruned weight came back"
    if moment in ("export", "report"):
        assert "its U-Nets are trained already" in output
    assert not list(folder.rglob("*.tmp"))


BAD = {
    "no data": (["--data", "missing"], "missing: there is no such folder"),
    "empty folder": (["--data", "empty"], "neither 'Tile N' folders nor images/ and masks/"),
    "patch": (["--patch", "4096"], "a patch of 4096x4096 is larger than the image"),
    "levels": (["--patch", "100"], "use multiples of 16"),
    "epochs": (["--epochs", "3", "--sparse-epoch", "5"], "let 0 < dense_epochs < sparse_epoch"),
    "granularity": (["--granularity", "5:4"], "'5:4' is not a pattern"),
    "sparsity": (["--sparsity", "1.5"], r"must be in [0, 1)"),
    "budget": (["--channel-macs", "1.5"], "target_macs: it is 1.5, but must be in (0, 1)"),
    "one class": (["--classes", "Road", "#000000"], "give at least two"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_clear_error(tmp_path, name):
    arguments, message = BAD[name]
    (tmp_path / "empty").mkdir()
    arguments = [str(tmp_path / a) if a in ("missing", "empty") else a for a in arguments]
    output = run(
        "unet.level_prune", "--root", tmp_path / "runs", "--tiles", "3", "--images-per-tile", "1",
        *arguments, code=2,
    )  # fmt: skip
    errors = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in output.replace("\n", " ")
    assert "Fix: " in output or "use multiples of 16" in output
    assert "Traceback" not in output
    assert not list((tmp_path / "runs").rglob("*.keras"))


@pytest.mark.slow
def test_unet_distill(tmp_path):
    output = run("unet.distill", "--smoke", "--root", tmp_path, "--seeds", 0, 1)
    folder = tmp_path / "unet-distill" / "default"
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["comparison"]["rows"]}
    names = [f"{name} {format}" for name in ("dense", "shrunk", "taught") for format in _FORMATS]
    assert list(rows) == names
    for name in ("shrunk float32", "taught float32"):
        assert rows[name]["macs"] == pytest.approx(0.5 * rows["dense float32"]["macs"], rel=0.05)
    assert len(metrics["seeds"]) == 2
    assert "brought back" in output
    assert "taught float32 - shrunk float32" in output
    assert "channel_wise" in (folder / "history.csv").read_text().splitlines()[0]
    output = run(
        "unet.distill", "--smoke", "--root", tmp_path, "--run", "backbone",
        "--teacher-backbone", "resnet18",
    )  # fmt: skip
    assert [line for line in output.splitlines() if line.startswith("teacher")]
    bad = run(
        "unet.distill", "--smoke", "--root", tmp_path, "--run", "wrong",
        "--teacher-backbone", "resnet19", code=2,
    )  # fmt: skip
    assert "use a backbone of segmentation_models" in bad.replace("\n", " ")
    bad = run("unet.distill", "--smoke", "--root", tmp_path, "--teacher", "no.keras", code=2)
    assert "there is no no.keras" in bad


_FORMATS = ("float32", "int8")

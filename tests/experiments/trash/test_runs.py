"""The classifier's experiments as a user starts them, on generated pictures."""

import csv
import json

import pytest

from tests.experiments.processes import kill_when, run
from tests.reporting.html_page import assert_page_is_whole, findings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Folder of runs with a finished `trash-train/smoke`."""
    folder = tmp_path_factory.mktemp("runs")
    run("trash.train", "--smoke", "--root", folder, "--run", "smoke")
    return folder


def rows_of(folder):
    return json.loads((folder / "metrics.json").read_text())["comparison"]["rows"]


def test_trash_train_runs_to_its_end(root):
    folder = root / "trash-train" / "smoke"
    rows = rows_of(folder)
    assert [row["name"] for row in rows] == ["model float32", "model int8"]
    assert {row["macs"] for row in rows} == {494_496}
    assert rows[1]["size_bytes"] < 0.7 * rows[0]["size_bytes"]
    best = max(rows, key=lambda row: row["quality"]["macro_f1"])
    page = assert_page_is_whole(folder / "report.html")
    found = ("Best macro F1", f"{best['quality']['macro_f1']:.4f}", best["name"])
    assert findings(page)[0] == found
    assert f"Mistakes of {best['name']}" in [heading.text for heading in page.all("h2")]
    with (folder / "history.csv").open() as file:
        f1 = [float(row["val_macro_f1"]) for row in csv.DictReader(file)]
    assert max(f1) < 0.99, "the generated pictures are too easy"


@pytest.mark.slow
def test_trash_train_again_score_and_tucker(root, tmp_path):
    folder = root / "trash-train" / "smoke"
    rows = rows_of(folder)
    again = run("trash.train", "--smoke", "--root", root, "--run", "smoke")
    assert "nothing to do" in again
    output = run("trash.score", "--smoke", "--root", root, "--json", tmp_path / "score.json")
    assert "Score of the trash competition" in output
    scored = json.loads((tmp_path / "score.json").read_text())["rows"][0]
    assert scored["macs"] == 494_496
    # The Keras file scores as its float32 conversion does, up to rounding.
    assert scored["quality"]["macro_f1"] == pytest.approx(rows[0]["quality"]["macro_f1"], abs=0.02)
    output = run("trash.tucker", "--smoke", "--root", tmp_path)
    metrics = json.loads((tmp_path / "trash-tucker/default/metrics.json").read_text())
    plan = metrics["factorization"]
    assert 0.65 < plan["macs_after"] / plan["macs_before"] <= 0.7
    macs = [row["macs"] for row in metrics["comparison"]["rows"]]
    assert macs == [494_496, 494_496, plan["macs_after"], plan["macs_after"]]
    measured = tmp_path / "trash-tucker" / "measured"
    options = ("trash.tucker", "--smoke", "--root", tmp_path, "--run", "measured", "--measure")
    kill_when(lambda: list(measured.glob("checkpoints/*/epoch-0001")), *options)
    slower = json.loads((measured / "measured_no_faster.json").read_text())
    run(*options, "--resume")
    left = json.loads((measured / "metrics.json").read_text())["factorization"]
    assert {row["path"] for row in left["rows"]} == {row["path"] for row in plan["rows"]} - {
        *slower
    }
    missing = run("trash.score", "--model", folder / "model.keras", code=2)
    assert "give the folder of class folders" in missing.replace("\n", " ")


@pytest.mark.slow
def test_trash_distill_and_its_resume(tmp_path):
    folder = tmp_path / "trash-distill" / "default"
    kill_when(
        lambda: list(folder.glob("checkpoints/distilled-seed0/epoch-0001")),
        "trash.distill",
        "--smoke",
        "--root",
        tmp_path,
    )
    output = run("trash.distill", "--smoke", "--root", tmp_path, "--resume")
    lines = [line.split()[0] for line in output.splitlines() if "val F1" in line]
    assert "teacher" not in lines, "the teacher was trained again"
    assert "plain" not in lines, "the first student was trained again"
    assert lines.count("distilled") == 1, "the first epoch was done again"
    assert {"factored", "both"} <= set(lines)
    metrics = json.loads((folder / "metrics.json").read_text())
    rows = {row["name"]: row for row in metrics["comparison"]["rows"]}
    assert [*rows][::2] == [
        f"{name} float32" for name in ("teacher", "plain", "factored", "distilled", "both")
    ]
    share = metrics["factorization"]["macs_after"] / metrics["factorization"]["macs_before"]
    assert 0.75 < share <= 0.8
    assert rows["factored int8"]["macs"] == pytest.approx(share * rows["plain int8"]["macs"])
    page = (folder / "report.html").read_text()
    assert "A classifier, taught and factored" in page
    bad = run("trash.distill", "--smoke", "--root", tmp_path, "--temperature", "0", code=2)
    assert "SoftTargets temperature: it is 0" in bad.replace("\n", " ")

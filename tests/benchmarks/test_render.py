"""The pages agree with the records, and `make results` makes them agree."""

import json
import shutil

import pytest

from benchmarks.record import RECORDS
from benchmarks.render import CHART, Config, main
from benchmarks.results.pages import ROOT
from tfcompress.errors import RunError
from tfcompress.reporting.run import open_run


def test_the_pages_agree_with_the_records():
    """If this fails: `make results`."""
    assert main(Config(check=True)) == []


def test_the_readme_has_the_results():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "<!-- results:begin -->" in text
    measurements = (ROOT / "docs/measurements.md").read_text(encoding="utf-8")
    assert measurements.count("<!-- table:begin ") >= 19


@pytest.fixture
def copy(tmp_path):
    """Pages and records of a checkout."""
    for name in ("README.md", "benchmarks/RESULTS.md", "docs/measurements.md", str(CHART)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(RECORDS, tmp_path / "benchmarks/records")
    return tmp_path


def changed(copy, check):
    return main(Config(check=check), copy, copy / "benchmarks/records")


def test_a_changed_number_shows_in_every_page_and_is_mended(copy):
    file = copy / "benchmarks/records/demo.json"
    text = file.read_text()
    assert text.count('"0.8659"') == 1
    file.write_text(text.replace('"0.8659"', '"0.7659"'))
    pages = ["README.md", "docs/measurements.md", str(CHART)]
    before = {page: (copy / page).read_bytes() for page in pages}
    assert changed(copy, check=True) == pages
    assert {page: (copy / page).read_bytes() for page in pages} == before
    assert changed(copy, check=False) == pages
    assert "mean IoU 0.8636 → 0.7659" in (copy / "README.md").read_text()
    assert changed(copy, check=True) == []


def test_a_changed_page_shows(copy):
    page = copy / "docs/measurements.md"
    page.write_text(page.read_text().replace("0.8954", "0.8955").replace("0.8932 |", "0.9932 |"))
    assert changed(copy, check=True) == ["docs/measurements.md"]


def test_a_broken_record_is_named_and_nothing_is_written(copy):
    (copy / "benchmarks/records/forms.json").write_text("{}")
    before = (copy / "README.md").read_bytes()
    with pytest.raises(RunError, match=r"forms\.json: it is no record"):
        changed(copy, check=False)
    assert (copy / "README.md").read_bytes() == before


def test_a_run_becomes_a_record(copy, tmp_path):
    run = open_run(tmp_path / "runs", "unet-train", "default", {"seed": 3})
    run.finish({"comparison": {"rows": []}})
    main(Config(take=str(run.folder)), copy, copy / "benchmarks/records")
    content = json.loads((copy / "benchmarks/records/unet-train.json").read_text())
    assert content["record"]["name"] == "unet-train/default"
    assert content["record"]["seeds"] == [3]

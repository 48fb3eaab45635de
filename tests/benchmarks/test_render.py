"""The pages agree with the records, and `make results` makes them agree."""

import json
import shutil
from dataclasses import dataclass

import pytest

from benchmarks.record import RECORDS
from benchmarks.render import CHART, Config, main
from benchmarks.results.pages import ROOT
from experiments.common.program import Program, RunConfig
from experiments.common.report import Report
from tfcompress.errors import ConfigError, RunError
from tfcompress.reporting.tables import Table


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


def test_a_changed_number_shows_in_every_page_and_is_updated(copy):
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


@dataclass(frozen=True, kw_only=True)
class CompressConfig(RunConfig):
    """What decides nothing here but the seed."""

    seed: int = 3


def finished_run(tmp_path, run, rows):
    """Folder of a run that the programs' driver finished: printed tables, texts, a comparison."""

    def measured(name, **other):
        return {
            "name": name, "sparsity": 0.0, "macs": 750e6, "size_bytes": 7.5e6, "gzip_bytes": 7e6,
            "latency": {"median_ms": 20.0}, "quality": {"mean_iou": 0.75}, "differences": {},
            **other,
        }  # fmt: skip

    before, after = rows
    comparison = {"rows": [measured(before), measured(after, macs=50e6, size_bytes=0.25e6)]}
    printed = Table(("model", "MACs"), title="Printed")
    printed.add(before, "1 M")
    printed.total(after, "2 M")
    report = Report("T", "H", (printed, "spent: 3 minutes"), metrics={"comparison": comparison})
    config = CompressConfig(root=str(tmp_path / "runs"), run=run)
    Program("unet-compress", CompressConfig, lambda config, run: report).run(config)
    return str(tmp_path / "runs" / "unet-compress" / run)


def records_of(copy):
    return {path.name: path.read_bytes() for path in (copy / "benchmarks/records").iterdir()}


def test_a_finished_run_becomes_a_record_and_goes_into_the_pages(copy, tmp_path):
    records, before = copy / "benchmarks/records", records_of(copy)
    taken = Config(take=finished_run(tmp_path, "default", ("dense float32", "7 %")))
    assert main(taken, copy, records) == [
        "README.md", "docs/measurements.md", "benchmarks/RESULTS.md", str(CHART),
    ]  # fmt: skip
    after = records_of(copy)
    assert {name for name in after if after[name] != before.get(name)} == {"unet-compress.json"}
    header = json.loads(after["unet-compress.json"])["record"]
    assert (header["name"], header["seeds"]) == ("unet-compress/default", [3])
    # 750 and 50 M of the comparison, not the 1 M that the run printed
    assert "| 750 → 50 M | 7.50 → 0.25 MB |" in (copy / "README.md").read_text()
    assert "| 7 % | 0.0 % | 50.0 M |" in (copy / "docs/measurements.md").read_text()
    assert changed(copy, check=True) == []


def test_a_record_is_named_after_the_run(copy, tmp_path):
    records, before = copy / "benchmarks/records", records_of(copy)
    run = finished_run(tmp_path, "fifth", ("dense float32", "20 % of the MACs"))
    main(Config(take=run), copy, records)
    main(Config(take=run, name="another-name"), copy, records)
    after = records_of(copy)
    changed_ones = {name for name in after if after[name] != before.get(name)}
    assert changed_ones == {"unet-compress-fifth.json", "another-name.json"}


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"check": True}, ConfigError, "--check writes nothing"),
        ({"name": "a.b"}, ConfigError, "'a.b' cannot stand in a marker"),
        ({"take": "", "name": "x"}, ConfigError, "give --take RUN too"),
        ({}, RunError, "it has no row '7 %'"),  # the page asks for it
    ],
)
def test_a_run_that_cannot_be_taken_changes_nothing(copy, tmp_path, fields, error, message):
    run = finished_run(tmp_path, "default", ("dense float32", "another"))
    files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
    before = [path.read_bytes() for path in files]
    with pytest.raises(error, match=message):
        main(Config(**{"take": run, **fields}), copy, copy / "benchmarks/records")
    assert [path for path in sorted(copy.rglob("*")) if path.is_file()] == files
    assert [path.read_bytes() for path in files] == before

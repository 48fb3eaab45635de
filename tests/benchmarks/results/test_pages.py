import pytest

from benchmarks.results.pages import read_records, rendered, results_page
from benchmarks.results.summary import RESULTS, numbers_of, results_table
from tfcompress.errors import RunError
from tfcompress.reporting.machine import Commit, Machine
from tfcompress.reporting.record import Record


def record(**more):
    tables = [
        {"title": "One", "columns": ["a", "b"], "rows": [["x", "1"]], "notes": ["in turn"]},
        {"title": "Two", "columns": ["a"], "rows": [["y"]], "notes": []},
    ]
    return Record(
        "n", "make bench-forms", "2026-01-31T12:00:00Z", 1.0, Machine("CPU", 2),
        measured={"tables": tables}, **more,
    )  # fmt: skip


PAGE = "# Page\n\n<!-- table:begin forms | One -->\nold\n<!-- table:end -->\n\nText.\n"


def test_a_table_is_put_between_its_markers():
    records = {"forms": record(commit=Commit("0123456789" * 4))}
    text = rendered(PAGE, records, "page.md")
    assert text == (
        "# Page\n\n<!-- table:begin forms | One -->\n"
        "| a | b |\n| --- | ---: |\n| x | 1 |\n\nIn turn.\n\n"
        "*Record `forms`; CPU, 2 cores; commit 0123456789.*\n"
        "<!-- table:end -->\n\nText.\n"
    )
    assert rendered(text, records, "page.md") == text


def test_a_transcribed_record_says_so():
    text = rendered(PAGE, {"forms": record(transcribed=True)}, "page.md")
    assert "*Record `forms`; CPU, 2 cores; transcribed.*" in text


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (PAGE.replace("forms", "form"), "page.md: there is no record 'form'. Fix: use forms"),
        (PAGE.replace("One", "Three"), "there is no table 'Three'.*One; Two"),
        (PAGE.replace(" | One", ""), "it has 2 tables"),
        (PAGE.replace("<!-- table:end -->", ""), "do not pair"),
        (PAGE.replace("begin forms", "begin  forms"), "do not pair"),
        ("<!-- results:begin -->\n", "do not pair"),
    ],
)
def test_what_is_wrong_with_a_marker_is_named(page, message):
    with pytest.raises(RunError, match=message):
        rendered(page, {"forms": record()}, "page.md")


def test_the_page_of_results_has_every_benchmark_and_lists_the_others():
    text = results_page({"forms": record(), "unet-train": record()})
    assert text.index("## One") < text.index("## Two") < text.index("## Records of experiments")
    assert "`make bench-forms`; 2026-01-31; CPU, 2 cores." in text
    assert "| `unet-train` | `make bench-forms` | CPU, 2 cores |" in text


def test_numbers_of_a_line_by_hand():
    """From the published table: 7.78 MB and 0.405 MB, 0.8452 and 0.8458."""
    found = numbers_of(RESULTS[0], read_records())
    assert found.quality == (0.8452, 0.8458)
    assert found.macs == (754e6, 151e6)
    assert found.size_bytes == (7.78e6, 0.405e6)
    assert found.speed == 6.96
    detector = next(result for result in RESULTS if "YOLO" in result.what)
    found = numbers_of(detector, read_records())
    assert found.quality == (0.9002, 0.8891)
    assert found.macs == (517e6, 258e6)
    assert found.latency_ms == (10.34, 1.58)


def test_every_line_of_the_readme_names_a_processor_where_it_has_a_latency():
    table = results_table(read_records())
    assert len(table.rows) == len(RESULTS)
    for *_, latency in table.rows:
        assert not latency or len(latency.split("; ")) == 2

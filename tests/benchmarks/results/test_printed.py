import pytest

from benchmarks.results.printed import cell, main_table, markdown, number, tables_of
from tfcompress.errors import RunError
from tfcompress.reporting.machine import Machine
from tfcompress.reporting.record import Record
from tfcompress.reporting.tables import Table


def record(**measured):
    return Record("n", "make n", "2026-01-31T12:00:00Z", 1.0, Machine("CPU"), measured=measured)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.8452", 0.8452),
        ("7.78 MB", 7.78e6),
        ("246.5 kB", 246.5e3),
        ("754 M", 754e6),
        ("6,987,192", 6987192),
        ("18.29 ms (1.00x)", 18.29),
        ("6.86x", 6.86),
        ("24.5 %", 0.245),
        ("80.0%", 0.8),
        ("1/15.8", 1 / 15.8),
        ("−0.0098 [−0.0158, −0.0039]", -0.0098),
        ("-0.5", -0.5),
        ("+0.0007", 0.0007),
    ],
)
def test_numbers_of_cells(text, value):
    assert number(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["", "the plain one", "yes", "–"])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="starts with no number"):
        number(text)


def test_markdown_aligns_numbers_and_escapes():
    table = Table(("", "mIoU", "− dense", "how"))
    table.add("a|b", "0.5", "-0.1 [-0.2, 0.0]", "")
    table.add("  c", "0.6", "", "10-fold, mAP50-95")
    assert markdown(table) == (
        "| | mIoU | − dense | how |\n"
        "| --- | ---: | --- | --- |\n"
        "| a\\|b | 0.5 | −0.1 [−0.2, 0.0] | |\n"
        "| &nbsp; c | 0.6 | | 10-fold, mAP50-95 |"
    )


def test_a_printed_table_comes_back():
    table = Table(("a", "b"), title="T")
    table.add("x", "1")
    table.total("all", "2")
    table.note("n")
    (again,) = tables_of(record(tables=["a text", table.to_dict()]), "r").values()
    assert (again.title, again.columns, again.rows, again.totals, again.notes) == (
        "T", ("a", "b"), [("x", "1")], [("all", "2")], ["n"],
    )  # fmt: skip
    assert cell(again, "all", "b", "r") == "2"


def test_tables_of_one_title_are_told_apart():
    tables = [{"title": "T", "columns": ["a"], "rows": [[row]]} for row in "xyz"]
    found = tables_of(record(tables=tables), "r")
    assert {title: table.rows for title, table in found.items()} == {
        "T": [("x",)], "T (2)": [("y",)], "T (3)": [("z",)],
    }  # fmt: skip


ROWS = [
    {
        "name": "dense", "sparsity": 0.0, "macs": 427_000_000, "size_bytes": 7_780_000,
        "gzip_bytes": 7_200_000, "latency": {"median_ms": 12.0}, "quality": {"mean_iou": 0.86364},
        "differences": {},
    },
    {
        "name": "int8", "sparsity": 0.8, "macs": 45_600_000, "size_bytes": 904_000,
        "gzip_bytes": 680_000, "latency": {"median_ms": 3.0}, "quality": {"mean_iou": 0.85},
        "differences": {"mean_iou": {"value": -0.01364, "low": -0.02, "high": 0.001}},
    },
]  # fmt: skip


def test_a_runs_comparison_is_a_table():
    table = tables_of(record(comparison={"rows": ROWS}), "r")["comparison"]
    assert table.columns == (
        "model", "zeros", "MACs", "file", "after gzip", "latency", "speed", "mean IoU",
        "− first [95 %]",
    )  # fmt: skip
    assert table.rows == [
        ("dense", "0.0 %", "427 M", "7.78 MB", "7.20 MB", "12.00 ms", "1.00x", "0.8636", ""),
        (
            "int8", "80.0 %", "45.6 M", "904 kB", "680 kB", "3.00 ms", "4.00x", "0.8500",
            "−0.0136 [−0.0200, +0.0010]",
        ),
    ]  # fmt: skip
    assert cell(table, "int8", "speed", "r") == "4.00x"


def test_the_main_table_is_the_comparison_or_the_only_one():
    printed = [{"title": title, "columns": ["a"], "rows": [["x"]]} for title in ("One", "Two")]
    found = tables_of(record(tables=printed, comparison={"rows": ROWS}), "r")
    assert list(found) == ["One", "Two", "comparison"]
    assert main_table(found) is found["comparison"]
    assert main_table(tables_of(record(tables=printed), "r")) is None
    (only,) = (alone := tables_of(record(tables=printed[:1]), "r")).values()
    assert main_table(alone) is only


def test_a_missing_row_or_column_is_named():
    table = tables_of(record(comparison={"rows": ROWS}), "r")["comparison"]
    with pytest.raises(RunError, match="r: it has no row 'float16'. Fix: use dense, int8"):
        cell(table, "float16", "speed", "r")
    with pytest.raises(RunError, match="it has no column 'mAP'"):
        cell(table, "int8", "mAP", "r")


def test_a_record_without_a_table_or_with_a_broken_one():
    with pytest.raises(RunError, match="r: it holds no table"):
        tables_of(record(test={"map50": 0.5}), "r")
    with pytest.raises(RunError, match="a table in it is broken"):
        tables_of(record(tables=[{"title": "T", "columns": ["a"], "rows": [["x", "y"]]}]), "r")

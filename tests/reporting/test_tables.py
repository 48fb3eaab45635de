import json

import pytest

from tfcompress.reporting.tables import Table, sort_value


def test_columns_of_numbers_are_aligned_right():
    table = Table(("layer", "weights", "zeros", "note"))
    table.add("conv", "1,234", "80.0%", "ok")
    table.add("head", "9", "-1.5%", "")
    table.total("total", "1,243", "", "")
    assert [table.numeric(i) for i in range(4)] == [False, True, True, False]
    lines = str(table).splitlines()
    assert lines[0].split() == ["layer", "weights", "zeros", "note"]
    assert lines[2].index("1,234") + 5 == lines[3].index("9") + 1


@pytest.mark.parametrize("cell", ["3.80x", "12.0 MB", "7 ms", "+0.01 [-0.02, +0.03]", "<1", "–"])
def test_numbers_with_units(cell):
    table = Table(("a", "b"))
    table.add("x", cell)
    assert table.numeric(1)


def test_notes_and_title_are_printed():
    table = Table(("a",), title="Costs")
    table.add("x")
    table.note("a note [with brackets]")
    assert str(table).splitlines()[0] == "Costs"
    assert "a note [with brackets]" in str(table)


def test_wrong_number_of_cells():
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        Table(("a",)).add("x", "y")


@pytest.mark.parametrize(
    ("cell", "number"),
    [
        ("1,234", 1234.0),
        ("80.0%", 80.0),
        ("2.41x", 2.41),
        ("900 B", 900.0),
        ("2 kB", 2000.0),
        ("5.55 MB", 5.55e6),
        ("25.72 M", 25.72e6),
        ("0.003 G", 3e6),
        ("900 ms", 0.9),
        ("1.2 s", 1.2),
        ("-0.04 [-0.06, -0.02]", -0.04),
        ("+0.5 pp", 0.5),
        ("<1", 1.0),
        ("3 of 4", 3.0),
        ("1e-05", 1e-5),
        ("–", None),
        ("", None),
        ("conv", None),
    ],
)
def test_cells_are_sorted_by_their_number_with_its_unit(cell, number):
    assert sort_value(cell) == (None if number is None else pytest.approx(number))


def test_a_table_survives_json():
    table = Table(("a", "b"), title="T", drop=("b",))
    table.add("x", "1")
    table.total("sum", "1")
    table.note("n")
    content = json.loads(json.dumps(table.to_dict()))
    assert content == {
        "title": "T", "columns": ["a", "b"], "drop": ["b"], "rows": [["x", "1"]],
        "totals": [["sum", "1"]], "notes": ["n"],
    }  # fmt: skip
    again = Table.from_dict(content)
    assert (str(again), again.drop) == (str(table), ("b",))


def test_a_table_of_an_older_record_has_no_totals():
    again = Table.from_dict({"title": "T", "columns": ["a"], "rows": [["x"]]})
    assert (again.rows, again.totals, again.notes, again.drop) == ([("x",)], [], [], ())
    with pytest.raises(ValueError, match="2 cells for 1 columns"):
        Table.from_dict({"title": "T", "columns": ["a"], "rows": [["x", "y"]]})

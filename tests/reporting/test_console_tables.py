"""Tables at the widths that terminals have: nothing is cut, and what is left out is named."""

import re

import numpy as np
import pytest
from rich.console import Console

import tfcompress as tfc
from models.unet import multi_unet_model
from tfcompress.comparison import compare
from tfcompress.litert.model import to_litert
from tfcompress.reporting.run import open_run
from tfcompress.reporting.tables import Table

WIDTHS = (80, 100, 160)


def shown(table, width):
    """What a console of a certain width prints."""
    console = Console(width=width, color_system=None)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def left_out(text):
    """Columns that the note below a table names."""
    found = re.search(r"left out at \d+ columns: (.+?)\s\(", text, re.DOTALL)
    return [] if found is None else [name.strip() for name in found.group(1).split(",")]


def assert_nothing_is_cut(table, width):
    text = shown(table, width)
    assert all(len(line) <= width for line in text.splitlines()), text
    assert "…" not in text
    missing = left_out(text)
    assert set(missing) <= set(table.drop)
    assert missing == list(table.drop[: len(missing)])
    words = text.split()
    for line in (table.columns, *table.rows, *table.totals):
        for name, cell in zip(table.columns, line, strict=True):
            if name not in missing:
                assert all(word in words for word in cell.split()), (name, cell, text)
    return missing


@pytest.fixture(scope="module")
def comparison():
    generator = np.random.default_rng(0)
    x = generator.random((12, 16, 16, 3), dtype=np.float32)
    y = generator.integers(0, 4, (12, 16, 16)).astype(np.uint8)
    dense = multi_unet_model(4, 16, 16, 3, filters=(4, 8))
    small = tfc.shrink(dense, tfc.plan_channels(dense, tfc.ChannelConfig(target_macs=0.6)))
    return compare(
        to_litert(dense, "float32"),
        to_litert(small, "int8", x),
        data=(x, y),
        names=["dense float32", "60% of the MACs int8"],
        classes=["Building", "Land", "Road", "Vegetation"],
        repeats=3,
    )


@pytest.mark.parametrize("width", WIDTHS)
def test_a_comparison(comparison, width):
    missing = assert_nothing_is_cut(comparison.table(), width)
    assert not {"model", "file", "speed", "mIoU", "mIoU vs first"} & set(missing)
    assert bool(missing) == (width < comparison.table().width)
    assert_nothing_is_cut(comparison.class_table(), width)


@pytest.mark.parametrize("width", WIDTHS)
def test_a_channel_plan(width):
    model = multi_unet_model(6, 32, 32, 3, filters=(16, 32, 64))
    table = tfc.plan_channels(model, tfc.ChannelConfig(target_macs=0.5)).table()
    missing = assert_nothing_is_cut(table, width)
    assert set(missing) <= {"readers", "makers"}


def test_columns_are_left_out_in_the_stated_order():
    table = Table(("model", "size", "zeros", "quality"), drop=("zeros", "size"))
    table.add("a" * 20, "10 kB", "5%", "0.5")
    # 20 + 5 + 5 + 7 characters, two blanks before each column and two at the end
    assert table.width == 20 + 5 + 5 + 7 + 4 * 2 + 2
    assert left_out(shown(table, 47)) == []
    assert left_out(shown(table, 46)) == ["zeros"]
    assert left_out(shown(table, 40)) == ["zeros"]
    assert left_out(shown(table, 39)) == ["zeros", "size"]
    assert "(the whole table takes 47)" in " ".join(shown(table, 46).split())


def test_text_is_wrapped_before_columns_go():
    table = Table(("layer", "zeros", "why"), drop=("zeros",))
    table.add("conv", "5%", "a reason that takes its room")
    assert left_out(shown(table, 40)) == []
    # 40 - 2 - (5 + 2) - (5 + 2) - 2 = 22 characters are left for "a reason that takes" (19).
    lines = [line.split() for line in shown(table, 40).splitlines() if line.strip()]
    assert lines[2:] == [["conv", "5%", "a", "reason", "that", "takes"], ["its", "room"]]


def test_a_table_that_cannot_fit_is_turned():
    table = Table(("model", *(f"measured {i}" for i in range(9))), title="Many")
    table.add("first", *(f"{i}.25" for i in range(9)))
    table.total("all", *(f"{i}.75" for i in range(9)))
    assert_nothing_is_cut(table, 60)
    lines = [line.split() for line in shown(table, 60).splitlines() if line.strip()]
    assert lines[:3] == [["Many"], ["model", "first"], ["measured", "0", "0.25"]]
    assert ["model", "all"] in lines
    assert lines[-1] == ["measured", "8", "8.75"]


def test_brackets_are_text_everywhere():
    table = Table(("model", "zeros [%]"), title="Zeros [all]")
    table.add("[red]a[/]", "5")
    for text in (shown(table, 80), shown(table, 16), str(table)):
        assert "Zeros [all]" in " ".join(text.split())
        assert "[red]a[/]" in text
        assert "zeros [%]" in text


def test_a_run_says_where_the_whole_table_is(tmp_path, comparison, capsys):
    run = open_run(tmp_path, "e", "r", {})
    run.console = Console(width=80)
    run.print(comparison.table())
    assert "all are in log.txt" in " ".join(capsys.readouterr().out.split())
    log = run.path("log.txt").read_text()
    assert "60% of the MACs int8" in log
    assert all(name in log for name in comparison.table().columns)
    run.close()


def test_notes_are_wrapped_in_a_console_that_wraps_nothing():
    table = Table(("model",))
    table.add("a")
    table.note(" ".join(f"word{i}" for i in range(20)))
    console = Console(width=40, color_system=None, soft_wrap=True)
    with console.capture() as captured:
        console.print(table)
    assert set(table.notes[0].split()) <= set(captured.get().split())

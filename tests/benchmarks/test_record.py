"""RESULTS.md keeps one section per benchmark, the last one."""

from benchmarks.record import show, with_section
from tfcompress.reporting.tables import Table


def test_sections_are_replaced_or_added():
    page = "# Results\n\nIntro.\n"
    page = with_section(page, "One", "first")
    page = with_section(page, "Two", "second")
    page = with_section(page, "One", "third\n\n### below\n")
    assert page == ("# Results\n\nIntro.\n\n## One\n\nthird\n\n### below\n\n## Two\n\nsecond\n")


def test_a_table_is_written_with_its_command_and_machine(tmp_path, capsys):
    table = Table(("what", "how much"), title="A benchmark")
    table.add("time", "1.0 s")
    table.note("in turn")
    file = tmp_path / "RESULTS.md"
    show(table, "make bench", False, file)
    assert not file.exists()
    show(table, "make bench", True, file)
    text = file.read_text()
    assert text.startswith("# Results")
    assert "## A benchmark\n\n`make bench`, 20" in text
    assert "tensorflow 2" in text
    assert "1.0 s" in text
    assert "  in turn\n```" in text

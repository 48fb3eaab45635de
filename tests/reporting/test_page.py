"""The page of a run: read with a parser, and looked at by a real browser where there is one."""

import pytest

from tests.reporting.browser import assert_nothing_is_cut, in_browser, needs_browser
from tests.reporting.html_page import assert_page_is_whole, findings, read_page
from tfcompress.reporting.page import Finding, Section, write_page
from tfcompress.reporting.plots import plot_tradeoff, save_figure
from tfcompress.reporting.run import duration, open_run
from tfcompress.reporting.tables import Table

COLUMNS = (
    "model", "format", "zeros", "MACs", "file", "gzip", "latency", "speed", "memory", "mIoU",
    "accuracy", "mIoU vs first",
)  # fmt: skip
ROWS = (
    ("dense float32", "LiteRT float32", "0.0%", "1.25 G", "1.26 MB", "112.4 kB", "1.2 s", "1.00x",
     "6.23 MB", "0.7016", "0.9808", "–"),
    ("pruned int8", "LiteRT int8", "80.0%", "25.72 M", "36.7 kB", "900 B", "900 ms", "2.41x",
     "5.55 MB", "0.7161", "0.9174", "+0.0145 [-0.0585, +0.0234]"),
    ("50% of the MACs int8", "LiteRT int8", "0.6%", "12.90 M", "128.6 kB", "20.4 kB", "39 ms",
     "12.49x", "5.39 MB", "0.6258", "0.9923", "-0.0757 [-0.0944, -0.0550]"),
)  # fmt: skip


@pytest.fixture
def run(tmp_path):
    """A finished run with a page that has everything."""
    run = open_run(tmp_path, "unet train", "a run", {"epochs": 3, "data": "x" * 300})
    figure = plot_tradeoff([("a", 1.0, 0.5), ("b", 2.0, 0.6)], "latency (ms)", "mean IoU")
    picture = save_figure(figure, run.path("plots", "trade-off & more.png"))
    table = Table(COLUMNS, title="Comparison")
    for row in ROWS:
        table.add(*row)
    table.note("a note")
    layers = Table(("layer", "kind", "weights"))
    layers.add("<b>conv</b>", "Conv2D", "1,234")
    layers.add("a_layer_with_a_name_of_more_than_fifty_characters_in_it", "Dense", "900")
    layers.total("total", "", "2,134")
    run.path("model.tflite").write_bytes(b"x" * 1234)
    run.path("steps").mkdir()
    run.write_page(
        "Title & more",
        "A summary.",
        [
            Section(
                "Comparison",
                text=("Hello.",),
                tables=(table,),
                pictures=(("A picture", picture),),
                findings=(Finding("Best mIoU", "0.7161", "pruned int8"),),
            ),
            Section("Layers", tables=(layers,), findings=(Finding("no", "9", "nothing"),)),
        ],
    )
    run.finish({})
    return run


def test_the_page_of_a_run_is_whole(run):
    page = assert_page_is_whole(run.path("report.html"))
    assert page.all("h1")[0].text == "Title & more"
    assert page.all("p", "note")[0].text == "a note"
    cells = [cell.text for cell in page.all("td")]
    assert "<b>conv</b>" in cells
    assert set(ROWS[2]) <= set(cells)


def test_the_best_row_stands_at_the_top_and_is_marked(run):
    page = read_page(run.path("report.html"))
    assert findings(page) == [("Best mIoU", "0.7161", "pruned int8")]
    assert [row.all("td")[0].text for row in page.all("tr", "best")] == ["pruned int8"]


def test_machine_and_time_stand_above_the_first_table(run):
    page = read_page(run.path("report.html"))
    facts = page.all("header")[0].all("dl")[0]
    names = [each.text for each in facts.all("dt")]
    values = dict(zip(names, (each.text for each in facts.all("dd")), strict=True))
    assert names[:3] == ["Machine", "Time", "Command"]
    assert "core" in values["Machine"]
    assert " s, from 20" in values["Time"]


def test_files_of_the_run_are_linked(run):
    page = read_page(run.path("report.html"))
    files = {item.all("a")[0].text: item for item in page.all("ul", "files")[0].all("li")}
    assert {"config.json", "metrics.json", "model.tflite", "plots/", "steps/"} <= set(files)
    assert "report.html" not in files
    assert not any(name.startswith(".") for name in files)
    assert files["model.tflite"].all("span")[0].text == "1.2 kB"
    (picture,) = (link for link in page.all("a") if link.all("img"))
    assert picture.attributes["href"] == "plots/trade-off%20%26%20more.png"


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is not below"):
        write_page(tmp_path / "a" / "p.html", "t", "s", [], {}, {}, files=[tmp_path / "b.txt"])


def test_configuration_and_environment_stand_at_the_end(run):
    shown = [each.text for each in read_page(run.path("report.html")).all("pre")]
    assert '"epochs": 3' in shown[0]
    assert '"processor"' in shown[1]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.4, "3 s"), (59.6, "1 min 0 s"), (605, "10 min 5 s"), (7770, "2 h 10 min")],
)
def test_durations_are_written_for_people(seconds, text):
    assert duration(seconds) == text


@needs_browser
@pytest.mark.parametrize("width", [400, 900, 1700])
def test_nothing_is_cut_in_a_browser(run, tmp_path, width):
    assert_nothing_is_cut(run.path("report.html"), tmp_path / "profile", width)


SORTED = """(() => {
  const table = document.querySelector('table');
  const names = () => [...table.tBodies[0].rows].map(row => row.cells[0].textContent.trim());
  const found = {};
  for (const heading of table.tHead.rows[0].cells) {
    const button = heading.querySelector('button');
    button.focus();
    const orders = [];
    for (let i = 0; i < 3; i++) { button.click(); orders.push(names()); }
    found[heading.textContent.trim()] = [document.activeElement === button, ...orders];
  }
  return found;
})()"""


@needs_browser
def test_tables_sort_on_a_click(run, tmp_path):
    dense, pruned, small = (row[0] for row in ROWS)
    found = in_browser(run.path("report.html"), tmp_path / "profile", SORTED)
    assert all(focused for focused, *_ in found.values())
    assert all(written == [dense, pruned, small] for *_, written in found.values())
    up = {name: first for name, (_, first, *_) in found.items()}
    down = {name: second for name, (_, _, second, _) in found.items()}
    assert up["MACs"] == [small, pruned, dense]  # 12.90 M, 25.72 M, 1.25 G
    assert up["gzip"] == [pruned, small, dense]  # 900 B, 20.4 kB, 112.4 kB
    assert up["latency"] == [small, pruned, dense]  # 39 ms, 900 ms, 1.2 s
    assert up["speed"] == [dense, pruned, small]  # 1.00x, 2.41x, 12.49x
    assert down["mIoU"] == [pruned, dense, small]
    assert up["mIoU vs first"] == [small, pruned, dense]  # the dash last ...
    assert down["mIoU vs first"] == [pruned, small, dense]  # ... in both orders
    assert up["model"] == [small, dense, pruned]

from PIL import Image

from benchmarks.results.chart import Line, draw, drawn, fingerprint, lines_of
from benchmarks.results.pages import read_records

LINES = [
    Line("U-Net, int8", "mean IoU", (0.8, 0.79), 8.0, 4.0),
    Line("worse and slower", "mAP50", (0.9, 0.7), 0.5, 0.5),
    Line("not measured", "macro F1", (0.7, 0.75), None, None),
]


def test_a_chart_says_what_it_shows(tmp_path):
    file = tmp_path / "pictures" / "results.png"
    assert drawn(file) == ""
    draw(LINES, file)
    assert drawn(file) == fingerprint(LINES)
    assert drawn(file) != fingerprint(LINES[:2])
    with Image.open(file) as picture:
        width, height = picture.size
        assert width > 1500
        # a card of its own: white in dark pages, too
        assert picture.convert("RGB").getpixel((2, 2)) == (255, 255, 255)


def test_lines_are_read_from_the_records():
    lines = {line.label: line for line in lines_of(read_records())}
    recipe = lines["U-Net, recipe to 20 % of the MACs"]
    assert recipe.quality == (0.8452, 0.8458)
    assert recipe.smaller == round(7.78 / 0.405, 2)
    assert recipe.faster == 6.96
    # size and speed of the detector are compared with the pruned one, and so is its quality here
    assert lines["Pruned YOLOv5n to int8"].quality == (0.8906, 0.8891)

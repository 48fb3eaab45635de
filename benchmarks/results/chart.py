"""The chart of the measured results: a line per model, its quality, file and speed side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from benchmarks.results.summary import RESULTS, numbers_of
from tfcompress.atomic import atomic_path
from tfcompress.reporting.record import Record

_KEY = "tfcompress-lines"  # name of the PNG's text with the hash of what is drawn
_CAPTION = (
    "finished files, read back; one CPU thread; docs/measurements.md has processors and commands"
)
_INK, _SOFT, _GRID = "#1f2933", "#66717c", "#e3e8ec"
_GAIN, _LOSS = "#0f766e", "#b45309"


@dataclass(frozen=True)
class Line:
    """One finished model beside the one before.

    Attributes:
        label: Name of the model and of what was done.
        metric: Name of the quality.
        quality: Quality before and after.
        smaller: How many times smaller the file is; None if it was not measured.
        faster: How many times as fast it is; None if it was not measured.
    """

    label: str
    metric: str
    quality: tuple[float, float]
    smaller: float | None
    faster: float | None


def lines_of(records: Mapping[str, Record]) -> list[Line]:
    """What the chart shows: the results that have a label.

    Raises:
        RunError: A record, table, row or column is missing.
    """
    found = []
    for result in RESULTS:
        if result.label:
            rows = replace(result, quality=result.drawn or result.quality)
            numbers = numbers_of(rows, records)
            sizes = numbers.size_bytes
            smaller = round(sizes[0] / sizes[1], 2) if sizes else None
            faster = round(numbers.speed, 2) if numbers.speed else None
            found.append(Line(result.label, result.metric, numbers.quality, smaller, faster))
    return found


def draw(lines: Sequence[Line], path: Path) -> None:
    """Draw the lines into a PNG, atomically."""
    height = 0.9 + 0.58 * len(lines)
    figure = Figure(figsize=(10.4, height), dpi=160, facecolor="white", layout="constrained")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.08)
    figure.supxlabel(_CAPTION, fontsize=8.5, color=_SOFT)
    quality, size, speed = figure.subplots(1, 3, sharey=True)
    _dumbbells(quality, lines)
    _bars(size, [line.smaller for line in lines], "file, times smaller")
    _bars(speed, [line.faster for line in lines], "speed, times as fast")
    quality.set_yticks(range(len(lines)), [""] * len(lines))
    for y, line in enumerate(lines):
        for text, up, look in (
            (line.label, 7, {"fontsize": 10.5, "color": _INK, "fontweight": "bold"}),
            (_change(line), -7, {"fontsize": 9, "color": _SOFT}),
        ):
            quality.annotate(
                text, (0, y), xytext=(-8, up), xycoords=("axes fraction", "data"),
                textcoords="offset points", ha="right", va="center", **look,
            )  # fmt: skip
    quality.set_ylim(len(lines) - 0.5, -0.5)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, metadata={_KEY: fingerprint(lines)})


def fingerprint(lines: Sequence[Line]) -> str:
    """A hash of what is drawn."""
    text = json.dumps([asdict(line) for line in lines])
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def drawn(path: Path) -> str:
    """The hash of what a PNG of `draw` shows; "" where there is none."""
    if not path.is_file():
        return ""
    with Image.open(path) as picture:
        return str(picture.info.get(_KEY, ""))


def _change(line: Line) -> str:
    before, after = line.quality
    points = f"{100 * (after - before):+.1f}".replace("-", "−")
    return f"{line.metric} {before:.3f} → {after:.3f} ({points} points)"


def _dumbbells(axes: Axes, lines: Sequence[Line]) -> None:
    """Quality before and after, joined; a loss of more than a point has another color."""
    for y, line in enumerate(lines):
        before, after = line.quality
        color = _GAIN if after - before >= -0.01 else _LOSS
        axes.plot([before, after], [y, y], color=color, lw=2.5, zorder=2)
        axes.plot(before, y, "o", color="white", mec=_SOFT, mew=1.5, ms=11, zorder=3)
        axes.plot(after, y, "o", color=color, ms=7, zorder=4)
    axes.set_title("quality, ○ before and ● after", loc="left", fontsize=10.5, color=_INK)
    ends = [value for line in lines for value in line.quality]
    axes.set_xlim(min(ends) - 0.03, max(ends) + 0.03)
    _clean(axes)


def _bars(axes: Axes, values: Sequence[float | None], title: str) -> None:
    """Factors on a linear axis; a line at one, where nothing was won."""
    widest = max(value for value in values if value)
    for y, value in enumerate(values):
        if value is not None:
            axes.barh(y, value, height=0.42, color=_GAIN if value >= 1 else _LOSS, zorder=2)
            text = f"{value:.1f}x" if value < 10 else f"{value:.0f}x"
            axes.text(value + 0.015 * widest, y, text, va="center", fontsize=10, color=_INK)
    axes.axvline(1, color=_INK, lw=0.9, ls=":", zorder=3)
    axes.set_xlim(0, 1.16 * widest)
    axes.set_title(title, loc="left", fontsize=10.5, color=_INK)
    _clean(axes)


def _clean(axes: Axes) -> None:
    axes.grid(axis="x", color=_GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)
    axes.tick_params(axis="both", length=0, labelcolor=_SOFT, labelsize=9)

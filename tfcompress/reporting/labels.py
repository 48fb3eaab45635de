"""Names beside the points of a plot, placed where they hide neither points nor each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.transforms import Bbox

_POINT = 7.0  # half the side of the square that a point takes, in pixels of 1/100 inch
_MARGIN = 2.0  # free pixels around a name
_NEAR = 16.0  # a name further from its point than this is joined to it by a line
_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1))


def label_points(
    axes: Axes, points: Sequence[tuple[str, float, float]], fontsize: float = 8.5
) -> None:
    """Write a name beside each point, joined by a line where there is no room next to it.

    Call it when limits, scales and titles of the axes are set: places are worked out for the axes
    as they stand. Where points are so many that there is no free place, the place with the least
    overlap is taken.

    Args:
        axes: Axes that the points are drawn in.
        points: Tuples of name, x, y.
        fontsize: Size of the names, in points.
    """
    figure = axes.get_figure(root=True)
    if figure is None or not points:
        return
    figure.draw_without_rendering()  # so that the layout is settled
    pixel = 72 / figure.dpi  # in points
    centers = axes.transData.transform([(x, y) for _, x, y in points])
    area = axes.get_window_extent()
    taken = [Bbox.from_extents(*(at - _POINT), *(at + _POINT)) for at in centers]
    for (name, x, y), at in zip(points, centers, strict=True):
        note = axes.annotate(
            name,
            (x, y),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=fontsize,
            color="#222222",
            arrowprops={"arrowstyle": "-", "color": "#999999", "lw": 0.7, "shrinkB": 4},
        )
        note.set_in_layout(False)
        size = note.get_window_extent()
        place = _free_place(at, size.width, size.height, area, taken)
        taken.append(place)
        note.set_position(((place.x0 - at[0]) * pixel, (place.y0 - at[1]) * pixel))
        if _distance(at, place) <= _NEAR and note.arrow_patch is not None:
            note.arrow_patch.set_visible(False)


def _free_place(
    at: np.ndarray, width: float, height: float, area: Bbox, taken: Sequence[Bbox]
) -> Bbox:
    """The nearest place for a text inside the area that overlaps nothing, else the least bad."""
    best, least = None, float("inf")
    for place in _places(at, width, height):
        overlap = sum(_overlap(place, other) for other in taken)
        outside = width * height - _overlap(place, area)
        cost = overlap + 3 * max(0.0, outside)
        if cost <= 1e-6:
            return place
        if cost < least:
            best, least = place, cost
    assert best is not None  # noqa: S101  (there are always places to try)
    return best


def _places(at: np.ndarray, width: float, height: float) -> Iterator[Bbox]:
    """Places around a point, near ones first."""
    for gap in (_POINT + _MARGIN, 16.0, 26.0, 38.0, 52.0, 70.0, 90.0, 115.0, 145.0, 180.0):
        for right, up in _DIRECTIONS:
            x = at[0] + right * gap - (0.5 - 0.5 * right) * width
            y = at[1] + up * gap - (0.5 - 0.5 * up) * height
            yield Bbox.from_bounds(x, y, width, height)


def _overlap(a: Bbox, b: Bbox) -> float:
    """Area that two boxes share, in square pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(0.0, width) * max(0.0, height)


def _distance(at: np.ndarray, box: Bbox) -> float:
    """Pixels from a point to the nearest edge of a box."""
    dx = max(box.x0 - at[0], 0.0, at[0] - box.x1)
    dy = max(box.y0 - at[1], 0.0, at[1] - box.y1)
    return float(np.hypot(dx, dy))

"""How figures are drawn: ticks for the room there is, dots as one path, and axes that make way for their names."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from factor_ray.report.drawing import WIDTH, dots, draw, grid_of, percent_axis, plain_axis, whole_axis


@pytest.mark.parametrize(("columns", "fewest", "most"), [(1, 7, 9), (2, 5, 7), (4, 2, 4)])
def test_axes_have_ticks_for_the_room_that_there_is(columns: int, fewest: int, most: int) -> None:
    found: list[int] = []

    def paint(canvas: Canvas) -> None:
        for axes in grid_of(canvas, columns, columns):
            axes.set_xlim(2005.1, 2020.4)
            whole_axis(axes)
            found.append(len(axes.get_xticks()))

    draw("ticks", "Ticks", 1.5, paint)
    assert len(found) == columns
    assert fewest <= min(found) <= max(found) <= most


def test_a_low_axes_has_fewer_ticks_than_a_high_one() -> None:
    counts = []
    for height in (1.4, 6.0):
        axes = grid_of(Canvas((WIDTH, height)), 1, 1)[0]
        percent_axis(axes)
        counts.append(len(axes.get_yticks()))
    assert counts[0] <= 5 < counts[1]


def test_dots_are_one_path() -> None:
    def paint(canvas: Canvas) -> None:
        axes = grid_of(canvas, 1, 1)[0]
        dots(axes, np.arange(200.0), np.tile([0.1, np.nan, 0.3, 0.2], 50), 3.0, "#0072b2")
        assert axes.get_xlim()[1] > 199
        assert axes.get_ylim()[0] < 0.1 < 0.3 < axes.get_ylim()[1]

    svg = draw("dots", "Dots", 2.0, paint).svg
    (path,) = re.findall(r'd="([^"]*)"[^>]*stroke: #0072b2[^>]*stroke-linecap: round', svg)
    assert path.count("M") == path.count("L") == 150
    assert "<use" not in svg


def test_axes_make_way_for_the_names_of_their_ticks() -> None:
    def paint(canvas: Canvas) -> None:
        for axes, name in zip(grid_of(canvas, 2, 1), ("short", "a name that is as long as half a line"), strict=True):
            axes.set_yticks([0.5], [name])
            plain_axis(axes, axis="x")

    svg = draw("names", "Names", 2.0, paint).svg
    ends = {float(x) for x in re.findall(r'text-anchor: end; fill: [^"]*" x="([\d.]+)"', svg)}
    font = FontProperties(family="DejaVu Sans", size=9)
    width, _, _ = text_to_path.get_text_width_height_descent("a name that is as long as half a line", font, False)
    assert len(ends) == 1  # both begin where the longer name ends
    assert width < ends.pop() < width + 20


def test_axes_of_one_column_share_the_names_of_their_ticks_where_they_share_the_axis() -> None:
    axes = grid_of(Canvas((WIDTH, 4.0)), 3, 2, sharex=True)
    assert [one.xaxis.get_tick_params()["labelbottom"] for one in axes] == [False, True, True]
    axes[0].set_xlim(3, 4)
    assert axes[2].get_xlim() == (3, 4)

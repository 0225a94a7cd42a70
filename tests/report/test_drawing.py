"""How figures are drawn: places for the room there is, dots as one path, and axes that make way for their names."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.figure import Figure as Canvas
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path

from factor_ray.report.drawing import WIDTH, dots, draw, grid_of, percent_axis, plain_axis, whole_axis
from factor_ray.report.sheet import RuledAxes


@pytest.mark.parametrize(("columns", "fewest", "most"), [(1, 7, 9), (2, 5, 7), (4, 2, 4)])
def test_axes_name_places_for_the_room_that_there_is(columns: int, fewest: int, most: int) -> None:
    found: list[int] = []

    def paint(canvas: Canvas) -> None:
        for axes in grid_of(canvas, columns, columns):
            axes.set_xlim(2005.1, 2020.4)
            whole_axis(axes)
            found.append(len(axes.places("x")))

    draw("places", "Places", 1.5, paint)
    assert len(found) == columns
    assert fewest <= min(found) <= max(found) <= most


def test_a_low_axes_names_fewer_places_than_a_high_one() -> None:
    counts = []
    for height in (1.4, 6.0):
        axes = grid_of(Canvas((WIDTH, height)), 1, 1)[0]
        percent_axis(axes)
        counts.append(len(axes.places("y")))
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


def test_axes_make_way_for_the_names_of_their_places() -> None:
    def paint(canvas: Canvas) -> None:
        for axes, name in zip(grid_of(canvas, 2, 1), ("short", "a name that is as long as half a line"), strict=True):
            axes.name_places("y", [0.5], [name])
            plain_axis(axes, axis="x")

    svg = draw("names", "Names", 2.0, paint).svg
    ends = {float(x) for x in re.findall(r'text-anchor: end; fill: [^"]*" x="([\d.]+)"', svg)}
    font = FontProperties(family="DejaVu Sans", size=9)
    width, _, _ = text_to_path.get_text_width_height_descent("a name that is as long as half a line", font, False)
    assert len(ends) == 1  # both begin where the longer name ends
    assert width < ends.pop() < width + 20


def test_axes_of_one_column_share_names_where_they_share_the_axis() -> None:
    axes = grid_of(Canvas((WIDTH, 4.0)), 3, 2, sharex=True)
    assert [one.named["x"] for one in axes] == [False, True, True]
    axes[0].set_xlim(3, 4)
    assert axes[2].get_xlim() == (3, 4)


@pytest.mark.parametrize("limits", [(-1.02, 1.02), (1.02, -1.02), (0.0, 1.0)])
def test_places_lie_between_the_limits(limits: tuple[float, float]) -> None:
    """Matplotlib asks for one beyond each."""
    axes = grid_of(Canvas((WIDTH, 2.0)), 1, 1)[0]
    axes.set_xlim(*limits)
    plain_axis(axes, axis="x")
    places = list(axes.places("x"))
    assert len(places) > 4
    assert min(limits) <= min(places) <= min(limits) + 0.02 < max(limits) - 0.02 <= max(places) <= max(limits)


def test_lines_and_names_stand_at_their_places_and_a_label_outside_the_names() -> None:
    drawn: list[RuledAxes] = []

    def paint(canvas: Canvas) -> None:
        (axes,) = grid_of(canvas, 1, 1)
        axes.set_xlim(0, 4)
        axes.set_ylim(0, 2)
        axes.name_places("x", [1, 3], ["one", "three"])
        axes.name_places("y", [1], ["half"])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("label")
        drawn.append(axes)

    svg = draw("lines", "Lines", 2.0, paint).svg
    (axes,) = drawn
    left, right = axes.bbox.x0, axes.bbox.x1
    lines = re.findall(r'd="M ([\d.]+) ([\d.]+) \nL ([\d.]+) ([\d.]+) \nM ([\d.]+) [^"]*"[^>]*stroke: #e4e8ec', svg)
    ((first, _, same, _, second),) = lines  # one path, of both lines along x; along y there are none
    at = [left + (right - left) * share for share in (0.25, 0.75)]
    assert first == same
    assert [float(first), float(second)] == pytest.approx(at, abs=1e-4)
    heights = {text: float(y) for y, text in re.findall(r' y="([\d.]+)"[^>]*>([a-z]+)</text>', svg)}
    assert heights["one"] == pytest.approx(heights["three"], abs=0.01)
    assert heights["half"] < heights["one"] < heights["label"] - 9
    assert not axes.xaxis.majorTicks
    assert not axes.yaxis.majorTicks


def test_names_may_stand_above() -> None:
    def paint(canvas: Canvas) -> None:
        (axes,) = grid_of(canvas, 1, 1)
        axes.name_places("x", [0.5], ["above"])
        axes.name_places("y", [0.5], ["middle"])
        axes.named_above = True

    svg = draw("above", "Above", 2.0, paint).svg
    heights = {text: float(y) for y, text in re.findall(r' y="([\d.]+)"[^>]*>([a-z]+)</text>', svg)}
    assert heights["above"] < heights["middle"] / 2

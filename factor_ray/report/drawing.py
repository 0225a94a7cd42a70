"""How every figure is drawn: one style, one palette, and SVG that is the same bytes each time."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator

from factor_ray.report.labels import MARKET, ORACLE, Label
from factor_ray.report.numbers import plain
from factor_ray.report.sheet import RuledAxes, Sheet, axes_at

INK, MUTED, GRID = "#1c2530", "#66707c", "#e4e8ec"
WIDTH = 10.4
"""Width of a figure in inches: the page's column."""

TRAIN, VALIDATION, TEST, EMBARGO = "#a9c4de", "#e6a23c", "#00735c", "#e6eaee"

# Okabe and Ito's palette, which colour-blind readers can tell apart.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of families, and of whatever else stands side by side."""

_APART = {"x": 0.65, "y": 0.3}  # inches between places, before room is made for their names
_FEWEST, _MOST = 3, 8  # intervals
_ROUND = (1, 2, 2.5, 5, 10)
_FEW_DIGITS = (1, 2, 5, 10)  # steps of 2.5 may need a digit more than is written

_DOT = 1e-4  # length of a dot, in units of the x-axis: not every program draws what has none

_TURNS: Any = ("solid", (0, (4, 1)), (0, (1, 0.8)))  # of lines, once the colours begin again
_BENCHMARKS = {
    "zero": "#9aa3ad",
    "historical_mean": "#7b8590",
    "last_value": "#b3a58f",
    "historical_quantile": "#7b8590",
    MARKET: "#66707c",
}

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "factor_ray",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": "#9aa3ad",
    "axes.linewidth": 0.7,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # there they end up anyway; looking for what is above the axes takes its time
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.major.pad": 5,
    "text.parse_math": False,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "hatch.linewidth": 0.5,
}


@dataclass(frozen=True)
class Figure:
    """A figure of the report: its SVG, what it shows, and how it is to be read."""

    block: ClassVar[str] = "figure"

    key: str
    title: str
    svg: str
    notes: Sequence[str] = ()


def draw(key: str, title: str, height: float, paint: Callable[[Canvas], None], notes: Sequence[str] = ()) -> Figure:
    """Draw a figure of the page's width.

    Parameters
    ----------
    key : str
        The figure's id on the page; the ids inside it begin with it.
    title : str
    height : float
        Inches.
    paint : callable
        Draws onto an empty canvas with constrained layout.
    notes : sequence of str
        Sentences of the caption.
    """
    with mpl.rc_context(_STYLE):
        sheet = Sheet(WIDTH, height)
        paint(sheet.figure)
        svg = sheet.svg()
    return Figure(key, title, _inline(svg, key, title), notes)


def grid_of(canvas: Canvas, count: int, columns: int, *, sharex: bool = False) -> list[RuledAxes]:
    """Return ``count`` axes in rows of ``columns``; of axes that share their x-axis only the lowest name its places."""
    grid = canvas.add_gridspec(-(-count // columns), columns)
    found: list[RuledAxes] = []
    for place in range(count):
        axes = axes_at(canvas, grid[divmod(place, columns)], sharex=found[0] if sharex and found else None)
        if sharex:
            axes.named["x"] = place + columns >= count
        found.append(axes)
    return found


def style_of(label: Label, labels: Sequence[Label]) -> dict[str, Any]:
    """Return colour, line and depth of a label among all of the run, so that it looks the same in every figure.

    A family has one colour; its variants run from dark to light along their order; benchmarks are grey.
    """
    if label.full == ORACLE:
        return {"color": INK, "linestyle": (0, (1, 1.5)), "linewidth": 1.3}
    if not label.is_model:
        return {"color": _BENCHMARKS.get(label.family, MUTED), "linestyle": (0, (4, 2)), "linewidth": 1.2}
    families = list(dict.fromkeys(other.family for other in labels if other.is_model))
    siblings = [other for other in labels if other.is_variant and other.family == label.family]
    if not label.is_variant:
        turn, colour = divmod(families.index(label.family), len(PALETTE))
        return {
            "color": PALETTE[colour],
            "linestyle": _TURNS[turn % len(_TURNS)],
            "linewidth": 2.2,
            "zorder": 4,
        }
    place = siblings.index(label) / max(len(siblings) - 1, 1)
    name = ("viridis", "plasma", "cividis")[families.index(label.family) % 3]
    return {"color": to_hex(mpl.colormaps[name](0.05 + 0.73 * place)), "linewidth": 1.1}


def label_ends(axes: Axes, ends: Sequence[tuple[float, str, str]], height: float) -> None:
    """Write names at the right edge of an axes, beside the heights at which their lines end, moved apart.

    Parameters
    ----------
    axes : Axes
        With its final limits.
    ends : sequence of (y, text, colour)
    height : float
        Inches that the axes takes, about.
    """
    low, high = axes.get_ylim()
    apart = 0.155 / height
    places = sorted(((y - low) / (high - low), text, colour) for y, text, colour in ends if np.isfinite(y))
    heights = [place for place, _, _ in places]
    for _ in range(200):
        moved = False
        for i in range(len(heights) - 1):
            short = apart - (heights[i + 1] - heights[i])
            if short > 1e-6:
                heights[i] -= short / 2
                heights[i + 1] += short / 2
                moved = True
        if not moved:
            break
    for y, (_, text, colour) in zip(heights, places, strict=True):
        axes.annotate(
            text,
            (1.0, y),
            xycoords="axes fraction",
            xytext=(5, 0),
            textcoords="offset points",
            color=colour,
            va="center",
            fontsize=8.5,
            annotation_clip=False,
        )


def dots(axes: Axes, x: npt.ArrayLike, y: npt.ArrayLike, size: float, colour: str) -> None:
    """Mark points by dots of a diameter in points.

    They are lines of hardly any length with round ends, all one path; of markers each would be a shape of its own.
    """
    starts = np.stack([x, y], axis=-1)
    path = np.stack([starts, starts + np.array([_DOT, 0.0]), np.full_like(starts, np.nan)], axis=1)
    (line,) = axes.plot(*path.reshape(-1, 2).T, color=colour, linewidth=size, solid_capstyle="round", zorder=3)
    line.get_path().should_simplify = False  # that would drop what is so short


def lighter(colour: str) -> str:
    """Return a colour mixed with white, for what stands behind the colour's owner."""
    red, green, blue = (1 - 0.45 * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def percent_axis(axes: Axes, *, axis: str = "y") -> None:
    """Write an axis of decimals in percent."""
    _set_ticks(axes, axis, lambda value: plain(round(100 * value, 6)) + "%", steps=_ROUND)


def plain_axis(axes: Axes, *, axis: str = "y") -> None:
    """Write an axis of numbers with a true minus and no more digits than needed."""
    _set_ticks(axes, axis, plain, steps=_FEW_DIGITS)


def whole_axis(axes: Axes, *, axis: str = "x") -> None:
    """Put the ticks of an axis at whole numbers."""
    _set_ticks(axes, axis, lambda value: f"{value:.0f}", integer=True, min_n_ticks=1)


def _set_ticks(axes: Axes, axis: str, written: Callable[[float], str], **chosen: Any) -> None:
    """Let an axis name as many places as there is room for: they are most of what a small axes says, and costs."""
    along = axes.yaxis if axis == "y" else axes.xaxis
    inches = (axes.bbox.height if axis == "y" else axes.bbox.width) / axes.figure.dpi
    intervals = round(inches / _APART[axis])
    along.set_major_locator(MaxNLocator(min(max(intervals, _FEWEST), _MOST), **chosen))
    along.set_major_formatter(FuncFormatter(lambda value, _: written(value)))


def _inline(svg: str, key: str, title: str) -> str:
    """Return an SVG as part of a page: no prologue, no names that could meet another figure's, the page's own font."""
    body = svg[svg.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', body)
    assert view is not None
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<style.*?</style>", "", inner, flags=re.DOTALL)
    inner = inner.replace("xlink:href=", "href=")
    for names in (' id="', "url(#", 'href="#'):
        inner = inner.replace(names, f"{names}{key}-")
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r"font: ((?:\w+ )*)([\d.]+)px [^;\"]*", r"font-weight: \1; font-size: \2px", inner)
    inner = re.sub(r"\n\s*", "\n", inner)
    return f'<svg class="drawing" viewBox="{view[1]}" role="img" aria-label="{title}">{inner.strip()}\n</svg>'

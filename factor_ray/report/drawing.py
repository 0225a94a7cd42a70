"""How every figure is drawn: one style, one palette, and SVG that is the same bytes each time."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator

from factor_ray.report.labels import MARKET, ORACLE, Label
from factor_ray.report.numbers import plain

INK, MUTED, GRID = "#1c2530", "#66707c", "#e4e8ec"
WIDTH = 10.4
"""Width of a figure in inches: the page's column."""

_DOTS = 72  # to the inch: those of SVG, so that text is measured as it will be written

TRAIN, VALIDATION, TEST, EMBARGO = "#a9c4de", "#e6a23c", "#00735c", "#e6eaee"

# Okabe and Ito's palette, which colour-blind readers can tell apart.
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
"""Colours of families, and of whatever else stands side by side."""

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
    "axes.titley": 1.0,  # there they end up anyway; looking for ticks above the axes takes a tenth of the time
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": "#9aa3ad",
    "ytick.color": "#9aa3ad",
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
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
    buffer = io.StringIO()
    with mpl.rc_context(_STYLE):
        canvas = Canvas(figsize=(WIDTH, height), dpi=_DOTS)
        FigureCanvasSVG(canvas)
        paint(canvas)
        _lay_out(canvas)
        canvas.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Figure(key, title, _inline(buffer.getvalue(), key, title), notes)


def grid_of(canvas: Canvas, count: int, columns: int, **options: Any) -> list[Axes]:
    """Return ``count`` axes in rows of ``columns``."""
    columns = min(columns, count)
    rows = -(-count // columns)
    axes = canvas.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for spare in axes[count:]:
        spare.set_visible(False)
    return list(axes[:count])


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


def lighter(colour: str) -> str:
    """Return a colour mixed with white, for what stands behind the colour's owner."""
    red, green, blue = (1 - 0.45 * (1 - part) for part in to_rgb(colour))
    return to_hex((red, green, blue))


def percent_axis(axes: Axes, *, axis: str = "y") -> None:
    """Write an axis of decimals in percent."""
    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_locator(_SeenTicks(5))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: plain(round(100 * value, 6)) + "%"))


def plain_axis(axes: Axes, *, axis: str = "y") -> None:
    """Write an axis of numbers with a true minus and no more digits than needed."""
    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_locator(_SeenTicks("auto", steps=[1, 2, 2.5, 5, 10]))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def whole_axis(axes: Axes, *, axis: str = "x", most: int = 8) -> None:
    """Put the ticks of an axis at whole numbers."""
    chosen = axes.yaxis if axis == "y" else axes.xaxis
    chosen.set_major_locator(_SeenTicks(most, integer=True, min_n_ticks=1))
    chosen.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))


class _SeenTicks(MaxNLocator):
    """Ticks between an axis's limits: matplotlib places one beyond each, which takes its time and is not shown."""

    def tick_values(self, vmin: float, vmax: float) -> Any:
        found = np.asarray(super().tick_values(vmin, vmax))
        low, high = min(vmin, vmax), max(vmin, vmax)
        slack = 1e-9 * (high - low)
        return found[(found >= low - slack) & (found <= high + slack)]


def _lay_out(canvas: Canvas) -> None:
    """Place the axes; what takes no room of its own is left out, since to measure it all ticks are made again."""
    for axes in canvas.axes:
        axes.spines[:].set_in_layout(False)
        for axis in (axes.xaxis, axes.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0.0, 0.0)
    # A canvas that knows its layout engine would be drawn twice, once to lay it out.
    ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05).execute(canvas)


def _inline(svg: str, key: str, title: str) -> str:
    """Return an SVG as part of a page: no prologue, no names that could meet another figure's, the page's own font."""
    body = svg[svg.index("<svg") :]
    view = re.search(r'viewBox="([^"]*)"', body)
    assert view is not None
    inner = body[body.index(">") + 1 : body.rindex("</svg>")]
    inner = re.sub(r"<metadata>.*?</metadata>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<style.*?</style>", "", inner, flags=re.DOTALL)
    inner = re.sub(r"<!--.*?-->", "", inner, flags=re.DOTALL)
    inner = re.sub(r'<g id="[^"]*"', "<g", inner)
    inner = inner.replace("xlink:href=", "href=")
    inner = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{key}-", inner)
    inner = re.sub(r"font-family: [^;\"]*;? ?", "", inner)
    inner = re.sub(r"font: ((?:\w+ )*)([\d.]+)px [^;\"]*", r"font-weight: \1; font-size: \2px", inner)
    inner = re.sub(r"\n\s*", "\n", inner)
    return f'<svg class="drawing" viewBox="{view[1]}" role="img" aria-label="{title}">{inner.strip()}\n</svg>'

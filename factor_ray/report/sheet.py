"""What figures are drawn on: axes that rule and name themselves, and SVG by a writer that knows how wide words are."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator
from matplotlib.transforms import Bbox

Which = Literal["x", "y"]

_AXES: tuple[Which, Which] = ("x", "y")
_DOTS = 72  # to the inch: those of SVG, so that text is measured as it will be written
_UNSIGNED = dict.fromkeys(("Creator", "Date", "Format", "Type"))  # the same bytes each time


class Sheet(FigureCanvasBase):
    """The sheet that one figure is drawn on.

    Parameters
    ----------
    width, height : float
        Inches.
    """

    def __init__(self, width: float, height: float) -> None:
        super().__init__(Figure((width, height), dpi=_DOTS, frameon=False))
        self._text = io.StringIO()
        writer: Callable[..., Any] = _Writer
        self._writer = writer(width * _DOTS, height * _DOTS, self._text, metadata=_UNSIGNED)

    def get_renderer(self) -> Any:
        """Return what measures text for the layout, which is what will write it."""
        return self._writer

    def svg(self) -> str:
        """Place the axes, and return the figure as SVG; it can be drawn once."""
        ruled = [axes for axes in self.figure.axes if isinstance(axes, RuledAxes)]
        for axes in ruled:
            axes.patch.set_visible(False)
            axes.spines[:].set_in_layout(False)
            axes.rule(self._writer)
        for axes in ruled:  # of axes that share an axis each was to know its places
            axes.without_ticks()
        # A figure that knew its layout engine would be laid out again while it is drawn.
        ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05).execute(self.figure)
        self.figure.draw(self._writer)
        self._writer.finalize()
        return self._text.getvalue()


def axes_at(figure: Figure, place: SubplotSpec, **options: Any) -> RuledAxes:
    """Return new axes at a place of a figure's grid; options are those of :class:`matplotlib.axes.Axes`."""
    axes: RuledAxes = figure.add_subplot(place, axes_class=RuledAxes, **options)
    return axes


class RuledAxes(Axes):
    """Axes without ticks: lines and names say where places are, and all around the axes is measured once.

    A tick of matplotlib is five artists, and ticks would take a third of the time. The layout asks twice how much room
    the names take, before and after it has moved the axes, because ticks may change with their size: here places follow
    from the limits alone.

    Attributes
    ----------
    named : dict of "x", "y" to bool
        Whether an axis names its places; True at first.
    named_above : bool
        Whether the names of the x-axis stand above the axes.
    """

    _room: npt.NDArray[np.float64] | None = None

    def __init__(self, *place: Any, **options: Any) -> None:
        self._lines = {"x": True, "y": True}
        self._styles: dict[Which, Mapping[str, Any]] = {"x": {}, "y": {}}
        self.named: dict[Which, bool] = {"x": True, "y": True}
        self.named_above = False
        super().__init__(*place, **options)

    def name_places(self, axis: Which, places: Iterable[float], names: Sequence[str], **style: Any) -> None:
        """Give an axis places with names of their own; the style is that of :class:`matplotlib.text.Text`."""
        along = self._along(axis)
        located = list(places)
        along.set_major_locator(FixedLocator(located))
        along.set_major_formatter(FixedFormatter(names))
        self._styles[axis] = style
        if located:
            along.set_view_interval(min(located), max(located))  # all are seen where there is nothing else

    def places(self, axis: Which) -> dict[float, str]:
        """Return the places along an axis that lie within its limits, with their names."""
        along = self._along(axis)
        every = [float(at) for at in along.get_majorticklocs()]
        low, high = sorted(along.get_view_interval())
        slack = 1e-9 * (high - low)
        named = zip(every, along.get_major_formatter().format_ticks(every), strict=True)
        return {at: name for at, name in named if low - slack <= at <= high + slack}

    def rule(self, writer: Any) -> None:
        """Draw the lines and write the names of both axes' places; labels of axes make room for the names."""
        for spine in self.spines.values():
            spine.axis = None  # it would make its ticks again once it is placed
            spine.set_position(("outward", 0.0))
        for axis in _AXES:
            places = self.places(axis)
            if self._lines[axis]:
                self._draw_lines(axis, list(places))
            if self.named[axis]:
                self._write_names(axis, places, writer)

    def without_ticks(self) -> None:
        """Leave matplotlib nothing to do along the axes."""
        for axis in _AXES:
            self._along(axis).set_major_locator(NullLocator())

    def get_tightbbox(self, renderer: Any = None, **options: Any) -> Bbox | None:
        """Return the box of the axes with all that was around it when this was first asked."""
        if self._room is None:
            whole = super().get_tightbbox(renderer, **options)
            if whole is not None:
                self._room = np.subtract(whole.extents, self.bbox.extents)
            return whole
        return Bbox.from_extents(*np.add(self.bbox.extents, self._room))

    def grid(
        self,
        visible: bool | None = None,
        which: Literal["major", "minor", "both"] = "major",  # noqa: ARG002 - there are no minor ones
        axis: Literal["both", "x", "y"] = "both",
        **_style: Any,
    ) -> None:
        """Switch the lines along an axis on or off; new axes do so first of all, and would make ticks for it."""
        for own in _AXES:
            along = self._along(own)
            along.majorTicks, along.minorTicks = [], []
            if axis in (own, "both"):
                self._lines[own] = bool(visible)

    def _draw_lines(self, axis: Which, places: Sequence[float]) -> None:
        ends = np.tile([0.0, 1.0, np.nan], len(places))
        across = np.repeat(places, 3)
        x, y, transform = (
            (across, ends, self.get_xaxis_transform()) if axis == "x" else (ends, across, self.get_yaxis_transform())
        )
        style = {"color": rcParams["grid.color"], "linewidth": rcParams["grid.linewidth"]}
        self.add_artist(Line2D(x, y, transform=transform, zorder=0.5, **style))

    def _write_names(self, axis: Which, places: Mapping[float, str], writer: Any) -> None:
        if axis == "y":
            transform, va, ha = self.get_yaxis_text1_transform(rcParams["ytick.major.pad"])
        else:
            placed = self.get_xaxis_text2_transform if self.named_above else self.get_xaxis_text1_transform
            transform, va, ha = placed(rcParams["xtick.major.pad"])
        style: dict[str, Any] = {"transform": transform, "va": va, "ha": ha, **self._styles[axis]}
        top = float(self.named_above)
        written = [
            self.text(at, top, name, **style) if axis == "x" else self.text(0.0, at, name, **style)
            for at, name in places.items()
            if name
        ]
        along = self._along(axis)
        if written and along.get_label_text() and not (axis == "x" and self.named_above):
            box = Bbox.union([text.get_window_extent(writer) for text in written])
            along.labelpad += (self.bbox.y0 - box.y0) if axis == "x" else (self.bbox.x0 - box.x0)

    def _along(self, axis: Which) -> Axis:
        return self.xaxis if axis == "x" else self.yaxis


class _Writer(RendererSVG):
    """Writes SVG without groups; a text is measured when it is first met, in this figure or an earlier one."""

    def get_text_width_height_descent(self, s: str, prop: FontProperties, ismath: Any) -> tuple[float, float, float]:
        return _measured(s, prop, ismath)

    def open_group(self, s: str, gid: str | None = None) -> None:
        """Write nothing: what belongs together is of no use to the page."""

    def close_group(self, s: str) -> None:
        """Write nothing."""


@lru_cache(4096)
def _measured(text: str, font: FontProperties, is_math: Any) -> tuple[float, float, float]:
    return text_to_path.get_text_width_height_descent(text, font, is_math)

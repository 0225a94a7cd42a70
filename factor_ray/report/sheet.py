"""What figures are drawn on: axes that are measured once, and SVG by a writer that knows how wide its words are."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.gridspec import SubplotSpec
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import text_to_path
from matplotlib.transforms import Bbox

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
        for axes in self.figure.axes:
            axes.patch.set_visible(False)
            axes.spines[:].set_in_layout(False)
        for axis in self._unnamed():
            axis.set_label_coords(0.0, 0.0)  # to find the place of an empty label all ticks are measured again
        # A figure that knew its layout engine would be laid out again while it is drawn.
        ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.03, hspace=0.05).execute(self.figure)
        for axis in self._unnamed():
            for tick in axis.majorTicks:
                tick.label1.set_in_layout(False)  # nothing is placed beside them any more
        self.figure.draw(self._writer)
        self._writer.finalize()
        return self._text.getvalue()

    def _unnamed(self) -> Iterator[Axis]:
        for axes in self.figure.axes:
            for axis in (axes.xaxis, axes.yaxis):
                if not axis.get_label_text():
                    yield axis


def axes_at(figure: Figure, place: SubplotSpec, **options: Any) -> Axes:
    """Return new axes at a place of a figure's grid; options are those of :class:`matplotlib.axes.Axes`."""
    axes: Axes = figure.add_subplot(place, axes_class=_MeasuredAxes, **options)
    return axes


class _MeasuredAxes(Axes):
    """Axes whose labels and titles are measured once.

    The layout asks twice, before and after it has moved the axes, because ticks may change with their size. Here they
    follow from the limits alone.
    """

    _room: npt.NDArray[np.float64] | None = None

    def get_tightbbox(self, renderer: Any = None, **options: Any) -> Bbox | None:
        """Return the box of the axes with all that was around it when this was first asked."""
        if self._room is None:
            whole = super().get_tightbbox(renderer, **options)
            if whole is not None:
                self._room = np.subtract(whole.extents, self.bbox.extents)
            return whole
        return Bbox.from_extents(*np.add(self.bbox.extents, self._room))

    def grid(self, *which: Any, **how: Any) -> None:
        """Switch the grid's lines, as new axes do first of all; each axis would make a minor tick otherwise."""
        for axis in (self.xaxis, self.yaxis):
            axis.minorTicks = []
        super().grid(*which, **how)


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

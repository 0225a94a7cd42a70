"""The figures of what factors load on, window by window: how steady an estimate is."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import PALETTE, Figure, draw, plain_axis, whole_axis
from factor_ray.report.factor_figures import by_factor, level_cells, own_tables, rows_of, titled

_FEWEST_WINDOWS = 3
_LINES = len(PALETTE)
_MOST_FACTORS = 4


def window_figures(contents: Contents) -> list[Figure]:
    """Draw the coefficients that are largest over all windows, factor by factor; nothing for one or two windows."""
    found = []
    for label, horizon, own in own_tables(contents.window_loadings):
        if own["window"].nunique() < _FEWEST_WINDOWS:
            continue
        own = _lasting(own)
        largest = largest_characteristics(own)
        every = pd.DatetimeIndex(np.sort(own["month"].unique()))

        def paint(
            canvas: Canvas, own: pd.DataFrame = own, largest: list[str] = largest, every: pd.DatetimeIndex = every
        ) -> None:
            rows = by_factor(own)
            for at, axes in level_cells(canvas, own).items():
                _paint(axes, rows[at], largest, every)
            handles = [Line2D([], [], color=PALETTE[place], label=name) for place, name in enumerate(largest)]
            canvas.legend(handles=handles, loc="outside lower left", ncols=_LINES)

        found.append(
            draw(
                f"windows-{label.full}-{horizon}",
                titled("Coefficients by window", label, horizon),
                0.45 + 1.4 * rows_of(own),
                paint,
                [
                    f"Of the {len(largest)} characteristics whose coefficients are largest on average, by the last "
                    "month before each window's test. Factors and signs follow those of the window before; a gap is a "
                    "window that selected fewer factors. Factors of less than a tenth of the windows are left out.",
                ],
            )
        )
    return found


def _lasting(own: pd.DataFrame) -> pd.DataFrame:
    """The factors up to the last one, at each level, that a tenth of the windows have; four at most."""
    windows = own[["level", "factor", "window"]].drop_duplicates().groupby(["level", "factor"]).size()
    lasting = windows[windows >= 0.1 * own["window"].nunique()].reset_index().groupby("level")["factor"].max()
    kept = pd.Series(False, index=own.index)
    for level, factor in lasting.items():
        kept |= (own["level"] == level) & (own["factor"] <= min(factor, _MOST_FACTORS))
    return own[kept]


def largest_characteristics(own: pd.DataFrame) -> list[str]:
    """Return the characteristics with the largest mean absolute coefficients over windows, levels and factors."""
    size = own["coefficient"].abs().groupby(own["characteristic"].astype(str)).mean()
    return size.sort_values(ascending=False, kind="stable").index[:_LINES].tolist()


def _paint(axes: Axes, own: pd.DataFrame, largest: list[str], every: pd.DatetimeIndex) -> None:
    own = own[own["characteristic"].isin(largest)]
    wide = np.full((len(every), len(largest)), np.nan)
    months, names = pd.Index(own["month"]), pd.Index(own["characteristic"])
    wide[every.get_indexer(months), pd.Index(largest).get_indexer(names)] = own["coefficient"]
    at = np.asarray(every.year + every.month / 12)
    axes.axhline(0, color="#9aa3ad", linewidth=0.7)
    for values, colour in zip(wide.T, PALETTE, strict=False):
        axes.plot(at, values, color=colour, linewidth=1.2)
    margin = 0.01 * (at[-1] - at[0])
    axes.set_xlim(at[0] - margin, at[-1] + margin)
    whole_axis(axes)
    plain_axis(axes)

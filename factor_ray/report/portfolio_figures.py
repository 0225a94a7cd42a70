"""The figure of long-short portfolios: what they have earned, month by month."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import Figure, draw, grid_of, label_ends, percent_axis, style_of, whole_axis
from factor_ray.report.labels import MARKET, Label
from factor_ray.report.portfolio_tables import HIGH_LOW

_MOST_NAMED_VARIANTS = 4


def cumulative_figure(contents: Contents) -> Figure | None:
    """Draw the cumulative log return of every model's high minus low before costs, the market beside."""
    horizons = [h for h in contents.horizons if contents.labels(h, "long_short")]
    if not horizons:
        return None
    columns = min(len(horizons), 2)
    height = 3.6 if columns == 1 else 2.9

    def paint(canvas: Canvas) -> None:
        for axes, horizon in zip(grid_of(canvas, len(horizons), columns), horizons, strict=True):
            _paint_cumulative(axes, contents, horizon, height - 0.6)
            axes.set_title(f"Sorted on {horizon}-month forecasts")

    notes = ["Sum of log(1 + R) since the first portfolio was formed, before costs. market: all forecast assets, held."]
    if any(label.is_variant for h in horizons for label in contents.labels(h, "long_short")):
        several = len(_families(contents)) > 1
        notes.append(
            "Of the sweeps only what was selected is drawn." if several else "Variants run from dark to light."
        )
    return draw(
        "cumulative", "Cumulative log return of high minus low", height * -(-len(horizons) // columns), paint, notes
    )


def _paint_cumulative(axes: Axes, contents: Contents, horizon: int, height: float) -> None:
    table = contents.portfolios
    own = table[(table["horizon"] == horizon) & table["portfolio"].isin([HIGH_LOW, MARKET])]
    labels = [*contents.labels(horizon, "long_short"), Label.read(MARKET)]
    if len(_families(contents)) > 1:
        labels = [label for label in labels if not label.is_variant]
    variants = [label for label in labels if label.is_variant]
    named = [label for label in labels if not label.is_variant]
    named += variants if len(variants) <= _MOST_NAMED_VARIANTS else [variants[0], variants[-1]]
    ends = []
    for label in labels:
        series = own[own["model"] == label.full].sort_values("month")
        if series.empty:
            continue
        # Formed at a month's end and held over the next; a month that loses everything ends the line.
        formed = pd.DatetimeIndex(series["month"])
        simple = series["return"].fillna(0.0)
        total = np.cumsum(np.log1p(simple.where(simple > -1.0)).to_numpy())
        style = style_of(label, contents.every_model())
        months = (formed + pd.offsets.MonthEnd(1)).insert(0, formed[0])
        axes.plot(months.year + months.month / 12, np.insert(total, 0, 0.0), **style)
        if label in named:
            ends.append((float(total[-1]), label.variant or label.text, str(style["color"])))
    axes.axhline(0, color="#9aa3ad", linewidth=0.8)
    axes.margins(x=0)
    whole_axis(axes)
    percent_axis(axes)
    label_ends(axes, ends, height)


def _families(contents: Contents) -> set[str]:
    """Return the families of models whose forecasts were sorted on."""
    return {label.family for h in contents.horizons for label in contents.models(h, "long_short")}

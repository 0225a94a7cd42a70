"""Tables and figures of index models: what each factor's index is made of, and the loading as a function of it."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from scipy.stats import norm

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, draw, lighter, plain_axis
from factor_ray.report.factor_figures import (
    WHOLE_SAMPLE,
    level_cells,
    level_colour,
    loading_map,
    of_factor,
    own_tables,
    rows_of,
    titled,
)
from factor_ray.report.numbers import decimal
from factor_ray.report.tables import Cell, Panel, Row, Table, horizon_heading

_STARS = (0.01, 0.05, 0.10)
_BAND = norm.ppf(0.975)
_MOST_BARS = 30
_COLUMNS = ["characteristic", "level", "factor", "coefficient", "standard_error"]


def index_tables(contents: Contents) -> list[Table]:
    """Return each quantile model's index coefficients, a column for each level and factor, with stars."""
    found = []
    for label, horizon, own in own_tables(contents.loadings):
        own = own[own["level"] != ""]
        if own.empty:
            continue
        columns = own[["level", "factor"]].drop_duplicates().sort_values(["level", "factor"], key=_as_numbers)
        cells = {
            (str(name), str(level), int(factor)): _cell(coefficient, error)
            for name, level, factor, coefficient, error in own[_COLUMNS].itertuples(index=False, name=None)
        }
        places = list(columns.itertuples(index=False, name=None))
        rows = [
            Row(name, tuple(cells.get((name, level, factor), Cell("–")) for level, factor in places))
            for name in own["characteristic"].drop_duplicates().astype(str)
        ]
        heads = [f"τ = {level}, {factor}" for level, factor in places]
        found.append(
            Table(
                f"index-{label.full}-{horizon}",
                f"Index coefficients of {label.text}",
                ["Characteristic", *heads],
                [Panel(f"{horizon_heading(horizon)}; levels, and the number of the factor", tuple(rows))],
                _index_notes(own),
            )
        )
    return found


def index_figures(contents: Contents) -> list[Figure]:
    """Draw each quantile model's index coefficients as bars, or as a map of colours where characteristics are many."""
    found = []
    for label, horizon, own in own_tables(contents.loadings):
        own = own[own["level"] != ""]
        if own.empty:
            continue
        if own["characteristic"].nunique() > _MOST_BARS:
            found += [loading_map(label, horizon, own, level) for level in sorted(set(own["level"]), key=float)]
            continue

        def paint(canvas: Canvas, own: pd.DataFrame = own) -> None:
            for (level, factor), axes in level_cells(canvas, own, sharey=True).items():
                _paint_bars(axes, of_factor(own, level, factor), level_colour(level))

        notes = ["Each factor's coefficients have unit length."]
        if own["standard_error"].notna().any():
            notes[0] += " Lines: 95% intervals; bars whose interval holds zero are light."
        height = 0.45 + 0.14 * own["characteristic"].nunique()
        found.append(
            draw(
                f"bars-{label.full}-{horizon}",
                titled("Index coefficients", label, horizon),
                0.15 + rows_of(own) * height,
                paint,
                notes,
            )
        )
    return found


def curve_figures(contents: Contents) -> list[Figure]:
    """Draw each quantile model's loading functions with their bands."""
    found = []
    for label, horizon, own in own_tables(contents.curves):

        def paint(canvas: Canvas, own: pd.DataFrame = own) -> None:
            for (level, factor), axes in level_cells(canvas, own).items():
                _paint_curve(axes, of_factor(own, level, factor), level_colour(level or "0.5"))

        notes = ["The loading on a factor as a function of the index of characteristics, over the indices that occur."]
        if own["low"].notna().any():
            notes[0] += " Bands: 95%, pointwise."
        found.append(
            draw(
                f"curves-{label.full}-{horizon}",
                titled("Loading functions", label, horizon),
                0.15 + 1.45 * rows_of(own),
                paint,
                notes,
            )
        )
    return found


def stars(coefficient: float, standard_error: float) -> str:
    """Return a Wald test's stars for a coefficient's being zero: 1, 5 and 10 per cent."""
    if not standard_error > 0:
        return ""
    p = 2.0 * norm.sf(abs(coefficient) / standard_error)
    return "*" * sum(bool(p <= level) for level in _STARS)


def _cell(coefficient: float, error: float) -> Cell:
    below = f"({decimal(error, 3)})" if math.isfinite(error) else ""
    return Cell(decimal(coefficient, 3) + stars(coefficient, error), below, min(abs(coefficient), 1.0))


def _index_notes(own: pd.DataFrame) -> list[str]:
    note = (
        "The index of each factor is the sum of characteristics times these, which have unit length; deeper is larger."
    )
    if own["standard_error"].notna().any():
        told = f"{note} Standard errors in brackets; three, two and one star: Wald test of the one, 1%, 5% and 10%."
        return [told, WHOLE_SAMPLE]
    return [f"{note} Standard errors are not known for this model.", WHOLE_SAMPLE]


def _paint_bars(axes: Axes, own: pd.DataFrame, colour: str) -> None:
    values, errors = own["coefficient"].to_numpy(), own["standard_error"].to_numpy()
    at = np.arange(len(own))
    told = ~(np.abs(values) <= _BAND * errors)
    colours = np.where(told, colour, lighter(colour))
    axes.barh(at, values, height=0.72, color=list(colours), linewidth=0)
    axes.hlines(at, values - _BAND * errors, values + _BAND * errors, color=INK, linewidth=0.8)
    axes.axvline(0, color="#9aa3ad", linewidth=0.8)
    axes.set_yticks(at, list(own["characteristic"]), fontsize=7.5)
    axes.set_ylim(len(own) - 0.4, -0.6)
    axes.set_xlim(-1.02, 1.02)
    axes.grid(axis="y", visible=False)
    plain_axis(axes, axis="x")


def _paint_curve(axes: Axes, own: pd.DataFrame, colour: str) -> None:
    own = own.sort_values("index")
    axes.axhline(0, color="#9aa3ad", linewidth=0.7)
    axes.fill_between(own["index"], own["low"], own["high"], color=colour, alpha=0.18, linewidth=0)
    axes.plot(own["index"], own["value"], color=colour, linewidth=1.5)
    axes.margins(x=0.01)
    plain_axis(axes)
    plain_axis(axes, axis="x")


def _as_numbers(column: pd.Series) -> pd.Series:
    return column.astype(float)

"""Tables and figures of index models: what each factor's index is made of, and the loading as a function of it."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FixedLocator

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, draw, lighter, plain_axis
from factor_ray.report.factor_figures import (
    COLUMNS,
    WHOLE_SAMPLE,
    by_factor,
    level_cells,
    level_colour,
    loading_map,
    own_tables,
    rows_of,
    titled,
)
from factor_ray.report.numbers import decimal, p_value, percent
from factor_ray.report.sheet import RuledAxes
from factor_ray.report.tables import Cell, Panel, Row, Table, horizon_heading

_STARS = (0.01, 0.05, 0.10)
_BAND = NormalDist().inv_cdf(0.975)
_MOST_BARS = 30
_HALF = 0.36  # of a bar's height, where rows are one apart
_TERMS = 4
_TIE = 3.0  # standard errors between the strengths of two factors, below which their rotation is hardly determined
_DAGGER, _ALL = "†", 1 << 30  # _ALL stands for all factors, after them
_COLUMNS = ["characteristic", "level", "factor", "coefficient", "standard_error", "bootstrap_error"]


def index_tables(contents: Contents) -> list[Table]:
    """Return each quantile model's index coefficients, a column for each level and factor, with stars."""
    found = []
    for label, horizon, own in own_tables(contents.loadings):
        own = own[own["level"] != ""]
        if own.empty:
            continue
        cells = _cells(own)
        places = sorted({(level, factor) for _, level, factor in cells}, key=lambda at: (float(at[0]), at[1]))
        rows = [
            Row(name, tuple(cells.get((name, *place), Cell("–")) for place in places))
            for name in own["characteristic"].drop_duplicates().astype(str)
        ]
        tied = _tied(own)
        found.append(
            Table(
                f"index-{label.full}-{horizon}",
                f"Index coefficients of {label.text}",
                ["Characteristic", *(_head(*place, tied) for place in places)],
                [Panel(f"{horizon_heading(horizon)}; levels, and the number of the factor", tuple(rows))],
                _index_notes(own, tied),
            )
        )
    return found


def term_tables(contents: Contents) -> list[Table]:
    """Return how far one index explains each factor's sieve, and the terms that are largest in it."""
    found = []
    for label, horizon, own in own_tables(contents.terms):
        rows = []
        for (level, factor), part in own.groupby(["level", "factor"], sort=False):
            terms, coefficients = part["term"].to_numpy(), part["coefficient"].to_numpy()
            varying = np.flatnonzero(terms != "1")
            size = float(np.sum(coefficients[varying] ** 2))
            share = float(np.sum(part["of_index"].to_numpy()[varying] ** 2)) / size if size > 0 else math.nan
            cells = [Cell(percent(share, 1))]
            for at in varying[np.argsort(-np.abs(coefficients[varying]), kind="stable")[:_TERMS]]:
                cells.append(Cell(terms[at], percent(coefficients[at], 3)))
            cells += [Cell("–")] * (1 + _TERMS - len(cells))
            rows.append(Row(f"τ = {level}, factor {factor}", tuple(cells)))
        heads = ["", "Of one index, %", *(["Largest term", *(f"{place}." for place in range(2, 1 + _TERMS))])]
        found.append(
            Table(
                f"terms-{label.full}-{horizon}",
                f"Terms of the factors' loadings, {label.text}",
                heads,
                [Panel(horizon_heading(horizon), tuple(rows))],
                [
                    "Of one index: the share of the squared coefficients of all terms but the constant that loading "
                    "functions of one index explain; the rest is noise, or a sign that one index is not enough. Below "
                    "each term its coefficient in percent of return; h2(x) is the second Hermite polynomial.",
                    WHOLE_SAMPLE,
                ],
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
            rows = by_factor(own)
            for (level, factor), axes in level_cells(canvas, own).items():
                _paint_bars(axes, rows[level, factor], level_colour(level), named=factor % COLUMNS == 1)

        notes = ["Each factor's coefficients have unit length."]
        if own["standard_error"].notna().any():
            notes[0] += " Lines: 95% intervals, cut at the frame; bars whose interval holds zero are light."
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
            rows = by_factor(own)
            for (level, factor), axes in level_cells(canvas, own).items():
                _paint_curve(axes, rows[level, factor], level_colour(level or "0.5"))

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
    p = math.erfc(abs(coefficient) / standard_error / math.sqrt(2.0))
    return "*" * sum(bool(p <= level) for level in _STARS)


def _cells(own: pd.DataFrame) -> dict[tuple[str, str, int], Cell]:
    """What the table says of each characteristic, level and factor; factor ``_ALL`` is the joint test of all."""
    found = {
        (str(name), str(level), int(factor)): _cell(coefficient, error, drawn)
        for name, level, factor, coefficient, error, drawn in own[_COLUMNS].itertuples(index=False, name=None)
    }
    joint = own.drop_duplicates(["level", "characteristic"]).dropna(subset="joint_p")
    for name, level, p in joint[["characteristic", "level", "joint_p"]].itertuples(index=False, name=None):
        found[str(name), str(level), _ALL] = Cell(p_value(p))
    return found


def _cell(coefficient: float, error: float, drawn: float) -> Cell:
    below = f"({decimal(error, 3)})" if math.isfinite(error) else ""
    below += f" [{decimal(drawn, 3)}]" if math.isfinite(drawn) else ""
    return Cell(decimal(coefficient, 3) + stars(coefficient, error), below.strip(), min(abs(coefficient), 1.0))


def _head(level: str, factor: int, tied: set[tuple[str, int]]) -> str:
    if factor == _ALL:
        return f"τ = {level}, p of all"
    return f"τ = {level}, {factor}{_DAGGER if (level, factor) in tied else ''}"


def _tied(own: pd.DataFrame) -> set[tuple[str, int]]:
    """Levels and factors whose strength is near another's."""
    near = own[own["separation"] < _TIE]
    return {(str(level), int(factor)) for level, factor in near[["level", "factor"]].itertuples(index=False, name=None)}


def _index_notes(own: pd.DataFrame, tied: set[tuple[str, int]]) -> list[str]:
    told = [
        "The index of each factor is the sum of characteristics times these, which have unit length; the first is "
        "positive by convention; deeper is larger."
    ]
    if own["standard_error"].notna().any():
        told[0] += " Standard errors in brackets; three, two and one star: Wald test of the one, 1%, 5% and 10%."
    else:
        told[0] += (
            " Standard errors are not known for this model: it has none, or some month has too few residuals for the "
            "density that they need."
        )
    if own["bootstrap_error"].notna().any():
        told.append(
            "In square brackets: standard errors with months drawn with replacement, which also count how several "
            "factors turn with the months."
        )
    if own["joint_p"].notna().any():
        told.append("p of all: Wald test that no factor's index at that level holds the characteristic.")
    if tied:
        told.append(
            f"{_DAGGER} The factor's strength is within {_TIE:g} standard errors of another's: what is of one and what "
            "of the other is then hardly determined, and neither its coefficients nor their errors are a guide."
        )
    return [*told, WHOLE_SAMPLE]


def _paint_bars(axes: RuledAxes, own: pd.DataFrame, colour: str, *, named: bool) -> None:
    values, errors = own["coefficient"].to_numpy(), own["standard_error"].to_numpy()
    at = np.arange(len(own))
    told = ~(np.abs(values) <= _BAND * errors)
    colours = list(np.where(told, colour, lighter(colour)))
    zero = np.zeros_like(values)
    corners = np.stack([(zero, at - _HALF), (values, at - _HALF), (values, at + _HALF), (zero, at + _HALF)])
    axes.add_collection(PolyCollection(list(corners.transpose(2, 0, 1)), facecolors=colours, linewidths=0))
    axes.hlines(at, values - _BAND * errors, values + _BAND * errors, color=INK, linewidth=0.8)
    axes.axvline(0, color="#9aa3ad", linewidth=0.8)
    if named:
        axes.name_places("y", at, list(own["characteristic"]), fontsize=7.5)
    else:
        axes.name_places("y", [], [])
    axes.set_ylim(len(own) - 0.4, -0.6)
    axes.set_xlim(-1.02, 1.02)
    axes.grid(axis="y", visible=False)
    plain_axis(axes, axis="x")
    axes.xaxis.set_major_locator(FixedLocator([-0.5, 0.0, 0.5]))  # of no more than 1 each; few are longer


def _paint_curve(axes: RuledAxes, own: pd.DataFrame, colour: str) -> None:
    own = own.sort_values("index")
    axes.axhline(0, color="#9aa3ad", linewidth=0.7)
    axes.fill_between(own["index"], own["low"], own["high"], color=colour, alpha=0.18, linewidth=0)
    axes.plot(own["index"], own["value"], color=colour, linewidth=1.5)
    axes.margins(x=0.01)
    plain_axis(axes)
    plain_axis(axes, axis="x")

"""The figures of factor models, of means or of quantiles: the factors month by month, and what they load on."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, draw, grid_of, plain_axis, style_of, whole_axis
from factor_ray.report.labels import Label
from factor_ray.report.numbers import plain
from factor_ray.report.quantile_measures import spread_out
from factor_ray.report.sheet import RuledAxes, axes_at

COLUMNS = 4
_MOST_FACTORS = 12
_MOST_LEVELS = 5
_MONTHS_OF_MEAN = 3
_RAW = "#b8c0c8"

_LEVELS = LinearSegmentedColormap.from_list("levels", ["#b8480a", "#66707c", "#005b96"])
SIGNED = LinearSegmentedColormap.from_list("signed", ["#b8480a", "#f6d9c6", "#ffffff", "#c6dcec", "#005b96"])
"""Colours from negative through zero, white, to positive."""

WHOLE_SAMPLE = (
    "Estimated from all months to the last of validation with what the last window selected: for description, no "
    "forecast uses it."
)


def level_colour(level: str) -> str:
    """Return the colour of a level, the same in every figure: lower tail, middle, upper tail."""
    return to_hex(_LEVELS(float(level)))


def factor_figures(contents: Contents) -> list[Figure]:
    """Draw every factor model's factors over time: each month, and the mean of three months."""
    return [_series_figure(contents, label, horizon, own) for label, horizon, own in own_tables(contents.factors)]


def loading_figures(contents: Contents) -> list[Figure]:
    """Draw what the factors of mean models load on, characteristics by factors, as a map of colours."""
    return [
        loading_map(label, horizon, own, "")
        for label, horizon, own in own_tables(contents.loadings)
        if own["level"].eq("").all()
    ]


def own_tables(table: pd.DataFrame | None) -> Iterator[tuple[Label, int, pd.DataFrame]]:
    """Yield each selected model's rows at each horizon, with the level as text (empty for means), at most five levels.

    Variants of a sweep are left out: their family's selected model stands for them.
    """
    if table is None:
        return
    for (model, horizon), own in table.groupby(["model", "horizon"], sort=False):
        label = Label.read(str(model))
        if not label.is_variant:
            codes, taus = pd.factorize(own["tau"], use_na_sentinel=False)
            texts = ["" if math.isnan(tau) else f"{tau:g}" for tau in taus]
            shown = spread_out(sorted(texts, key=lambda text: float(text or 0.0)), _MOST_LEVELS)
            level = pd.Series(texts).take(codes).set_axis(own.index)
            yield label, int(str(horizon)), own.assign(level=level)[level.isin(shown)]


def level_cells(canvas: Canvas, own: pd.DataFrame) -> dict[tuple[str, int], RuledAxes]:
    """Return an axes for each level and factor, a level's factors in rows of four."""
    counts = _counts(own)
    columns = min(COLUMNS, max(counts.values()))
    grid = canvas.add_gridspec(rows_of(own), columns)
    cells: dict[tuple[str, int], RuledAxes] = {}
    row = 0
    for level, count in counts.items():
        for place in range(count):
            axes = axes_at(canvas, grid[row + place // columns, place % columns])
            axes.set_title(f"τ = {level}, factor {place + 1}" if level else f"Factor {place + 1}", pad=4)
            cells[level, place + 1] = axes
        row += -(-count // columns)
    return cells


def rows_of(own: pd.DataFrame) -> int:
    """Return how many rows of axes :func:`level_cells` makes."""
    counts = _counts(own)
    columns = min(COLUMNS, max(counts.values()))
    return sum(-(-count // columns) for count in counts.values())


def by_factor(own: pd.DataFrame) -> dict[tuple[str, int], pd.DataFrame]:
    """Return the rows of each factor at each level."""
    parts = own.groupby(["level", "factor"], sort=False)
    return {(str(level), int(str(factor))): part for (level, factor), part in parts}


def titled(what: str, label: Label, horizon: int) -> str:
    """Return a figure's title, as in ``Factors of qcf, 1-month horizon``."""
    return f"{what} of {label.text}, {horizon}-month horizon"


def loading_map(label: Label, horizon: int, own: pd.DataFrame, level: str) -> Figure:
    """Draw coefficients on characteristics by factor as a map of colours, long lists side by side."""
    table = own[own["level"] == level]
    wide = table.pivot_table(index="characteristic", columns="factor", values="coefficient", sort=False)
    wide = wide.sort_index(axis="columns")
    shares = wide / wide.abs().max()
    blocks = 1 + (len(wide) > 12) + (len(wide) > 40)
    length = -(-len(wide) // blocks)

    def paint(canvas: Canvas) -> None:
        for block, axes in enumerate(grid_of(canvas, blocks, blocks)):
            part = shares.iloc[block * length : (block + 1) * length]
            axes.pcolormesh(part.to_numpy(), cmap=SIGNED, vmin=-1, vmax=1, edgecolors="#ffffff", linewidth=0.6)
            if blocks == 1:
                _write_values(axes, wide)
            axes.set_ylim(length, 0)
            axes.name_places("y", np.arange(len(part)) + 0.5, list(part.index), fontsize=7.5)
            axes.name_places("x", np.arange(len(wide.columns)) + 0.5, [str(factor) for factor in wide.columns])
            axes.named_above = True
            axes.grid(visible=False)
            axes.spines[:].set_visible(False)
        steps = [-1.0, -0.5, 0.0, 0.5, 1.0]
        names = ["negative, the factor's largest", "half of that", "zero", "half of", "positive, the factor's largest"]
        patches = [
            Patch(facecolor=SIGNED((step + 1) / 2), edgecolor="#d9dee3", label=name)
            for step, name in zip(steps, names, strict=True)
        ]
        canvas.legend(handles=patches, loc="outside lower left", ncols=5)

    suffix = f"-{level}" if level else ""
    at = f", τ = {level}" if level else ""
    return draw(
        f"loadings-{label.full}-{horizon}{suffix}",
        titled("Loadings", label, horizon) + at,
        0.75 + 0.175 * length,
        paint,
        [
            "Coefficients of each factor (columns) on the characteristics, in shares of the factor's largest; of "
            "loadings that are not linear, those of a regression of the loadings. The constant is left out."
        ],
    )


def _series_figure(contents: Contents, label: Label, horizon: int, own: pd.DataFrame) -> Figure:
    own = own[own["factor"] <= _MOST_FACTORS].sort_values("month", kind="stable")
    family = str(style_of(Label.read(label.family), contents.every_model())["color"])

    def paint(canvas: Canvas) -> None:
        rows = by_factor(own)
        for (level, factor), axes in level_cells(canvas, own).items():
            _paint_series(axes, rows[level, factor], level_colour(level) if level else family)

    notes = [
        "Grey: each month; coloured: mean of the month and the two before. By month of formation; factors are "
        "identified up to their sign, which is fixed."
    ]
    if own["level"].ne("").any():
        notes.append(WHOLE_SAMPLE)
    else:
        notes.append("Of the last window's months of training, on which the factors are estimated.")
    return draw(
        f"factors-{label.full}-{horizon}", titled("Factors", label, horizon), 0.15 + 1.4 * rows_of(own), paint, notes
    )


def _paint_series(axes: Axes, series: pd.DataFrame, colour: str) -> None:
    months = pd.DatetimeIndex(series["month"]).to_period("M")
    values = pd.Series(series["value"].to_numpy(), index=months)
    every = pd.period_range(months[0], months[-1], freq="M")
    values = values.reindex(every)
    at = np.asarray(every.year + every.month / 12)
    axes.axhline(0, color="#9aa3ad", linewidth=0.7)
    axes.plot(at, values, color=_RAW, linewidth=0.9)
    axes.plot(at, values.rolling(_MONTHS_OF_MEAN).mean(), color=colour, linewidth=1.5)
    axes.margins(x=0.01)
    whole_axis(axes)
    plain_axis(axes)


def _write_values(axes: Axes, wide: pd.DataFrame) -> None:
    deep = (wide.abs() > 0.75 * wide.abs().max()).to_numpy()
    for (row, column), value in np.ndenumerate(wide.to_numpy()):
        colour = "#ffffff" if deep[row, column] else INK
        axes.text(column + 0.5, row + 0.5, plain(value), color=colour, fontsize=7.5, ha="center", va="center")


def _counts(own: pd.DataFrame) -> dict[str, int]:
    found = own.groupby("level")["factor"].max()
    return {str(level): int(found[level]) for level in sorted(found.index, key=lambda text: float(text or 0.0))}

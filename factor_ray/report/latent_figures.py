"""The figures of latent-factor models: how factors move with macro series."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, draw, grid_of
from factor_ray.report.factor_figures import SIGNED, own_tables, titled
from factor_ray.report.labels import Label
from factor_ray.report.numbers import decimal

_MOST_SERIES = 20


def correlation_figures(contents: Contents) -> list[Figure]:
    """Draw each model's factors against the macro series that they move with most, as a map of colours."""
    return [_correlation_figure(label, horizon, own) for label, horizon, own in own_tables(contents.correlations)]


def _correlation_figure(label: Label, horizon: int, own: pd.DataFrame) -> Figure:
    every = own.pivot_table(index=["level", "factor"], columns="series", values="correlation", sort=False)
    size = every.abs()
    # Series that move with the same factor stand together, the strongest first.
    order = pd.DataFrame({"whose": size.idxmax(), "most": -size.max()})
    strongest = order.sort_values("most", kind="stable").head(_MOST_SERIES)
    shown = every[strongest.sort_values(["whose", "most"], kind="stable").index]

    def paint(canvas: Canvas) -> None:
        (axes,) = grid_of(canvas, 1, 1)
        axes.pcolormesh(shown.to_numpy(), cmap=SIGNED, vmin=-1, vmax=1, edgecolors="#ffffff", linewidth=0.8)
        for (row, column), value in np.ndenumerate(shown.to_numpy()):
            if math.isfinite(value):
                colour = "#ffffff" if abs(value) > 0.75 else INK
                text = decimal(value).replace("0.", ".", 1)
                axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7, color=colour)
        axes.set_ylim(len(shown), 0)
        axes.name_places("y", np.arange(len(shown)) + 0.5, [_factor(*key) for key in shown.index])
        names = list(shown.columns)
        axes.name_places(
            "x", np.arange(len(names)) + 0.5, names, rotation=40, ha="right", rotation_mode="anchor", fontsize=7.5
        )
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)

    months = own["months"]
    span = f"{months.min()}" if months.min() == months.max() else f"{months.min()} to {months.max()}"
    chance = 1.96 / math.sqrt(months.min())
    notes = [
        f"The {len(shown.columns)} of {every.shape[1]} series with the largest correlation with any factor, as known "
        f"when the factor's return was, over {span} months of training. Beyond ±{decimal(chance)} chance is less than "
        f"5% for one pair of series that do not persist; the strongest of {every.size} pairs lie beyond it by chance "
        "too, and two that both persist often do."
    ]
    title = titled("Correlations with macro series", label, horizon).replace("series of", "series of the factors of")
    return draw(f"correlations-{label.full}-{horizon}", title, 0.85 + 0.27 * len(shown), paint, notes)


def _factor(level: str, factor: int) -> str:
    return f"τ = {level}, factor {factor}" if level else f"Factor {factor}"

"""The figure of the prediction layer: what each consensus variable is worth, window by window."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import GRID, INK, Figure, draw, grid_of, percent_axis
from factor_ray.report.labels import Label, families_of
from factor_ray.report.sheet import RuledAxes


def coefficients_figure(contents: Contents) -> Figure | None:
    """Draw the prediction layer's coefficients by window, coloured by the R2 of their consensus variable."""
    shown: list[tuple[int, str]] = []
    for horizon in contents.horizons:
        for family in contents.families():
            label = _best_at_consensus(contents, family, horizon)
            if label is not None:
                shown.append((horizon, label))
    if not shown:
        return None
    variables = contents.consensus_variables(shown[0][0])

    def paint(canvas: Canvas) -> None:
        every = grid_of(canvas, len(shown), min(len(shown), 2))
        for axes, (horizon, model) in zip(every, shown, strict=True):
            _paint_coefficients(axes, contents, horizon, model, variables)
            axes.set_title(f"{Label.read(model).text}, {horizon}-month horizon")
        patches = [Patch(color=_r2_colour(low / 100), label=f"{low} to {low + 20}%") for low in range(0, 100, 20)]
        patches.insert(0, Patch(color=_r2_colour(-1.0), label="not positive"))
        canvas.legend(
            handles=patches, title="R² of the consensus variable", loc="outside lower left", ncols=6, alignment="left"
        )

    rows = -(-len(shown) // 2)
    notes = [
        "Change of the return forecast for a unit of the approximated consensus, mean over members. Within a variable, "
        "windows run from the first (top) to the last (bottom, ringed). Drawn is each family's variant whose consensus "
        "is approximated best; colour is the pooled out-of-sample R²."
    ]
    return draw(
        "coefficients", "Coefficients of the prediction layer", rows * (0.5 + 0.3 * len(variables)) + 0.6, paint, notes
    )


def _best_at_consensus(contents: Contents, family: str, horizon: int) -> str | None:
    """Return the family's label with coefficients whose consensus is approximated best."""
    table = contents.coefficients
    there = table.loc[(table["horizon"] == horizon) & (families_of(table["model"]) == family), "model"].unique()
    r2 = {model: contents.mean_consensus_r2(model, horizon) for model in there}
    known = {model: value for model, value in r2.items() if np.isfinite(value)}
    return max(known, key=lambda model: known[model]) if known else None


def _paint_coefficients(
    axes: RuledAxes, contents: Contents, horizon: int, model: str, variables: Sequence[str]
) -> None:
    table = contents.coefficients
    own = table[(table["model"] == model) & (table["horizon"] == horizon)]
    r2 = contents.consensus_r2(model, horizon)
    axes.axvline(0, color="#9aa3ad", linewidth=0.9)
    for row, variable in enumerate(variables):
        values = own.loc[own["variable"] == variable].sort_values("window")["coefficient"].to_numpy()
        heights = row + np.linspace(-0.3, 0.3, len(values)) if len(values) > 1 else np.full(len(values), float(row))
        colour = _r2_colour(r2.get(variable, float("nan")))
        axes.plot(values, heights, color=GRID, linewidth=1.0, zorder=2)
        axes.scatter(values, heights, s=16, color=colour, zorder=3, linewidths=0)
        axes.scatter(values[-1:], heights[-1:], s=34, facecolors="none", edgecolors=INK, linewidths=0.7, zorder=4)
    axes.name_places("y", range(len(variables)), list(variables))
    axes.set_ylim(len(variables) - 0.4, -0.6)
    axes.set_xlabel("return forecast per unit of consensus")
    percent_axis(axes, axis="x")


def _r2_colour(r2: float) -> str:
    """Return the colour of an R2, in steps of 20%."""
    return to_hex(mpl.colormaps["viridis"]((min(int(5 * r2), 4) + 0.5) / 5)) if r2 >= 0 else "#b8c0c8"

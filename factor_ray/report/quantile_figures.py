"""The figures of quantile forecasts: coverage and R2 by level, and quantiles of single assets over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Canvas
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, dots, draw, grid_of, lighter, percent_axis, style_of, whole_axis
from factor_ray.report.labels import Label
from factor_ray.report.quantile_measures import HISTORICAL, PREDICTIVE, every_label, levels, measure, selected_models
from factor_ray.report.sheet import RuledAxes

_ROWS = ["month", "asset", "realized"]
_ASSETS = 4
_LONG = 0.9  # of the longest history
_SHADE = 0.16
_OUTSIDE = "#b3002d"
_LINES: dict[bool, dict[str, Any]] = {True: {"linewidth": 1.4}, False: {"linewidth": 1.0, "linestyle": (0, (3, 2))}}


def levels_figure(contents: Contents) -> Figure | None:
    """Draw by level how far hits of the true forecasts are from tau, and their R2; None with one level alone."""
    horizons = [h for h in contents.horizons if len(levels(contents, h)) > 1]
    if not horizons:
        return None

    def paint(canvas: Canvas) -> None:
        every = grid_of(canvas, 2 * len(horizons), 2)
        for row, horizon in enumerate(horizons):
            for axes, name, title in zip(
                every[2 * row : 2 * row + 2],
                ("hit_rate", "r2"),
                ("Share at or below the quantile, less τ", "R² against a quantile of zero"),
                strict=True,
            ):
                _paint_levels(axes, contents, horizon, name)
                axes.set_title(f"{title}, {horizon}-month horizon")
        handles, texts = every[0].get_legend_handles_labels()
        canvas.legend(handles, texts, loc="outside lower left", ncols=len(handles), handletextpad=0.2)

    notes = ["True forecasts (predictive). Levels stand side by side, not to scale."]
    return draw("quantile-levels", "Quantile forecasts by level", 2.2 * len(horizons) + 0.35, paint, notes)


def fan_figures(contents: Contents) -> list[Figure]:
    """Draw each quantile model's true forecasts over time and what returns were: of assets asked for, else of a few."""
    found = []
    for horizon in contents.horizons:
        labels = [label for label in every_label(contents, horizon) if label.is_model and not label.is_variant]
        taus = levels(contents, horizon)
        if not labels or len(taus) < 2:
            continue
        names = {label.full for label in labels}
        ours = [("kind", "==", PREDICTIVE), ("model", "in", names), ("horizon", "==", horizon)]
        # All levels are of the same rows; as measures write them they have six digits.
        one = contents.quantiles(*ours, ("tau", "<=", 1.00001 * float(taus[0])), columns=_ROWS)
        if one is None:
            continue
        assets = _asked_for(contents, one) or spread_assets(one)
        shown = contents.quantiles(*ours, ("asset", "in", assets), columns=[*_ROWS, "model", "tau", "prediction"])
        if shown is None:
            continue
        for label in labels:
            wide = _by_level(shown[shown["model"] == label.full])
            if not wide.empty:
                found.append(_fan_figure(contents, label, horizon, wide, assets))
    return found


def spread_assets(table: pd.DataFrame) -> list[Any]:
    """Return a few assets with long histories, from calm to volatile: the same ones for every model.

    Parameters
    ----------
    table : DataFrame
        Columns ``month``, ``asset`` and ``realized``; an asset's month may be repeated.
    """
    once = table[["month", "asset", "realized"]].dropna().drop_duplicates(["month", "asset"])
    by = once.groupby("asset", observed=True)["realized"].agg(["size", "std"]).reset_index()
    long = by[by["size"] >= _LONG * by["size"].max()].sort_values(["std", "asset"], kind="stable")
    places = np.round(np.linspace(0.1, 0.9, _ASSETS) * max(len(long) - 1, 0)).astype(int)
    return list(dict.fromkeys(long["asset"].iloc[places])) if len(long) else []


def _asked_for(contents: Contents, table: pd.DataFrame) -> list[Any]:
    """Assets that `report.assets` names and that have forecasts, as the table writes them."""
    written = {str(asset): asset for asset in table["asset"].unique()}
    return [written[name] for name in _names(contents) if name in written]


def _names(contents: Contents) -> list[str]:
    return [str(asset) for asset in contents.description["experiment"].get("report", {}).get("assets", ())]


def _paint_levels(axes: RuledAxes, contents: Contents, horizon: int, name: str) -> None:
    found = levels(contents, horizon)
    labels = list(dict.fromkeys(label for level in found for label in selected_models(contents, horizon, level)))
    labels.append(Label.read(HISTORICAL))
    axes.axhline(0, color="#9aa3ad", linewidth=0.8)
    for place, label in enumerate(labels):
        values = np.array([measure(contents, label.full, horizon, level, name) for level in found])
        values = values - np.array(found, dtype=float) if name == "hit_rate" else values
        at = np.arange(len(found)) + (place - (len(labels) - 1) / 2) * 0.13
        colour = str(style_of(label, contents.every_model())["color"])
        axes.vlines(at, 0, values, color=lighter(colour), linewidth=1.4)
        axes.scatter(at, values, s=26, color=colour, linewidths=0, zorder=3, label=label.text)
    axes.name_places("x", range(len(found)), [f"τ = {level}" for level in found])
    axes.set_xlim(-0.5, len(found) - 0.5)
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.14)
    percent_axis(axes)


def _by_level(own: pd.DataFrame) -> pd.DataFrame:
    """One row for each asset and month: a column for each level, and ``realized``."""
    keys = ["asset", "month"]
    # One forecast each: a table that means could be taken in would take six times as long.
    wide = own.pivot(index=keys, columns="tau", values="prediction").dropna(how="all")  # noqa: PD010
    return wide.assign(realized=own.drop_duplicates(keys).set_index(keys)["realized"])


def _fan_figure(contents: Contents, label: Label, horizon: int, wide: pd.DataFrame, assets: list[Any]) -> Figure:
    colour = str(style_of(Label.read(label.family), contents.every_model())["color"])
    there = [asset for asset in assets if asset in wide.index.get_level_values("asset")]
    taus = [float(column) for column in wide.columns if column != "realized"]

    def paint(canvas: Canvas) -> None:
        for axes, asset in zip(grid_of(canvas, len(there), min(len(there), 2)), there, strict=True):
            _paint_fan(axes, wide.loc[asset], taus, colour)
            axes.set_title(str(asset), pad=4)
        pairs, alone = _bands(taus)
        handles: list[Patch | Line2D] = [
            Patch(color=colour, alpha=_SHADE * (place + 1), linewidth=0, label=f"τ = {low:g} to {high:g}")
            for place, (low, high) in enumerate(pairs)
        ]
        handles += [Line2D([], [], color=colour, **_LINES[tau == 0.5], label=f"τ = {tau:g}") for tau in alone]
        handles += [
            Line2D([], [], color=INK, marker="o", markersize=2.6, linestyle="none", label="return"),
            Line2D([], [], color=_OUTSIDE, marker="o", markersize=3.4, linestyle="none", label="return outside"),
        ]
        canvas.legend(handles=handles, loc="outside lower left", ncols=len(handles))

    notes = ["True forecasts (predictive) by month of formation, with the return that followed."]
    if missing := [name for name in _names(contents) if name not in map(str, there)]:
        notes.append(f"Without a forecast, of the assets asked for: {', '.join(missing)}.")
    if not set(map(str, there)) & set(_names(contents)):
        notes.append(
            "Of the assets with the longest histories those are shown that lie at even distances from calm to volatile."
        )
    rows = -(-len(there) // 2)
    title = f"Quantiles forecast by {label.text}, {horizon}-month horizon"
    return draw(f"fan-{label.full}-{horizon}", title, 0.35 + 1.9 * rows, paint, notes)


def _bands(taus: list[float]) -> tuple[list[tuple[float, float]], list[float]]:
    """Pair levels that leave as much below as above, from the outside; and the levels that are left alone."""
    pairs = [(low, high) for low in taus for high in taus if low < high and abs(low + high - 1.0) < 1e-9]
    return pairs, [tau for tau in taus if not any(tau in pair for pair in pairs)]


def _paint_fan(axes: RuledAxes, own: pd.DataFrame, taus: list[float], colour: str) -> None:
    months = pd.DatetimeIndex(own.index).to_period("M")
    every = pd.period_range(months[0], months[-1], freq="M")
    own = own.set_axis(months).reindex(every)
    at = np.asarray(every.year + every.month / 12)
    pairs, alone = _bands(taus)
    for low, high in pairs:
        axes.fill_between(at, own[low], own[high], color=colour, alpha=_SHADE, linewidth=0)
    for tau in alone:
        axes.plot(at, own[tau], color=colour, **_LINES[tau == 0.5])
    returns = own["realized"].to_numpy()
    outside = (returns < own[taus[0]].to_numpy()) | (returns > own[taus[-1]].to_numpy())
    dots(axes, at[~outside], returns[~outside], 2, INK)
    dots(axes, at[outside], returns[outside], 3, _OUTSIDE)
    axes.axhline(0, color="#9aa3ad", linewidth=0.7)
    axes.margins(x=0.01)
    whole_axis(axes)
    percent_axis(axes)

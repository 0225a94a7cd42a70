"""The tables of quantile forecasts: accuracy and coverage by level, crossing, and expected shortfall."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from factor_ray.evaluation import crossing_rates, expected_shortfall, rearrange
from factor_ray.report.contents import Contents
from factor_ray.report.labels import Label
from factor_ray.report.numbers import count, p_value, percent
from factor_ray.report.quantile_measures import KINDS, every_label, every_level, labels_of, levels, measure
from factor_ray.report.tables import Cell, Panel, Row, Table, horizon_heading, model_row

_FORECAST = ["model", "horizon", "kind"]
_COVERAGE = ("kupiec", "christoffersen", "conditional_coverage")
_HIGHEST_TAIL = 0.1  # a shortfall beyond the lowest tenth is not one of the tail


def quantile_tables(contents: Contents) -> list[Table]:
    """Return one table for each level: accuracy and coverage of every model, fits and true forecasts in panels."""
    found = [_level_table(contents, level) for level in every_level(contents)]
    notes = [
        "Y ≤ q: share of returns at or below the quantile, which should be τ. QHE: its distance from τ. AQE: mean "
        "pinball loss ρ(Y − q). R² = 1 − Σρ(Y − q) / Σρ(Y), against a quantile of zero: over all pairs (total), of "
        "each asset, weighted with its months (time series), of each month, averaged (cross-section). Lower QHE and "
        "AQE are better; the best model of each panel is shaded where all models have the same pairs. Missing pairs "
        "leave every sum.",
        "Kupiec: p-value of hits as frequent as τ, all pairs taken as independent, which assets of one month hardly "
        "are: it rejects too often. Christoffersen: p-value of hits no likelier after a hit of the same asset a month "
        "ago. Both: of the two at once (conditional coverage).",
        "The total realises factors with the test month's own returns: it says how well the model describes a month, "
        "and nothing of what was known before. Only the predictive panel holds forecasts. Those of factor models take "
        "each factor at its mean over the window, since a month's own are not known before it: how far factors stray "
        "from their mean is not in them, so that in the tails more returns lie outside than should.",
    ]
    if len(_tail(contents)) < 2:
        notes.append("Expected shortfalls follow from two levels of .1 or less: add one to target.quantiles, as 0.01.")
    return [*found[:-1], replace(found[-1], notes=notes)] if found else []


def crossing_table(contents: Contents) -> Table | None:
    """Return how often quantiles of a higher level lie below those of a lower one; None with one level alone."""
    if len(every_level(contents)) < 2:
        return None
    rates = _crossings(contents)
    panels = []
    for horizon in contents.horizons:
        for kind, name in KINDS.items():
            rows = [
                model_row(label, horizon, _crossing_cells(rates[label.full, horizon, kind]))
                for label in every_label(contents, horizon)
                if (label.full, horizon, kind) in rates
            ]
            if rows:
                panels.append(Panel(f"{horizon_heading(horizon)}, {name}", tuple(rows)))
    after = "They stay so in all other measures."
    if contents.description["experiment"].get("target", {}).get("rearrange"):
        after = "Everywhere else the levels of forecasts are put in order (target.rearrange)."
    return Table(
        "crossing",
        "Crossing of quantiles",
        ["", "Pairs that cross, %", "Assets and months with a crossing, %", "Assets × months"],
        panels,
        [f"Of neighbouring levels of one asset and month, as the models gave them. {after}"],
    )


def _crossings(contents: Contents) -> dict[tuple[str, int, str], Mapping[str, float]]:
    """Return how often levels cross, by forecast: as the run measured it, before any rearrangement, where it did."""
    told: dict[tuple[str, int, str], Mapping[str, float]] = {}
    untold: set[str] = set()
    for horizon in contents.horizons:
        for label in every_label(contents, horizon):
            measured = contents.part(label.full, horizon, "crossing") or {}
            told |= {(label.full, horizon, kind): rates for kind, rates in measured.items()}
            by_level = contents.part(label.full, horizon, "quantiles").values()
            untold |= {kind for by in by_level for kind in by if kind not in measured}
    table = contents.quantiles(("kind", "in", untold)) if untold else None
    if table is None:
        return told
    return _by_forecast(crossing_rates(table).set_index(_FORECAST)) | told


def shortfall_table(contents: Contents) -> Table | None:
    """Return the expected shortfall that the quantiles imply and what came; None without levels deep in the tail."""
    tail = _tail(contents)
    if len(tail) < 2:
        return None
    tau = float(tail[-1])
    quantiles = contents.quantiles(("tau", "<=", tau))
    if quantiles is None:
        return None
    found = _shortfalls(coded_quantiles(quantiles), tau)
    panels = []
    for horizon in contents.horizons:
        for kind, name in KINDS.items():
            rows = [
                model_row(label, horizon, _shortfall_cells(found[label.full, horizon, kind]))
                for label in every_label(contents, horizon)
                if (label.full, horizon, kind) in found
            ]
            if rows:
                panels.append(Panel(f"{horizon_heading(horizon)}, {name}", tuple(rows)))
    return Table(
        "shortfall",
        f"Expected shortfall at τ = {tau:g}",
        ["", "Expected, %", "At hits: expected, %", "At hits: return, %", "Return less expected, %", "Hits", "Pairs"],
        panels,
        [
            f"Mean return below the quantile that the levels up to τ ({', '.join(tail)}) imply, levels put in order, "
            "constant below the lowest, which makes the tail too thin. Hits: returns at or below the quantile. Where "
            "return less expected is negative, losses were deeper than was said."
        ],
    )


def _tail(contents: Contents) -> list[str]:
    return [level for level in every_level(contents) if float(level) <= _HIGHEST_TAIL]


def coded_quantiles(table: pd.DataFrame) -> pd.DataFrame:
    """Return quantiles with months, assets, models and kinds in a form that sorts fast."""
    codes = {name: pd.factorize(table[name], sort=True)[0] for name in ("month", "asset")}
    return table.assign(**codes).astype({"model": "category", "kind": "category"})


def _level_table(contents: Contents, level: str) -> Table:
    panels = []
    for horizon in contents.horizons:
        for kind, name in KINDS.items():
            labels = labels_of(contents, horizon, level, kind) if level in levels(contents, horizon) else []
            if labels:
                rows = _accuracy_rows(contents, labels, horizon, level, kind)
                panels.append(Panel(f"{horizon_heading(horizon)}, {name}", rows))
    columns = ["", "Y ≤ q, %", "QHE, %", "AQE, %", "R² total, %", "R² time series, %", "R² cross-section, %"]
    return Table(
        f"quantiles-{level}",
        f"Quantiles at τ = {level}",
        [*columns, "Kupiec p", "Christoffersen p", "Both p", "Observations", "Assets", "Months"],
        panels,
    )


def _accuracy_rows(contents: Contents, labels: list[Label], horizon: int, level: str, kind: str) -> tuple[Row, ...]:
    def of(label: Label, name: str) -> float:
        return measure(contents, label.full, horizon, level, name, kind)

    # Over unlike rows the lowest loss may be that of the easiest rows.
    alike = len({of(label, "observations") for label in labels if label.is_model}) == 1

    def shade(label: Label, name: str) -> float:
        values = [of(other, name) for other in labels if other.is_model and math.isfinite(of(other, name))]
        best = min if name in ("qhe", "aqe") else max
        return float(alike and label.is_model and bool(values) and of(label, name) == best(values))

    rows = []
    for label in labels:
        cells = [Cell(percent(of(label, "hit_rate"), 2))]
        for name, digits in (("qhe", 2), ("aqe", 3), ("r2", 2), ("r2_time_series", 2), ("r2_cross_section", 2)):
            cells.append(Cell(percent(of(label, name), digits), shade=shade(label, name)))
        cells += [Cell(p_value(of(label, f"{test}_p_value"))) for test in _COVERAGE]
        cells += [Cell(count(of(label, name))) for name in ("observations", "assets", "months")]
        rows.append(model_row(label, horizon, cells))
    return tuple(rows)


def _crossing_cells(rates: Mapping[str, float]) -> list[Cell]:
    shares = [Cell(percent(rates[name])) for name in ("crossing_rate", "crossed")]
    return [*shares, Cell(count(rates["observations"]))]


def _shortfalls(table: pd.DataFrame, tau: float) -> dict[tuple[str, int, str], Mapping[str, float]]:
    """Return what was expected beyond the quantile and what came, by forecast."""
    keys = [*_FORECAST, "month", "asset"]
    expected = expected_shortfall(table, tau)
    at_tau = rearrange(table).query("tau == @tau")[[*keys, "prediction", "realized"]]
    both = expected.merge(at_tau, on=keys, validate="one_to_one").dropna()
    both["hit"] = both["realized"] <= both["prediction"]
    both["beyond"] = np.where(both["hit"], both["realized"] - both["expected_shortfall"], np.nan)
    both["at_hits"] = both["expected_shortfall"].where(both["hit"])
    both["came"] = both["realized"].where(both["hit"])
    measured = both.groupby(_FORECAST).agg(
        expected=("expected_shortfall", "mean"),
        at_hits=("at_hits", "mean"),
        came=("came", "mean"),
        beyond=("beyond", "mean"),
        hits=("hit", "sum"),
        pairs=("hit", "size"),
    )
    return _by_forecast(measured)


def _by_forecast(table: pd.DataFrame) -> dict[tuple[str, int, str], Mapping[str, float]]:
    """Return the rows of a table that is indexed by model, horizon and kind."""
    return {
        (str(model), int(horizon), str(kind)): dict(zip(table.columns, map(float, values), strict=True))
        for (model, horizon, kind), values in zip(table.index, table.to_numpy(), strict=True)
    }


def _shortfall_cells(values: Mapping[str, float]) -> list[Cell]:
    means = [Cell(percent(values[name])) for name in ("expected", "at_hits", "came", "beyond")]
    return [*means, Cell(count(values["hits"])), Cell(count(values["pairs"]))]

"""The answer of quantile models at the top of the report, in words and in figures."""

from __future__ import annotations

import math

from factor_ray.report.contents import Contents
from factor_ray.report.numbers import count, decimal, p_value, percent
from factor_ray.report.quantile_measures import (
    HISTORICAL,
    best_model,
    levels,
    measure,
    selected_models,
    spread_out,
)
from factor_ray.report.tables import Cell, Panel, Row, Table

_MOST_LEVELS = 3


def quantile_answer(contents: Contents, horizon: int) -> str:
    """Return what the best true forecasts of a few levels came to, in one sentence; empty without any."""
    found = [level for level in levels(contents, horizon) if best_model(contents, horizon, level)]
    if not found:
        return ""
    said = [_said(contents, horizon, level) for level in spread_out(found, _MOST_LEVELS)]
    number = max(len(selected_models(contents, horizon, level)) for level in found)
    lead = (
        f"of {number} quantile models, the best true forecasts in hindsight were"
        if number > 1
        else "true forecasts of quantiles were"
    )
    return f"{lead} {'; '.join(said)}. R² is against a quantile of zero."


def quantile_headline(contents: Contents) -> Table:
    """Return the best selected quantile model of each horizon and level with its principal measures."""
    rows = []
    for horizon in contents.horizons:
        for level in levels(contents, horizon):
            best = best_model(contents, horizon, level)
            if best is None:
                continue

            def of(
                name: str, model: str = best.full, kind: str = "predictive", horizon: int = horizon, level: str = level
            ) -> float:
                return measure(contents, model, horizon, level, name, kind)

            cells = [
                Cell(best.text),
                Cell(percent(of("r2"))),
                Cell(percent(of("r2", HISTORICAL))),
                Cell(percent(of("aqe"), 3)),
                Cell(percent(of("hit_rate"))),
                Cell(p_value(of("kupiec_p_value"))),
                Cell(percent(of("r2", kind="total"))),
                Cell(count(of("months"))),
            ]
            head = f"{horizon} month{'s' if horizon > 1 else ''}, τ = {level}"
            rows.append(Row(head, tuple(cells), "selected", best.full, horizon))
    heads = ["Horizon and level", "Best model", "R² vs zero, %", "R² of hist. quantile, %", "AQE, %", "Y ≤ q, %"]
    return Table(
        "headline-quantiles",
        "Headline figures of quantiles",
        [*heads, "Kupiec p", "R² total (a fit), %", "Months"],
        [Panel("", tuple(rows))],
    )


def _said(contents: Contents, horizon: int, level: str) -> str:
    best = best_model(contents, horizon, level)
    assert best is not None
    r2 = measure(contents, best.full, horizon, level, "r2")
    hits = measure(contents, best.full, horizon, level, "hit_rate")
    benchmark = measure(contents, HISTORICAL, horizon, level, "r2")
    beside = ""
    if math.isfinite(benchmark):
        beside = f", {'above' if r2 > benchmark else 'not above'} the historical quantile's {percent(benchmark)}%"
    return f"at τ = {level} {best.text} (R² {percent(r2)}%{beside}; {decimal(100 * hits, 1)}% of returns at or below)"

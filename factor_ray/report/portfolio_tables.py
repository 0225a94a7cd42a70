"""The tables of portfolios: means of the sorted ones, and high minus low before and after costs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from factor_ray.report.contents import Contents, as_number
from factor_ray.report.labels import MARKET, ORACLE, Label
from factor_ray.report.numbers import count, decimal, percent
from factor_ray.report.tables import Cell, Panel, Row, Table, horizon_heading, model_row

HIGH_LOW = "high-low"


def sorted_portfolios_table(contents: Contents) -> Table | None:
    """Return mean monthly returns of the portfolios sorted on forecasts, t-statistics beneath."""
    horizons = [h for h in contents.horizons if contents.labels(h, "portfolios")]
    if not horizons:
        return None
    names: dict[str, None] = {}

    def found(label: Label, horizon: int) -> dict[str, Mapping[str, Any]]:
        by = {str(p["portfolio"]): p for p in contents.part(label.full, horizon, "portfolios")}
        names.update(dict.fromkeys(by))
        return by

    measured = {h: [(label, found(label, h)) for label in contents.labels(h, "portfolios")] for h in horizons}
    order = [name for name in names if name != HIGH_LOW] + [HIGH_LOW]
    panels = []
    for h, rows in measured.items():
        made = []
        for label, by in rows:
            means = [(as_number(by.get(n, {}).get("mean_return")), by.get(n, {})) for n in order]
            cells = [Cell(percent(mean), _t(as_number(p.get("t_statistic")))) for mean, p in means]
            assets = [as_number(by.get(name, {}).get("mean_assets")) for name in order[:-1]]
            cells += [Cell(decimal(sum(assets) / len(assets), 0)), Cell(count(as_number(by[HIGH_LOW].get("months"))))]
            made.append(model_row(label, h, cells))
        panels.append(Panel(f"Sorted on forecasts of {horizon_heading(h)}", tuple(made)))
    heads = ["Low", *order[1:-2], "High", "High − Low"]
    return Table(
        "deciles",
        "Mean monthly returns of portfolios sorted on the forecast",
        ["", *heads, "Assets each", "Months"],
        panels,
        [
            "% a month; Newey–West t-statistics in brackets. Portfolios are formed at each month's end and held for "
            f"one month, whatever the horizon of the forecast; {_weighting(contents)}."
        ],
    )


def long_short_table(contents: Contents) -> Table | None:
    """Return the performance of high minus low before costs, the market beside it."""
    horizons = [h for h in contents.horizons if contents.labels(h, "long_short")]
    if not horizons:
        return None
    panels = []
    for h in horizons:
        rows = [
            _performance(label, h, _at_least_cost(contents, label, h)) for label in contents.labels(h, "long_short")
        ]
        market = contents.part(MARKET, h, "portfolio")
        if market:
            rows.append(_performance(Label.read(MARKET), h, market))
        panels.append(Panel(f"Sorted on forecasts of {horizon_heading(h)}", tuple(rows)))
    notes = [
        "Mean and standard deviation of log returns and their sum, %; Sharpe = √12 · mean / sd of simple returns, "
        "annualised; t-statistic of the mean simple return, Newey–West; worst month and largest drawdown of wealth, %; "
        "turnover: what is traded at a month's end, both legs, % of wealth. market: all forecast assets, held; its "
        f"Sharpe and t are of returns {_above(contents)}."
    ]
    if any(label.full == ORACLE for h in horizons for label in contents.labels(h, "long_short")):
        notes.append("oracle sorts on the true expected return of the simulated market.")
    columns = ["", "Mean, %", "Sd, %", "Sum, %", "Sharpe", "t", "Worst month, %", "Drawdown, %", "Turnover, %"]
    return Table("long-short", "High minus low before costs", [*columns, "Assets", "Months"], panels, notes)


def costs_table(contents: Contents) -> Table | None:
    """Return the Sharpe ratio and the mean return of high minus low net of each cost of trading."""
    horizons = [h for h in contents.horizons if contents.labels(h, "long_short")]
    labels = [(label, h) for h in horizons for label in contents.labels(h, "long_short")]
    costs = sorted({as_number(row["cost_bp"]) for label, h in labels for row in contents.long_short(label.full, h)})
    if len(costs) < 2:
        return None
    panels = []
    for h in horizons:
        rows = []
        for label in contents.labels(h, "long_short"):
            by = {as_number(row["cost_bp"]): row for row in contents.long_short(label.full, h)}
            found = [by.get(cost, {}) for cost in costs]
            cells = [Cell(decimal(as_number(row.get("sharpe")))) for row in found]
            cells += [
                Cell(percent(as_number(r.get("mean_return"))), _t(as_number(r.get("t_statistic")))) for r in found
            ]
            rows.append(model_row(label, h, cells))
        panels.append(Panel(f"Sorted on forecasts of {horizon_heading(h)}", tuple(rows)))
    heads = [f"Sharpe, {cost:g} bp" for cost in costs] + [f"Mean, {cost:g} bp, %" for cost in costs]
    return Table(
        "costs",
        "High minus low after costs of trading",
        ["", *heads],
        panels,
        [
            "Net return = return − cost × turnover of the month. Means are of simple returns, % a month, t-statistics "
            "in brackets; 1 bp is a hundredth of a percent of the amount traded. Borrowing fees are not charged."
        ],
    )


def _at_least_cost(contents: Contents, label: Label, horizon: int) -> Mapping[str, Any]:
    return min(contents.long_short(label.full, horizon), key=lambda row: as_number(row["cost_bp"]))


def _performance(label: Label, horizon: int, statistics: Mapping[str, Any]) -> Row:
    def of(name: str) -> float:
        return as_number(statistics.get(name))

    cells = [
        Cell(percent(of("mean_log_return"))),
        Cell(percent(of("sd_log_return"))),
        Cell(percent(of("cumulative_log_return"), 1)),
        Cell(decimal(of("sharpe"))),
        Cell(decimal(of("t_statistic"))),
        Cell(percent(of("worst_month"), 1)),
        Cell(percent(of("max_drawdown"), 1)),
        Cell(percent(of("turnover"), 0)),
        Cell(decimal(of("mean_assets"), 0)),
        Cell(count(of("months"))),
    ]
    return model_row(label, horizon, cells)


def _t(statistic: float) -> str:
    return f"({decimal(statistic)})" if math.isfinite(statistic) else ""


def _weighting(contents: Contents) -> str:
    if contents.description["data"]["portfolio_weights"] == "value":
        return "weighted by market capitalisation"
    return "equally weighted"


def _above(contents: Contents) -> str:
    if contents.description["data"].get("risk_free"):  # runs of old do not say, and took nothing off
        return "in excess of the risk-free rate"
    return "as the data states them, with no risk-free rate taken off"

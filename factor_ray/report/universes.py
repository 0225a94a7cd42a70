"""The table of smaller universes: the same forecasts measured among fewer assets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factor_ray.report.contents import Contents, as_number
from factor_ray.report.labels import Label
from factor_ray.report.numbers import count, decimal, percent
from factor_ray.report.tables import Cell, Panel, Table, horizon_heading, model_row

_ALL = "all assets"


def universes_table(contents: Contents) -> Table | None:
    """Return accuracy and high minus low among all assets and within each universe; None where none was asked for."""
    names = list(contents.description["experiment"].get("within") or {})
    horizons = [h for h in contents.horizons if contents.labels(h, "within")]
    if not names or not horizons:
        return None
    panels = [
        Panel(
            f"{horizon_heading(h)}: {name}",
            tuple(model_row(label, h, _cells(contents, label, h, name)) for label in contents.labels(h, "within")),
        )
        for h in horizons
        for name in (_ALL, *names)
    ]
    described = contents.description["experiment"]["within"]
    told = "; ".join(f"{name}: {_filters(described[name])}" for name in names)
    columns = ["", "R² vs zero, %", "R² vs hist. mean, %", "IC", "t(IC)", "High − low, %", "t", "Sharpe"]
    return Table(
        "universes",
        "The same forecasts within smaller universes",
        [*columns, "Observations", "Assets"],
        panels,
        [
            f"{told}. Filters are applied at each month's end; nothing was fitted again, so assets outside were in "
            "training, and were forecast. High − low: mean simple return, % a month, before costs, of portfolios "
            "sorted among the universe's assets."
        ],
    )


def _cells(contents: Contents, label: Label, horizon: int, name: str) -> list[Cell]:
    path = () if name == _ALL else ("within", name)
    accuracy: Mapping[str, Any] = contents.part(label.full, horizon, *path, "returns") or {}
    accuracy = accuracy.get("all", accuracy)
    costs = contents.part(label.full, horizon, *path, "long_short") or [{}]
    gross = min(costs, key=lambda row: as_number(row.get("cost_bp", 0.0)))

    def of(measured: Mapping[str, Any], key: str) -> float:
        return as_number(measured.get(key))

    return [
        Cell(percent(of(accuracy, "r2"))),
        Cell(percent(of(accuracy, "r2_historical_mean"))),
        Cell(decimal(of(accuracy, "ic"), 3)),
        Cell(decimal(of(accuracy, "ic_t_statistic"), 2)),
        Cell(percent(of(gross, "mean_return"))),
        Cell(decimal(of(gross, "t_statistic"))),
        Cell(decimal(of(gross, "sharpe"))),
        Cell(count(of(accuracy, "observations"))),
        Cell(count(of(accuracy, "assets"))),
    ]


def _filters(universe: Mapping[str, Any]) -> str:
    """Say a universe's filters in words."""
    words = {
        "min_price": "price at least {}",
        "min_cap_percentile": "capitalisation at or above percentile {} of the month",
        "exchange": "exchange {}",
        "share_code": "share code {}",
        "min_history": "at least {} months of returns",
    }
    said = [
        text.format(", ".join(map(str, value)) if isinstance(value, list) else f"{value:g}")
        for key, text in words.items()
        if (value := universe.get(key)) is not None
    ]
    if universe.get("breakpoints") == "nyse" and universe.get("min_cap_percentile") is not None:
        said.append("breakpoints of NYSE firms")
    return ", ".join(said) or "no filter"

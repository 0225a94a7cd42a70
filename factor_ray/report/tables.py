"""The tables of forecasts: accuracy of returns, of the consensus, and both by year."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from factor_ray.report.contents import Contents
from factor_ray.report.labels import ORACLE, Label
from factor_ray.report.numbers import count, decimal, percent


@dataclass(frozen=True)
class Cell:
    """One figure: its text, small print below it, and how deep its background is, from 0 to 1."""

    text: str
    below: str = ""
    shade: float = 0.0


@dataclass(frozen=True)
class Row:
    """One row; ``model`` and ``horizon`` say whose it is, ``kind`` how it is set."""

    head: str
    cells: tuple[Cell, ...]
    kind: str = "plain"
    model: str = ""
    horizon: int = 0


@dataclass(frozen=True)
class Panel:
    """Rows under one heading."""

    heading: str
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Table:
    """A table of the report.

    Attributes
    ----------
    key : str
        Its id on the page.
    title : str
    columns : sequence of str
        Heads of the columns, the first one of the rows' heads.
    panels : sequence of Panel
    notes : sequence of str
        Sentences beneath the table: units and definitions.
    """

    block: ClassVar[str] = "table"

    key: str
    title: str
    columns: Sequence[str]
    panels: Sequence[Panel]
    notes: Sequence[str] = ()


def horizon_heading(horizon: int) -> str:
    """Name a horizon, as in ``12-month excess returns``."""
    return f"{horizon}-month excess returns"


def model_row(label: Label, horizon: int, cells: Sequence[Cell]) -> Row:
    """Return a row of a model: variants are set in beneath their family, benchmarks are lighter."""
    kind = "selected" if label.is_model else "benchmark"
    if label.is_variant:
        return Row(label.variant, tuple(cells), "variant", label.full, horizon)
    return Row(label.text, tuple(cells), "oracle" if label.full == ORACLE else kind, label.full, horizon)


def accuracy_table(contents: Contents) -> Table | None:
    """Return the accuracy of return forecasts, by horizon and model, benchmarks and oracle beside; None without any."""
    if not any(contents.labels(h) for h in contents.horizons):
        return None
    with_consensus = any(contents.labels(h, "consensus") for h in contents.horizons)

    def cells(label: Label, horizon: int) -> list[Cell]:
        def measure(name: str) -> float:
            return contents.number(label.full, horizon, "returns", "all", name)

        r2 = [contents.number(m.full, horizon, "returns", "all", "r2") for m in contents.models(horizon)]
        best = max((value for value in r2 if math.isfinite(value)), default=0.0)
        found = [
            Cell(percent(measure("r2")), shade=_shade(measure("r2"), best) if label.is_model else 0.0),
            Cell(percent(measure("r2_historical_mean"))),
            Cell(percent(measure("rmse"))),
            Cell(percent(measure("mae"))),
            Cell(decimal(measure("ic"), 3)),
            Cell(decimal(measure("ic_t_statistic"), 2)),
        ]
        if with_consensus:
            found.append(Cell(percent(contents.mean_consensus_r2(label.full, horizon))))
        return [*found, *(Cell(count(measure(name))) for name in ("observations", "assets", "months"))]

    panels = [
        Panel(horizon_heading(h), tuple(model_row(label, h, cells(label, h)) for label in contents.labels(h)))
        for h in contents.horizons
        if contents.labels(h)
    ]
    columns = ["", "R² vs zero, %", "R² vs hist. mean, %", "RMSE, %", "MAE, %", "IC", "t(IC)"]
    columns += ["Mean consensus R², %"] if with_consensus else []
    notes = [
        "R² = 1 − Σ(R − R̂)² / Σ(R − benchmark)², pooled over all test months; the benchmark is zero, or the mean of "
        "all returns known at formation. IC: mean monthly rank correlation of forecast and return; its t-statistic is "
        "Newey–West with h − 1 lags, because h-month returns overlap. Months are those whose h-month return is known.",
        "A row in bold is what validation selected window by window; the rows set in beneath it are the values of a "
        "sweep or ablations, each with the points that validation selected for it. Which is best is known in hindsight "
        "only.",
    ]
    if any(label.full == ORACLE for h in contents.horizons for label in contents.labels(h)):
        notes.append(
            "oracle: the true expected return of the simulated market, the best forecast there is, chance apart."
        )
    return Table(
        "accuracy",
        "Out-of-sample accuracy of return forecasts",
        [*columns, "Observations", "Assets", "Months"],
        panels,
        notes,
    )


def consensus_table(contents: Contents) -> Table | None:
    """Return the R2 of each consensus variable, by horizon and model; None where no model has any."""
    horizons = [h for h in contents.horizons if contents.labels(h, "consensus")]
    if not horizons:
        return None
    variables = list(dict.fromkeys(v for h in horizons for v in contents.consensus_variables(h)))

    def cells(label: Label, horizon: int) -> list[Cell]:
        r2 = contents.consensus_r2(label.full, horizon)
        values = [r2.get(variable, math.nan) for variable in variables]
        mean = contents.mean_consensus_r2(label.full, horizon)
        returns = contents.number(label.full, horizon, "returns", "all", "r2")
        shaded = [Cell(percent(value), shade=_shade(value, 1.0)) for value in [*values, mean]]
        return [*shaded, Cell(percent(returns))]

    panels = [
        Panel(
            horizon_heading(h),
            tuple(model_row(label, h, cells(label, h)) for label in contents.labels(h, "consensus")),
        )
        for h in horizons
    ]
    notes = ["R² against zero, %, of the consensus as ranked to [−1, 1] within the month; test months only."]
    if not all(contents.learns_consensus(label.full) for h in horizons for label in contents.labels(h, "consensus")):
        notes.append(
            "An en dash marks a model whose loss leaves the consensus out (λ = 0): its bottleneck approximates nothing."
        )
    return Table(
        "consensus",
        "Out-of-sample R² of the consensus variables",
        ["", *variables, "Mean", "Return"],
        panels,
        notes,
    )


def yearly_tables(contents: Contents) -> list[Table]:
    """Return R2 by test year: one table of returns and, where there is one, of the mean consensus."""

    def returns(label: Label, horizon: int, year: str) -> float:
        return contents.number(label.full, horizon, "returns", "by_year", year, "r2")

    def consensus(label: Label, horizon: int, year: str) -> float:
        return contents.mean_consensus_r2(label.full, horizon, year)

    notes = ["R² against zero, %, by year of formation. Months whose h-month return is not yet known are left out."]
    found = []
    if any(contents.labels(h) for h in contents.horizons):
        found.append(_by_year(contents, "yearly", "R² of returns by test year", "returns", returns, notes))
    if any(contents.labels(h, "consensus") for h in contents.horizons):
        notes = ["Mean over the consensus variables of their R² against zero, %."]
        found.append(
            _by_year(contents, "yearly-consensus", "Mean consensus R² by test year", "consensus", consensus, notes)
        )
    return found


def test_years(contents: Contents, horizon: int, part: str) -> list[str]:
    """Return the calendar years in which some label of a horizon could be measured."""
    years: set[str] = set()
    for label in contents.labels(horizon, part):
        found = contents.part(label.full, horizon, part)
        if part == "returns":
            years |= {year for year, measures in found["by_year"].items() if measures["r2"] is not None}
        else:
            years |= {year for by in found.values() for year, r2 in by["by_year"].items() if r2 is not None}
    return sorted(years)


def _by_year(
    contents: Contents,
    key: str,
    title: str,
    part: str,
    measure: Callable[[Label, int, str], float],
    notes: Sequence[str],
) -> Table:
    years = sorted({year for h in contents.horizons for year in test_years(contents, h, part)})
    panels = []
    for h in contents.horizons:
        labels = [label for label in contents.labels(h, part) if label.full != "zero"]
        values = {label: [measure(label, h, year) for year in years] for label in labels}
        top = max((v for label in labels if label.is_model for v in values[label] if math.isfinite(v)), default=0.0)
        rows = [
            model_row(
                label, h, [Cell(percent(v), shade=_shade(v, top) if label.is_model else 0.0) for v in values[label]]
            )
            for label in labels
        ]
        if rows:
            panels.append(Panel(horizon_heading(h), tuple(rows)))
    return Table(key, title, ["", *years], panels, notes)


def _shade(value: float, top: float) -> float:
    """Depth of a background: none for what is missing or not positive."""
    if not (value > 0 and top > 0):
        return 0.0
    return min(value / top, 1.0)

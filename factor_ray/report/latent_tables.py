"""The tables of latent-factor models: fits beside forecasts, ablations, and long-short portfolios on loadings."""

from __future__ import annotations

import json
import math

from factor_ray.report.contents import Contents, as_number
from factor_ray.report.labels import Label, sign
from factor_ray.report.numbers import MISSING, count, decimal, percent
from factor_ray.report.search import chosen_by_window
from factor_ray.report.tables import Cell, Panel, Row, Table, horizon_heading, model_row

_SIGNIFICANT = 0.05


def fits_table(contents: Contents) -> Table | None:
    """Return total beside predictive R2 of every latent-factor model; None without one."""
    panels = []
    for horizon in contents.horizons:
        labels = contents.models(horizon, "total")
        totals = [contents.number(label.full, horizon, "total", "all", "r2") for label in labels]
        best = max((total for total in totals if math.isfinite(total)), default=0.0)
        if labels:
            rows = tuple(model_row(label, horizon, _fit_cells(contents, label, horizon, best)) for label in labels)
            panels.append(Panel(horizon_heading(horizon), rows))
    if not panels:
        return None
    columns = ["", "Factors", "Total R², % (a fit)", "Predictive R², % (a forecast)", "Predictive vs hist. mean, %"]
    return Table(
        "fits",
        "Latent factors: what they fit, and what they forecast",
        [*columns, "Observations fitted", "Observations forecast", "Months"],
        panels,
        [
            "Test months, R² against zero. Total: each month's factors are realised from its own returns, with "
            "loadings known before; it says how well few factors describe a month, and nothing of what was known. "
            "Predictive: factors are expected from those realised before. Only the latter may stand beside those of "
            "other models. Factors: K of the selected points, the least and the most of the windows.",
        ],
    )


def ablation_table(contents: Contents) -> Table | None:
    """Return what each variant that lacks a part loses against the full model; None where nothing was left out."""
    panels = []
    for horizon in contents.horizons:
        labels = contents.models(horizon, "ablation")
        for full in dict.fromkeys(str(contents.part(label.full, horizon, "ablation", "full")) for label in labels):
            own = [label for label in labels if contents.part(label.full, horizon, "ablation", "full") == full]
            rows = [Row(_changes(label, Label.read(full)), _ablation_cells(contents, label, horizon)) for label in own]
            named = [
                Row(row.head, row.cells, "plain", label.full, horizon) for row, label in zip(rows, own, strict=True)
            ]
            panels.append(Panel(f"{horizon_heading(horizon)}, against {Label.read(full).text}", tuple(named)))
    if not panels:
        return None
    columns = ["", "Total R², %", "Less the full, %", "t", "", "Predictive R², %", "Less the full, %", "t", ""]
    return Table(
        "ablations",
        "Ablations: variants against the full model",
        [*columns, "Months"],
        panels,
        [
            "Differences of R² against zero on the same assets and months, in percentage points, standard errors in "
            "brackets: those of the mean difference of monthly losses, Newey–West with h − 1 lags. Not told apart: the "
            "difference may be chance (p above .05), which is no proof that the part does nothing."
        ],
    )


def loading_portfolios_table(contents: Contents) -> Table | None:
    """Return what portfolios long the highest and short the lowest loadings on each factor earned."""
    shown = [(label, horizon) for horizon in contents.horizons for label in contents.models(horizon, "loadings")]
    if not shown:
        return None
    factors = {(label.full, h): contents.part(label.full, h, "loadings") for label, h in shown}
    costs = sorted({row["cost_bp"] for listed in factors.values() for of in listed for row in of["long_short"]})
    panels = []
    for label, horizon in shown:
        rows = []
        for of in factors[label.full, horizon]:
            by = {row["cost_bp"]: {name: as_number(value) for name, value in row.items()} for row in of["long_short"]}
            gross = by[min(by)]
            cells = [Cell(percent(gross["mean_return"])), Cell(decimal(gross["t_statistic"]))]
            cells += [Cell(decimal(by[cost]["sharpe"]) if cost in by else MISSING) for cost in costs]
            cells += [Cell(percent(gross["max_drawdown"], 1)), Cell(percent(gross["turnover"], 0))]
            cells += [Cell(decimal(gross["mean_assets"], 0)), Cell(count(gross["months"]))]
            rows.append(Row(f"Factor {of['factor']}", tuple(cells), "plain", label.full, horizon))
        panels.append(Panel(f"{label.text}, {horizon}-month horizon", tuple(rows)))
    number = contents.description["experiment"]["portfolios"]["number"]
    sharpes = [f"Sharpe, {cost:g} bp" for cost in costs]
    return Table(
        "loading-portfolios",
        "High minus low loadings on each factor",
        ["", "Mean, %", "t", *sharpes, "Drawdown, %", "Turnover, %", "Assets", "Months"],
        panels,
        [
            f"Each month's assets sorted on their loadings into {number} portfolios, held for one month; the highest "
            "less the lowest, mean, t (Newey–West), drawdown and turnover before costs. Loadings are those of the "
            "selected ensemble's first member, known at formation. Factors go by falling variance, and signs make "
            "their means in training positive, window by window: so a positive mean here was to be expected before "
            "the test months.",
        ],
    )


def _fit_cells(contents: Contents, label: Label, horizon: int, best: float) -> list[Cell]:
    def of(part: str, name: str) -> float:
        return contents.number(label.full, horizon, part, "all", name)

    total = of("total", "r2")
    return [
        Cell(_factors(contents, label, horizon)),
        Cell(percent(total), shade=max(total / best, 0.0) if best > 0 and math.isfinite(total) else 0.0),
        Cell(percent(of("returns", "r2"))),
        Cell(percent(of("returns", "r2_historical_mean"))),
        Cell(count(of("total", "observations"))),
        Cell(count(of("returns", "observations"))),
        Cell(count(of("returns", "months"))),
    ]


def _factors(contents: Contents, label: Label, horizon: int) -> str:
    """Write K of the points that stand for a label, as in ``2`` or ``2–5``."""
    trials = contents.trials
    if label.is_variant:
        chosen = trials[(trials["model"] == label.full) & (trials["horizon"] == horizon) & trials["selected"]]
    else:
        chosen = chosen_by_window(contents, label.family, horizon)
    found = {json.loads(text).get("factors") for text in chosen["hyperparameters"]} - {None}
    if not found:
        return MISSING
    least, most = min(found), max(found)
    return f"{least}" if least == most else f"{least}–{most}"


def _changes(label: Label, full: Label) -> str:
    """Write in what a variant differs from the full model."""
    theirs = dict(full.settings)
    return ", ".join(f"{sign(name)} = {value}" for name, value in label.settings if theirs[name] != value)


def _ablation_cells(contents: Contents, label: Label, horizon: int) -> tuple[Cell, ...]:
    cells = []
    for kind in ("total", "predictive"):

        def of(name: str, kind: str = kind) -> float:
            return contents.number(label.full, horizon, "ablation", kind, name)

        error = of("standard_error")
        cells += [
            Cell(percent(of("r2"))),
            Cell(percent(of("difference")), f"({percent(error)})" if math.isfinite(error) else ""),
            Cell(decimal(of("t_statistic"))),
            Cell(_verdict(of("difference"), of("p_value"))),
        ]
    return (*cells, Cell(count(contents.number(label.full, horizon, "ablation", "predictive", "months"))))


def _verdict(difference: float, p_value: float) -> str:
    if difference == 0:
        return "the same"
    if not math.isfinite(p_value):
        return ""
    if p_value > _SIGNIFICANT:
        return "not told apart"
    return "better" if difference > 0 else "worse"

"""The tables of latent-factor models: fits beside forecasts, ablations, and long-short portfolios on loadings."""

from __future__ import annotations

import json
import math

from factor_ray.report.contents import Contents, as_number
from factor_ray.report.labels import Label
from factor_ray.report.numbers import MISSING, count, decimal, percent
from factor_ray.report.search import chosen_by_window
from factor_ray.report.tables import Cell, Panel, Row, Table, horizon_heading, model_row

_SIGNIFICANT = 0.05
_KINDS = ("total", "predictive")


def fits_table(contents: Contents) -> Table | None:
    """Return total beside predictive R2 of every factor model of mean returns; None without one."""
    panels = []
    for horizon in contents.horizons:
        labels = contents.models(horizon, "total")
        if labels:
            rows = tuple(model_row(label, horizon, _fit_cells(contents, label, horizon)) for label in labels)
            panels.append(Panel(horizon_heading(horizon), rows))
    if not panels:
        return None
    columns = ["", "Factors", "Total R², % (a fit)", "Total without own return, %"]
    columns += ["Predictive R², % (a forecast)", "Predictive vs hist. mean, %"]
    return Table(
        "fits",
        "Factor models: what they fit, and what they forecast",
        [*columns, "Observations fitted", "Observations forecast", "Months"],
        panels,
        [
            "Test months, R² against zero. Total: each month's factors are realised from its own returns (observed "
            "factors: those that came), with loadings known before; it says how well so many factors describe a month, "
            "grows with their number, and "
            "says nothing of what was known. Without own return: the factors that explain an asset are realised from "
            "all other assets (first member of what was selected), so that needless factors lower it. Predictive: "
            "factors are expected from those realised before. Only the latter may stand beside those of other models. "
            "Factors: K of the selected points, the least and the most of the windows.",
        ],
    )


def ablation_table(contents: Contents) -> Table | None:
    """Return what each variant that lacks a part loses against the full model; None where nothing was left out."""
    panels = []
    for horizon in contents.horizons:
        by_full: dict[Label, list[Label]] = {}
        for label in contents.models(horizon, "ablation"):
            full = Label.read(str(contents.part(label.full, horizon, "ablation", "full")))
            by_full.setdefault(full, []).append(label)
        rows = []
        for full, lacking in by_full.items():
            rows.append(Row(full.text, _full_cells(contents, lacking[0], horizon), "selected", full.full, horizon))
            for label in lacking:
                cells = _ablation_cells(contents, label, horizon)
                rows.append(Row(_changes(label, full), cells, "variant", label.full, horizon))
        if rows:
            panels.append(Panel(horizon_heading(horizon), tuple(rows)))
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


def _fit_cells(contents: Contents, label: Label, horizon: int) -> list[Cell]:
    def of(part: str, name: str) -> float:
        return contents.number(label.full, horizon, part, "all", name)

    return [
        Cell(_factors(contents, label, horizon)),
        Cell(percent(of("total", "r2"))),
        Cell(percent(contents.number(label.full, horizon, "total_without_own"))),
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
    return Label(label.full, label.family, tuple(pair for pair in label.settings if pair not in full.settings)).variant


def _full_cells(contents: Contents, lacking: Label, horizon: int) -> tuple[Cell, ...]:
    """Return the full model's row, from its comparison with a variant that lacks something."""
    cells = []
    for kind in _KINDS:
        cells += [Cell(percent(contents.number(lacking.full, horizon, "ablation", kind, "full_r2")))]
        cells += [Cell(""), Cell(""), Cell("")]
    return (*cells, Cell(""))


def _ablation_cells(contents: Contents, label: Label, horizon: int) -> tuple[Cell, ...]:
    cells = []
    for kind in _KINDS:
        r2, difference, error, t_statistic, p_value = (
            contents.number(label.full, horizon, "ablation", kind, name)
            for name in ("r2", "difference", "standard_error", "t_statistic", "p_value")
        )
        cells += [
            Cell(percent(r2)),
            Cell(percent(difference), f"({percent(error)})" if math.isfinite(error) else ""),
            Cell(decimal(t_statistic)),
            Cell(_verdict(difference, p_value)),
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

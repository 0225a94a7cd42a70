"""The top of the report: the answer in words and figures, what was run on what, and what looked ahead."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from factor_ray.data.months import parse_month
from factor_ray.report.audit import audit_sentences
from factor_ray.report.contents import Contents, as_number
from factor_ray.report.labels import ORACLE, Label
from factor_ray.report.numbers import count, decimal, percent, size
from factor_ray.report.quantile_headline import quantile_answer
from factor_ray.report.quantile_measures import best_on_common_rows
from factor_ray.report.tables import Cell, Panel, Row, Table

_TOLD_APART = 1.96
_USUAL_COST = 50.0
_MOST_FILES = 12


@dataclass(frozen=True)
class LookAhead:
    """What looked ahead: the sentences, and what the statement rests on where nothing did."""

    found: list[str]
    grounds: list[str]


def answer(contents: Contents) -> list[tuple[str, str]]:
    """Return the headline answer: for each horizon its name and a paragraph."""
    found = [
        (f"{_months(horizon)}.", _sentences(_answer(contents, horizon), quantile_answer(contents, horizon)))
        for horizon in contents.horizons
    ]
    return [(lead, text) for lead, text in found if text]


def test_span(contents: Contents) -> str:
    """Return which months were forecast, in how many windows."""
    windows = contents.windows(contents.horizons[0])
    number = f"{len(windows)} window{'s' if len(windows) > 1 else ''}"
    return f"Test months {windows[0]['test'][0]} to {windows[-1]['test'][1]}, {number}"


def embargo(contents: Contents) -> str:
    """Return how many months are kept free before the test months, as in ``0 at h = 1, 11 at h = 12``."""
    return ", ".join(f"{_gap(contents, horizon)} at h = {horizon}" for horizon in contents.description["windows"])


def headline_table(contents: Contents) -> Table:
    """Return the best selected model of each horizon with its principal measures, over all that it forecasts."""
    rows = []
    for horizon in contents.horizons:
        best = best_selected(contents, horizon)
        if best is None:
            continue

        def measure(name: str, model: str = best.full, horizon: int = horizon) -> float:
            return contents.number(model, horizon, "returns", "all", name)

        gross, net = sharpes(contents, best.full, horizon)
        rows.append(
            Row(
                _months(horizon),
                (
                    Cell(best.text),
                    Cell(percent(measure("r2"))),
                    Cell(percent(measure("r2_historical_mean"))),
                    Cell(decimal(measure("ic"), 3)),
                    Cell(decimal(measure("ic_t_statistic"), 1)),
                    Cell(percent(contents.mean_consensus_r2(best.full, horizon), 1)),
                    Cell(decimal(gross)),
                    Cell(decimal(net)),
                    Cell(percent(contents.number(ORACLE, horizon, "returns", "all", "r2"))),
                    Cell(count(measure("months"))),
                ),
                "selected",
                best.full,
                horizon,
            )
        )
    cost = headline_cost(contents)
    heads = ["Horizon", "Best model", "R² vs zero, %", "R² vs hist. mean, %", "IC", "t(IC)", "Mean consensus R², %"]
    heads += ["Sharpe gross", "Sharpe net" if math.isnan(cost) else f"Sharpe at {cost:g} bp", "Oracle R², %", "Months"]
    return _without_empty_columns(Table("headline", "Headline figures", heads, [Panel("", tuple(rows))]))


def best_selected(contents: Contents, horizon: int) -> Label | None:
    """Return the best of the models selected without test months, on the rows that all models forecast."""
    models = [label for label in contents.models(horizon) if not label.is_variant]
    return best_on_common_rows(contents, models, horizon, "comparison") or _highest_r2(contents, models, horizon)


def sharpes(contents: Contents, model: str, horizon: int) -> tuple[float, float]:
    """Return the long-short Sharpe ratio before costs and at the usual cost, NaN where there is none."""
    by = {as_number(row["cost_bp"]): as_number(row["sharpe"]) for row in contents.long_short(model, horizon)}
    return by.get(0.0, math.nan), by.get(headline_cost(contents), math.nan)


def headline_cost(contents: Contents) -> float:
    """Return the cost that the headline charges, in basis points: the usual one, or the highest that was measured."""
    costs = [float(cost) for cost in contents.description["experiment"]["portfolios"]["costs"]]
    return _USUAL_COST if _USUAL_COST in costs else max(costs, default=math.nan)


def data_facts(contents: Contents) -> list[tuple[str, str]]:
    """Return what was run on what, as pairs of a name and a phrase."""
    description, experiment = contents.description, contents.description["experiment"]
    data = description["data"]
    return [
        ("Data", f"{_source(experiment)}, {data['first_month']} to {data['last_month']}"),
        ("Panel", f"{count(data['rows'])} rows, {count(data['assets'])} assets, {count(data['months'])} months"),
        ("Inputs", f"{len(data['characteristics'])} characteristics, {data['macro_series']} macro series"),
        ("Macro state", str(experiment["macro_state"]["kind"])),
        ("Consensus", f"{len(data['consensus'])}: {', '.join(data['consensus'])}" if data["consensus"] else "none"),
        ("Portfolio weights", f"{data['portfolio_weights']}{_why_equal(description)}"),
        ("Models", ", ".join(entry["name"] for entry in experiment["models"])),
        ("Search", _search(experiment)),
        ("Ensemble", f"{experiment['ensemble']['members']} members, {experiment['ensemble']['weights']} weights"),
        ("Embargo", f"months: {embargo(contents)}"),
        ("Seed", str(experiment["search"]["seed"])),
        ("Versions", ", ".join(f"{name} {value}" for name, value in description["versions"].items())),
    ]


def files_table(contents: Contents) -> Table | None:
    """Return the files that were read, with their sizes and the start of their SHA-256; None where there were none."""
    files = list(_files(contents.description["data"]["lineage"], ""))
    rows = [
        Row(str(file["name"]), (Cell(role), Cell(size(file["bytes"])), Cell(str(file["sha256"])[:16])))
        for role, file in files[:_MOST_FILES]
    ]
    if not rows:
        return None
    more = len(files) - len(rows)
    notes = [f"And {more} more: experiment.yaml names them all."] if more else []
    return Table("files", "Files read", ["File", "Role", "Size", "SHA-256 begins"], [Panel("", tuple(rows))], notes)


def looked_ahead(contents: Contents) -> LookAhead:
    """Return what looked ahead, or what it rests on that nothing did."""
    experiment = contents.description["experiment"]
    grounds = [
        f"Months between the last training or validation month and the first test month: {embargo(contents)}. "
        "A target of horizon h needs h − 1.",
        "A window's hyperparameters were selected with validation scores of that window and those before it.",
        _preparation(experiment),
        "What cannot be seen from here: whether the data themselves were known at the month they are dated"
        + (". The notes say what is known to be revised." if contents.description["notes"] else "."),
    ]
    found, proof = audit_sentences(contents)
    return LookAhead([*contents.description["looks_ahead"], *found], [*grounds, *proof])


def _sentences(means: str, quantiles: str) -> str:
    """Let what is said of quantiles follow what is said of means."""
    return f"{means} {quantiles[0].upper()}{quantiles[1:]}" if means and quantiles else means + quantiles


def _answer(contents: Contents, horizon: int) -> str:
    best = best_selected(contents, horizon)
    if best is None:
        return ""

    def measure(name: str) -> float:
        return contents.number(best.full, horizon, "returns", "all", name)

    gross, net = sharpes(contents, best.full, horizon)
    oracle = contents.number(ORACLE, horizon, "returns", "all", "r2")
    rivals = len([label for label in contents.models(horizon) if not label.is_variant])
    who = best.text
    if rivals > 1:
        who += f", which turned out the best of {rivals} models on the rows that all forecast,"
    mean, ic, t = measure("r2_historical_mean"), measure("ic"), measure("ic_t_statistic")
    text = f"{who} reached an out-of-sample R² of {percent(measure('r2'))}% against zero"
    text += f" (the simulated market's truth: {percent(oracle)}%)" if math.isfinite(oracle) else ""
    text += f" and {percent(mean)}% against the historical mean. " if mean > 0 else ". "
    text += f"It did not beat the historical mean (R² {percent(mean)}% against it). " if mean <= 0 else ""
    if math.isfinite(ic):
        doubt = "" if abs(t) >= _TOLD_APART else ", not told apart from zero"
        text += f"Its monthly rank correlation with returns averaged {decimal(ic, 3)} (t = {decimal(t, 1)}{doubt}). "
    if math.isfinite(gross):
        text += f"Its top less its bottom portfolio had a Sharpe ratio of {decimal(gross)} before costs"
        text += f" and {decimal(net)} at {headline_cost(contents):g} bp. " if math.isfinite(net) else ". "
    own = [label for label in contents.models(horizon) if label.is_variant and label.family == best.family]
    variant = _highest_r2(contents, [label for label in own if not contents.is_ablation(label)], horizon)
    if variant is not None:
        r2 = contents.number(variant.full, horizon, "returns", "all", "r2")
        text += f"In hindsight the best value of its sweep was {variant.variant} ({percent(r2)}%)."
    return text.strip()


def _months(horizon: int) -> str:
    return f"{horizon} month{'s' if horizon > 1 else ''}"


def _source(experiment: Mapping[str, Any]) -> str:
    data = experiment["data"]
    return f"simulated market, seed {data['seed']}" if data["source"] == "simulated" else str(data["source"])


def _highest_r2(contents: Contents, labels: list[Label], horizon: int) -> Label | None:
    r2 = {label: contents.number(label.full, horizon, "returns", "all", "r2") for label in labels}
    known = {label: value for label, value in r2.items() if math.isfinite(value)}
    return max(known, key=lambda label: known[label]) if known else None


def _without_empty_columns(table: Table) -> Table:
    rows = [row for panel in table.panels for row in panel.rows]
    kept = [i for i in range(len(table.columns) - 1) if any(row.cells[i].text != "–" for row in rows)]
    panels = [
        Panel(
            p.heading, tuple(Row(r.head, tuple(r.cells[i] for i in kept), r.kind, r.model, r.horizon) for r in p.rows)
        )
        for p in table.panels
    ]
    return Table(table.key, table.title, [table.columns[0], *(table.columns[i + 1] for i in kept)], panels, table.notes)


def _why_equal(description: Mapping[str, Any]) -> str:
    asked = description["experiment"]["portfolios"]["weights"]
    if description["data"]["portfolio_weights"] == "equal" and asked == "auto":
        return " (the data has no market capitalisations)"
    return ""


def _search(experiment: Mapping[str, Any]) -> str:
    search = experiment["search"]
    points = f"{search['points']} point{'s' if search['points'] > 1 else ''} a variant, rounds of {search['round']}"
    return f"{points}, pruner {search['pruner']}, selection {search['selection'].replace('_', ' ')}"


def _gap(contents: Contents, horizon: int) -> int:
    """Return the fewest months that any window keeps free before its test months."""
    gaps = []
    for window in contents.windows(horizon):
        last = window["validation"] or window["train"]
        gaps.append(parse_month(window["test"][0]) - parse_month(last[1]) - 1)
    return min(gaps)


def _preparation(experiment: Mapping[str, Any]) -> str:
    """Return how inputs were made, as far as it bears on looking ahead."""
    preprocess, kind = experiment["preprocess"], experiment["macro_state"]["kind"]
    text = "Characteristics were ranked within each month" if preprocess["rank"] else "Characteristics were not ranked"
    if preprocess["impute"] == "point_in_time":
        text += "; gaps were filled with the asset's earlier values, then the month's mean"
    if kind not in ("raw", "none"):
        text += f"; the macro state ({kind}) was fitted on months before each window's test months"
    return text + "."


def _files(lineage: Any, role: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield every file described anywhere in the lineage, with the name of the part that it belongs to."""
    if isinstance(lineage, Mapping):
        if {"name", "bytes", "sha256"} <= set(lineage):
            yield role, lineage
            return
        for key, nested in lineage.items():
            yield from _files(nested, role or str(key))
    elif isinstance(lineage, list):
        for nested in lineage:
            yield from _files(nested, role)

"""What a run says on the terminal: its measures, how far it is, and how it compares with others. Plain text."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence

from factor_ray.errors import InputError
from factor_ray.report.contents import Contents, read_contents
from factor_ray.report.headline import embargo, headline_cost, sharpes, test_span
from factor_ray.report.numbers import MISSING, count, decimal, duration, percent
from factor_ray.report.quantile_measures import PREDICTIVE, labels_of, levels, measure
from factor_ray.run_directory import Run

_NOT_COMPARED = ("t(IC)", "months")
_RETURN_COLUMNS = ("return", "risk_free")
_RETURN_KEYS = ("weights", "missing_delisting_return")
"""Keys of a data section that decide what a return is, beside the files."""
_QUANTILE_MEASURES = {
    "hits, %": ("hit_rate", PREDICTIVE, 2),
    "QHE, %": ("qhe", PREDICTIVE, 2),
    "AQE, %": ("aqe", PREDICTIVE, 3),
    "quantile R2, %": ("r2", PREDICTIVE, 2),
    "R2 of the fit, %": ("r2", "total", 2),
    "months": ("months", PREDICTIVE, 0),
}
"""Titles of what is said of a quantile: measure, kind and digits."""


def summary_table(run: Run) -> str:
    """Return a run's principal measures as tables of plain text: of means and of quantiles, where there are such.

    Parameters
    ----------
    run : Run
        A finished run.

    Returns
    -------
    str
        For each model and horizon R2 against zero and against the historical mean (%), monthly rank correlation and
        its t-statistic, mean R2 of the consensus (%), Sharpe ratio of high minus low before and after costs, months
        with a known return. For each level of a quantile model its hits, pinball loss and R2 of true forecasts, and the
        R2 of the fit that realises factors in the test month. What is not there is a dash.

    Raises
    ------
    InputError
        If the run is not finished.
    """
    contents = read_contents(run.path)
    measures = _measures(contents)
    rows = [["horizon", "model", *measures]]
    for horizon in contents.horizons:
        for label in _labels(contents, horizon):
            row = _row(contents, label, horizon)
            rows.append([str(horizon), label, *(row[name] for name in measures)])
    quantiles = [
        [str(horizon), level, label, *_quantile_row(contents, label, horizon, level).values()]
        for horizon, level, label in _quantiles(contents)
    ]
    blocks = [f"{run.path.name}: {test_span(contents)}"]
    if len(rows) > 1:
        blocks.append(_aligned(rows, left=2))
    if quantiles:
        blocks.append(_aligned([["horizon", "level", "model", *_QUANTILE_MEASURES], *quantiles], left=3))
    return "\n\n".join(blocks)


def describe_status(run: Run) -> str:
    """Return how far a run is, in lines of plain text.

    Returns
    -------
    str
        Stage, cells done and planned, elapsed time, the time that is left at the pace so far, and whether a process is
        at work; the remedy where none is.

    Raises
    ------
    InputError
        If the run has not started fitting.
    """
    status = run.status()
    done = int(status["reused"]) + int(status["fitted"])
    planned, finished, alive = int(status["planned"]), status["stage"] == "done", bool(status["alive"])
    until = time.time() if alive else float(status["updated"])
    lines = {
        "stage": str(status["stage"]),
        "cells": f"{done:,} of at most {planned:,} ({status['fitted']:,} fitted, {status['reused']:,} reused)",
        "elapsed": duration(max(until - float(status["started"]), 0.0)),
    }
    if alive and not finished:
        lines["left"] = _left(status["left"])
    if finished and run.report.is_file() and not alive:
        lines["state"] = f"finished; report: {run.report}"
    elif alive:
        lines["state"] = "alive"
    else:
        lines["state"] = f"stopped: go on with `factor-ray resume {run.path}`; finished cells are kept"
    width = max(map(len, lines))
    return "\n".join([run.path.name, *(f"  {name:<{width}}  {text}" for name, text in lines.items())])


def compare_runs(runs: list[Run]) -> str:
    """Return several runs side by side: a block for each measure, a row for each horizon and model.

    Parameters
    ----------
    runs : list of Run
        Finished runs; they need not have the same models or horizons.

    Raises
    ------
    InputError
        If there is no run, or one is not finished.
    """
    if not runs:
        raise InputError("compare needs at least one run; got none: give directories of runs")
    contents = dict(zip(_names(runs), (read_contents(run.path) for run in runs), strict=True))
    blocks = [_aligned([["run", "data", "judged on", "embargo", "looked ahead"], *_judged(contents)], left=5)]
    if len({_judgement(found) for found in contents.values()}) > 1:
        blocks.append(
            "These runs were not judged on the same data, assets and months: their measures are not comparable."
        )
    elif len({_portfolios(found) for found in contents.values()}) > 1:
        blocks.append(
            "These runs formed other portfolios, by portfolios.number or their weights: their Sharpe ratios are not "
            "comparable."
        )
    rows = [
        (horizon, label)
        for horizon in sorted({h for found in contents.values() for h in found.horizons})
        for label in dict.fromkeys(m for found in contents.values() for m in _labels(found, horizon))
    ]
    measured = {(name, h, label): _row(found, label, h) for name, found in contents.items() for h, label in rows}
    measures = dict.fromkeys(m for found in contents.values() for m in _measures(found) if m not in _NOT_COMPARED)
    for name in measures:
        table = [["horizon", name, *contents]]
        for horizon, label in rows:
            cells = [measured[run, horizon, label].get(name, "-") for run in contents]
            if set(cells) != {"-"}:
                table.append([str(horizon), label, *cells])
        blocks.append(_aligned(table, left=2))
    return "\n\n".join([*blocks, *_quantile_blocks(contents)])


def _labels(contents: Contents, horizon: int) -> list[str]:
    """Return everything that forecasts returns or the consensus at a horizon; nothing where no model does."""
    if not contents.forecasts_means:
        return []
    found = [*contents.labels(horizon), *contents.labels(horizon, "consensus")]
    return list(dict.fromkeys(label.full for label in found))


def _row(contents: Contents, model: str, horizon: int) -> dict[str, str]:
    def of(name: str) -> float:
        return contents.number(model, horizon, "returns", "all", name)

    gross, net = sharpes(contents, model, horizon)
    cost = headline_cost(contents)
    row = {
        "R2, %": percent(of("r2")),
        "R2 vs mean, %": percent(of("r2_historical_mean")),
        "IC": decimal(of("ic"), 3),
        "t(IC)": decimal(of("ic_t_statistic"), 1),
        "consensus R2, %": percent(contents.mean_consensus_r2(model, horizon), 1),
        "Sharpe": decimal(gross),
        **({} if math.isnan(cost) else {f"Sharpe {cost:g} bp": decimal(net)}),
        "months": count(of("months")),
    }
    return {name: text.replace("−", "-").replace(MISSING, "-") for name, text in row.items()}


def _quantiles(contents: Contents) -> list[tuple[int, str, str]]:
    """Return every horizon, level and label of quantile forecasts."""
    return [
        (horizon, level, label.full)
        for horizon in contents.horizons
        for level in levels(contents, horizon)
        for label in labels_of(contents, horizon, level)
    ]


def _quantile_row(contents: Contents, model: str, horizon: int, level: str) -> dict[str, str]:
    row = {}
    for title, (name, kind, digits) in _QUANTILE_MEASURES.items():
        value = measure(contents, model, horizon, level, name, kind)
        row[title] = count(value) if name == "months" else percent(value, digits)
    return {title: text.replace("−", "-").replace(MISSING, "-") for title, text in row.items()}


def _quantile_blocks(contents: Mapping[str, Contents]) -> list[str]:
    """Return a block for each measure of quantiles, a row for each horizon, level and model."""
    rows = sorted(dict.fromkeys(row for found in contents.values() for row in _quantiles(found)), key=_by_level)
    measured = {
        (name, row): _quantile_row(found, row[2], row[0], row[1]) for name, found in contents.items() for row in rows
    }
    blocks = []
    for title in _QUANTILE_MEASURES if rows else ():
        table = [["horizon", "level", title, *contents]]
        for row in rows:
            cells = [measured[name, row][title] for name in contents]
            if title not in _NOT_COMPARED and set(cells) != {"-"}:
                table.append([str(row[0]), row[1], row[2], *cells])
        if len(table) > 1:
            blocks.append(_aligned(table, left=3))
    return blocks


def _by_level(row: tuple[int, str, str]) -> tuple[int, float]:
    return row[0], float(row[1])


def _measures(contents: Contents) -> list[str]:
    """Return the measures that some row of the run has."""
    rows = [_row(contents, label, h) for h in contents.horizons for label in _labels(contents, h)]
    return [name for name in (rows[0] if rows else {}) if any(row[name] != "-" for row in rows)]


def _left(seconds: float | None) -> str:
    return "not known before the first cell is fitted" if seconds is None else f"about {duration(seconds)} at this pace"


def _judged(contents: Mapping[str, Contents]) -> list[list[str]]:
    rows = []
    for name, found in contents.items():
        data = found.description["data"]
        panel = f"{count(data['rows'])} rows, {data['first_month']} to {data['last_month']}"
        looked = "yes" if found.description["looks_ahead"] else "no"
        rows.append([name, panel, test_span(found), embargo(found), looked])
    return rows


def _judgement(contents: Contents) -> str:
    """Return what two runs must share for their measures to be comparable: files, returns, assets and test months."""
    description = contents.description
    data, preprocess = description["experiment"]["data"], description["experiment"]["preprocess"]
    columns = data.get("columns", {})
    rows = description.get("preparation", {}).get("rows", {})
    shared = {
        "lineage": description["data"]["lineage"],
        "returns": [*(columns.get(key) for key in _RETURN_COLUMNS), *(data.get(key) for key in _RETURN_KEYS)],
        "assets": [preprocess.get("universe"), preprocess.get("screen"), rows.get("kept")],
        "tests": {h: [window["test"] for window in contents.windows(h)] for h in contents.horizons},
    }
    return json.dumps(shared, sort_keys=True)


def _portfolios(contents: Contents) -> tuple[int, str]:
    """Return what two runs must share beside for their portfolios to be comparable."""
    return contents.description["experiment"]["portfolios"]["number"], contents.description["data"]["portfolio_weights"]


def _names(runs: Sequence[Run]) -> list[str]:
    """Name runs by their directories, whole paths where two have one name."""
    names = [run.path.name for run in runs]
    return names if len(set(names)) == len(names) else [str(run.path) for run in runs]


def _aligned(rows: Sequence[Sequence[str]], *, left: int) -> str:
    """Align columns, the first ``left`` of them to the left, with a rule under the head."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            text.ljust(w) if column < left else text.rjust(w)
            for column, (text, w) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    return "\n".join(line.rstrip() for line in [lines[0], "-" * len(lines[0]), *lines[1:]])

"""The search as the report shows it: its history, what it selected, what failed, and what it cost."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from factor_ray.report.contents import Contents, as_number
from factor_ray.report.labels import Label, families_of, sign
from factor_ray.report.numbers import count, decimal, duration, percent, plain, size
from factor_ray.report.tables import Cell, Panel, Row, Table

_MOST_NAMED_FAILURES = 12
_MOST_WINDOWS = 24  # of a search; where there are more, neighbours that selected the same share a row


def searches_of(contents: Contents, family: str) -> list[tuple[int, float | None]]:
    """Return the horizons, and for quantiles the levels (None for means), at which a family was searched."""
    return [(horizon, tau) for name, horizon, tau in contents.searches if name == family]


def search_heading(family: str, horizon: int, tau: float | None) -> str:
    """Name a search, as in ``qcf, 1-month horizon, τ = 0.05``."""
    return f"{family}, {horizon}-month horizon" + ("" if tau is None else f", τ = {tau:g}")


def family_trials(contents: Contents, family: str, horizon: int, tau: float | None = None) -> pd.DataFrame:
    """Return the trials of a family's variants at one horizon and level, with the score that selection compares."""
    return contents.searches.get((family, horizon, tau), contents.trials.iloc[:0].assign(score_so_far=math.nan))


def without_ablations(contents: Contents, trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials of variants that could be selected."""
    ablations = [model for model in trials["model"].unique() if contents.is_ablation(Label.read(model))]
    return trials[~trials["model"].isin(ablations)] if ablations else trials


def chosen_by_window(contents: Contents, family: str, horizon: int, tau: float | None = None) -> pd.DataFrame:
    """Return the trial that stands for a family in each window: the best selected point of any but ablations."""
    trials = family_trials(contents, family, horizon, tau)
    chosen = without_ablations(contents, trials[trials["selected"] & (trials["member"] == 0)])
    order = chosen.sort_values(["window", "score_so_far"], kind="stable")
    return order.drop_duplicates("window").set_index("window", drop=False)


def selection_table(contents: Contents) -> Table | None:
    """Return the selected hyperparameters by window; None where nothing was searched or swept."""
    panels: list[Panel] = []
    names: list[str] = []
    for family in contents.families():
        names += [name for name in varying(contents, family) if name not in names]
    if not names:
        return None
    for family in contents.families():
        for horizon, tau in searches_of(contents, family):
            chosen = chosen_by_window(contents, family, horizon, tau)
            windows = contents.windows(horizon)
            rows = []
            for first, row in _alike(chosen[["window", "model", "point", "hyperparameters", "score_so_far"]]):
                settings = json.loads(row["hyperparameters"])
                last = int(row["window"])
                start, end = windows[first - 1]["test"][0], windows[last - 1]["test"][1]
                cells = [Cell(_value(settings.get(name))) for name in names]
                score = as_number(row["score_so_far"])
                cells += [Cell(str(row["point"])), Cell(decimal(score, 4) if tau is None else plain(score))]
                number = str(first) if first == last else f"{first}–{last}"
                span = start if start == end else f"{start} to {end}"
                rows.append(Row(f"{number}: {span}", tuple(cells), "plain", row["model"], horizon))
            if rows:
                panels.append(Panel(search_heading(family, horizon, tau), tuple(rows)))
    how = "all windows: it looks ahead" if contents.selects_globally else "that window and those before it"
    notes = [
        f"Selected by the mean validation score (lower is better) of a point's first member over {how}. "
        "Only hyperparameters that differ between points are shown; experiment.yaml has all.",
    ]
    tolerance = contents.description["experiment"]["search"].get("tolerance", 0.0)
    if tolerance:
        notes.append(
            f"Of points whose mean score lies within {percent(tolerance, 1)}% of the lowest, the simplest was selected "
            "where the model says what is simple."
        )
    if any("–" in row.head for panel in panels for row in panel.rows):
        notes.append("Neighbouring windows that selected the same stand in one row, with the score of the last.")
    return Table(
        "selection",
        "Selected hyperparameters by window",
        ["Window and test months", *map(sign, names), "Point", "Score"],
        panels,
        notes,
    )


def failures(contents: Contents) -> tuple[str, list[str]]:
    """Return a sentence on cells whose fit diverged, and the first of them by name."""
    trials = contents.trials
    cells = trials[trials["cell"].isna() | ~trials["cell"].duplicated()]
    failed = cells[cells["status"] != "ok"]
    if failed.empty:
        return f"No fit diverged: all {count(int(cells['cell'].notna().sum()))} cells converged.", []
    named = [
        f"{Label.read(row['model']).text}, h = {row['horizon']}, {_at_level(row['tau'])}window {row['window']}, point "
        f"{row['point']}, member {row['member']} ({row['status']}; cell {str(row['cell'])[:10]})"
        for row in failed.head(_MOST_NAMED_FAILURES).to_dict("records")
    ]
    if len(failed) > len(named):
        named.append(f"and {len(failed) - len(named)} more, in trials.parquet")
    sentence = (
        f"{count(len(failed))} of {count(len(cells))} cells diverged. They count as failed, score infinity, are never "
        "selected and leave their ensembles."
    )
    return sentence, named


def cost_facts(contents: Contents) -> list[tuple[str, str]]:
    """Return what the run took, as pairs of a name and a figure."""
    cost, facts = contents.cost, []
    if cost:
        facts = [
            ("Time of the last start", duration(as_number(cost["seconds"]))),
            ("Cells fitted", count(as_number(cost["fitted"]))),
            ("Cells reused", count(as_number(cost["reused"]))),
        ]
    if contents.cell_sizes:
        facts.append(("Cell store", f"{count(len(contents.cell_sizes))} cells, {size(sum(contents.cell_sizes))}"))
    return facts


def cost_table(contents: Contents) -> Table:
    """Return the time that members took to fit, by family and horizon, each cell once.

    Of a model that is fitted month by month it is the time of its months: windows are made of these in no time.
    """
    months = {(own["model"], own["horizon"]): own for own in contents.cost.get("months", ())}
    cells = (
        contents.trials.dropna(subset="cell").drop_duplicates("cell").assign(family=lambda t: families_of(t["model"]))
    )
    found = []
    for (family, horizon), own in cells.groupby(["family", "horizon"], sort=False):
        counted, seconds = len(own), float(own["seconds"].sum())
        if (family, horizon) in months:
            counted, seconds = (months[family, horizon][name] for name in ("cells", "seconds"))
        found.append((str(family), int(str(horizon)), counted, seconds, _epochs(own)))
    total = sum(seconds for *_, seconds, _ in found)
    rows = [
        Row(
            f"{family}, {horizon}-month horizon",
            (
                Cell(count(counted)),
                Cell(decimal(seconds, 1)),
                Cell(percent(seconds / total if total > 0 else float("nan"), 0)),
                Cell(plain(seconds / counted)),
                Cell(decimal(epochs, 1)),
            ),
            "plain",
            family,
            horizon,
        )
        for family, horizon, counted, seconds, epochs in found
    ]
    notes = [
        "A member's seconds are its share of the wall time of the stack it was fitted in; stacks run side by side."
    ]
    if months:
        notes.append(
            f"Cells of {', '.join(dict.fromkeys(family for family, _ in months))} are single months, which levels, "
            "windows and points of the search share; the settings of a month share its time evenly."
        )
    return Table(
        "cost",
        "Time spent fitting",
        ["", "Cells", "Member-seconds", "Share, %", "Seconds a member", "Epochs a member"],
        [Panel("", tuple(rows))],
        notes,
    )


def varying(contents: Contents, family: str) -> list[str]:
    """Return the hyperparameters that differ between a family's points; levels are not among them."""
    own = [family_trials(contents, family, *at)["hyperparameters"] for at in searches_of(contents, family)]
    points = [json.loads(text) for text in dict.fromkeys(text for texts in own for text in texts.unique())]
    values: dict[str, set[str]] = {}
    for point in points:
        for name, value in point.items():
            values.setdefault(name, set()).add(json.dumps(value))
    everywhere = {name for name in values if all(name in point for point in points)}
    return [name for name, found in values.items() if name != "tau" and (len(found) > 1 or name not in everywhere)]


def _alike(chosen: pd.DataFrame) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield the first window and the last row of neighbours that selected the same; every row where windows are few."""
    rows = [{str(name): value for name, value in row.items()} for row in chosen.to_dict("records")]
    start = 0
    for place, row in enumerate(rows):
        following = rows[place + 1] if place + 1 < len(rows) else None
        same = following is not None and all(following[name] == row[name] for name in ("model", "point"))
        if not same or len(rows) <= _MOST_WINDOWS:
            yield int(rows[start]["window"]), row
            start = place + 1


def _at_level(tau: float) -> str:
    return "" if math.isnan(tau) else f"τ = {tau:g}, "


def _epochs(cells: pd.DataFrame) -> float:
    """Mean number of epochs; NaN for a model that is not trained by epochs."""
    return float(cells["epochs"].mean()) if cells["epochs"].any() else math.nan


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int | float):
        return plain(float(value))
    return " × ".join(map(str, value)) if isinstance(value, list) else str(value)


def is_searched(trials: pd.DataFrame) -> bool:
    """Whether some variant tried more than one point."""
    return bool((trials["point"] > 0).any())

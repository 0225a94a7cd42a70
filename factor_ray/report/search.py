"""The search as the report shows it: its history, what it selected, what failed, and what it cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pandas as pd

from factor_ray.report.contents import Contents, as_number
from factor_ray.report.labels import Label, families_of, sign
from factor_ray.report.numbers import count, decimal, duration, percent, plain, size
from factor_ray.report.tables import Cell, Panel, Row, Table

_MOST_NAMED_FAILURES = 12


def family_trials(contents: Contents, family: str, horizon: int) -> pd.DataFrame:
    """Return the trials of a family's variants at one horizon, with the score that selection compares.

    ``score_so_far`` is the mean validation score of the point's first member over the windows up to the row's, or over
    all windows where selection is global; NaN for other members.
    """
    trials = contents.trials
    own = trials[(trials["horizon"] == horizon) & (families_of(trials["model"]) == family)].copy()
    first = own[own["member"] == 0].sort_values("window", kind="stable")
    means = first.groupby(["model", "point"])["validation_score"]
    if _is_global(contents):
        so_far = means.transform("mean")
    else:
        so_far = means.expanding().mean().reset_index(level=[0, 1], drop=True)
    own["score_so_far"] = so_far.reindex(own.index)
    return own


def chosen_by_window(contents: Contents, family: str, horizon: int) -> pd.DataFrame:
    """Return the trial that stands for a family in each window: the best selected point of any variant."""
    trials = family_trials(contents, family, horizon)
    chosen = trials[trials["selected"] & (trials["member"] == 0)]
    order = chosen.sort_values(["window", "score_so_far"], kind="stable")
    return order.drop_duplicates("window").set_index("window", drop=False)


def selection_table(contents: Contents) -> Table | None:
    """Return the selected hyperparameters by window; None where nothing was searched or swept."""
    panels: list[Panel] = []
    names: list[str] = []
    for family in contents.families():
        names += [name for name in _varying(contents, family) if name not in names]
    if not names:
        return None
    for family in contents.families():
        for horizon in contents.horizons:
            chosen = chosen_by_window(contents, family, horizon)
            windows = contents.windows(horizon)
            rows = []
            for row in chosen.to_dict("records"):
                settings = json.loads(row["hyperparameters"])
                test = windows[int(row["window"]) - 1]["test"]
                cells = [Cell(_value(settings.get(name))) for name in names]
                cells += [Cell(str(row["point"])), Cell(decimal(as_number(row["score_so_far"]), 4))]
                rows.append(
                    Row(f"{row['window']}: {test[0]} to {test[1]}", tuple(cells), "plain", row["model"], horizon)
                )
            if rows:
                panels.append(Panel(f"{family}, {horizon}-month horizon", tuple(rows)))
    how = "all windows: it looks ahead" if _is_global(contents) else "that window and those before it"
    notes = [
        f"Selected by the mean validation score (lower is better) of a point's first member over {how}. "
        "Only hyperparameters that differ between points are shown; experiment.yaml has all.",
    ]
    return Table(
        "selection",
        "Selected hyperparameters by window",
        ["Window and test months", *map(sign, names), "Point", "Score"],
        panels,
        notes,
    )


def failures(contents: Contents) -> tuple[str, list[str]]:
    """Return a sentence on cells whose fit diverged, and the first of them by name."""
    cells = contents.trials.drop_duplicates("cell")
    failed = cells[cells["status"] != "ok"]
    if failed.empty:
        return f"No fit diverged: all {count(len(cells))} cells converged.", []
    named = [
        f"{Label.read(row['model']).text}, h = {row['horizon']}, window {row['window']}, point {row['point']}, member "
        f"{row['member']} ({row['status']}; cell {row['cell'][:10]})"
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
    """Return the time that members took to fit, by family and horizon, each cell once."""
    cells = contents.trials.drop_duplicates("cell").assign(family=lambda t: families_of(t["model"]))
    total = float(cells["seconds"].sum())
    rows = []
    for family, horizon in cells[["family", "horizon"]].drop_duplicates().itertuples(index=False):
        own = cells[(cells["family"] == family) & (cells["horizon"] == horizon)]
        seconds = float(own["seconds"].sum())
        rows.append(
            Row(
                f"{family}, {horizon}-month horizon",
                (
                    Cell(count(len(own))),
                    Cell(decimal(seconds, 1)),
                    Cell(percent(seconds / total if total > 0 else float("nan"), 0)),
                    Cell(decimal(seconds / len(own), 2)),
                    Cell(decimal(float(own["epochs"].mean()), 1)),
                ),
                "plain",
                str(family),
                int(horizon),
            )
        )
    return Table(
        "cost",
        "Time spent fitting",
        ["", "Cells", "Member-seconds", "Share, %", "Seconds a member", "Epochs a member"],
        [Panel("", tuple(rows))],
        ["A member's seconds are its share of the wall time of the stack it was fitted in; stacks run side by side."],
    )


def _varying(contents: Contents, family: str) -> list[str]:
    """Return the hyperparameters that differ between a family's points."""
    rows = contents.hyperparameters[families_of(contents.trials["model"]) == family]
    return [str(name) for name in rows if len(set(rows[name].map(json.dumps))) > 1]


def _value(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int | float):
        return plain(float(value))
    return " × ".join(map(str, value)) if isinstance(value, list) else str(value)


def _is_global(contents: Contents) -> bool:
    search: Mapping[str, Any] = contents.description["experiment"]["search"]
    return bool(search["selection"] == "global")


def is_searched(trials: pd.DataFrame) -> bool:
    """Whether some variant tried more than one point."""
    return bool((trials.groupby(["model", "horizon"])["point"].transform("max") > 0).any())

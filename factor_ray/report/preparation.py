"""What the preparation did to the data: rows and characteristics dropped, values filled, and by what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factor_ray.report.contents import Contents
from factor_ray.report.numbers import count, percent
from factor_ray.report.tables import Cell, Panel, Row, Table

_STEPS = {
    "known": "Known",
    "carried": "Firm's last value",
    "firm_mean": "Firm's mean",
    "interpolated": "Interpolated",
    "month_mean": "Month's mean",
    "missing": "Left missing",
}
_SCALES = {
    "rank": "ranks within the month, from −1 to 1",
    "standardise": "mean 0 and variance 1 within the month",
    "none": "as they came",
}
_LISTED = 40  # characteristics that are named one by one before the rest is counted


def preparation_facts(contents: Contents) -> list[tuple[str, str]]:
    """Return what happened to rows, dates and scales, as terms and phrases; nothing for a run that did not tell."""
    told = contents.description.get("preparation")
    if told is None:
        return []
    rows = told["rows"]
    facts = [("Rows read", count(rows["read"]))]
    for name, left_out in rows["outside_universe"].items():
        facts.append((f"Outside the universe by {name.replace('_', ' ')}", count(left_out)))
    facts.append(("Before the firm's first consensus", count(rows["before_first_consensus"])))
    facts.append(("Rows kept", f"{count(rows['kept'])} ({percent(rows['kept'] / max(rows['read'], 1))}%)"))
    facts.append(("Delayed for reporting", _lags(told["lags"])))
    if told["judged"] is not None:
        facts.append(("Characteristics judged on", " to ".join(told["judged"])))
    facts.append(("Scale", _SCALES[told["scale"]]))
    return facts


def filled_table(contents: Contents) -> Table | None:
    """Return where the values of the rows that were kept come from, in percent; None for a run that did not tell."""
    told = contents.description.get("preparation")
    if told is None:
        return None
    filled = [step for step in _STEPS if any(values[step] for values in told["values"].values())]
    rows = [
        Row(role.capitalize(), tuple(Cell(_share(values, step)) for step in filled))
        for role, values in told["values"].items()
        if _total(values)
    ]
    pulled = sum(values["winsorised"] for values in told["values"].values())
    notes = ["Percent of all values in the rows and of the characteristics that were kept."]
    if pulled:
        notes.append(f"{count(pulled)} values were pulled in to their month's quantiles.")
    return Table(
        "filled", "Where values come from", ["", *(_STEPS[step] for step in filled)], [Panel("", tuple(rows))], notes
    )


def dropped_table(contents: Contents) -> Table | None:
    """Return the characteristics that the screen dropped and why; None where it dropped none."""
    told = contents.description.get("preparation")
    dropped: Mapping[str, str] = {} if told is None else told["characteristics"]["dropped"]
    if not dropped:
        return None
    listed = list(dropped.items())
    rows = tuple(Row(name, (Cell(reason),)) for name, reason in listed[:_LISTED])
    kept = told["characteristics"]["kept"] if told is not None else 0
    notes = [f"{count(kept)} characteristics were kept."]
    if len(listed) > _LISTED:
        notes.append(f"And {count(len(listed) - _LISTED)} more, named in experiment.yaml.")
    return Table("dropped", "Characteristics dropped", ["", "Reason"], [Panel("", rows)], notes)


def _lags(lags: Mapping[str, int]) -> str:
    if not lags:
        return "nothing: no frequencies were stated"
    by_delay: dict[int, int] = {}
    for months in lags.values():
        by_delay[months] = by_delay.get(months, 0) + 1
    return ", ".join(f"{number} by {months} months" for months, number in sorted(by_delay.items()))


def _total(values: Mapping[str, Any]) -> int:
    return int(sum(values[step] for step in _STEPS))


def _share(values: Mapping[str, Any], step: str) -> str:
    return percent(values[step] / _total(values))

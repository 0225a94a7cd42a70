"""Two walks of the line held against each other, stage by stage, up to a month: where they part first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from factor_ray.audit.line import Line, replay, state_again, weights_again
from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.runner.campaign import Quest
from factor_ray.runner.search import Request

TOLERANCE = 1e-6
"""Where rows are deleted: sums run over fewer rows then."""


@dataclass(frozen=True)
class Parting:
    """The first stage and column in which the perturbed line differs from the unperturbed one."""

    stage: str
    column: str
    detail: str


def inputs_part(base: Line, other: Line, month: int, exact: bool) -> Parting | None:
    """Compare what fits read: source, prepared rows, targets of training and validation, macro states."""
    return next(_input_differences(base, other, month, exact), None)


def searches_part(base: Line, other: Line) -> Parting | None:
    """Compare proposed, pruned and selected points; on return the other line's searches have selected.

    The other line's fits are those of the base, cell by cell, since both read the same bytes.
    """
    for ours, theirs in zip(base.quests, other.quests, strict=True):
        assert ours.selection is not None
        theirs.selection = replay(theirs.search, ours.selection.scores)
        for window in range(len(theirs.windows)):
            if (found := _window_parts(ours, theirs, window, base)) is not None:
                return found
    return None


def fits_part(base: Line, other: Line, scratch: Path) -> Iterator[tuple[str, Parting | None]]:
    """Refit one cell of every model on both versions' inputs: yield what was refitted, and whether weights differ."""
    seen: set[str] = set()
    for ours, theirs in zip(base.quests, other.quests, strict=True):
        if ours.model in seen:
            continue
        seen.add(ours.model)
        assert ours.selection is not None
        window = len(theirs.windows) - 1
        request = Request(window, ours.selection.points[ours.selection.best[window]][window], 0)
        one = weights_again(base, ours, request, scratch / "base")
        two = weights_again(other, theirs, request, scratch / "perturbed")
        name = next((n for n in one if np.asarray(one[n]).tobytes() != np.asarray(two[n]).tobytes()), None)
        label = f"{request.point.variant}, horizon {ours.horizon}, window {window + 1}, point {request.point.number}"
        found = None if name is None else Parting("weights", f"{ours.model}: {name}", f"the refit of {label} differs")
        yield label, found


def forecasts_part(base: Line, other: Line, exact: bool) -> Parting | None:
    """Compare the ensembles' weights and every predictive forecast of the other line's test months."""
    for ours, theirs in zip(base.quests, other.quests, strict=True):
        assert ours.selection is not None
        for window in range(len(theirs.windows)):
            for variant in ours.selection.points:
                one, two = base.ensemble(ours, window, variant), other.ensemble(theirs, window, variant)
                if [(m.cell, m.weight) for m in one] != [(m.cell, m.weight) for m in two]:
                    where = f"horizon {ours.horizon}, window {window + 1}"
                    return Parting("ensemble", variant, f"members or weights differ at {where}")
    panel = other.inputs.panel
    for (label, key), found in other.forecasts.items():
        known = base.forecasts[label, key]
        months = panel.row_months[found.rows]
        for stage, mine, his in (
            ("forecasts", known.returns, found.returns),
            ("consensus forecasts", known.consensus, found.consensus),
        ):
            if mine is None or his is None:
                continue
            if (at := _first(mine[: len(his)], his, exact)) is not None:
                column = label if his.ndim == 1 else f"{label}: {panel.consensus_names[at[1]]}"
                return Parting(stage, column, f"differs from {format_month(months[at[0]])} on, horizon {key}")
    return None


def states_part_again(base: Line, other: Line, scratch: Path, month: int) -> Parting | None:
    """Refit the last window's macro state on both versions' series: reuse by name proves nothing of the fit itself."""
    if base.inputs.panel.macro is None or base.experiment.macro_state.kind == "none":
        return None
    for horizon, windows in other.inputs.windows.items():
        window = len(windows) - 1
        one = state_again(base, horizon, window, scratch / "base")
        two = state_again(other, horizon, window, scratch / "perturbed")
        if (found := _states_differ(one, two, base.inputs.panel, month, horizon, window, exact=True)) is not None:
            return found
    return None


def _input_differences(base: Line, other: Line, month: int, exact: bool) -> Iterator[Parting]:
    yield from _panels_differ("source", base.loaded.panel, other.loaded.panel, month, exact)
    yield from _panels_differ("prepared inputs", base.inputs.panel, other.inputs.panel, month, exact)
    ours, theirs = base.inputs.panel, other.inputs.panel
    for horizon, windows in other.inputs.windows.items():
        for number, window in enumerate(windows):
            for name, span in (("training", window.train), ("validation", window.validation)):
                if span is None:
                    continue
                one = base.inputs.targets[horizon][ours.rows(*span)]
                two = other.inputs.targets[horizon][theirs.rows(*span)]
                if (at := _first(one, two, exact)) is not None:
                    from_month = format_month(ours.row_months[ours.rows(*span)][at[0]])
                    yield Parting(
                        "targets",
                        f"target at horizon {horizon}",
                        f"{name} targets of window {number + 1} ({window.label()}) differ from {from_month} on",
                    )
            one, two = base.inputs.states[horizon][number], other.inputs.states[horizon][number]
            found = _states_differ(one, two, ours, month, horizon, number, exact)
            if found is not None:
                yield found
            for what, names in (("data", "data"), ("macro state", "states")):
                for one_quest, two_quest in zip(base.quests, other.quests, strict=True):
                    same = getattr(one_quest.cells, names)[number] == getattr(two_quest.cells, names)[number]
                    if exact and one_quest.horizon == horizon and not same:
                        yield Parting("inputs of fits", what, f"their bytes differ in window {number + 1}")


def _panels_differ(stage: str, ours: Panel, theirs: Panel, month: int, exact: bool) -> Iterator[Parting]:
    if ours.characteristic_names != theirs.characteristic_names:
        changed = sorted(set(ours.characteristic_names) ^ set(theirs.characteristic_names))
        yield Parting(stage, ", ".join(changed[:5]), "other characteristics are kept")
    first = int(ours.months[0])
    one, two = ours.between(first, month), theirs.between(first, month)
    same_rows = len(one) == len(two) and bool(
        np.array_equal(one.row_months, two.row_months) and np.array_equal(one.assets, two.assets)
    )
    if not same_rows:
        counts_one, counts_two = np.diff(one.offsets), np.diff(two.offsets)
        differs = np.flatnonzero(counts_one != counts_two[: len(counts_one)])
        at = one.months[int(differs[0])] if len(differs) else one.months[0]
        yield Parting(stage, "rows", f"other assets are kept from {format_month(int(at))} on")
        return
    plain = [name for name in ("return", "risk_free", "market_cap", "price") if name in one.table.column_names]
    for names, left, right in (
        (plain, [one.values(name) for name in plain], [two.values(name) for name in plain]),
        (one.characteristic_names, one.characteristics.T, two.characteristics.T),
        (one.consensus_names, one.consensus.T, two.consensus.T),
    ):
        for name, mine, other in zip(names, left, right, strict=True):
            if (at := _first(mine, other, exact)) is not None:
                yield Parting(stage, name, f"differs from {format_month(one.row_months[at[0]])} on")
    for what, ours_by_month, theirs_by_month in (
        ("macro series", one.macro, two.macro),
        ("observed factor", one.factors, two.factors),
    ):
        if ours_by_month is None or theirs_by_month is None:
            continue
        columns = zip(ours_by_month.names, ours_by_month.values.T, theirs_by_month.values.T, strict=True)
        for name, mine, other in columns:
            if (at := _first(mine, other, exact)) is not None:
                yield Parting(stage, f"{what} {name}", f"differs from {format_month(one.months[at[0]])} on")


def _states_differ(
    one: npt.NDArray[np.float32],
    two: npt.NDArray[np.float32],
    panel: Panel,
    month: int,
    horizon: int,
    window: int,
    exact: bool,
) -> Parting | None:
    count = month - int(panel.months[0]) + 1
    at = _first(one[:count], two[:count], exact)
    if at is None:
        return None
    where = f"differs from {format_month(panel.months[at[0]])} on, horizon {horizon}, window {window + 1}"
    return Parting("macro state", f"state {at[1]}", where)


def _window_parts(ours: Quest, theirs: Quest, window: int, base: Line) -> Parting | None:
    assert ours.selection is not None and theirs.selection is not None  # noqa: PT018 - for the type checker
    where = f"{ours.model}, horizon {ours.horizon}, window {window + 1}"
    if base.experiment.search.selection != "global":
        asked = [_asked(quest, window) for quest in (ours, theirs)]
        if asked[0] != asked[1]:
            return Parting("points proposed", ours.model, f"other points are fitted: {where}")
    for variant, points in ours.selection.points.items():
        one, two = points[window], theirs.selection.points[variant][window]
        if one != two:
            return Parting("points selected", variant, f"point {one.number}, without the future {two.number}: {where}")
    one_best, two_best = ours.selection.best[window], theirs.selection.best[window]
    if one_best != two_best:
        return Parting("points selected", ours.model, f"{one_best}, without the future {two_best}: {where}")
    return None


def _asked(quest: Quest, window: int) -> list[Request]:
    assert quest.selection is not None
    return [request for request in quest.selection.scores if request.window == window and request.member == 0]


def _first(one: npt.NDArray[Any], two: npt.NDArray[Any], exact: bool) -> Sequence[int] | None:
    """Return the index of the first difference; None where there is none."""
    if one.shape != two.shape:
        return [0] * max(one.ndim, 1)
    if exact:
        width = f"u{one.dtype.itemsize}"
        differs = np.ascontiguousarray(one).view(width) != np.ascontiguousarray(two).view(width)
        differs &= ~(np.isnan(one) & np.isnan(two))
    else:
        differs = ~np.isclose(one, two, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not differs.any():
        return None
    return [int(position) for position in np.unravel_index(int(differs.argmax()), differs.shape)]

"""Preparation in blocks: of firms for what needs a firm's past, then of months for what needs a cross-section.

Axes: N rows of the panel, n rows of a block, P characteristics, C consensus variables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.along_time import (
    FloatArray,
    Histories,
    IntArray,
    carried_forward,
    interpolated,
    lagged,
    mean_of_all,
    mean_so_far,
)
from factor_ray.data.panel import Panel
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.screen import Census, take_census
from factor_ray.data.universe import require_rows, universe_rows
from factor_ray.data.windows import MonthRange
from factor_ray.data.within_month import filled_with_mean, ranked, standardised, winsorised
from factor_ray.errors import InputError

UNKNOWN = "unknown.months."

_DELAYS = {"monthly": 0, "quarterly": 3, "half-yearly": 6, "annual": 6, "biennial": 6}
_CONSENSUS_DELAY = 6
_ROWS_AT_ONCE = 4096  # of whole firms: what is worked on stays in the cache


@dataclass(frozen=True)
class Plan:
    """What is decided before any block is prepared.

    Attributes
    ----------
    settings : Preprocess
    firm_N : int64 array (N,)
        Number of each row's firm.
    inside_N : bool array (N,)
        Whether the row is in the universe.
    lags_P, lags_C : int64 array
        Delay of each variable in months.
    growth_P : bool array (P,)
        Growth rates and changes.
    judged : (int, int) or None
        Months in which characteristics are judged; None where they are not.
    earliest_P : int64 array (P,)
        First month of the panel in which a delayed characteristic can be known.
    """

    settings: Preprocess
    firm_N: IntArray
    inside_N: npt.NDArray[np.bool_]
    lags_P: IntArray
    lags_C: IntArray
    growth_P: npt.NDArray[np.bool_]
    judged: MonthRange | None
    earliest_P: IntArray

    @property
    def lags(self) -> IntArray:
        """Delays of characteristics, then of consensus variables."""
        return np.concatenate([self.lags_P, self.lags_C])


@dataclass(frozen=True)
class FirmBlock:
    """Some firms, delayed and filled from their own histories: the rows that are kept, firm after firm.

    Attributes
    ----------
    rows_n : int64 array (n,)
        Which rows of the panel these are.
    characteristics_nP, consensus_nC : float32 arrays
    census : Census
    tally : Counter
    """

    rows_n: IntArray
    characteristics_nP: FloatArray
    consensus_nC: FloatArray
    census: Census
    tally: Counter[str]


def plan_preparation(panel: Panel, settings: Preprocess, judged: MonthRange | None) -> tuple[Plan, Counter[str]]:
    """Decide what holds for all blocks; return it and how many rows each filter of the universe left out.

    Raises
    ------
    InputError
        If a setting names a column that the panel lacks, or the universe keeps no row.
    """
    names = (*panel.characteristic_names, *panel.consensus_names)
    unknown = next((name for name in settings.lags if name not in names), None)
    if unknown is not None:
        raise InputError(
            f"preprocess.lags names {unknown!r}, which is no characteristic or consensus variable of the panel; "
            f"they are {', '.join(names[:12])}"
        )
    inside_N, left_out = universe_rows(panel, settings.universe)
    require_rows(inside_N, left_out)
    lags_P = np.array([_delay(panel, name, settings, 0) for name in panel.characteristic_names], dtype=np.int64)
    lags_C = np.array([_delay(panel, n, settings, _CONSENSUS_DELAY) for n in panel.consensus_names], dtype=np.int64)
    if settings.screen == "none":
        judged = None
    elif settings.screen == "paper":
        judged = int(panel.months[0]), int(panel.months[-1])
    plan = Plan(
        settings,
        pd.factorize(panel.assets)[0].astype(np.int64),
        inside_N,
        lags_P,
        lags_C,
        np.isin(panel.characteristic_names, panel.growth),
        judged,
        int(panel.months[0]) + lags_P,
    )
    return plan, left_out


def prepare_firms(panel: Panel, plan: Plan, rows_n: IntArray, threads: int = 1) -> FirmBlock:
    """Delay, screen and fill the rows of some firms, all of whose rows are given, increasing."""
    rows_n = rows_n[np.argsort(plan.firm_N[rows_n], kind="stable")]
    spans = list(_whole_firms(plan.firm_N[rows_n]))
    with ThreadPoolExecutor(threads) as pool:
        entries = list(pool.map(lambda span: _enter(panel, plan, rows_n[slice(*span)]), spans))
        stops = np.cumsum([np.count_nonzero(entry.kept_m) for entry in entries], dtype=np.int64).tolist()
        count = stops[-1] if stops else 0
        filled_nP = np.empty((count, len(plan.lags_P)), dtype=np.float32)
        filled_nC = np.empty((count, len(plan.lags_C)), dtype=np.float32)

        def fill(entry: _Entry, start: int, stop: int) -> tuple[Census, Counter[str]]:
            return _fill(panel, plan, entry, filled_nP[start:stop], filled_nC[start:stop])

        told = list(pool.map(fill, entries, [0, *stops], stops))
    census = sum((own for own, _ in told), Census.of_nothing(len(plan.lags_P)))
    tally = sum((own for _, own in told), Counter[str]())
    tally["rows.kept"] = count
    kept_n = np.concatenate([np.zeros(0, dtype=bool), *(entry.kept_m for entry in entries)])
    return FirmBlock(rows_n[kept_n], filled_nP, filled_nC, census, tally)


def prepare_months(
    panel: Panel, plan: Plan, blocks: Sequence[FirmBlock], kept: Sequence[int], months: MonthRange, threads: int = 1
) -> tuple[Panel, Counter[str]]:
    """Winsorise, fill from the cross-section and scale some months of all blocks of firms.

    Returns
    -------
    Panel, Counter
        The rows of ``months`` that are kept, and what was counted on the way; behind ``UNKNOWN`` and its name the
        months in which a raw characteristic is known of no asset, which only :func:`prepare` may judge.
    """
    span = panel.rows(*months)
    own = [_in_panel_order(block, span) for block in blocks]
    count = sum(len(rows_n) for rows_n, _ in own)
    rows_n = np.empty(count, dtype=np.int64)
    ready_nP = np.empty((count, len(kept)), dtype=np.float32)
    ready_nC = np.empty((count, len(plan.lags_C)), dtype=np.float32)
    edges = panel.offsets[np.searchsorted(panel.months, months[0]) :][: months[1] - months[0] + 2]
    starts = sum((np.searchsorted(held_n, edges) for held_n, _ in own), np.zeros(len(edges), dtype=np.int64))
    raw = plan.settings.keeps_raw
    fill_P, fill_C = raw or plan.settings.impute != "none", plan.settings.consensus == "impute"
    names = [panel.characteristic_names[position] for position in kept]

    def prepare_month(number: int) -> Counter[str]:
        tally, to = Counter[str](), slice(int(starts[number]), int(starts[number + 1]))
        rows_n[to], block_m, place_m = _month_of(own, int(edges[number]), int(edges[number + 1]))
        values_mP, values_mC = _gathered(blocks, block_m, place_m)
        values_mP = values_mP if len(kept) == values_mP.shape[1] else values_mP[:, list(kept)]
        ready_nP[to] = _scaled(values_mP, plan.settings, fill_P, tally, "characteristics")
        ready_nC[to] = _scaled(values_mC, plan.settings, fill_C, tally, "consensus")
        if raw and len(block_m):
            tally.update(UNKNOWN + names[position] for position in np.flatnonzero(np.isnan(ready_nP[to]).all(axis=0)))
        return tally

    with ThreadPoolExecutor(threads) as pool:
        tally = sum(pool.map(prepare_month, range(len(edges) - 1)), Counter[str]())
    if tally["characteristics.missing"]:
        np.copyto(ready_nP, 0.0, where=np.isnan(ready_nP))  # the centre of ranks and of what is standardised
    return panel.kept(rows_n, months, names, characteristics=ready_nP, consensus=ready_nC), tally


@dataclass(frozen=True)
class _Entry:
    """Whole firms: their rows, their delayed consensus, and which rows are kept."""

    rows_m: IntArray
    histories: Histories
    known_mC: FloatArray
    entered_m: npt.NDArray[np.bool_]
    kept_m: npt.NDArray[np.bool_]


def _enter(panel: Panel, plan: Plan, rows_m: IntArray) -> _Entry:
    histories = Histories(plan.firm_N[rows_m], panel.row_months[rows_m])
    known_mC = lagged(panel.consensus[rows_m], histories, plan.lags_C)
    entered_m = _entered(known_mC, histories, plan.settings)
    return _Entry(rows_m, histories, known_mC, entered_m, entered_m & plan.inside_N[rows_m])


def _fill(
    panel: Panel, plan: Plan, entry: _Entry, filled_kP: FloatArray, filled_kC: FloatArray
) -> tuple[Census, Counter[str]]:
    """Write the filled values of the k rows that are kept, and tell what was counted."""
    histories, kept_m, known_mC = entry.histories, entry.kept_m, entry.known_mC
    known_mP = lagged(panel.characteristics[entry.rows_m], histories, plan.lags_P)
    np.compress(kept_m, _filled(known_mP, histories, plan), axis=0, out=filled_kP)
    np.compress(kept_m, _filled_consensus(known_mC, histories, plan), axis=0, out=filled_kC)
    known_kP, months_k = ~np.isnan(known_mP)[kept_m], histories.month_n[kept_m]
    census = take_census(known_kP, ~np.isnan(filled_kP), months_k, plan.judged, plan.earliest_P)
    counted = {
        "rows.unscreened": np.count_nonzero(plan.inside_N[entry.rows_m] & ~entry.entered_m),
        "consensus.known": np.count_nonzero(~np.isnan(known_mC)[kept_m]),
        "consensus.filled": np.count_nonzero(~np.isnan(filled_kC)),
    }
    return census, Counter({name: int(number) for name, number in counted.items()})


def _in_panel_order(block: FirmBlock, span: slice) -> tuple[IntArray, IntArray]:
    """Rows of the panel within a span that a block holds, increasing, and where in the block they are."""
    place_n = np.flatnonzero((block.rows_n >= span.start) & (block.rows_n < span.stop))
    order_n = np.argsort(block.rows_n[place_n], kind="stable")
    return block.rows_n[place_n][order_n], place_n[order_n]


def _month_of(own: Sequence[tuple[IntArray, IntArray]], first: int, last: int) -> tuple[IntArray, IntArray, IntArray]:
    """Rows of the panel from first to before last, the block that holds each, and where in it."""
    spans = [np.searchsorted(rows_n, [first, last]) for rows_n, _ in own]
    rows_m = np.concatenate([rows_n[a:b] for (rows_n, _), (a, b) in zip(own, spans, strict=True)])
    place_m = np.concatenate([place_n[a:b] for (_, place_n), (a, b) in zip(own, spans, strict=True)])
    block_m = np.repeat(np.arange(len(own)), [b - a for a, b in spans])
    order_m = np.argsort(rows_m, kind="stable")
    return rows_m[order_m], block_m[order_m], place_m[order_m]


def _gathered(blocks: Sequence[FirmBlock], block_m: IntArray, place_m: IntArray) -> tuple[FloatArray, FloatArray]:
    if len(blocks) == 1:
        return blocks[0].characteristics_nP[place_m], blocks[0].consensus_nC[place_m]
    values_mP = np.empty((len(place_m), blocks[0].characteristics_nP.shape[1]), dtype=np.float32)
    values_mC = np.empty((len(place_m), blocks[0].consensus_nC.shape[1]), dtype=np.float32)
    for number, block in enumerate(blocks):
        own_m = np.flatnonzero(block_m == number)
        values_mP[own_m] = block.characteristics_nP[place_m[own_m]]
        values_mC[own_m] = block.consensus_nC[place_m[own_m]]
    return values_mP, values_mC


def _delay(panel: Panel, name: str, settings: Preprocess, least: int) -> int:
    if name in settings.lags:
        return settings.lags[name]
    if settings.lag == "none" or name not in panel.frequency:
        return 0
    return max(least, _DELAYS[panel.frequency[name]])


def _whole_firms(firm_n: IntArray) -> Iterator[tuple[int, int]]:
    """Yield spans of whole firms of about as many rows as are worked on at once."""
    edges = np.concatenate([np.flatnonzero(np.diff(firm_n)) + 1, [len(firm_n)]])
    start = 0
    while start < len(firm_n):
        stop = int(edges[min(int(np.searchsorted(edges, start + _ROWS_AT_ONCE)), len(edges) - 1)])
        yield start, stop
        start = stop


def _entered(known_mC: FloatArray, histories: Histories, settings: Preprocess) -> npt.NDArray[np.bool_]:
    """Whether a firm has entered: with its first consensus, or (paper) everywhere if it ever has one."""
    if settings.screen == "none" or known_mC.shape[1] == 0:
        return np.ones(len(known_mC), dtype=bool)
    any_m = np.any(~np.isnan(known_mC), axis=1)
    seen_m = any_m.cumsum()
    before_m = seen_m[histories.first_n] - any_m[histories.first_n].astype(np.int64)
    reached_m = seen_m[histories.last_n] if settings.screen == "paper" else seen_m
    return np.asarray(reached_m > before_m)


def _filled(known_mP: FloatArray, histories: Histories, plan: Plan) -> FloatArray:
    if plan.settings.impute == "none":
        return known_mP
    filled_mP = carried_forward(known_mP, histories)
    if plan.growth_P.any():
        mean = mean_of_all if plan.settings.impute == "paper" else mean_so_far
        filled_mP[:, plan.growth_P] = mean(known_mP[:, plan.growth_P], histories)
    return filled_mP


def _filled_consensus(known_mC: FloatArray, histories: Histories, plan: Plan) -> FloatArray:
    if plan.settings.consensus == "mask":
        return known_mC
    return (interpolated if plan.settings.impute == "paper" else carried_forward)(known_mC, histories)


def _scaled(values_mP: FloatArray, settings: Preprocess, fill: bool, tally: Counter[str], role: str) -> FloatArray:
    if settings.winsorise:
        before_mP, values_mP = values_mP, winsorised(values_mP, settings.winsorise)
        changed = np.count_nonzero(values_mP != before_mP) - np.count_nonzero(np.isnan(values_mP))
        tally[f"{role}.winsorised"] += int(changed)
    missing = int(np.count_nonzero(np.isnan(values_mP)))
    if fill and missing:
        values_mP = filled_with_mean(values_mP)
        before, missing = missing, int(np.count_nonzero(np.isnan(values_mP)))
        tally[f"{role}.month_mean"] += before - missing
    tally[f"{role}.missing"] += missing
    if settings.rank:
        return ranked(values_mP)
    return standardised(values_mP) if settings.standardise else values_mP

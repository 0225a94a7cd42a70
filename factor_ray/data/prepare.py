"""Preparation of a panel: lag, universe, screen, impute, normalise (spec: data, Preprocessing; CB-APM, Appendix A).

What needs a firm's past is done on blocks of firms, what needs a month's cross-section on blocks of months, by the
functions of :mod:`factor_ray.data.blocks`, here on as many threads as there are processors. Whoever prepares in
parallel gets the same bits as whoever does at once.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.blocks import UNKNOWN, Plan, plan_preparation, prepare_firms, prepare_months
from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.screen import Census, screen_characteristics
from factor_ray.data.windows import MonthRange
from factor_ray.errors import InputError

_MOST_THREADS = 8
_WITHIN_MONTH = ("month_mean", "missing", "winsorised")


def prepare(
    panel: Panel,
    settings: Preprocess | None = None,
    *,
    judged: MonthRange | None = None,
    characteristics: Sequence[str] | None = None,
) -> Panel:
    """Prepare a panel: what models are fitted on. By default each value depends on data of its month and before only.

    Parameters
    ----------
    panel : Panel
        As it came from its source.
    settings : Preprocess, optional
        The defaults are honest and suit neural models.
    judged : (int, int), optional
        Months in which the point-in-time screen judges characteristics: the training months of the first window. It
        judges none where this is left out.
    characteristics : sequence of str, optional
        Keep these, unscreened: what a fitted model was fitted on.

    Returns
    -------
    Panel
        The rows in the universe from each firm's first consensus on, in the months of ``panel`` (a month may have lost
        all its rows); characteristics (N, P) without missing values; consensus (N, C), NaN where masked. Its
        ``preparation`` tells what each step did.

    Raises
    ------
    InputError
        If a setting names a column that the panel lacks, or nothing is left.
    """
    plan, left_out = plan_preparation(panel, settings or Preprocess.model_validate({}), judged)
    threads = min(os.cpu_count() or 1, _MOST_THREADS)
    block = prepare_firms(panel, plan, np.arange(len(panel)), threads)
    kept, dropped = choose_characteristics(panel, plan, [block.census], characteristics)
    span = int(panel.months[0]), int(panel.months[-1])
    ready, tally = prepare_months(panel, plan, [block], kept, span, threads)
    account = describe_preparation(panel, plan, dropped, [block.census], left_out, block.tally + tally)
    return ready.with_preparation(plan.settings.model_dump(mode="json"), account)


def choose_characteristics(
    panel: Panel, plan: Plan, censuses: Sequence[Census], wanted: Sequence[str] | None = None
) -> tuple[list[int], dict[str, str]]:
    """Return the positions of the characteristics to keep, and why each other one is dropped."""
    names = panel.characteristic_names
    if wanted is not None:
        return [names.index(name) for name in wanted], {n: "not asked for" for n in names if n not in wanted}
    if plan.judged is None:
        return list(range(len(names))), {}
    return screen_characteristics(names, censuses, plan.judged, plan.earliest_P, plan.settings.max_missing)


def rows_kept(panel: Panel, prepared: Panel) -> npt.NDArray[np.int64]:
    """Return the row of ``panel`` from which each row of ``prepared`` was made, int64 (n,)."""
    if len(prepared) == len(panel):
        return np.arange(len(panel))
    codes, labels = pd.factorize(panel.assets, sort=True)
    key_N = (panel.row_months - panel.months[0]).astype(np.int64) * len(labels) + codes
    own_n = pd.Index(labels).get_indexer(pd.Index(prepared.assets))
    wanted_n = (prepared.row_months - panel.months[0]).astype(np.int64) * len(labels) + own_n
    return np.asarray(np.searchsorted(key_N, wanted_n), dtype=np.int64)


def describe_preparation(
    panel: Panel,
    plan: Plan,
    dropped: Mapping[str, str],
    censuses: Sequence[Census],
    left_out: Counter[str],
    tally: Counter[str],
) -> dict[str, Any]:
    """Return what each step did, for ``experiment.yaml`` and the report: plain names and whole numbers.

    Parameters
    ----------
    dropped : mapping of str to str
        Why a characteristic was dropped.
    censuses : sequence of Census
        Of blocks of firms.
    left_out, tally : Counter
        Rows that universe filters left out; what blocks of firms and of months counted, summed.

    Raises
    ------
    InputError
        If no row is left, or nothing can stand in for a raw characteristic in some month.
    """
    settings = plan.settings
    if tally["rows.kept"] == 0:
        raise InputError(
            f"preprocess leaves no row of {len(panel)}: the universe left out {sum(left_out.values())}, firms without "
            f"consensus {tally['rows.unscreened']}; loosen preprocess.universe or set preprocess.screen to none"
        )
    _require_known(panel, plan, tally)
    census = reduce(Census.__add__, censuses)
    kept_P = np.array([name not in dropped for name in panel.characteristic_names], dtype=bool)
    lags = dict(zip((*panel.characteristic_names, *panel.consensus_names), plan.lags.tolist(), strict=True))
    return {
        "rows": {
            "read": len(panel),
            "outside_universe": dict(left_out),
            "before_first_consensus": tally["rows.unscreened"],
            "kept": tally["rows.kept"],
        },
        "lags": {name: months for name, months in lags.items() if months},
        "judged": None if plan.judged is None else [format_month(month) for month in plan.judged],
        "characteristics": {"kept": len(panel.characteristic_names) - len(dropped), "dropped": dict(dropped)},
        "values": {"characteristics": _values(plan, kept_P, census, tally), "consensus": _consensus(plan, tally)},
        "scale": "rank" if settings.rank else "standardise" if settings.standardise else "none",
    }


def _require_known(panel: Panel, plan: Plan, tally: Counter[str]) -> None:
    """Refuse raw characteristics that some month knows of no asset: no number is neutral on a scale that is unknown."""
    for name, lag in zip(panel.characteristic_names, plan.lags_P.tolist(), strict=True):
        if months := tally[UNKNOWN + name]:
            remedy = (
                f"lag it in the file and set preprocess.lags.{name} to 0" if lag else "leave it or these months out"
            )
            raise InputError(
                f"{name}{f', delayed by {lag} months,' if lag else ''} is known of no asset in {months} of "
                f"{len(panel.months)} months, and nothing stands in for raw values there: {remedy}, or set "
                "preprocess.rank or preprocess.standardise to true"
            )


def _values(plan: Plan, kept_P: npt.NDArray[np.bool_], census: Census, tally: Counter[str]) -> dict[str, int]:
    """Where the values of the characteristics that are kept come from."""
    return {
        "known": int(census.held_P[kept_P].sum()),
        "carried": int(census.filled_P[kept_P & ~plan.growth_P].sum()),
        "firm_mean": int(census.filled_P[kept_P & plan.growth_P].sum()),
        "interpolated": 0,
        **{step: tally[f"characteristics.{step}"] for step in _WITHIN_MONTH},
    }


def _consensus(plan: Plan, tally: Counter[str]) -> dict[str, int]:
    filled = tally["consensus.filled"] - tally["consensus.known"]
    paper = plan.settings.impute == "paper"
    return {
        "known": tally["consensus.known"],
        "carried": 0 if paper else filled,
        "firm_mean": 0,
        "interpolated": filled if paper else 0,
        **{step: tally[f"consensus.{step}"] for step in _WITHIN_MONTH},
    }

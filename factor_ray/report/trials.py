"""The trials of a run, search by search, with the scores that selection compared."""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import pandas as pd

from factor_ray.report.labels import families_of

SearchKey = tuple[str, int, float | None]
"""Family, horizon and level of a search; the level is None for means."""


def by_search(trials: pd.DataFrame, *, is_global: bool) -> dict[SearchKey, pd.DataFrame]:
    """Return the trials of each search, in the order of families, horizons and levels.

    Parameters
    ----------
    trials : DataFrame
        See :mod:`factor_ray.tables` for the columns.
    is_global : bool
        Whether selection compares means over all windows.

    Returns
    -------
    dict
        Of tables with the columns of the trials and ``score_so_far``: the mean validation score of the point's first
        member over the windows up to the row's, or over all windows where selection is global; NaN for other members.
    """
    table = trials.reset_index(drop=True)
    table = table.assign(score_so_far=_scores_so_far(table, is_global))
    found: dict[SearchKey, pd.DataFrame] = {}
    for key, own in table.groupby([families_of(table["model"]).rename("family"), "horizon", "tau"], dropna=False):
        family, horizon, tau = cast("tuple[str, int, float]", key)
        found[family, int(horizon), None if math.isnan(tau) else float(tau)] = own
    return found


def _scores_so_far(trials: pd.DataFrame, is_global: bool) -> pd.Series:
    first = trials.loc[trials["member"] == 0, ["model", "horizon", "tau", "point", "window", "validation_score"]]
    first = first.sort_values("window", kind="stable")
    known = np.isfinite(first["validation_score"])
    first = first.assign(windows=known, total=first["validation_score"].where(known, 0.0))
    of_point = first.groupby(["model", "horizon", "tau", "point"], dropna=False)
    if is_global:
        return of_point["validation_score"].transform("mean").reindex(trials.index)
    so_far = of_point[["total", "windows"]].cumsum()
    return (so_far["total"] / so_far["windows"]).reindex(trials.index)

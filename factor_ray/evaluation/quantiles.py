"""How good fitted or forecast quantiles of returns were.

Axes: R rows of the table, N of them with both quantile and outcome, G groups, C cells (an asset or a month of a group).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.accuracy import Pairs, pair
from factor_ray.evaluation.coverage import coverage_tests
from factor_ray.evaluation.tables import FloatArray, IntArray, numbers, ratio

ROUNDING = 1e-6  # of its size: an outcome this near its quantile counts as equal to it
GROUP = ("model", "horizon", "kind", "tau")


def quantile_statistics(table: pd.DataFrame, *, by: Sequence[str] = GROUP) -> pd.DataFrame:
    """Measure quantiles against what was realised, one row for each group of ``by``.

    A row without a prediction or a realisation leaves every sum and every count.

    Parameters
    ----------
    table : DataFrame
        Columns ``month`` (formation month), ``asset``, ``tau``, ``prediction`` and ``realized`` (decimals, missing
        where not known), and those of ``by``.
    by : sequence of str
        Columns that tell apart what is measured; ``"year"`` is the calendar year of the formation month. A group must
        hold one tau, and one row for each (month, asset).

    Returns
    -------
    DataFrame
        The columns of ``by``, in sorted order, and

        - ``hit_rate``: share of outcomes at or below the quantile, equal being equal to single precision;
          ``qhe``: its distance from tau;
        - ``aqe``: mean pinball loss ``rho_tau(Y - q)``, in decimals;
        - ``r2``: ``1 - sum rho_tau(Y - q) / sum rho_tau(Y)`` over all pairs, against a quantile of zero;
          ``r2_time_series``: that of each asset, averaged with its months as weights; ``r2_cross_section``: that of
          each month, averaged plainly. An asset or month whose outcomes are all zero has no R2 and no weight;
        - ``kupiec_p_value``: of hits as frequent as tau, all pairs taken as independent, which assets of one month
          hardly are; ``christoffersen_p_value``: of hits no likelier after a hit of the same asset a month ago;
          ``conditional_coverage_p_value``: of both;
        - ``observations``, ``assets``, ``months``, and ``skipped`` rows.

    Raises
    ------
    InputError
        If columns are missing, tau is not in (0, 1) or differs within a group, or (month, asset) is repeated in one.

    References
    ----------
    Koenker and Machado (1999); Kupiec (1995); Christoffersen (1998).
    """
    pairs = pair(table, by, outcome="realized", name="quantiles")
    return pairs.labels.assign(**quantile_measures(pairs, _levels(table, pairs)))


def quantile_measures(pairs: Pairs, tau_G: FloatArray) -> dict[str, npt.NDArray[Any]]:
    """Return the measures of :func:`quantile_statistics` by name, one value for each group and its level."""
    tau_N = tau_G[pairs.group]
    groups = len(pairs.labels)
    # A fit goes through some outcomes exactly: these are hits, whatever storing either in single precision did.
    hit_N = pairs.outcome <= pairs.prediction + ROUNDING * np.abs(pairs.outcome)
    loss_N, zero_N = pinball(pairs.outcome - pairs.prediction, tau_N), pinball(pairs.outcome, tau_N)
    observations = np.bincount(pairs.group, minlength=groups)
    hit_rate = ratio(np.bincount(pairs.group, hit_N, minlength=groups), observations)
    asset_C, of_asset_N = _cells(pairs.group, pairs.asset)
    month_C, of_month_N = _cells(pairs.group, pairs.month - int(pairs.month.min(initial=0)))
    tests = []
    for group, tau in enumerate(tau_G):
        rows = pairs.group == group
        tests.append(coverage_tests(hit_N[rows], pairs.month[rows], pairs.asset[rows], tau))
    coverage = {
        f"{name}_p_value": np.array([test[name].p_value for test in tests])
        for name in ("kupiec", "christoffersen", "conditional_coverage")
    }
    return {
        "hit_rate": hit_rate,
        "qhe": np.abs(hit_rate - tau_G),
        "aqe": ratio(np.bincount(pairs.group, loss_N, minlength=groups), observations),
        "r2": _mean_r2(np.arange(groups), pairs.group, loss_N, zero_N, groups, weigh=True),
        "r2_time_series": _mean_r2(asset_C, of_asset_N, loss_N, zero_N, groups, weigh=True),
        "r2_cross_section": _mean_r2(month_C, of_month_N, loss_N, zero_N, groups, weigh=False),
        **coverage,
        "observations": observations,
        "assets": np.bincount(asset_C, minlength=groups),
        "months": np.bincount(month_C, minlength=groups),
        "skipped": np.bincount(pairs.every_group[~pairs.known], minlength=groups),
    }


def pinball(residual: FloatArray, tau: FloatArray | float) -> FloatArray:
    """``rho_tau(e) = e (tau - 1(e < 0))``, in the units of the residual (Koenker and Bassett 1978)."""
    return np.maximum(tau * residual, (tau - 1.0) * residual)


def _levels(table: pd.DataFrame, pairs: Pairs) -> FloatArray:
    """The one level of each group."""
    tau = pd.Series(numbers(table, "tau", "quantiles")) if "tau" in table else pd.Series(np.full(len(table), np.nan))
    groups = tau.groupby(pairs.every_group)
    if not (tau.between(0.0, 1.0, inclusive="neither") & tau.eq(groups.transform("first"))).all():
        raise InputError(
            f"quantiles grouped by {', '.join(pairs.labels.columns)} must have one tau between 0 and 1 in each group; "
            "some have several, or none: fill column 'tau' and add it to by=..."
        )
    return np.asarray(groups.first(), dtype=np.float64)


def _cells(group_N: IntArray, code_N: IntArray) -> tuple[IntArray, IntArray]:
    """The group of each cell, a code (from 0) within a group, in sorted order; and the cell of each row."""
    span = int(code_N.max(initial=0)) + 1
    cell_N, cell_C = pd.factorize(group_N * span + code_N, sort=True)
    return cell_C // span, cell_N


def _mean_r2(
    group_C: IntArray, cell_N: IntArray, loss_N: FloatArray, zero_N: FloatArray, groups: int, *, weigh: bool
) -> FloatArray:
    """Mean over a group's cells of ``1 - sum loss / sum zero``, weighted with their rows or equally."""
    cells = len(group_C)
    r2_C = 1.0 - ratio(np.bincount(cell_N, loss_N, cells), np.bincount(cell_N, zero_N, cells))
    weight_C = np.bincount(cell_N, minlength=cells).astype(np.float64) if weigh else np.ones(cells)
    there_C = ~np.isnan(r2_C)
    total_G = np.bincount(group_C[there_C], (r2_C * weight_C)[there_C], minlength=groups)
    return ratio(total_G, np.bincount(group_C[there_C], weight_C[there_C], minlength=groups))

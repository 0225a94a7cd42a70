"""How good forecasts of returns and of the analysts' consensus were, out of sample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.accuracy import Pairs, accuracy, monthly_ics, pair, r2
from factor_ray.evaluation.newey_west import mean_test
from factor_ray.evaluation.tables import FloatArray, numbers, require_columns


def forecast_statistics(forecasts: pd.DataFrame, *, by: Sequence[str] = ("model", "horizon")) -> pd.DataFrame:
    """Measure return forecasts against what was realised, one row for each group of ``by``.

    Parameters
    ----------
    forecasts : DataFrame
        Columns ``month`` (formation month), ``asset``, ``horizon`` (months), ``prediction`` and ``realized`` (decimals,
        missing where not known), those of ``by``, and optionally ``benchmark``, the forecast of
        :func:`historical_mean`.
    by : sequence of str
        Columns that tell apart what is measured. ``"year"`` means the calendar year of the formation month: add it for
        the figures by test year. A group must hold one horizon and one row for each (month, asset).

    Returns
    -------
    DataFrame
        The columns of ``by``, in sorted order, and

        - ``r2``: 1 - sum (R - R^)^2 / sum R^2, against a forecast of zero;
        - ``r2_historical_mean``: the same against ``benchmark``, over the ``benchmark_observations`` rows with one;
        - ``rmse``, ``mae``: decimals;
        - ``ic``: mean over ``ic_months`` of the month's Spearman rank correlation; ``ic_t_statistic``: its t-statistic,
          Newey-West with horizon - 1 lags, because targets of horizon h overlap for h - 1 months. Months in which
          either side does not vary have no rank correlation;
        - ``observations``, ``assets``, ``months`` behind these figures, and ``skipped``, the rows without a prediction
          or a realisation. Figures with no observations behind them are NaN.

    Raises
    ------
    InputError
        If columns are missing, a group holds several horizons, or (month, asset) is repeated within a group.

    References
    ----------
    Gu, Kelly and Xiu (2020, Review of Financial Studies), for R2 against zero.
    """
    pairs = pair(forecasts, by, outcome="realized", name="forecasts")
    horizons = _horizons(forecasts, pairs)
    benchmark = np.full(len(forecasts), np.nan)
    if "benchmark" in forecasts:
        benchmark = numbers(forecasts, "benchmark", "forecasts")
    measures = forecast_measures(pairs, monthly_ics(pairs), horizons, benchmark[pairs.known])
    return pd.concat([pairs.labels, measures], axis="columns")


def forecast_measures(pairs: Pairs, ics: pd.DataFrame, horizons: Sequence[int], benchmark: FloatArray) -> pd.DataFrame:
    """Return the measures of :func:`forecast_statistics`, one row for each group.

    Parameters
    ----------
    pairs : Pairs
    ics : DataFrame
        Of :func:`monthly_ics`.
    horizons : sequence of int
        Months, of each group.
    benchmark : float array (N,)
        NaN where there is none.
    """
    tests = [mean_test(ics.loc[ics["group"] == group, "ic"], lags=h - 1) for group, h in enumerate(horizons)]
    statistics = accuracy(pairs).assign(
        r2_historical_mean=r2(pairs, benchmark),
        ic=[test.mean for test in tests],
        ic_t_statistic=[test.t_statistic for test in tests],
        ic_months=[test.months for test in tests],
        benchmark_observations=np.bincount(pairs.group[~np.isnan(benchmark)], minlength=len(pairs.labels)),
    )
    order = ["r2", "r2_historical_mean", "rmse", "mae", "ic", "ic_t_statistic"]
    counts = ["observations", "assets", "months", "ic_months", "benchmark_observations", "skipped"]
    return statistics[order + counts]


def consensus_statistics(
    consensus: pd.DataFrame, *, by: Sequence[str] = ("model", "horizon", "variable")
) -> pd.DataFrame:
    """Measure approximations of the analysts' consensus, one row for each group of ``by``.

    Parameters
    ----------
    consensus : DataFrame
        Columns ``month``, ``asset``, ``variable``, ``prediction`` and ``actual`` (in the units the model was given,
        usually ranks in [-1, 1]; missing where no analyst follows the asset), and those of ``by``.
    by : sequence of str
        As in :func:`forecast_statistics`.

    Returns
    -------
    DataFrame
        The columns of ``by`` and ``r2`` (against zero), ``rmse``, ``mae``, ``ic`` (mean monthly Spearman rank
        correlation), ``observations``, ``assets``, ``months``, ``ic_months``, ``skipped``. There is no t-statistic:
        consensus persists for years, and no lag length is known to suit it.

    Raises
    ------
    InputError
        If columns are missing or (month, asset) is repeated within a group.
    """
    pairs = pair(consensus, by, outcome="actual", name="consensus")
    ics = monthly_ics(pairs).groupby("group")["ic"].agg(["mean", "count"])
    ics = ics.reindex(pd.RangeIndex(len(pairs.labels)))
    statistics = accuracy(pairs).assign(ic=ics["mean"], ic_months=ics["count"].fillna(0).astype(np.int64))
    order = ["r2", "rmse", "mae", "ic", "observations", "assets", "months", "ic_months", "skipped"]
    return pd.concat([pairs.labels, statistics[order]], axis="columns")


def _horizons(forecasts: pd.DataFrame, pairs: Pairs) -> list[int]:
    """Return the one horizon of each group."""
    require_columns(forecasts, ["horizon"], "forecasts")
    horizon = pd.Series(numbers(forecasts, "horizon", "forecasts"))
    groups = horizon.groupby(pairs.every_group)
    if not (horizon.ge(1) & horizon.eq(groups.transform("first"))).all():
        raise InputError(
            f"forecasts grouped by {', '.join(pairs.labels.columns)} must have one horizon of at least 1 month in each "
            "group; some have several, or none: fill column 'horizon' and add it to by=..."
        )
    return [int(horizon) for horizon in groups.first()]

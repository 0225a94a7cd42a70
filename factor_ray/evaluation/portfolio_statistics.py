"""What a portfolio's monthly returns were worth, before and after the costs of trading."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.evaluation.newey_west import mean_test, varies
from factor_ray.evaluation.portfolios import HIGH_LOW
from factor_ray.evaluation.tables import month_codes, numbers, require_columns


def return_statistics(returns: npt.ArrayLike | pd.Series, *, lags: int | None = None) -> dict[str, float]:
    """Summarise a series of monthly returns.

    Parameters
    ----------
    returns : sequence of float, shape (T,)
        Simple monthly returns in decimals, in time order; missing months are dropped.
    lags : int, optional
        Of the Newey-West t-statistic; the default is the rule of thumb of
        :func:`factor_ray.evaluation.newey_west.mean_test`.

    Returns
    -------
    dict
        - ``mean_log_return``, ``sd_log_return``, ``cumulative_log_return``: of r = log(1 + R), monthly; NaN if a month
          loses everything;
        - ``mean_return``, ``t_statistic``: of simple returns, monthly, Newey-West;
        - ``sharpe``: sqrt(12) mean / sd of simple returns, with the returns as given (a zero risk-free rate for a
          portfolio that is not zero-cost);
        - ``worst_month``: the smallest R;
        - ``max_drawdown``: max_t (1 - W_t / max_{s <= t} W_s), W_t = prod (1 + R), from W_0 = 1, so that a loss in
          the first month counts;
        - ``months``: T without missing ones.

        Standard deviations divide by T - 1.

    References
    ----------
    CB-APM paper, section 5.2.2 and Table 4; Gu, Kelly and Xiu (2020, Review of Financial Studies).
    """
    simple = pd.Series(np.asarray(returns, dtype=np.float64)).dropna()
    log = pd.Series(np.log1p(simple)) if bool((simple > -1.0).all()) else simple * np.nan
    wealth = np.concatenate([[1.0], (1.0 + simple).clip(lower=0.0).cumprod()])
    test = mean_test(simple, lags)
    sharpe = np.sqrt(12.0) * test.mean / simple.std() if varies(simple.to_numpy()) else np.nan
    return {
        "mean_log_return": float(log.mean()),
        "sd_log_return": float(log.std()),
        "cumulative_log_return": float(log.sum(skipna=False)) if len(log) else float("nan"),
        "mean_return": test.mean,
        "t_statistic": test.t_statistic,
        "sharpe": float(sharpe),
        "worst_month": float(simple.min()),
        "max_drawdown": float(np.max(1.0 - wealth / np.maximum.accumulate(wealth))) if len(simple) else float("nan"),
        "months": test.months,
    }


def long_short(
    portfolios: pd.DataFrame, *, costs: Sequence[float] = (0, 25, 50, 75), lags: int | None = None
) -> pd.DataFrame:
    """Evaluate the high-minus-low portfolio, net of proportional trading costs.

    A month's net return is R - c * turnover, where turnover is what was traded at that month's end. Buying the first
    portfolio and selling the last, or any that is not followed by another in the next month, is not charged: only
    rebalancing dates with both ends count.

    Parameters
    ----------
    portfolios : DataFrame
        What :func:`factor_ray.evaluation.portfolios.sort_portfolios` returns, for one model at one horizon.
    costs : sequence of float
        Costs c in basis points of the amount traded.
    lags : int, optional
        As in :func:`return_statistics`.

    Returns
    -------
    DataFrame
        One row for each cost: ``cost_bp``, the columns of :func:`return_statistics`, and the same in every row:
        ``turnover`` (mean over ``rebalances`` months, fraction of wealth), ``months_skipped`` (months without a
        portfolio, too few assets or an empty leg) and ``mean_assets`` held a month, both legs together.

    Raises
    ------
    InputError
        If columns are missing, there is no "high-low" portfolio, or a month occurs twice.
    """
    require_columns(portfolios, ["month", "portfolio", "return", "turnover", "assets"], "portfolios")
    own = portfolios[portfolios["portfolio"] == HIGH_LOW]
    if own.empty:
        raise InputError(f"the portfolios table must have rows of portfolio {HIGH_LOW!r}; it has none: sort first")
    if bool(own["month"].duplicated().any()):
        raise InputError("the portfolios table must have each month once; some repeat: pass one model at one horizon")
    own = own.iloc[np.argsort(month_codes(own))]
    gross, turnover = numbers(own, "return", "portfolios"), numbers(own, "turnover", "portfolios")
    formed = ~np.isnan(gross)
    rebalanced = formed & ~np.isnan(turnover)
    paid = np.where(rebalanced, turnover, 0.0)
    common = {
        "turnover": float(turnover[rebalanced].mean()) if rebalanced.any() else float("nan"),
        "rebalances": int(rebalanced.sum()),
        "months_skipped": int((~formed).sum()),
        "mean_assets": float(own["assets"][formed].mean()),
    }
    return pd.DataFrame(
        [{"cost_bp": cost, **return_statistics(gross - cost / 1e4 * paid, lags=lags), **common} for cost in costs]
    )


def portfolio_means(
    portfolios: pd.DataFrame, *, by: Sequence[str] = ("portfolio",), lags: int | None = None
) -> pd.DataFrame:
    """Average the returns of each portfolio over the months, as tables of sorts print them.

    Parameters
    ----------
    portfolios : DataFrame
        What :func:`factor_ray.evaluation.portfolios.sort_portfolios` or ``double_sort`` returns, alone or with columns
        that tell several such tables apart.
    by : sequence of str
        Columns that name a portfolio: ``("first", "second")`` for a double sort.
    lags : int, optional
        As in :func:`return_statistics`.

    Returns
    -------
    DataFrame
        The columns of ``by``, in order of first appearance, and ``mean_return``, ``t_statistic`` (Newey-West),
        ``sd_return``, ``sharpe``, ``turnover`` (means over months that have one), ``months``, ``months_skipped`` and
        ``mean_assets``.

    Raises
    ------
    InputError
        If columns are missing or a portfolio has two rows in one month.
    """
    require_columns(portfolios, ["month", "return", "turnover", "assets", *by], "portfolios")
    if bool(portfolios.duplicated([*by, "month"]).any()):
        raise InputError(
            f"the portfolios table must have one row for each month and ({', '.join(by)}); "
            "some repeat: add the column that tells them apart to by=..."
        )
    rows = []
    ordered = portfolios.iloc[np.argsort(month_codes(portfolios), kind="stable")]
    for key, own in ordered.groupby(list(by), sort=False):
        returns = numbers(own, "return", "portfolios")
        formed = ~np.isnan(returns)
        statistics = return_statistics(returns, lags=lags)
        rows.append(
            {
                **dict(zip(by, key, strict=True)),
                "mean_return": statistics["mean_return"],
                "t_statistic": statistics["t_statistic"],
                "sd_return": float(own["return"].std()),
                "sharpe": statistics["sharpe"],
                "turnover": float(own["turnover"].mean()),
                "months": statistics["months"],
                "months_skipped": int((~formed).sum()),
                "mean_assets": float(own["assets"][formed].mean()),
            }
        )
    return pd.DataFrame(rows)

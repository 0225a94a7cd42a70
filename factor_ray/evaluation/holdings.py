"""What portfolios hold, what that returns and what must be traded to hold the next month's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.evaluation.tables import FloatArray, IntArray

# Axes: N holdings, T consecutive calendar months, K portfolios.


@dataclass(frozen=True)
class Holdings:
    """One row for each asset that a portfolio holds from the end of a month to the end of the next.

    ``month`` counts from the first month of the sample, ``portfolio`` and ``asset`` from 0; ``weight`` is a fraction of
    the portfolio's wealth, negative where the asset is sold short; ``next_return`` is in decimals.
    """

    month: IntArray
    portfolio: IntArray
    asset: IntArray
    weight: FloatArray
    next_return: FloatArray


@dataclass(frozen=True)
class Performance:
    """``returns`` (decimals), ``turnover`` (fraction of wealth) and ``assets`` held, each of shape (T, K).

    Row t is the portfolio formed at the end of month t: what it returned over month t+1, and what was traded at the end
    of month t+1. Returns are NaN where nothing is held; turnover also where the next month has no portfolio.
    """

    returns: FloatArray
    turnover: FloatArray
    assets: IntArray


def weigh(held: Holdings, months: int, portfolios: int) -> Holdings:
    """Scale weights so that each portfolio's sum to one in every month."""
    cell = held.month * portfolios + held.portfolio
    total = np.bincount(cell, held.weight, minlength=months * portfolios)
    return Holdings(held.month, held.portfolio, held.asset, held.weight / total[cell], held.next_return)


def with_spreads(held: Holdings, months: int, portfolios: int, spreads: Sequence[tuple[int, int]]) -> Holdings:
    """Append zero-cost portfolios, numbered from ``portfolios``, each long the first of a pair and short the second.

    A unit of wealth is kept in cash and finances one unit long and one short; a month in which either leg is empty has
    no spread.
    """
    held_months = np.zeros((months, portfolios), dtype=bool)
    held_months[held.month, held.portfolio] = True
    parts = [held]
    for number, (top, bottom) in enumerate(spreads, start=portfolios):
        both = held_months[:, top] & held_months[:, bottom]
        for leg, sign in ((top, 1.0), (bottom, -1.0)):
            rows = (held.portfolio == leg) & both[held.month]
            parts.append(
                Holdings(
                    held.month[rows],
                    np.full(int(rows.sum()), number),
                    held.asset[rows],
                    sign * held.weight[rows],
                    held.next_return[rows],
                )
            )
    return Holdings(
        *(
            np.concatenate([getattr(part, axis) for part in parts])
            for axis in ("month", "portfolio", "asset", "weight", "next_return")
        )
    )


def performance(held: Holdings, months: int, portfolios: int) -> Performance:
    """Return what each portfolio earned in each month, and traded at that month's end.

    Turnover is sum_i |w_{i,t+1} - w_{i,t} (1 + R_{i,t}) / (1 + sum_j w_{j,t} R_{j,t})| with the portfolio's own signed
    weights, over every asset held before or after. It is NaN unless the portfolio exists in two successive calendar
    months, and where a month loses everything, because no wealth is left to trade.

    References
    ----------
    Gu, Kelly and Xiu (2020, Review of Financial Studies); CB-APM paper, equation 7.
    """
    cells = months * portfolios
    cell = held.month * portfolios + held.portfolio
    assets = np.bincount(cell, minlength=cells)
    earned = np.bincount(cell, held.weight * held.next_return, minlength=cells)
    returns = np.where(assets > 0, earned, np.nan)

    growth = np.where(returns > -1.0, 1.0 + returns, np.nan)
    next_assets = np.concatenate([assets[portfolios:], np.zeros(portfolios, dtype=np.int64)])
    traded = ~np.isnan(growth) & (next_assets > 0)
    turnover = _trades(held, cell, growth, traded, portfolios)
    shape = (months, portfolios)
    return Performance(returns.reshape(shape), turnover.reshape(shape), assets.reshape(shape))


def _trades(
    held: Holdings, cell: IntArray, growth: FloatArray, traded: npt.NDArray[np.bool_], portfolios: int
) -> FloatArray:
    """Match drifted weights with the next month's targets by asset, and add up what differs."""
    sold = traded[cell]
    bought = (cell >= portfolios) & traded[cell - portfolios]
    drifted = held.weight[sold] * (1.0 + held.next_return[sold]) / growth[cell[sold]]
    at = np.concatenate([cell[sold], cell[bought] - portfolios])
    asset = np.concatenate([held.asset[sold], held.asset[bought]])
    change = np.concatenate([-drifted, held.weight[bought]])

    span = int(held.asset.max(initial=0)) + 1
    position, of_change = np.unique(at * span + asset, return_inverse=True)
    net = np.bincount(of_change, change, minlength=len(position))
    turnover = np.bincount(position // span, np.abs(net), minlength=len(traded))
    return np.where(traded, turnover, np.nan)

"""Which assets move together: graphs of correlated returns, from returns up to a month's end alone.

Correlations are pairwise complete and come from matrix products, a block of assets at a time: 5,000 assets take some
40 MB for a moment.

Axes: N assets of a month, M months of returns, B assets of a block, K neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from scipy import stats

FloatArray = npt.NDArray[np.float32]
AssetArray = npt.NDArray[np.int64]
LinkArray = npt.NDArray[np.int16 | np.int32]

NOBODY = -1
_BLOCK = 64  # small blocks stay in the cache
_STEPS = 2.0**30  # correlations are compared in these steps: those that differ by rounding alone are ties
_FLAT = 1e-9  # variance, over the months in common, of returns standardised over all: below it they count as constant


def most_correlated(r_NM: FloatArray, asset_N: AssetArray, *, count: int, overlap: int) -> LinkArray:
    """Return the assets whose returns are most correlated with each asset's.

    Parameters
    ----------
    r_NM : float32 array (N, M)
        Returns of the assets of a month over the months up to it; NaN where missing.
    asset_N : int64 array (N,)
        The assets' numbers: equal correlations are ordered by them.
    count : int
        K, the number of neighbours.
    overlap : int
        Months that two assets must have in common, at least 2.

    Returns
    -------
    int array (N, K)
        Positions in the month, the most correlated first; -1 where there are fewer. An asset is never its own.

    Source: the relation matrix of STHD, arXiv 2408.04245.
    """
    order_N = np.argsort(asset_N, kind="stable")
    found = [
        _largest(correlation_BN, ~np.isnan(correlation_BN), count)
        for correlation_BN, _ in _blocks(r_NM[order_N], asset_N[order_N], overlap)
    ]
    return _as_in_month(found, order_N)


def significant(
    r_NM: FloatArray, asset_N: AssetArray, *, count: int, overlap: int, level: float
) -> tuple[LinkArray, LinkArray]:
    """Return the assets whose returns are significantly correlated with each asset's: positively, and negatively.

    Two assets are linked where the t-statistic of their correlation, ``r sqrt((m - 2) / (1 - r^2))`` over m months in
    common, is significant on two sides.

    Parameters
    ----------
    r_NM, asset_N
        As in :func:`most_correlated`.
    count : int
        K: of either sign the strongest links of an asset are kept.
    overlap : int
        Months that two assets must have in common, at least 3.
    level : float
        Of the test.

    Returns
    -------
    tuple of two int arrays (N, K)
        Positions in the month of positive and of negative neighbours, the strongest first; -1 where there are fewer.

    Source: Uddin, Tao and Yu (CIKM 2021).
    """
    order_N = np.argsort(asset_N, kind="stable")
    bound = _smallest_significant(r_NM.shape[1], level)
    positive, negative = [], []
    for correlation_BN, months_BN in _blocks(r_NM[order_N], asset_N[order_N], overlap):
        bound_BN = bound[months_BN]
        positive.append(_largest(correlation_BN, correlation_BN > bound_BN, count))
        negative.append(_largest(-correlation_BN, -correlation_BN > bound_BN, count))
    return _as_in_month(positive, order_N), _as_in_month(negative, order_N)


def _blocks(
    r_NM: FloatArray, asset_N: AssetArray, overlap: int
) -> Iterator[tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]:
    """Yield correlations of a block of assets with all (B, N), NaN where undefined, and the months in common."""
    known_NM = np.isfinite(r_NM)
    months_N1 = np.maximum(known_NM.sum(axis=1, keepdims=True), 1)
    r_NM = np.where(known_NM, r_NM, 0).astype(np.float64)
    r_NM = np.where(known_NM, r_NM - r_NM.sum(axis=1, keepdims=True) / months_N1, 0)
    deviation_N1 = np.sqrt(np.square(r_NM).sum(axis=1, keepdims=True) / months_N1)
    r_NM /= np.where(deviation_N1 > 0, deviation_N1, 1)
    known_NM, square_NM = known_NM.astype(np.float64), np.square(r_NM)
    for start in range(0, len(r_NM), _BLOCK):
        own = slice(start, start + _BLOCK)
        months_BN = known_NM[own] @ known_NM.T
        count_BN = np.maximum(months_BN, 1)
        sum_BN, other_sum_BN = r_NM[own] @ known_NM.T, known_NM[own] @ r_NM.T
        variance_BN = (square_NM[own] @ known_NM.T - sum_BN * sum_BN / count_BN) / count_BN
        other_BN = (known_NM[own] @ square_NM.T - other_sum_BN * other_sum_BN / count_BN) / count_BN
        product_BN = (r_NM[own] @ r_NM.T - sum_BN * other_sum_BN / count_BN) / count_BN
        defined_BN = (months_BN >= overlap) & (variance_BN > _FLAT) & (other_BN > _FLAT)
        defined_BN &= asset_N[own, None] != asset_N
        scale_BN = np.sqrt(np.where(defined_BN, variance_BN * other_BN, 1))
        correlation_BN = np.where(defined_BN, np.clip(product_BN / scale_BN, -1, 1), np.nan)
        yield correlation_BN, months_BN.astype(np.int64)


def _smallest_significant(months: int, level: float) -> npt.NDArray[np.float64]:
    """The correlation above which m = 0, 1, ..., ``months`` months in common are significant; infinite below 3."""
    freedom = np.arange(months + 1) - 2.0
    with np.errstate(invalid="ignore"):
        t = stats.t.ppf(1 - level / 2, freedom)
        return np.where(freedom > 0, t / np.sqrt(freedom + t * t), np.inf)


def _largest(value_BN: npt.NDArray[np.float64], eligible_BN: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.intp]:
    """Columns of the largest eligible values (B, K), the largest first, ties by column; -1 where there are fewer."""
    assets = value_BN.shape[1]
    rank_N = np.arange(assets, 0, -1)
    # Whole numbers that differ between columns, so that a partial sort has one result.
    steps_BN = np.rint(np.where(eligible_BN, value_BN, 0) * _STEPS).astype(np.int64)
    key_BN = np.where(eligible_BN, steps_BN * (assets + 1) + rank_N, np.iinfo(np.int64).min + rank_N)
    kept = min(count, assets)
    column_BK = np.argpartition(key_BN, assets - kept, axis=1)[:, assets - kept :]
    key_BK = np.take_along_axis(key_BN, column_BK, axis=1)
    order_BK = np.argsort(key_BK, axis=1)[:, ::-1]
    column_BK = np.take_along_axis(column_BK, order_BK, axis=1)
    column_BK[~np.take_along_axis(eligible_BN, column_BK, axis=1)] = NOBODY
    return np.pad(column_BK, ((0, 0), (0, count - kept)), constant_values=NOBODY)


def _as_in_month(found: list[npt.NDArray[np.intp]], order_N: npt.NDArray[np.intp]) -> LinkArray:
    """From positions in the order of the assets' numbers to positions in the month, in few bytes."""
    small = np.int16 if len(order_N) <= np.iinfo(np.int16).max else np.int32
    sorted_NK = np.concatenate(found)
    link_NK = np.empty(sorted_NK.shape, small)
    link_NK[order_N] = np.where(sorted_NK == NOBODY, NOBODY, order_N[sorted_NK])
    return link_NK

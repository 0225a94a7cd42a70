"""Steps within a month's cross-section: winsorise, fill with the mean, rank or standardise.

A month's results depend on that month's rows only.

Axes: n rows of one month, P variables.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


def ranked(values_nP: FloatArray) -> FloatArray:
    """Rank each column to [-1, 1]: ties at their mean rank, a single value at 0, missing stays NaN."""
    columns_Pn = np.ascontiguousarray(values_nP.T)
    width, number = columns_Pn.shape
    if columns_Pn.size == 0:
        return np.empty((number, width), dtype=np.float32)
    # Flat positions: a run of equal values is one entry, and nothing is accumulated along a column.
    first_P1 = np.arange(width)[:, None] * number
    order_Pn = np.argsort(columns_Pn, axis=1)
    order_Pn += first_P1
    sorted_Pn = columns_Pn.ravel().take(order_Pn)
    begins_Pn = np.ones(columns_Pn.shape, dtype=bool)
    np.not_equal(sorted_Pn[:, 1:], sorted_Pn[:, :-1], out=begins_Pn[:, 1:])
    starts = np.flatnonzero(begins_Pn)
    lengths = np.diff(starts, append=columns_Pn.size)
    known_P = number - np.count_nonzero(np.isnan(sorted_Pn), axis=1)
    column = np.repeat(np.arange(width), np.count_nonzero(begins_Pn, axis=1))
    twice_the_rank = 2 * (starts - column * number) + lengths - 1
    scaled = (twice_the_rank / np.maximum(known_P - 1, 1)[column] - 1.0).astype(np.float32)
    scaled[known_P[column] == 1] = 0.0
    scaled[np.isnan(sorted_Pn.ravel()[starts])] = np.nan
    ranked_Pn = np.empty(columns_Pn.size, dtype=np.float32)
    ranked_Pn[order_Pn.ravel()] = np.repeat(scaled, lengths)
    return np.ascontiguousarray(ranked_Pn.reshape(width, number).T)


def standardised(values_nP: FloatArray) -> FloatArray:
    """Bring each column to mean 0 and variance 1 over its known values; 0 where it does not vary; missing stays NaN."""
    known_nP = ~np.isnan(values_nP)
    number_P = np.maximum(known_nP.sum(axis=0), 1)
    mean_P = np.where(known_nP, values_nP, 0.0).sum(axis=0, dtype=np.float64) / number_P
    centred_nP = np.where(known_nP, values_nP - mean_P, 0.0)
    deviation_P = np.sqrt((centred_nP**2).sum(axis=0) / number_P)
    varies_P = deviation_P > 1e-6 * np.maximum(np.abs(mean_P), np.finfo(np.float32).tiny)
    scaled_nP = np.where(varies_P, centred_nP / np.where(varies_P, deviation_P, 1.0), 0.0)
    return np.where(known_nP, scaled_nP, np.nan).astype(np.float32)


def winsorised(values_nP: FloatArray, share: float) -> FloatArray:
    """Pull values beyond the quantiles ``share`` and ``1 - share`` of their column in to them (linear quantiles)."""
    sorted_nP = np.sort(values_nP, axis=0)
    last_P = (~np.isnan(values_nP)).sum(axis=0) - 1
    low_P, high_P = (_quantile(sorted_nP, np.maximum(last_P, 0) * level) for level in (share, 1 - share))
    return np.asarray(np.clip(values_nP, low_P, high_P), dtype=np.float32)


def filled_with_mean(values_nP: FloatArray) -> FloatArray:
    """Replace missing values by the column's mean; they stay missing where nothing is known."""
    known_nP = ~np.isnan(values_nP)
    number_P = known_nP.sum(axis=0)
    total_P = np.where(known_nP, values_nP, np.float32(0)).sum(axis=0, dtype=np.float64)
    mean_P = np.where(number_P > 0, total_P / np.maximum(number_P, 1), np.nan).astype(np.float32)
    return np.where(known_nP, values_nP, mean_P)


def _quantile(sorted_nP: FloatArray, position_P: npt.NDArray[np.float64]) -> FloatArray:
    below_P = np.floor(position_P).astype(np.int64)
    above_P = np.ceil(position_P).astype(np.int64)
    if len(sorted_nP) == 0:
        return np.zeros(sorted_nP.shape[1], dtype=np.float32)
    low_P = np.take_along_axis(sorted_nP, below_P[None], axis=0)[0].astype(np.float64)
    high_P = np.take_along_axis(sorted_nP, above_P[None], axis=0)[0].astype(np.float64)
    return np.asarray(low_P + (position_P - below_P) * (high_P - low_P), dtype=np.float32)

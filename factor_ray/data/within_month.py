"""Steps within a month's cross-section: winsorise, fill with the mean, rank or standardise.

A month's results depend on that month's rows only.

Axes: n rows of one month, P variables.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


def ranked(values_nP: FloatArray) -> FloatArray:
    """Rank each column to [-1, 1]: ties at their mean rank, a single value at 0, missing stays NaN."""
    number, width = values_nP.shape
    if values_nP.size == 0:
        return np.empty((number, width), dtype=np.float32)
    pairs_Pn = _sorted_with_rows(values_nP)
    known_P = number - np.count_nonzero(np.isnan(values_nP), axis=0)
    counts, own_P = np.unique(known_P, return_inverse=True)
    scaled_Pn = _scale(2 * np.arange(number), counts[:, None])[own_P]
    value_Pn = pairs_Pn >> 32
    # Flat positions of values that equal the one before: few in most columns, and none across two columns.
    tied = np.flatnonzero(value_Pn[:, 1:] == value_Pn[:, :-1])
    tied += tied // max(number - 1, 1) + 1
    heads = np.flatnonzero(np.diff(tied, prepend=-1) != 1)
    lengths = np.diff(heads, append=len(tied))
    starts = tied[heads] - 1
    shared = _scale(2 * (starts % number) + lengths, known_P[starts // number])
    scaled_Pn.reshape(-1)[starts] = shared
    scaled_Pn.reshape(-1)[tied] = np.repeat(shared, lengths)
    scaled_Pn[np.arange(number) >= known_P[:, None]] = np.nan
    place_Pn = pairs_Pn & 0xFFFFFFFF
    place_Pn += np.arange(width)[:, None] * number
    ranked_Pn = np.empty(values_nP.size, dtype=np.float32)
    ranked_Pn[place_Pn.reshape(-1)] = scaled_Pn.reshape(-1)
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
    last_P = len(values_nP) - 1 - np.count_nonzero(np.isnan(values_nP), axis=0)
    low_P, high_P = (_quantile(sorted_nP, np.maximum(last_P, 0) * level) for level in (share, 1 - share))
    return np.asarray(np.clip(values_nP, low_P, high_P), dtype=np.float32)


def filled_with_mean(values_nP: FloatArray) -> FloatArray:
    """Replace missing values by the column's mean; they stay missing where nothing is known."""
    missing = np.flatnonzero(np.isnan(values_nP))
    column = missing % max(values_nP.shape[1], 1)
    filled_nP = values_nP.copy(order="C")
    filled_nP.reshape(-1)[missing] = 0
    total_P = filled_nP.sum(axis=0, dtype=np.float64)
    number_P = len(values_nP) - np.bincount(column, minlength=values_nP.shape[1])
    mean_P = np.where(number_P > 0, total_P / np.maximum(number_P, 1), np.nan).astype(np.float32)
    filled_nP.reshape(-1)[missing] = mean_P[column]
    return filled_nP


def _sorted_with_rows(values_nP: FloatArray) -> IntArray:
    """Each column sorted, missing values last: the bits of a value in the upper half, its row in the lower one.

    Whole numbers of 64 bits are sorted several times as fast as ``argsort`` finds an order.
    """
    values_Pn = values_nP.T + np.float32(0)  # -0 becomes 0
    np.copyto(values_Pn, np.float32(np.nan), where=np.isnan(values_Pn))  # a NaN with a sign would come first
    bits_Pn = np.ascontiguousarray(values_Pn).view(np.int32)
    bits_Pn ^= (bits_Pn >> 31) & 0x7FFFFFFF  # negative numbers: the larger in size, the smaller
    pairs_Pn = bits_Pn.astype(np.int64)
    pairs_Pn <<= 32
    pairs_Pn |= np.arange(len(values_nP))
    pairs_Pn.sort(axis=1)
    return pairs_Pn


def _scale(twice_the_rank: IntArray, known: IntArray) -> FloatArray:
    scaled = (twice_the_rank / np.maximum(known - 1, 1) - 1.0).astype(np.float32)
    return np.where(known == 1, np.float32(0), scaled)


def _quantile(sorted_nP: FloatArray, position_P: npt.NDArray[np.float64]) -> FloatArray:
    below_P = np.floor(position_P).astype(np.int64)
    above_P = np.ceil(position_P).astype(np.int64)
    if len(sorted_nP) == 0:
        return np.zeros(sorted_nP.shape[1], dtype=np.float32)
    low_P, high_P = (sorted_nP[row_P, np.arange(len(row_P))].astype(np.float64) for row_P in (below_P, above_P))
    return np.asarray(low_P + (position_P - below_P) * (high_P - low_P), dtype=np.float32)

"""Steps along a firm's months: reporting delays and what fills a gap from the firm's own history.

Rows are sorted by firm, then month. A firm's results do not depend, to the bit, on which other firms stand beside it.

Axes: n rows, P variables.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Histories:
    """Whose rows they are, and when: sorted by firm, then month, each pair once.

    Attributes
    ----------
    firm_n : int64 array (n,)
        Any number that identifies the firm.
    month_n : int array (n,)
    """

    firm_n: IntArray
    month_n: npt.NDArray[np.integer]

    def __len__(self) -> int:
        return len(self.firm_n)

    @cached_property
    def bounds(self) -> IntArray:
        """Rows of the k-th firm are ``bounds[k]:bounds[k + 1]``."""
        inner = np.flatnonzero(np.diff(self.firm_n)) + 1
        return np.concatenate([[0], inner, [len(self)]]) if len(self) else np.zeros(1, dtype=np.int64)

    @cached_property
    def first_n(self) -> IntArray:
        """Position of the first row of each row's firm."""
        return np.repeat(self.bounds[:-1], np.diff(self.bounds))

    @cached_property
    def last_n(self) -> IntArray:
        """Position of the last row of each row's firm."""
        return np.repeat(self.bounds[1:] - 1, np.diff(self.bounds))

    def months_before(self, months: int) -> tuple[IntArray, npt.NDArray[np.bool_]]:
        """Return the position of the firm's row of so many calendar months earlier, and whether there is one."""
        if len(self) == 0:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=bool)
        low = int(self.month_n.min()) - months
        width = int(self.month_n.max()) - low + 1
        key_n = self.firm_n * width + (self.month_n - low)
        wanted_n = key_n - months
        position_n = np.minimum(np.searchsorted(key_n, wanted_n), len(key_n) - 1)
        return position_n, key_n[position_n] == wanted_n


def lagged(values_nP: FloatArray, histories: Histories, lags_P: IntArray) -> FloatArray:
    """Date each variable by the month in which it is known: the value of ``lags_P`` calendar months before.

    Missing where the firm has no row of that month.
    """
    moved_nP = values_nP.copy()
    for months in np.unique(lags_P[lags_P > 0]):
        position_n, there_n = histories.months_before(int(months))
        before_nP = values_nP.take(position_n, axis=0)
        before_nP[~there_n] = np.nan
        columns = np.flatnonzero(lags_P == months)
        moved_nP[:, columns] = before_nP[:, columns]
    return moved_nP


def carried_forward(values_nP: FloatArray, histories: Histories) -> FloatArray:
    """Replace missing values by the firm's last known one."""
    return values_nP.ravel().take(_last_known(values_nP, histories))


def mean_so_far(values_nP: FloatArray, histories: Histories) -> FloatArray:
    """Replace missing values by the mean of what the firm reported up to that month."""
    return _with_firm_means(values_nP, histories, whole=False)


def mean_of_all(values_nP: FloatArray, histories: Histories) -> FloatArray:
    """Replace missing values by the mean of all that the firm ever reported: it looks ahead (CB-APM, A.3)."""
    return _with_firm_means(values_nP, histories, whole=True)


def interpolated(values_nP: FloatArray, histories: Histories) -> FloatArray:
    """Replace missing values between two known ones by the line between them: it looks ahead (CB-APM, A.3)."""
    before_nP = _last_known(values_nP, histories)
    after_nP = _next_known(values_nP, histories)
    low_nP = values_nP.ravel().take(before_nP).astype(np.float64)
    high_nP = values_nP.ravel().take(after_nP).astype(np.float64)
    month_n, width = histories.month_n.astype(np.float64), max(values_nP.shape[1], 1)
    span_nP = month_n[after_nP // width] - month_n[before_nP // width]
    share_nP = (month_n[:, None] - month_n[before_nP // width]) / np.where(span_nP > 0, span_nP, 1.0)
    line_nP = (low_nP + share_nP * (high_nP - low_nP)).astype(np.float32)
    return np.where(np.isnan(values_nP), line_nP, values_nP)


def _last_known(values_nP: FloatArray, histories: Histories) -> npt.NDArray[np.int32]:
    """Flat position of each cell's last known value, itself included; in the firm's first row where there is none."""
    found_nP = np.arange(values_nP.size, dtype=np.int32).reshape(values_nP.shape)
    heads = histories.bounds[:-1]
    first_hP = found_nP[heads]
    found_nP *= ~np.isnan(values_nP)
    found_nP[heads] = first_hP  # above all positions of the firms before, none of which is carried into this one
    return np.asarray(np.maximum.accumulate(found_nP, axis=0, out=found_nP))


def _next_known(values_nP: FloatArray, histories: Histories) -> IntArray:
    found_nP = np.arange(values_nP.size).reshape(values_nP.shape)
    ahead_n = (histories.last_n - np.arange(len(histories))) * values_nP.shape[1]
    np.add(found_nP, ahead_n[:, None], out=found_nP, where=np.isnan(values_nP))
    return np.asarray(np.minimum.accumulate(found_nP[::-1], axis=0)[::-1])


def _with_firm_means(values_nP: FloatArray, histories: Histories, *, whole: bool) -> FloatArray:
    known_nP = ~np.isnan(values_nP)
    value_nP = np.where(known_nP, values_nP, np.float32(0))
    total_nP = np.empty(values_nP.shape, dtype=np.float64)
    count_nP = np.empty(values_nP.shape, dtype=np.int32)
    for start, stop in pairwise(histories.bounds.tolist()):
        np.cumsum(value_nP[start:stop], axis=0, dtype=np.float64, out=total_nP[start:stop])
        np.cumsum(known_nP[start:stop], axis=0, dtype=np.int32, out=count_nP[start:stop])
    if whole:
        total_nP, count_nP = total_nP[histories.last_n], count_nP[histories.last_n]
    mean_nP = np.where(count_nP > 0, total_nP / np.maximum(count_nP, 1), np.nan).astype(np.float32)
    return np.where(known_nP, values_nP, mean_nP)

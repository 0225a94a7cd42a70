"""The rows that a fit or a prediction is handed: plain arrays, nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.data.windows import MonthRange, Window
from factor_ray.errors import InputError

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int32]
AssetArray = npt.NDArray[np.int64]

_PLAIN_NUMBERS = 2**31  # below it are identifiers that are numbers themselves

# Axes: N rows (firm-months, sorted by month), P characteristics, C consensus variables, T months, d macro states,
# H rows of a history, F observed factors.


@dataclass(frozen=True)
class History:
    """All rows from the window's first month to a sample's last month; the sample's own rows are the last of them.

    For models that look along time or across assets. What is not known yet when the sample is read is missing here.

    Attributes
    ----------
    x_HP : float32 array (H, P)
        Prepared characteristics.
    month_H : int32 array (H,)
        Months, counted as in the sample; non-decreasing.
    asset_H : int64 array (H,)
        The asset's number, the same in every month, file and run: see :func:`asset_numbers`.
    r_H : float32 array (H,)
        The asset's excess return of the month itself, known at its end, in decimals; NaN where missing.
    y_H : float32 array (H,)
        Target; NaN where it was not known when the sample's months began (training: all are known).
    f_TF : float32 array (T, F)
        Observed factor returns by month, counted as ``month_H`` is, up to the last that is known; F may be 0.
    first : int
        The window's first month, counted as ``month_H`` is: negative where the panel begins after it.
    """

    x_HP: FloatArray
    month_H: IntArray
    asset_H: AssetArray
    r_H: FloatArray
    y_H: FloatArray
    f_TF: FloatArray
    first: int = 0

    def __len__(self) -> int:
        return len(self.y_H)


@dataclass(frozen=True)
class Sample:
    """Month-sorted firm-months of a training set, a validation set or a set of test months.

    Arrays may be read-only views of memory shared by every worker: never write to them in place.

    Attributes
    ----------
    x_NP : float32 array (N, P)
        Prepared characteristics, without missing values.
    month_N : int32 array (N,)
        Row of ``z_Td`` that belongs to each firm-month; non-decreasing.
    z_Td : float32 array (T, d)
        Macro state of each month; d is 0 where the model sees none.
    y_N : float32 array (N,)
        Target: the excess return of the next h months in decimals; NaN where it is not known.
    c_NC : float32 array (N, C)
        Analysts' consensus, ranked to [-1, 1]; NaN where missing; C may be 0.
    history : History or None
        What came before, and whose the rows are; the runner always gives it.
    horizon : int
        Months that a target covers.
    """

    x_NP: FloatArray
    month_N: IntArray
    z_Td: FloatArray
    y_N: FloatArray
    c_NC: FloatArray
    history: History | None = None
    horizon: int = 1

    def __len__(self) -> int:
        return len(self.y_N)


@dataclass(frozen=True)
class WindowView:
    """A prepared panel as one window of one horizon sees it; samples are cut from it without copying characteristics.

    Attributes
    ----------
    panel : Panel
        Prepared.
    horizon : int
    target_N, excess_N : float32 array (N,)
        Targets, and excess returns of the months themselves (:func:`factor_ray.data.targets.own_excess_returns`).
    asset_N : int64 array (N,)
        See :func:`asset_numbers`.
    state_Td : float32 array (T, d)
        Macro state of every month of the panel.
    factors_TF : float32 array (T, F)
        Observed factor returns of every month of the panel.
    first : int
        First month that may be read.
    """

    panel: Panel
    horizon: int
    target_N: FloatArray
    excess_N: FloatArray
    asset_N: AssetArray
    state_Td: FloatArray
    factors_TF: FloatArray
    first: int

    def train(self, window: Window) -> Sample:
        """Return the training rows, with their targets."""
        after = window.train[1] + self.horizon
        return self._sample(window.train, history_known=after, known=after)

    def validation(self, window: Window) -> Sample:
        """Return the validation rows with their targets, and before them what was known when they began."""
        first, last = window.validation or (0, -1)
        return self._sample((first, last), history_known=first, known=last + self.horizon)

    def forecast_months(self, months: MonthRange) -> Iterator[Sample]:
        """Yield the rows of one month after another, as known at that month's end: without their targets."""
        for month in self._present(months):
            yield self._sample((month, month), history_known=month, known=month)

    def realised_months(self, months: MonthRange) -> Iterator[Sample]:
        """Yield the rows of one month after another with their own targets; the history is that of the forecast."""
        for month in self._present(months):
            yield self._sample((month, month), history_known=month, known=month + self.horizon)

    def _sample(self, months: MonthRange, *, history_known: int, known: int) -> Sample:
        """Rows of some months with targets and factors as of ``known``, and earlier targets as of ``history_known``."""
        rows = self.panel.rows(*months)
        seen = self.panel.rows(min(self.first, months[0]), months[1])
        origin = int(self.panel.months[0])
        month_H = self.panel.row_months[seen] - np.int32(origin)
        own = slice(rows.start - seen.start, None)
        return Sample(
            x_NP=self.panel.characteristics[rows],
            month_N=month_H[own],
            z_Td=self.state_Td,
            y_N=self._targets(rows, month_H[own], known - origin),
            c_NC=self.panel.consensus[rows],
            history=History(
                x_HP=self.panel.characteristics[seen],
                month_H=month_H,
                asset_H=self.asset_N[seen],
                r_H=self.excess_N[seen],
                y_H=self._targets(seen, month_H, history_known - origin),
                f_TF=self.factors_TF[: max(known - origin + 1, 0)],
                first=self.first - origin,
            ),
            horizon=self.horizon,
        )

    def _targets(self, rows: slice, month_N: IntArray, known: int) -> FloatArray:
        """Targets of rows, NaN where they reach past a month."""
        y_N, first_unknown = self.target_N[rows], known - self.horizon + 1
        if not len(y_N) or month_N[-1] < first_unknown:
            return y_N
        told_N = y_N.copy()
        told_N[np.searchsorted(month_N, np.int32(first_unknown)) :] = np.nan
        return told_N

    def _present(self, months: MonthRange) -> Iterator[int]:
        for month in range(months[0], months[1] + 1):
            rows = self.panel.rows(month, month)
            if rows.stop > rows.start:
                yield month


def asset_numbers(panel: Panel) -> AssetArray:
    """Return every row's asset as a number (N,) that depends on its name alone: the identifier where it is a number.

    Other names give 51 bits of a hash, exact in double precision.

    Raises
    ------
    InputError
        If two names give one number; of 100,000 names two do with a chance of 2 in a million.
    """
    codes, names = pd.factorize(panel.assets)
    numbers = np.array([_number(str(name)) for name in names], dtype=np.int64)
    _, first, counts = np.unique(numbers, return_index=True, return_counts=True)
    if (counts > 1).any():
        shared = numbers[first[counts > 1][0]]
        one, other = (str(name) for name in names[numbers == shared][:2])
        raise InputError(f"the assets {one!r} and {other!r} cannot be told apart by number: rename one of them")
    return numbers[codes]


def observed_factors_of(panel: Panel) -> FloatArray:
    """Return the observed factor returns of every month of a panel (T, F); F is 0 where it has none."""
    return np.zeros((len(panel.months), 0), dtype=np.float32) if panel.factors is None else panel.factors.values


def _number(name: str) -> int:
    if name.isdecimal() and len(name) < 10 and name == str(int(name)):
        return int(name)
    return _PLAIN_NUMBERS + (int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") >> 13)

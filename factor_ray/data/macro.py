"""Macro series, as known at the end of each month."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.months import MonthArray, to_months
from factor_ray.errors import InputError


@dataclass(frozen=True)
class Macro:
    """D series by month: ``values[t]`` is what was known at the end of ``months[t]``.

    Attributes
    ----------
    months : int32 array (T,)
        Increasing, without gaps.
    names : tuple of str
        The D series.
    values : float32 array (T, D)
        NaN where a series was not yet (or no longer) published.
    """

    months: MonthArray
    names: tuple[str, ...]
    values: npt.NDArray[np.float32]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame, *, lag: int = 1) -> Macro:
        """Build from a frame indexed by month (PeriodIndex), one column per series.

        Parameters
        ----------
        frame : DataFrame
            Values dated by the month that they describe.
        lag : int
            Publication lag in months: the value dated t is known at the end of month t + lag. The default of 1 suits
            most monthly statistics; set 0 only for series known within the month, such as yields and prices.

        Raises
        ------
        InputError
            If the frame is empty, its index is not monthly or repeats a month, or a value is infinite or no number.
        """
        if not isinstance(frame.index, pd.PeriodIndex) or frame.index.freqstr != "M":
            raise InputError("macro series must be indexed by month (a monthly PeriodIndex); convert the index first")
        if frame.empty:
            raise InputError("macro series must hold at least one series and one month; the frame is empty")
        if lag < 0:
            raise InputError(f"the publication lag of macro series must be at least 0 months; got {lag}")
        if frame.index.has_duplicates:
            raise InputError(
                f"macro series must hold each month once; {frame.index[frame.index.duplicated()][0]} repeats"
            )
        ordered = frame.sort_index()
        worded = [name for name, dtype in ordered.dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]
        if worded:
            raise InputError(
                f"macro series {worded[0]!r} must hold numbers; it holds {ordered[worded[0]].dtype} values"
            )
        with np.errstate(over="ignore"):
            values = ordered.to_numpy(dtype=np.float64, na_value=np.nan).astype(np.float32)
        infinite = np.isinf(values).any(axis=0)
        if infinite.any():
            raise InputError(
                f"macro series {frame.columns[int(infinite.argmax())]!r} must be finite; it is infinite somewhere"
            )
        dated = to_months(ordered.index)
        months = np.arange(dated[0], dated[-1] + 1, dtype=np.int32)
        sparse = cls(dated + np.int32(lag), tuple(map(str, ordered.columns)), values)
        return sparse.on(months + np.int32(lag))

    def on(self, months: MonthArray) -> Macro:
        """Return the series on other months; NaN where nothing is known of a month."""
        values = np.full((len(months), len(self.names)), np.nan, dtype=np.float32)
        position = np.searchsorted(self.months, months)
        position = np.minimum(position, len(self.months) - 1)
        present = self.months[position] == months
        values[present] = self.values[position[present]]
        return Macro(np.asarray(months, dtype=np.int32), self.names, values)

"""Every row's last months by index: windows are gathered a batch at a time and never laid out for a whole panel."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import AssetArray, FloatArray, IntArray, Sample
from factor_ray.errors import InputError

# Axes: N own rows of a sample, H rows of a history, L months of the lookback (the row's own month is the last),
# B rows of a batch, P characteristics, d macro states, I = P + d inputs.

BoolArray = npt.NDArray[np.bool_]


class Lookback:
    """The months up to and including each row's own, of a sample.

    It holds 4 L bytes a row (29 MB for 605,722 rows and 12 months) and views of the sample; making it takes some 60
    bytes a row of the sample and of the months before it, for a moment.

    Parameters
    ----------
    sample : Sample
        With its history.
    months : int
        L.

    Attributes
    ----------
    row_NL : int32 array (N, L)
        Rows of the history; -1 where the asset was not observed, never in the last column.
    width : int
        I, the inputs of a month: characteristics, and after them the macro state of that month.

    Raises
    ------
    InputError
        If the sample has no history.
    """

    def __init__(self, sample: Sample, months: int) -> None:
        history = sample.history
        if history is None:
            raise InputError(
                "a forecaster on a window of months needs a sample with its history, and this one has none: cut "
                "samples with WindowView"
            )
        self._x_HP, self._month_H, self._z_Td = history.x_HP, history.month_H, sample.z_Td
        self.width = self._x_HP.shape[1] + self._z_Td.shape[1]
        self.row_NL = lookback_rows(history.asset_H, history.month_H, len(sample), months)

    def gather(
        self, rows: IntArray | slice, out: FloatArray | None = None
    ) -> tuple[npt.NDArray[np.float32], BoolArray]:
        """Return the inputs of some rows (B, L, I), zero in months without observation, and which are observed (B, L).

        Parameters
        ----------
        rows : int32 array (B,) or slice
            Own rows of the sample.
        out : float32 array (B, L, I), optional
            Written to and returned, where the caller's memory is wanted.
        """
        row_BL = self.row_NL[rows]
        observed_BL = row_BL >= 0
        characteristics = self._x_HP.shape[1]
        x_BLI = np.empty((*row_BL.shape, self.width), np.float32) if out is None else out
        # Clipping makes row 0 of what is not observed, and lets NumPy write to the output directly.
        np.take(self._x_HP, row_BL, axis=0, out=x_BLI[:, :, :characteristics], mode="clip")
        if self.width > characteristics:
            month_BL = np.take(self._month_H, row_BL, mode="clip")
            x_BLI[:, :, characteristics:] = self._z_Td[month_BL]
        x_BLI[~observed_BL] = 0.0
        return x_BLI, observed_BL


def lookback_rows(asset_H: AssetArray, month_H: IntArray, own: int, months: int) -> IntArray:
    """Return the history's row of the same asset in each of the last months, for the history's last rows.

    Parameters
    ----------
    asset_H : int64 array (H,)
    month_H : int32 array (H,)
        Non-decreasing.
    own : int
        N: the last rows, whose months are wanted.
    months : int
        L.

    Returns
    -------
    int32 array (N, L)
        -1 where there is none; the last column holds the rows themselves.
    """
    end = len(asset_H)
    row_NL = np.full((own, months), -1, np.int32)
    row_NL[:, -1] = np.arange(end - own, end, dtype=np.int32)
    if own == 0 or months == 1:
        return row_NL
    first = int(np.searchsorted(month_H, month_H[end - own] - months + 1))
    order = np.lexsort((month_H[first:], asset_H[first:])).astype(np.int32) + np.int32(first)
    asset, month = asset_H[order], month_H[order]
    for back in range(1, min(months, len(order))):  # an asset has at most L - 1 rows in the L - 1 months before
        lag = month[back:] - month[:-back]
        found = (asset[back:] == asset[:-back]) & (lag > 0) & (lag < months) & (order[back:] >= end - own)
        row_NL[order[back:][found] - (end - own), months - 1 - lag[found]] = order[:-back][found]
    return row_NL

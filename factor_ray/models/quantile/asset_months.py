"""Targets as a matrix of months by assets, for models that know assets by their names. Axes: T month, N asset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import AssetArray, Sample

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class AssetMonths:
    """Targets of some months.

    Attributes
    ----------
    months_T : int array (T,)
        Those with rows, counted as in the samples.
    assets_N : int64 array (N,)
        Increasing.
    y_TN : float64 array (T, N)
        NaN where an asset has no target.
    """

    months_T: npt.NDArray[np.int64]
    assets_N: AssetArray
    y_TN: Floats

    @classmethod
    def of(cls, samples: Sequence[Sample]) -> AssetMonths:
        """Lay out the rows of some samples, in order of time."""
        month_n = np.concatenate([sample.month_N for sample in samples]).astype(np.int64)
        asset_n = np.concatenate([assets_of(sample) for sample in samples])
        y_n = np.concatenate([sample.y_N for sample in samples])
        months_T, row_n = np.unique(month_n, return_inverse=True)
        assets_N, column_n = np.unique(asset_n, return_inverse=True)
        y_TN = np.full((len(months_T), len(assets_N)), np.nan)
        y_TN[row_n, column_n] = y_n
        return cls(months_T, assets_N, y_TN)

    def keep(self, months_T: npt.NDArray[np.bool_], assets_N: npt.NDArray[np.bool_]) -> AssetMonths:
        """Some of the months and assets."""
        return AssetMonths(self.months_T[months_T], self.assets_N[assets_N], self.y_TN[np.ix_(months_T, assets_N)])

    def with_enough(self, of_asset: int, of_month: int) -> AssetMonths:
        """Leave out assets and months with too few targets, until all that are left have enough."""
        found = self
        while True:
            there_TN = np.isfinite(found.y_TN)
            enough_T, enough_N = there_TN.sum(axis=1) >= of_month, there_TN.sum(axis=0) >= of_asset
            if enough_T.all() and enough_N.all():
                return found
            found = found.keep(enough_T, enough_N)


def assets_of(sample: Sample) -> AssetArray:
    """Return the asset of each of a sample's own rows, (N,)."""
    assert sample.history is not None
    return sample.history.asset_H[len(sample.history) - len(sample) :]


def rows_of(assets_N: AssetArray, wanted_n: AssetArray) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Return where each of some assets stands among increasing ones, and whether it is there at all."""
    if not len(assets_N):
        return np.zeros(len(wanted_n), dtype=np.intp), np.zeros(len(wanted_n), dtype=bool)
    at_n = np.minimum(np.searchsorted(assets_N, wanted_n), len(assets_N) - 1)
    return at_n, assets_N[at_n] == wanted_n

"""Losses of months whose factors are fitted to the months themselves, as equation 10 takes them.

Axes: V month, M asset of all months, laid end to end, R factor, D characteristic.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.exchange import NO_ROW
from factor_ray.models.quantile.loading_functions import index_loadings
from factor_ray.models.quantile.qcf import Month, QuantileFactors
from factor_ray.models.quantile.small import Problems, fit_problems

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class JudgedMonths:
    """Months that models are judged by.

    Attributes
    ----------
    xt_DM, y_M : arrays (D, M), (M,)
        Characteristics and returns, month after month.
    bounds : int array (V + 1,)
        Where each month begins, and the end.
    """

    xt_DM: Floats
    y_M: Floats
    bounds: npt.NDArray[np.int64]

    @classmethod
    def of(cls, months: Sequence[Month]) -> JudgedMonths:
        """Lay months (x, y) end to end; at least one."""
        x, y = ([np.asarray(part, dtype=np.float64) for part in parts] for parts in zip(*months, strict=True))
        return cls(np.concatenate([x_ND.T for x_ND in x], axis=1), np.concatenate(y), np.cumsum([0, *map(len, y)]))

    def losses(self, models: Sequence[QuantileFactors], factors: Sequence[int]) -> dict[int, Floats]:
        """Mean pinball losses (V,) with the first r factors of each month's model, for every r.

        Parameters
        ----------
        models : sequence of QuantileFactors
            One for each month, all of one level and order, with as many factors as the most that are asked for.
        factors : sequence of int
            The r.

        Raises
        ------
        InputError
            If a month has fewer assets than factors.
        """
        thetas_VRD = np.array([model.thetas for model in models])
        b_VRJ = np.array([model.loading_coefficients for model in models])
        problems = Problems(index_loadings(self.xt_DM, self.bounds, thetas_VRD, b_VRJ), self.y_M, self.bounds)
        found, rows_VR = {}, np.empty((len(models), 0), dtype=np.int64)
        for r in sorted(set(factors)):
            near = np.pad(rows_VR, ((0, 0), (0, r - rows_VR.shape[1])), constant_values=NO_ROW)
            fits = fit_problems(problems.first(r), models[0].tau, near)  # the fit with fewer factors is near
            found[r], rows_VR = fits.objective, fits.rows
        return found

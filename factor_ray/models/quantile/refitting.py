"""Losses of months whose factors are fitted to the months themselves, as equation 10 takes them, model after model.

Axes: V month, N asset, R factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.exchange import NO_ROW
from factor_ray.models.quantile.small import Problems, fit_problems

Floats = npt.NDArray[np.float64]


class RefittedLosses:
    """Mean pinball losses of some months under one model after another.

    A model's fits lead to those of the next: neighbours in the ridge, or in the number of factors, come first and
    soonest. Which came before changes no loss.

    Parameters
    ----------
    returns : sequence of array (N,)
        Of each month.
    tau : float
        Level.
    """

    def __init__(self, returns: Sequence[Floats], tau: float) -> None:
        self._returns, self._tau = returns, tau
        self._rows: dict[int, npt.NDArray[np.int64]] = {}

    def of(self, loadings: Sequence[Floats], factors: Sequence[int]) -> dict[int, Floats]:
        """Return the losses (V,) with the first r of the loadings' factors, for every r.

        Parameters
        ----------
        loadings : sequence of array (N, R)
            Of each month's assets on at least as many factors as the most that are asked for.
        factors : sequence of int
            The r.

        Raises
        ------
        InputError
            If a month has fewer assets than factors.
        """
        problems = Problems.of(loadings, self._returns)
        found, rows_VR = {}, np.empty((len(self._returns), 0), dtype=np.int64)
        for r in sorted(set(factors)):
            fewer = np.pad(rows_VR, ((0, 0), (0, r - rows_VR.shape[1])), constant_values=NO_ROW)
            fits = fit_problems(problems.first(r), self._tau, self._rows.get(r, fewer))
            self._rows[r] = rows_VR = fits.rows
            found[r] = fits.objective
        return found

"""Losses of months whose factors are fitted to the months themselves, as equation 10 takes them, model after model.

Axes: V month, N asset, R factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.small import ragged_quantile_regressions

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
        self._residuals: dict[int, list[Floats]] = {}

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
        found, near = {}, None
        for r in sorted(set(factors)):
            problems = [(g_NR[:, :r], y_N) for g_NR, y_N in zip(loadings, self._returns, strict=True)]
            fits = ragged_quantile_regressions(problems, self._tau, self._residuals.get(r, near))
            near = [y_N - g_Nr @ f_r for (g_Nr, y_N), f_r in zip(problems, fits.coefficients, strict=True)]
            self._residuals[r], found[r] = near, fits.objective
        return found

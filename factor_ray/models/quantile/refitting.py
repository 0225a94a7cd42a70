"""Losses of months whose factors are fitted to the months themselves, as equation 10 takes them.

Axes: V month, N asset, R factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.exchange import NO_ROW
from factor_ray.models.quantile.small import Problems, fit_problems

Floats = npt.NDArray[np.float64]


def refitted_losses(
    loadings: Sequence[Floats], returns: Sequence[Floats], tau: float, factors: Sequence[int]
) -> dict[int, Floats]:
    """Mean pinball losses (V,) of months with the first r of their loadings' factors, for every r.

    Parameters
    ----------
    loadings : sequence of array (N, R)
        Of each month's assets on at least as many factors as the most that are asked for.
    returns : sequence of array (N,)
        Of each month.
    tau : float
        Level.
    factors : sequence of int
        The r.

    Raises
    ------
    InputError
        If a month has fewer assets than factors.
    """
    problems = Problems.of(loadings, returns)
    found, rows_VR = {}, np.empty((len(returns), 0), dtype=np.int64)
    for r in sorted(set(factors)):
        near = np.pad(rows_VR, ((0, 0), (0, r - rows_VR.shape[1])), constant_values=NO_ROW)
        fits = fit_problems(problems.first(r), tau, near)  # the fit with fewer factors is near
        found[r], rows_VR = fits.objective, fits.rows
    return found

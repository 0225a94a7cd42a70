"""What the simulated market knows of itself: loadings, factors, expected returns and conditional quantiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import sqrt

import numpy as np
import numpy.typing as npt
from scipy import stats

from factor_ray.data.simulation_settings import SimulationSettings
from factor_ray.errors import InputError

DoubleArray = npt.NDArray[np.float64]

# Axes: N rows of the panel, in its order; T months; A the eight scores that matter, a1..a8; Z two states; K factors;
# C consensus variables; M the three drivers that analysts see.


@dataclass(frozen=True)
class Truth:
    """The truth behind a simulated panel, row by row in the panel's order (month, then asset).

    A row is dated by its formation month t, so that what belongs to it is the return of month t+1:
    ``r = clip(loadings_t' factors_{t+1} + volatility_t eps)``, eps of variance one.

    Attributes
    ----------
    settings : SimulationSettings
    month_N : int64 array (N,)
        Position of the row's month in the arrays by month.
    scores_NA : float64 array (N, 8)
        The scores a1..a8 behind the first eight characteristics.
    states_TZ : float64 array (T, 2)
        The states z1, z2 at the end of each month.
    factors_TK : float64 array (T, 6)
        ``factors_TK[t]`` is earned during the month *after* the t-th: what the rows of month t are paid.
    consensus_weights_CM : float64 array (C, 3)
        Weights of the drivers D1, D2, D3 in each consensus variable.
    """

    settings: SimulationSettings
    month_N: npt.NDArray[np.int64]
    scores_NA: DoubleArray
    states_TZ: DoubleArray
    factors_TK: DoubleArray
    consensus_weights_CM: DoubleArray

    @cached_property
    def loadings_NK(self) -> DoubleArray:
        """Loadings on the six factors at the end of each row's month, (N, 6): (1 + .3 a1, D1, D2, D3, U, F)."""
        market_N = 1 + self.settings.market_slope * self.scores_NA[:, 0]
        unseen_N, fast_N = self.scores_NA[:, 5], -self.scores_NA[:, 6]
        drivers_NM = drivers(self.scores_NA, self.states_TZ[self.month_N, 0])
        return np.column_stack([market_N, drivers_NM, unseen_N, fast_N])

    @cached_property
    def volatility_N(self) -> DoubleArray:
        """Standard deviation of each row's idiosyncratic return over the next month, (N,)."""
        score, state = self.settings.volatility_of_score, self.settings.volatility_of_state
        exponent_N = score * self.scores_NA[:, 7] + state * self.states_TZ[self.month_N, 1]
        return np.asarray(self.settings.volatility * np.exp(exponent_N - score**2 - state**2))

    @cached_property
    def systematic_N(self) -> DoubleArray:
        """Return of the next month that the factors explain, (N,): loadings times the factors then realised."""
        return np.asarray(np.einsum("nk,nk->n", self.loadings_NK, self.factors_TK[self.month_N]))

    def expected_return(self, horizon: int = 1) -> DoubleArray:
        """Return the expected sum of the next h monthly returns: the oracle's forecast.

        Each loading beyond the market's constant is a Hermite product of independent AR(1) scores, so that its
        expectation decays geometrically: ``h premium_0 + sum_c premium_c loading_c (1 - p_c^h) / (1 - p_c)``. Exact
        for summed returns (clipping aside). The compounded target differs from the sum by products of monthly returns.

        Parameters
        ----------
        horizon : int
            h, in months, at least 1.

        Returns
        -------
        float64 array (N,)
            In decimals, of every row, as if no firm died inside the horizon.
        """
        if horizon < 1:
            raise InputError(f"a horizon must be at least 1 month; got {horizon}")
        persistence_K = loading_persistence(self.settings)
        premia_K = np.array(self.settings.premia)
        varying_NK = self.loadings_NK - np.eye(1, len(premia_K))
        months_K = (1 - persistence_K**horizon) / (1 - persistence_K)
        return np.asarray(horizon * premia_K[0] + varying_NK @ (premia_K * months_K))

    def quantile(self, tau: float) -> DoubleArray:
        """Return the tau-quantile of the next month's return given the factors then realised.

        Parameters
        ----------
        tau : float
            Between 0 and 1, both excluded.

        Returns
        -------
        float64 array (N,)
            ``loadings' f + volatility sqrt(3/5) t5^-1(tau)``, clipped as returns are (which keeps it exact).
        """
        if not 0 < tau < 1:
            raise InputError(f"tau must be between 0 and 1, both excluded; got {tau!r}")
        freedom = self.settings.degrees_of_freedom
        standard = sqrt((freedom - 2) / freedom) * float(stats.t.ppf(tau, freedom))
        quantile_N = self.systematic_N + self.volatility_N * standard
        return np.clip(quantile_N, self.settings.lowest_return, self.settings.highest_return)


def drivers(scores_NA: DoubleArray, first_state_N: DoubleArray | float) -> DoubleArray:
    """Return the drivers that analysts see, (N, 3): D1 = a2 z1, D2 = a3 a4, D3 = He2(a5)."""
    state, product = scores_NA[:, 1] * first_state_N, scores_NA[:, 2] * scores_NA[:, 3]
    return np.column_stack([state, product, hermite(scores_NA[:, 4])])


def hermite(scores: DoubleArray) -> DoubleArray:
    """Return the second Hermite polynomial (a^2 - 1) / sqrt 2, of mean 0 and variance 1 for a normal score."""
    return (scores**2 - 1) / sqrt(2)


def loading_persistence(settings: SimulationSettings) -> DoubleArray:
    """Return the monthly decay p of each loading's expectation, (6,)."""
    a = settings.score_persistence
    return np.array([a[0], a[1] * settings.state_persistence[0], a[2] * a[3], a[4] ** 2, a[5], a[6]])

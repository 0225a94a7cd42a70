"""QFM: the quantile factor model without characteristics, by iterative quantile regression.

    Q_tau(Y_it) = lambda_i'f_t,   F'F / T = I,   L'L / N diagonal and falling

after Chen, Dolado and Gonzalo (2021, Econometrica 89). Axes: T month, N asset, R factor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError, WorkError
from factor_ray.models.quantile.certificate import pinball
from factor_ray.models.quantile.small import small_quantile_regressions

Floats = npt.NDArray[np.float64]

MOST_ROUNDS = 1_000


@dataclass(frozen=True)
class LatentQuantileFactors:
    """An estimated model of one level.

    Factors come in falling order of strength, each with the sign that makes its mean over the months positive.

    Attributes
    ----------
    tau : float
        Level.
    factors : array (T, R)
        ``F'F / T = I``.
    loadings : array (N, R)
        In the units of y; ``L'L / N`` is diagonal.
    loss : float
        Mean check loss over the observed pairs.
    rounds : int
        Rounds of loadings and factors that the best start took.
    """

    tau: float
    factors: Floats
    loadings: Floats
    loss: float
    rounds: int

    def in_sample(self) -> Floats:
        """Quantiles (T, N) of the months of estimation."""
        return np.asarray(self.factors @ self.loadings.T, dtype=np.float64)

    def predictive(self) -> Floats:
        """Forecast of the quantiles (N,) of a later month: its factors are expected at their mean over the months."""
        return np.asarray(self.loadings @ self.factors.mean(axis=0), dtype=np.float64)

    def total(self, y: npt.ArrayLike) -> Floats:
        """Quantiles (N,) of a later month with factors fitted to its own returns y: a fit to that month, no forecast.

        Parameters
        ----------
        y : array (N,)
            Returns, missing (NaN) where an asset has none.

        Raises
        ------
        InputError
            If y has not one value for each asset, or fewer returns than factors.
        """
        y_N = np.asarray(y, dtype=np.float64)
        if y_N.shape != self.loadings.shape[:1]:
            raise InputError(f"y must have one return for each of {len(self.loadings)} assets; got shape {y_N.shape}")
        fit = small_quantile_regressions(self.loadings, y_N[None], self.tau, np.isfinite(y_N)[None])
        return np.asarray(self.loadings @ fit.coefficients[0], dtype=np.float64)


def fit_latent_factors(
    y: npt.ArrayLike, tau: float, factors: int, *, starts: int = 3, seed: int = 0, tolerance: float = 1e-4
) -> LatentQuantileFactors:
    """Alternate quantile regressions of assets on factors and of months on loadings, from several starts.

    The loss never rises, but has local minima. One start is the principal components of y about its mean with a
    constant, the others are normal draws; the one that ends lowest is kept.

    Parameters
    ----------
    y : array (T, N)
        Returns; missing ones (NaN) are left out of every regression and of the loss.
    tau : float
        Level, in (0, 1).
    factors : int
        R; no asset and no month may have fewer returns.
    starts, seed : int
        Number of starts, and what the random ones are drawn with.
    tolerance : float
        A start ends when a round lowers its mean loss by less than this share of it.

    Raises
    ------
    InputError
        If y is no matrix, holds infinite values, or an asset or month has too few returns, or starts or tolerance are
        not positive.
    WorkError
        If a start does not end within a thousand rounds.
    """
    y_TN = np.asarray(y, dtype=np.float64)
    _check(y_TN, factors, starts, tolerance)
    rng = np.random.default_rng(seed)
    begins = [_principal_components(y_TN, factors)]
    begins += [rng.standard_normal((len(y_TN), factors)) for _ in range(starts - 1)]
    ends = [_iterate(y_TN, tau, F_TR, tolerance) for F_TR in begins]
    return min(ends, key=lambda model: model.loss)


def number_of_factors(
    y: npt.ArrayLike, tau: float, *, most: int = 8, starts: int = 1, seed: int = 0, tolerance: float = 1e-4
) -> int:
    """Number of factors by rank minimisation, at least 1.

    ``#{j : sigma_j > sigma_1 min(N, T)^(-1/3)}`` with sigma the diagonal of L'L / N at ``most`` factors.

    Parameters
    ----------
    y, tau, starts, seed, tolerance
        As in :func:`fit_latent_factors`.
    most : int
        Factors of the model whose loadings are judged; above the true number.

    Raises
    ------
    InputError, WorkError
        As in :func:`fit_latent_factors`.
    """
    model = fit_latent_factors(y, tau, most, starts=starts, seed=seed, tolerance=tolerance)
    strength_R = np.mean(model.loadings**2, axis=0)
    threshold = strength_R[0] * min(len(model.loadings), len(model.factors)) ** (-1.0 / 3.0)
    return max(int(np.sum(strength_R > threshold)), 1)


def _check(y_TN: Floats, factors: int, starts: int, tolerance: float) -> None:
    if y_TN.ndim != 2 or np.isinf(y_TN).any():
        raise InputError(
            f"y must be months x assets of finite returns, missing ones NaN; got shape {y_TN.shape} with "
            f"{int(np.isinf(y_TN).sum())} infinite values"
        )
    there_TN = ~np.isnan(y_TN)
    least = min((int(there_TN.sum(axis=axis).min(initial=y_TN.size)) for axis in (0, 1)), default=0)
    if not 1 <= factors <= least:
        raise InputError(
            f"A model of {factors} factors needs at least one factor, and as many returns of every asset and in every "
            f"month; the fewest are {least}: use fewer factors or drop assets with few returns"
        )
    if starts < 1 or not tolerance > 0.0:
        raise InputError(f"starts must be at least 1 and tolerance positive; got {starts} and {tolerance!r}")


def _principal_components(y_TN: Floats, factors: int) -> Floats:
    """A constant and the leading principal components, as many as factors in all."""
    mean_N = np.nanmean(y_TN, axis=0)
    left, _, _ = np.linalg.svd(np.nan_to_num(y_TN - mean_N), full_matrices=False)
    return np.column_stack([np.ones(len(y_TN)), np.sqrt(len(y_TN)) * left])[:, :factors]


def _iterate(y_TN: Floats, tau: float, F_TR: Floats, tolerance: float) -> LatentQuantileFactors:
    there_TN = ~np.isnan(y_TN)
    before = np.inf
    for rounds in range(1, MOST_ROUNDS + 1):
        L_NR = _regressions(y_TN.T, F_TR, tau)
        F_TR = _regressions(y_TN, L_NR, tau)
        loss = float(np.mean(pinball((y_TN - F_TR @ L_NR.T)[there_TN], tau)))
        if before - loss <= tolerance * loss:
            return LatentQuantileFactors(tau, *_normalised(F_TR, L_NR), loss, rounds)
        # Only the span matters: a basis of unit size keeps repeated rounds from overflowing.
        F_TR = np.sqrt(len(F_TR)) * np.linalg.qr(F_TR)[0]
        before = loss
    raise WorkError(f"Quantile factors at level {tau} did not settle in {MOST_ROUNDS} rounds: raise tolerance")


def _regressions(y_KM: Floats, X_MR: Floats, tau: float) -> Floats:
    """Coefficients (K, R) of the no-intercept quantile regression of each row of y on X."""
    return small_quantile_regressions(X_MR, y_KM, tau, ~np.isnan(y_KM)).coefficients


def _normalised(F_TR: Floats, L_NR: Floats) -> tuple[Floats, Floats]:
    """The same product with ``F'F / T = I``, ``L'L / N`` diagonal and falling, and factors of positive mean."""
    months, factors = F_TR.shape
    left_f, right_f = np.linalg.qr(F_TR)
    left_l, right_l = np.linalg.qr(L_NR)
    turn_f, strength_R, turn_l = np.linalg.svd(right_f @ right_l.T)
    normal_F, normal_L = np.sqrt(months) * left_f @ turn_f, (left_l @ turn_l.T) * strength_R / np.sqrt(months)
    sign_R = np.where(normal_F.mean(axis=0) < 0.0, -1.0, 1.0)[:factors]
    return normal_F * sign_R, normal_L * sign_R

"""Models with observed factors and rolling betas (CAPM, FF3, Carhart, FF5, q5, ...) as one model of a run.

Axes: T months, N rows of a month or assets, F observed factors, R regressors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import PositiveInt, model_validator

from factor_ray.data.sample import AssetArray, History, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import (
    Available,
    Fit,
    Hyperparameters,
    Prediction,
    Weights,
    checked,
    require_known_targets,
    require_observed_factors,
    shape,
)
from factor_ray.models.estimator import Estimator
from factor_ray.models.latent import history_of, months_of
from factor_ray.models.quantile.asset_months import assets_of, rows_of
from factor_ray.models.quantile.observed import factors_ahead

Floats = npt.NDArray[np.float64]

_SINGULAR = 1e-12
"""Share of the largest below which an eigenvalue of the moments, or the variation of a factor, is taken as zero."""


class ObservedFactorSettings(Hyperparameters):
    """Hyperparameters of a model with observed factors."""

    columns: tuple[PositiveInt, ...] = shape(
        (),
        "which columns of data.factors are the model's factors, counted from 1 in the order in which they are named "
        "there; none named: all. Where these are Mkt-RF, SMB, HML, RMW, CMA, [1] is the CAPM and [1, 2, 3] FF3",
    )
    window: int = shape(60, "months, the forecast's own the last, that betas are estimated from", ge=2)
    least: int = shape(24, "returns that an asset needs among these; others have no betas and no forecast", ge=2)
    intercept: bool = shape(True, "whether the regressions have a constant; forecasts leave it out in either case")

    @model_validator(mode="after")
    def _fit_together(self) -> ObservedFactorSettings:
        if len(set(self.columns)) < len(self.columns):
            raise ValueError(f"columns must name each column once; got {list(self.columns)}")
        if self.least > self.window:
            raise ValueError(f"least must be at most window; got {self.least} and {self.window}")
        return self


class ObservedFactorModel(Estimator):
    """Expected returns beta_t' E_t[f] of assets whose betas on the factors of `data.factors` move month by month.

    Betas of month t come from least squares of an asset's monthly excess returns on the factors over the months up to
    t. The factors of the target's months are expected at their mean over all months from the window's first to t. With
    a horizon of h months both that mean and the factors of the total fit beta_t' f_{t+1..t+h} are of returns compounded
    over h months. Alphas are in no forecast: factors that price the assets leave none.

    No weights are kept, because a month's history holds all that its betas rest on. A window's score is the loss of the
    total fit of the validation months over that of zero; assets without betas are fit by zero.

    Source: Fama and French (1993, 2015) and Carhart (1997) for the factors; Fama and French (1992) for betas from 24 to
    60 months.
    """

    name: ClassVar[str] = "observed_factors"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = ObservedFactorSettings
    one_member: ClassVar[bool] = True

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse windows without validation months, data without the factors, and too few returns of an asset.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings = checked(point, ObservedFactorSettings)
        require_observed_factors(cls.name, available)
        if max(settings.columns, default=0) > available.factors:
            raise InputError(
                f"observed_factors: columns must be among the {available.factors} that data.factors names, counted "
                f"from 1; got {max(settings.columns)}: lower it, or name more columns there"
            )
        coefficients = (len(settings.columns) or available.factors) + settings.intercept
        if settings.least < coefficients:
            raise InputError(
                f"observed_factors: least must be no fewer than an asset's {coefficients} coefficients; got "
                f"{settings.least}: raise it, or take fewer factors"
            )

    @classmethod
    def fit_pack(
        cls,
        points: Sequence[Hyperparameters],
        seeds: Sequence[int],  # noqa: ARG003 - nothing is random
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,  # noqa: ARG003
        device: str = "cpu",  # noqa: ARG003
    ) -> list[Fit]:
        """Score each point by itself.

        Parameters
        ----------
        points : sequence of ObservedFactorSettings
        seeds, order_seed, device
            Without effect.
        train, validation : Sample

        Returns
        -------
        list of Fit
            Without weights. ``scores`` holds, on the validation rows, ``selection`` and ``total_r2``, one less that.

        Raises
        ------
        InputError
            If no target is known, or no validation row has betas.
        """
        require_known_targets(train, validation)
        fits = []
        for point in points:
            started = perf_counter()
            ratio = _loss_ratio(checked(point, ObservedFactorSettings), validation)
            fits.append(Fit({}, {"selection": ratio, "total_r2": 1 - ratio}, seconds=perf_counter() - started))
        return fits

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> FittedFactorModel:  # noqa: ARG003 - there are none
        """Return what forecasts."""
        return FittedFactorModel(checked(point, ObservedFactorSettings))


@dataclass(frozen=True)
class FittedFactorModel:
    """A model with observed factors, which reads all that it needs from a month's history."""

    settings: ObservedFactorSettings

    def forecast(self, month: Sample) -> Prediction:
        """Forecast a month's rows, factors at the mean known at its end; NaN for assets without betas."""
        history, t = history_of(month), int(month.month_N[0])
        f_TF = _factors(self.settings, history)[max(history.first, 0) : t + 1]
        past_TF = factors_ahead(f_TF, np.arange(-1, len(f_TF) - month.horizon), month.horizon)
        known_TF = past_TF[np.isfinite(past_TF).all(axis=1)]
        mean_F = known_TF.mean(axis=0) if len(known_TF) else np.full(f_TF.shape[1], np.nan)
        return Prediction((_betas(self.settings, history, assets_of(month), t) @ mean_F).astype(np.float32))

    def total(self, month: Sample) -> npt.NDArray[np.float32]:
        """Return what the factors that came make of a month's rows; NaN for assets without betas."""
        t = int(month.month_N[0])
        betas_NF = _betas(self.settings, history_of(month), assets_of(month), t)
        return np.asarray(betas_NF @ _ahead(self.settings, month, t), dtype=np.float32)

    def describe(self) -> None:
        """Return nothing: the factors are observed."""


def masked_betas(r_TN: Floats, f_TF: Floats, *, least: int, intercept: bool) -> Floats:
    """Regress every asset on the same factors, each over the months in which its return is known.

    Parameters
    ----------
    r_TN : float64 array (T, N)
        Excess returns; NaN where missing.
    f_TF : float64 array (T, F)
        Factors; a month in which one is NaN is left out.
    least : int
        Returns that an asset needs in the months that are left.
    intercept : bool
        Whether the regressions have a constant.

    Returns
    -------
    float64 array (N, F)
        Slopes; NaN for assets with fewer returns. Where an asset's months do not tell factors apart, those of the
        smallest sum of squares, in units of the factors' sizes.
    """
    there_T = np.isfinite(f_TF).all(axis=1)
    r_tN, f_tF = r_TN[there_T], f_TF[there_T]
    betas_NF = np.full((r_TN.shape[1], f_TF.shape[1]), np.nan)
    known_tN = np.isfinite(r_tN)
    enough_N = known_tN.sum(axis=0) >= least
    if not enough_N.any():
        return betas_NF
    # A constant takes up any shift of the factors: without their means the normal equations lose no digits.
    apart_tF = f_tF - f_tF.mean(axis=0) if intercept else f_tF
    size_F = np.sqrt(np.square(apart_tF).mean(axis=0))
    moves_F = size_F > _SINGULAR * np.abs(f_tF).max(axis=0)
    size_F = np.where(moves_F, size_F, 1.0)
    scaled_tF = np.where(moves_F, apart_tF / size_F, 0.0)
    X_tR = np.column_stack([scaled_tF, np.ones(len(f_tF))]) if intercept else scaled_tF
    share_nt = known_tN[:, enough_N].T.astype(np.float64)
    squares_tRR = (X_tR[:, :, None] * X_tR[:, None, :]).reshape(len(X_tR), -1)
    gram_nRR = (share_nt @ squares_tRR).reshape(len(share_nt), X_tR.shape[1], X_tR.shape[1])
    moment_nR = np.where(share_nt > 0, r_tN[:, enough_N].T, 0.0) @ X_tR
    slopes_nR = (np.linalg.pinv(gram_nRR, rcond=_SINGULAR, hermitian=True) @ moment_nR[..., None])[..., 0]
    betas_NF[enough_N] = slopes_nR[:, : len(size_F)] / size_F
    return betas_NF


def _loss_ratio(settings: ObservedFactorSettings, validation: Sample) -> float:
    """The loss of the total fit of known targets over that of zero."""
    asset_N, estimated, squares, errors = assets_of(validation), False, 0.0, 0.0
    for month, rows in months_of(validation.month_N):
        y_N = validation.y_N[rows].astype(np.float64)
        betas_NF = _betas(settings, history_of(validation), asset_N[rows], month)
        fit_N = betas_NF @ _ahead(settings, validation, month)
        known_N = np.isfinite(y_N)
        estimated |= bool(np.isfinite(betas_NF).any())
        squares += float(np.square(y_N[known_N]).sum())
        errors += float(np.square(y_N - np.where(np.isnan(fit_N), 0.0, fit_N))[known_N].sum())
    if not estimated:
        raise InputError(
            f"observed_factors: no asset of the validation months has {settings.least} returns in months with all "
            "factors: train on more months, lower least, or let data.factors and the panel share months"
        )
    return errors / squares if squares else math.inf


def _ahead(settings: ObservedFactorSettings, sample: Sample, month: int) -> Floats:
    """The factors that came in the months that a month's targets cover (F,); NaN where one is not known."""
    f_TF = _factors(settings, history_of(sample))
    return np.asarray(factors_ahead(f_TF, np.array([month]), sample.horizon)[0])


def _betas(settings: ObservedFactorSettings, history: History, asset_N: AssetArray, month: int) -> Floats:
    """Betas of some assets, from the months of the window up to one month (N, F)."""
    start = max(month - settings.window + 1, history.first, 0)
    rows = slice(*np.searchsorted(history.month_H, [start, month + 1]))
    order_N = np.argsort(asset_N)
    at_h, there_h = rows_of(asset_N[order_N], history.asset_H[rows])
    r_TN = np.full((month + 1 - start, len(asset_N)), np.nan)
    r_TN[(history.month_H[rows] - start)[there_h], order_N[at_h[there_h]]] = history.r_H[rows][there_h]
    f_TF = _factors(settings, history)[start : month + 1]
    return masked_betas(r_TN, f_TF, least=settings.least, intercept=settings.intercept)


def _factors(settings: ObservedFactorSettings, history: History) -> Floats:
    """The model's factors in every month that is known, (T, F)."""
    there = history.f_TF.shape[1]
    if there < max(settings.columns, default=1):
        raise InputError(
            f"observed_factors reads column {max(settings.columns, default=1)} of the observed factors in every month "
            f"that it forecasts, and these months come with {there}: give the panel its factors "
            "(data.factors, or Panel.with_factors)"
        )
    columns = [column - 1 for column in settings.columns] or list(range(there))
    return history.f_TF[:, columns].astype(np.float64)

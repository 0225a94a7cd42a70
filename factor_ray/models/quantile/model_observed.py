"""Quantile regression of every asset on observed factors (QR-FF5 and the like) as a model of a run.

The target of month t covers months t + 1 to t + h; its factors are those months' returns, compounded. Axes: T month,
N asset, R factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import AssetArray, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import (
    Available,
    Fit,
    Hyperparameters,
    Prediction,
    Weights,
    checked,
    require_observed_factors,
    shape,
)
from factor_ray.models.estimator import Estimator
from factor_ray.models.quantile.asset_months import AssetMonths, assets_of, rows_of
from factor_ray.models.quantile.certificate import pinball
from factor_ray.models.quantile.observed import factors_ahead, observed_factor_loadings

Floats = npt.NDArray[np.float64]


class ObservedSettings(Hyperparameters):
    """Hyperparameters of the quantile regression on observed factors."""

    tau: float = shape(0.5, "Level of the quantile, set by target.quantiles.", gt=0, lt=1)
    intercept: bool = shape(False, "Whether an asset has a constant beside its loadings; the paper's has none.")
    least: int = shape(24, "Returns that an asset needs in a window; of others the model knows nothing.", ge=2)


class ObservedFactors(Estimator):
    """Quantile regression of each asset's returns on the factors of `data.factors`, asset by asset.

    A window's score is the mean pinball loss of its validation months at their own factors; what forecasts is estimated
    again from training and validation months together, and expects the factors at their mean over these.
    """

    name: ClassVar[str] = "qr_observed"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[Hyperparameters]] = ObservedSettings
    forecasts: ClassVar[Literal["mean", "quantile"]] = "quantile"
    one_member: ClassVar[bool] = True

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse windows without validation months, data without observed factors, and too few returns of an asset.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings = checked(point, ObservedSettings)
        require_observed_factors(cls.name, available)
        coefficients = available.factors + settings.intercept
        if settings.least < coefficients:
            raise InputError(
                f"qr_observed: least must be no fewer than an asset's {coefficients} coefficients; got "
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
        """Fit each point by itself."""
        fits = []
        for point in points:
            started = perf_counter()
            settings = checked(point, ObservedSettings)
            known, X_TR, loadings_NR = _estimate(settings, [train])
            loss = _loss(settings, loadings_NR, known.assets_N, validation)
            known, X_TR, loadings_NR = _estimate(settings, [train, validation])
            weights = {
                "loadings": loadings_NR,
                "mean": X_TR.mean(axis=0),
                "assets": known.assets_N.astype(np.float64),
            }
            fits.append(Fit(weights, {"selection": loss}, seconds=perf_counter() - started))
        return fits

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> FittedObserved:
        """Return what forecasts."""
        return FittedObserved(
            np.asarray(weights["loadings"], dtype=np.float64),
            np.asarray(weights["mean"], dtype=np.float64),
            weights["assets"].astype(np.int64),
            checked(point, ObservedSettings).intercept,
        )

    @classmethod
    def in_sample(
        cls,
        point: Hyperparameters,
        seed: int,  # noqa: ARG003 - nothing is random
        whole: Sample,
    ) -> tuple[npt.NDArray[np.float32], None]:
        """Estimate from all rows of a sample and return its quantiles of them; the factors are no estimate."""
        known, X_TR, loadings_NR = _estimate(checked(point, ObservedSettings), [whole])
        column_n, _ = rows_of(known.assets_N, assets_of(whole))
        row_n, there_n = rows_of(known.months_T, whole.month_N.astype(np.int64))
        fitted_n = np.einsum("nr,nr->n", loadings_NR[column_n], X_TR[row_n])
        return np.where(there_n, fitted_n, np.nan).astype(np.float32), None


@dataclass(frozen=True)
class FittedObserved:
    """Loadings of one window's assets, NaN where these had too few returns."""

    loadings_NR: Floats
    mean_R: Floats
    assets_N: AssetArray
    intercept: bool

    def forecast(self, month: Sample) -> Prediction:
        """Forecast a month's quantiles: factors are expected at their mean over the window; NaN for new assets."""
        return Prediction(self._at(month, self.mean_R))

    def total(self, month: Sample) -> npt.NDArray[np.float32]:
        """Return the quantiles at the factors that came; NaN for new assets, and where factors are not known."""
        return self._at(month, _regressors(month, month.month_N[:1].astype(np.int64), self.intercept)[0])

    def describe(self) -> None:
        """Return nothing: the factors are observed."""

    def _at(self, month: Sample, factors_R: Floats) -> npt.NDArray[np.float32]:
        at_n, there_n = rows_of(self.assets_N, assets_of(month))
        return np.where(there_n, self.loadings_NR[at_n] @ factors_R, np.nan).astype(np.float32)


def _regressors(sample: Sample, months_T: npt.NDArray[np.int64], intercept: bool) -> Floats:
    """Compounded factor returns of months t + 1 to t + h for each month t; NaN where one is not known."""
    assert sample.history is not None
    X_TR = factors_ahead(sample.history.f_TF.astype(np.float64), months_T, sample.horizon)
    return np.column_stack([np.ones(len(X_TR)), X_TR]) if intercept else X_TR


def _estimate(settings: ObservedSettings, samples: Sequence[Sample]) -> tuple[AssetMonths, Floats, Floats]:
    """Return the months whose factors are all known, their regressors, and every asset's loadings (N, R)."""
    given = AssetMonths.of(samples)
    X_TR = _regressors(samples[-1], given.months_T, settings.intercept)
    there_T = np.asarray(np.isfinite(X_TR).all(axis=1), dtype=np.bool_)
    if not there_T.any():
        raise InputError(
            "qr_observed: no month of a window has all of its factors: let data.factors and the panel share months"
        )
    known = given.keep(there_T, np.ones(len(given.assets_N), dtype=bool))
    loadings_NR = observed_factor_loadings(known.y_TN, X_TR[there_T], settings.tau, least=settings.least)
    return known, X_TR[there_T], loadings_NR


def _loss(settings: ObservedSettings, loadings_NR: Floats, assets_N: AssetArray, validation: Sample) -> float:
    """Mean over months of the mean pinball loss, over the assets whose loadings are known."""
    judged = AssetMonths.of([validation])
    X_TR = _regressors(validation, judged.months_T, settings.intercept)
    at_n, there_n = rows_of(assets_N, judged.assets_N)
    errors_TN = judged.y_TN - np.where(there_n, X_TR @ loadings_NR[at_n].T, np.nan)
    losses = [np.mean(pinball(e_N[np.isfinite(e_N)], settings.tau)) for e_N in errors_TN if np.isfinite(e_N).any()]
    return float(np.mean(losses)) if losses else math.inf

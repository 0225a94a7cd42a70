"""QFM as a model of a run: latent factors and loadings of assets, without characteristics.

Axes: T month, N asset, R factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from factor_ray.data.sample import AssetArray, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import (
    Available,
    Description,
    Fit,
    Hyperparameters,
    Prediction,
    Weights,
    checked,
    free,
    require_known_targets,
    shape,
)
from factor_ray.models.estimator import Estimator
from factor_ray.models.quantile.asset_months import AssetMonths, assets_of, rows_of
from factor_ray.models.quantile.certificate import pinball
from factor_ray.models.quantile.qfm import LatentQuantileFactors, fit_latent_factors, number_of_factors
from factor_ray.models.quantile.small import small_quantile_regressions


class QFMSettings(Hyperparameters):
    """Hyperparameters of QFM."""

    simpler_by: ClassVar[tuple[str, ...]] = ("most",)

    tau: float = shape(0.5, "Level of the quantile, set by target.quantiles.", gt=0, lt=1)
    factors: Annotated[int, Field(ge=1)] | Literal["rank"] = shape(
        "rank", "Factors; rank takes their number from the strength of those of a larger model, in each window."
    )
    most: int = shape(8, "Factors of that larger model.", ge=1)
    least: int = shape(12, "Returns that an asset needs in a window; of others the model knows nothing.", ge=1)
    starts: int = free(3, "Starting points of the iteration, the first of principal components.", ge=1)
    tolerance: float = free(1e-4, "A start ends when a round lowers its loss by less than this share.", gt=0)


class QFM(Estimator):
    """Quantile factor model without characteristics (Chen, Dolado and Gonzalo, 2021), by iterative quantile regression.

    A window's score is the mean pinball loss of its validation months, their factors refitted to them; what forecasts
    is estimated again from training and validation months together. Assets that are new have no quantile.
    """

    name: ClassVar[str] = "qfm"
    version: ClassVar[int] = 3
    Settings: ClassVar[type[Hyperparameters]] = QFMSettings
    forecasts: ClassVar[Literal["mean", "quantile"]] = "quantile"
    one_member: ClassVar[bool] = True

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse windows without validation months, and fewer returns of an asset than factors.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings = checked(point, QFMSettings)
        if settings.least < _most(settings):
            raise InputError(
                f"qfm: least must be no fewer than the {_most(settings)} factors that may be fitted to an asset; got "
                f"{settings.least}: raise least, or lower {'most' if settings.factors == 'rank' else 'factors'}"
            )

    @classmethod
    def fit_pack(
        cls,
        points: Sequence[Hyperparameters],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,  # noqa: ARG003 - there are no batches
        device: str = "cpu",  # noqa: ARG003
    ) -> list[Fit]:
        """Fit each point by itself."""
        require_known_targets(train, validation)
        fits = []
        for point, seed in zip(points, seeds, strict=True):
            started = perf_counter()
            settings = checked(point, QFMSettings)
            model, known = _estimate(settings, seed, [train])
            loss = _loss(model, known.assets_N, AssetMonths.of([validation]))
            model, known = _estimate(settings, seed, [train, validation])
            weights = {
                "loadings": model.loadings,
                "factors": model.factors,
                "assets": known.assets_N.astype(np.float64),
                "months": (known.months_T - int(train.month_N[0])).astype(np.float64),
            }
            fits.append(Fit(weights, {"selection": loss}, seconds=perf_counter() - started))
        return fits

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> FittedQFM:
        """Return what forecasts."""
        model = LatentQuantileFactors(
            checked(point, QFMSettings).tau,
            np.asarray(weights["factors"], dtype=np.float64),
            np.asarray(weights["loadings"], dtype=np.float64),
            math.nan,
            0,
        )
        return FittedQFM(model, weights["assets"].astype(np.int64), weights["months"].astype(np.int64))

    @classmethod
    def in_sample(cls, point: Hyperparameters, seed: int, whole: Sample) -> tuple[npt.NDArray[np.float32], Description]:
        """Estimate from all rows of a sample; return its quantiles of them and the factors, which no one observes."""
        model, known = _estimate(checked(point, QFMSettings), seed, [whole])
        column_n, there_n = rows_of(known.assets_N, assets_of(whole))
        row_n, dated_n = rows_of(known.months_T, whole.month_N.astype(np.int64))
        both_n = there_n & dated_n
        returns_n = np.full(len(whole), np.nan, dtype=np.float32)
        returns_n[both_n] = model.in_sample()[row_n[both_n], column_n[both_n]]
        nothing = np.zeros((model.factors.shape[1], 0))
        return returns_n, Description(known.months_T, model.factors, nothing)


@dataclass(frozen=True)
class FittedQFM:
    """QFM of one window: its assets are known by their numbers, its months counted from the first."""

    model: LatentQuantileFactors
    assets_N: AssetArray
    months: npt.NDArray[np.int64]

    def forecast(self, month: Sample) -> Prediction:
        """Forecast a month's quantiles: factors are expected at their mean over the window; NaN for new assets."""
        at_n, there_n = rows_of(self.assets_N, assets_of(month))
        return Prediction(np.where(there_n, self.model.predictive()[at_n], np.nan).astype(np.float32))

    def total(self, month: Sample) -> npt.NDArray[np.float32]:
        """Return the quantiles with factors fitted to the month's own targets; NaN for new assets."""
        at_n, there_n = rows_of(self.assets_N, assets_of(month))
        known_n = there_n & np.isfinite(month.y_N)
        g_nR = self.model.loadings[at_n]
        if known_n.sum() < g_nR.shape[1]:
            return np.full(len(month), np.nan, dtype=np.float32)
        y_1n = month.y_N[None].astype(np.float64)
        f_R = small_quantile_regressions(g_nR, y_1n, self.model.tau, known_n[None]).coefficients[0]
        return np.where(there_n, g_nR @ f_R, np.nan).astype(np.float32)

    def describe(self) -> Description:
        """Return the factors; there are no characteristics."""
        return Description(self.months, self.model.factors, np.zeros((self.model.factors.shape[1], 0)))


def _estimate(settings: QFMSettings, seed: int, samples: Sequence[Sample]) -> tuple[LatentQuantileFactors, AssetMonths]:
    """Fit the assets and months that have returns enough."""
    given = AssetMonths.of(samples)
    known = given.with_enough(settings.least, _most(settings))
    if not known.y_TN.size:
        raise InputError(
            f"qfm: no asset has {settings.least} targets in a window of {len(given.months_T)} months, each with "
            f"as many assets as the {_most(settings)} factors: lower least, take fewer factors, or longer windows"
        )
    factors = settings.factors
    if factors == "rank":
        factors = number_of_factors(
            known.y_TN, settings.tau, most=settings.most, seed=seed, tolerance=settings.tolerance
        )
    model = fit_latent_factors(
        known.y_TN, settings.tau, factors, starts=settings.starts, seed=seed, tolerance=settings.tolerance
    )
    return model, known


def _loss(model: LatentQuantileFactors, assets_N: AssetArray, judged: AssetMonths) -> float:
    """Mean pinball loss of months about quantiles whose factors are fitted to them, over the assets that are known."""
    at_n, there_n = rows_of(assets_N, judged.assets_N)
    y_TN = np.where(there_n, judged.y_TN, np.nan)
    known_TN = np.isfinite(y_TN)
    known_TN &= (known_TN.sum(axis=1) >= model.factors.shape[1])[:, None]
    months = known_TN.any(axis=1)
    if not months.any():
        return math.inf
    g_NR = model.loadings[at_n]
    fits = small_quantile_regressions(g_NR, y_TN[months], model.tau, known_TN[months])
    errors_TN = y_TN[months] - fits.coefficients @ g_NR.T
    return float(
        np.mean([np.mean(pinball(e_N[k_N], model.tau)) for e_N, k_N in zip(errors_TN, known_TN[months], strict=True)])
    )


def _most(settings: QFMSettings) -> int:
    return settings.most if settings.factors == "rank" else settings.factors

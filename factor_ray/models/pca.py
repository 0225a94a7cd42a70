"""Principal components of returns: PCA and risk-premium PCA, with one vector of loadings for each asset."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import AssetArray, History, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Fit, Hyperparameters, Weights, checked, free, require_known_targets, shape
from factor_ray.models.estimator import Estimator
from factor_ray.models.instruments import projection
from factor_ray.models.latent import (
    Array,
    Expected,
    LatentFitted,
    OfRows,
    history_of,
    identification,
    left_out_loss_ratio,
    months_of,
    realised_months,
    rotate_loadings,
    total_loss_ratio,
    trained_months,
)

# Axes: A assets, T months, K factors, P characteristics, N rows of a month.


class PCASettings(Hyperparameters):
    """Hyperparameters of PCA and RP-PCA."""

    simpler_by: ClassVar[tuple[str, ...]] = ("factors",)

    factors: int = shape(5, "K: number of latent factors", ge=1)
    least_months: int = shape(
        24, "training months with a known target that an asset needs; others have no loadings and no forecast", ge=2
    )
    gamma: float = free(
        -1.0,
        "weight of mean returns beside their covariance: -1 is PCA, 0 the second moment, 10 a common choice of RP-PCA",
        ge=-1,
    )
    expected: Expected = free("mean", "how factors are expected from realised ones")


class PCA(Estimator):
    """Factors that explain the covariance, and with gamma > -1 the means, of the assets' returns.

    Loadings are the leading eigenvectors of X'X / T + gamma mean mean' (X: T x A returns). They are found from the
    months' side, so that the cost does not grow with the square of the assets: W^1/2 F are the leading eigenvectors of
    W^1/2 X X' W^1/2, with W = I + gamma 11'/T and each entry of X X' the mean over the assets known in both months. An
    asset's loadings are its regression on F over its own months, mean errors weighed by 1 + gamma. In a balanced panel
    both are the same. Loadings do not change after training; assets without them are not forecast.

    Source: Lettau and Pelger (2020), "Factors that fit the time series and cross-section of stock returns", equation 2;
    Connor and Korajczyk (1987) for the months' side and for missing returns.
    """

    name: ClassVar[str] = "pca"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[Hyperparameters]] = PCASettings

    @classmethod
    def fit_pack(
        cls,
        points: Sequence[Hyperparameters],
        seeds: Sequence[int],  # noqa: ARG003
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,  # noqa: ARG003
        device: str = "cpu",  # noqa: ARG003
    ) -> list[Fit]:
        """Fit points of one shape; equal points are fitted once.

        Parameters
        ----------
        points : sequence of PCASettings
        seeds, order_seed, device
            Without effect.
        train, validation : Sample

        Returns
        -------
        list of Fit
            ``scores`` holds, on the validation rows, ``selection``, the loss of what factors realised without an
            asset leave of its return over that of zero, and ``total_r2``, plain. Assets without loadings are fit by 0.

        Raises
        ------
        InputError
            If too few months or assets, or no validation month, have known targets.
        """
        started = time.perf_counter()
        settings = [checked(point, PCASettings) for point in points]
        require_known_targets(train, validation)
        months, assets, y_TA = pivot(train)
        distinct = {point: _fit(point, months, assets, y_TA, train, validation) for point in dict.fromkeys(settings)}
        seconds = (time.perf_counter() - started) / len(points)
        return [Fit(*distinct[point], seconds=seconds) for point in settings]

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> LatentFitted:
        """Return one member, ready to forecast."""
        return LatentFitted(
            _of_assets(weights["assets"].astype(np.int64), np.asarray(weights["loadings"], dtype=np.float64)),
            weights["months"],
            weights["factors"],
            weights["gamma"],
            first=int(weights["first"][0]),
            expected=checked(point, PCASettings).expected,
        )


def pivot(train: Sample) -> tuple[npt.NDArray[np.int64], AssetArray, Array]:
    """Return months (T,), assets (A,) in order of their numbers, and targets (T, A), NaN where missing."""
    history = history_of(train)
    asset_N = history.asset_H[len(history) - len(train) :]
    assets, column_N = np.unique(asset_N, return_inverse=True)
    spans = list(months_of(train.month_N))
    y_TA = np.full((len(spans), len(assets)), np.nan)
    for position, (_, rows) in enumerate(spans):
        y_TA[position, column_N[rows]] = train.y_N[rows]
    return np.array([month for month, _ in spans], dtype=np.int64), assets, y_TA


def components(y_TA: Array, factors: int, gamma: float, least_months: int) -> Array:
    """Return each asset's loadings (A, K); NaN for assets with fewer known months than ``least_months``."""
    known_TA = np.isfinite(y_TA)
    used_A = known_TA.sum(axis=0) >= least_months
    y_Ta, seen_Ta = y_TA[:, used_A], known_TA[:, used_A]
    x_Ta, share_Ta = np.where(seen_Ta, y_Ta, 0.0), seen_Ta.astype(np.float64)
    together_TT = share_Ta @ share_Ta.T
    moment_TT = np.divide(x_Ta @ x_Ta.T, together_TT, out=np.zeros_like(together_TT), where=together_TT > 0)
    pull = np.sqrt(1 + gamma) - 1
    vectors_TT = np.linalg.eigh(_weigh_means(_weigh_means(moment_TT, pull).T, pull))[1]
    factors_TK = vectors_TT[:, : -factors - 1 : -1]
    if gamma > -1:  # at -1 the means of the factors are not seen, and not needed
        factors_TK = _weigh_means(factors_TK, 1 / (1 + pull) - 1)
    loadings_AK = np.full((y_TA.shape[1], factors), np.nan)
    loadings_AK[used_A] = [
        np.linalg.lstsq(_weigh_means(factors_TK[own_T], pull), _weigh_means(y_T[own_T], pull), rcond=None)[0]
        for y_T, own_T in zip(y_Ta.T, seen_Ta.T, strict=True)
    ]
    return loadings_AK


def _weigh_means(series: Array, pull: float) -> Array:
    """Add a multiple of each column's mean: (I + pull 11'/T) times the columns."""
    return np.asarray(series + pull * series.mean(axis=0))


def _fit(
    point: PCASettings,
    months: npt.NDArray[np.int64],
    assets: AssetArray,
    y_TA: Array,
    train: Sample,
    validation: Sample,
) -> tuple[Weights, dict[str, float]]:
    enough = int((np.isfinite(y_TA).sum(axis=0) >= point.least_months).sum())
    if min(len(months), enough) < point.factors:
        raise InputError(
            f"pca: {point.factors} factors need at least as many training months and assets with {point.least_months} "
            f"known targets; there are {len(months)} and {enough}: lower factors or least_months, or train on "
            "more months"
        )
    loadings_AK = components(y_TA, point.factors, point.gamma, point.least_months)
    known_AK = loadings_AK[np.isfinite(loadings_AK).all(axis=1)]
    _, factors_TK = realised_months(_of_assets(assets, loadings_AK), history_of(train))
    rotation_KK = identification(known_AK, factors_TK)
    loadings_AK = rotate_loadings(loadings_AK, rotation_KK)
    of_rows = _of_assets(assets, loadings_AK)
    weights = {
        "assets": assets.astype(np.float64),
        "loadings": loadings_AK,
        **trained_months(months, train),
        "factors": factors_TK @ rotation_KK,
        "gamma": projection(of_rows, history_of(train)),
    }
    scores = {
        "selection": left_out_loss_ratio(of_rows, validation),
        "total_r2": 1 - total_loss_ratio(of_rows, validation),
    }
    return weights, scores


def _of_assets(assets: AssetArray, loadings_AK: Array) -> OfRows:
    def of_rows(history: History, rows: slice) -> Array:
        own_N = history.asset_H[rows]
        column_N = np.minimum(np.searchsorted(assets, own_N), len(assets) - 1)
        return np.where((assets[column_N] == own_N)[:, None], loadings_AK[column_N], np.nan)

    return of_rows

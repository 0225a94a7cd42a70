"""Instrumented principal components: loadings and intercept are linear in the characteristics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import scipy.linalg

from factor_ray.data.sample import Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Available, Fit, Hyperparameters, Weights, checked, free, require_known_targets, shape
from factor_ray.models.estimator import Estimator
from factor_ray.models.instruments import Moments, linear, month_moments
from factor_ray.models.latent import (
    Array,
    Expected,
    LatentFitted,
    identification,
    left_out_loss_ratio,
    rotate_loadings,
    total_loss_ratio,
    trained_months,
)

# Axes: N rows, T months, I instruments (characteristics and constant), P characteristics, K factors, J = K + 1 with an
# intercept, which is a factor that is 1 in every month.

Losses = dict[str, list[float]]

_FLOOR = 1e-10  # over the mean diagonal: instruments that never vary get no weight in place of an error


class IPCASettings(Hyperparameters):
    """Hyperparameters of IPCA."""

    simpler_by: ClassVar[tuple[str, ...]] = ("factors",)

    factors: int = shape(5, "K: number of latent factors", ge=1)
    intercept: bool = shape(
        False, "Gamma_alpha: expected returns, linear in the characteristics, that no factor pays for"
    )
    constant: bool = shape(True, "a constant among the instruments, as in the paper")
    tolerance: float = shape(
        1e-6, "largest change of Gamma (of unit columns) between two iterations at convergence", gt=0
    )
    iterations: int = shape(2000, "largest number of iterations", ge=1)
    ridge: float = free(
        0.0,
        "penalty on each month's coefficients Gamma f, over the mean square of the instruments; more than 0 where "
        "characteristics are nearly collinear",
        ge=0,
    )
    expected: Expected = free("mean", "how factors are expected from realised ones")


class IPCA(Estimator):
    """Instrumented principal component analysis: r_{i,t+1} = z_it' Gamma_alpha + z_it' Gamma f_{t+1} + e.

    Fitted by alternating least squares on the moments Z'Z and Z'r of every month, so that an iteration costs no more
    for more assets. Deterministic: all members of an ensemble are equal.

    Source: Kelly, Pruitt and Su (2019), "Characteristics are covariances", sections 2.1 and 2.2.
    """

    name: ClassVar[str] = "ipca"
    version: ClassVar[int] = 2
    Settings: ClassVar[type[Hyperparameters]] = IPCASettings

    @classmethod
    def require(cls, point: Hyperparameters, available: Available) -> None:
        """Refuse data without validation months, or with fewer instruments than factors.

        Raises
        ------
        InputError
            Naming what is missing and the remedy.
        """
        super().require(point, available)
        settings = checked(point, IPCASettings)
        instruments = available.characteristics + settings.constant
        if settings.factors + settings.intercept > instruments:
            raise InputError(
                f"ipca: factors {settings.factors}{' and an intercept' if settings.intercept else ''} need at least as "
                f"many instruments; there are {instruments} (characteristics and constant): lower factors"
            )

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
        """Fit points of one shape on moments that are taken once; equal points are fitted once.

        Parameters
        ----------
        points : sequence of IPCASettings
            Equal in all shape hyperparameters.
        seeds, order_seed, device
            Without effect.
        train, validation : Sample
            Rows without a known target are left out, and training months with fewer known targets than factors.

        Returns
        -------
        list of Fit
            ``scores`` holds, on the validation rows, ``selection``, the loss of what factors realised without an
            asset leave of its return over that of zero (the plain total fit improves with needless factors), and
            ``total_r2``, plain; and ``iterations``.

        Raises
        ------
        InputError
            If too few training months, or no validation month, have known targets.
        """
        started = time.perf_counter()
        settings = [checked(point, IPCASettings) for point in points]
        require_known_targets(train, validation)
        moments = month_moments(train, constant=settings[0].constant)
        distinct = {point: _fit(point, moments, train, validation) for point in dict.fromkeys(settings)}
        seconds = (time.perf_counter() - started) / len(points)
        return [Fit(*distinct[point], seconds=seconds) for point in settings]

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> LatentFitted:
        """Return one member, ready to forecast."""
        settings = checked(point, IPCASettings)
        gamma_IK = np.asarray(weights["gamma"], dtype=np.float64)
        characteristics = len(gamma_IK) - settings.constant
        alpha = linear(weights["alpha"], constant=settings.constant) if settings.intercept else None
        return LatentFitted(
            linear(gamma_IK, constant=settings.constant),
            weights["months"],
            weights["factors"],
            gamma_IK[:characteristics].T,
            intercept=alpha,
            first=int(weights["first"][0]),
            expected=settings.expected,
        )


def alternating_least_squares(moments: Moments, settings: IPCASettings) -> tuple[Array, Array, list[float]]:
    """Fit Gamma and the factors of the months of ``moments``, all of which must hold enough targets.

    The ridge adds ridge * tr(Z'Z)/I * |Gamma f_t|^2 to each month's squared errors, which no scaling of Gamma against f
    can evade.

    Returns
    -------
    gamma_IJ : float64 array (I, J)
        Orthonormal columns, and last Gamma_alpha where there is an intercept.
    factors_TK : float64 array (T, K)
    losses : list of float
        Mean squared error (with the penalty) after each iteration.
    """
    factors, instruments = settings.factors, moments.cross_TI.shape[1]
    scale_T = np.trace(moments.gram_TII, axis1=1, axis2=2) / instruments
    gram_TII = moments.gram_TII + (settings.ridge * scale_T)[:, None, None] * np.eye(instruments)
    cross_TI, number = moments.cross_TI, int(moments.count_T.sum())
    gamma_IK = np.linalg.svd((cross_TI / moments.count_T[:, None]).T, full_matrices=False)[0][:, :factors]
    alpha_I, losses = np.zeros(instruments), []
    for _ in range(settings.iterations):
        left_TI = cross_TI - gram_TII @ alpha_I if settings.intercept else cross_TI
        factors_TK = _factors(gram_TII, left_TI, gamma_IK)
        paid_TJ = np.column_stack([factors_TK, np.ones(len(factors_TK))]) if settings.intercept else factors_TK
        new_IJ = _gamma(gram_TII, cross_TI, paid_TJ)
        coefficient_TI = paid_TJ @ new_IJ.T
        fitted = np.einsum("ti,ti->", coefficient_TI, np.einsum("tij,tj->ti", gram_TII, coefficient_TI))
        losses.append(float((moments.square_T.sum() - 2 * np.vdot(coefficient_TI, cross_TI) + fitted) / number))
        new_IK = np.linalg.qr(new_IJ[:, :factors])[0]
        new_alpha_I = new_IJ[:, factors] - new_IK @ (new_IK.T @ new_IJ[:, factors]) if settings.intercept else alpha_I
        change = np.abs(new_IK - gamma_IK @ (gamma_IK.T @ new_IK)).max()
        size = np.abs(new_alpha_I).max()
        alpha_change = np.abs(new_alpha_I - alpha_I).max() / size if size else 0.0
        gamma_IK, alpha_I = new_IK, new_alpha_I
        if max(change, alpha_change) < settings.tolerance:
            break
    left_TI = cross_TI - gram_TII @ alpha_I if settings.intercept else cross_TI
    gamma_IJ = np.column_stack([gamma_IK, alpha_I]) if settings.intercept else gamma_IK
    return gamma_IJ, _factors(gram_TII, left_TI, gamma_IK), losses


def _factors(gram_TII: Array, left_TI: Array, gamma_IK: Array) -> Array:
    """Each month's regression of returns on loadings."""
    gram_TKK = gamma_IK.T @ (gram_TII @ gamma_IK)
    _stabilise(gram_TKK)
    return np.asarray(np.linalg.solve(gram_TKK, (left_TI @ gamma_IK)[..., None])[..., 0])


def _gamma(gram_TII: Array, cross_TI: Array, paid_TJ: Array) -> Array:
    """The pooled regression of returns on instruments times factors, (I, J)."""
    months, instruments = cross_TI.shape
    count = paid_TJ.shape[1]
    pairs_TJJ = paid_TJ[:, :, None] * paid_TJ[:, None, :]
    blocks = pairs_TJJ.reshape(months, -1).T @ gram_TII.reshape(months, -1)
    size = count * instruments
    normal = blocks.reshape(count, count, instruments, instruments).transpose(0, 2, 1, 3).reshape(size, size)
    _stabilise(normal[None])
    found = scipy.linalg.solve(normal, (paid_TJ.T @ cross_TI).ravel(), assume_a="pos", overwrite_a=True)
    return np.asarray(found.reshape(count, instruments).T)


def _stabilise(matrices: Array) -> None:
    """Add to each matrix's diagonal, in place, what keeps it invertible."""
    size = matrices.shape[-1]
    diagonal = np.arange(size)
    matrices[:, diagonal, diagonal] += _FLOOR * np.trace(matrices, axis1=1, axis2=2)[:, None] / size


def _fit(
    point: IPCASettings, moments: Moments, train: Sample, validation: Sample
) -> tuple[Weights, dict[str, float], Losses]:
    count = point.factors + point.intercept
    enough_T = moments.count_T >= count
    if enough_T.sum() < count:
        raise InputError(
            f"ipca: {point.factors} factors need at least {count} training months with {count} known targets each; "
            f"there are {int(enough_T.sum())}: lower factors or train on more months"
        )
    used = Moments(
        moments.months[enough_T],
        moments.count_T[enough_T],
        moments.gram_TII[enough_T],
        moments.cross_TI[enough_T],
        moments.square_T[enough_T],
    )
    gamma_IJ, factors_tK, losses = alternating_least_squares(used, point)
    gamma_IK, alpha_I = gamma_IJ[:, : point.factors], gamma_IJ[:, point.factors :].ravel()
    rotation_KK = identification(gamma_IK, factors_tK)
    gamma_IK = rotate_loadings(gamma_IK, rotation_KK)
    factors_TK = np.full((len(moments.months), point.factors), np.nan)
    factors_TK[enough_T] = factors_tK @ rotation_KK
    weights = {"gamma": gamma_IK, "alpha": alpha_I, "factors": factors_TK, **trained_months(moments.months, train)}
    intercept = linear(alpha_I, constant=point.constant) if point.intercept else None
    loadings = linear(gamma_IK, constant=point.constant)
    scores = {
        "selection": left_out_loss_ratio(loadings, validation, intercept),
        "total_r2": 1 - total_loss_ratio(loadings, validation, intercept),
        "iterations": float(len(losses)),
    }
    return weights, scores, {"train_loss": losses}

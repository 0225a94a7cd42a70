"""Factors of one window brought into the order and signs of another's. Axes: R factor, P term, J degree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from factor_ray.errors import InputError
from factor_ray.models.quantile.qcf import QuantileFactors

Floats = npt.NDArray[np.float64]


def align(model: QuantileFactors, reference: QuantileFactors) -> QuantileFactors:
    """The same model with its factors in the order and with the signs of ``reference``'s, so that they can be compared.

    Factors are paired to make ``sum over k of |cos(beta_k, reference beta_k)|`` largest. A factor and its beta then
    change sign together where that cosine is negative, and an index and the odd terms of its loading function where
    ``theta_k`` points away from the reference's. The fitted quantiles stay what they are.

    Parameters
    ----------
    model, reference : QuantileFactors
        Two estimates with the same numbers of factors, terms and characteristics: of two windows, say. The result may
        break the rules of sign and order that each estimate obeys alone.

    Raises
    ------
    InputError
        If the two models' sizes differ.
    """
    if model.betas.shape != reference.betas.shape or model.thetas.shape != reference.thetas.shape:
        raise InputError(
            f"Only models of one size can be aligned; got {model.betas.shape} factors x terms beside "
            f"{reference.betas.shape}: keep the same number of factors of both"
        )
    cosines_RR = _unit(reference.betas) @ _unit(model.betas).T
    _, order_R = linear_sum_assignment(-np.abs(cosines_RR))
    sign_R = np.where(cosines_RR[np.arange(len(order_R)), order_R] < 0.0, -1.0, 1.0)
    turn_R = np.where(np.sum(model.thetas[order_R] * reference.thetas, axis=1) < 0.0, -1.0, 1.0)
    degrees_J = np.arange(model.loading_coefficients.shape[1])
    return replace(
        model,
        factors=model.factors[:, order_R] * sign_R,
        betas=model.betas[order_R] * sign_R[:, None],
        thetas=model.thetas[order_R] * turn_R[:, None],
        # h_j(-w) = (-1)^j h_j(w)
        loading_coefficients=model.loading_coefficients[order_R] * sign_R[:, None] * turn_R[:, None] ** degrees_J,
    )


def _unit(vectors_RP: Floats) -> Floats:
    length_R1 = np.linalg.norm(vectors_RP, axis=1, keepdims=True)
    unit: Floats = np.divide(vectors_RP, length_R1, out=np.zeros_like(vectors_RP), where=length_R1 > 0.0)
    return unit

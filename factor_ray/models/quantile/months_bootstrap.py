"""A bootstrap of the index coefficients over months, which estimates no density.

Axes: S draw, T month, P term of the sieve, R factor, D characteristic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from factor_ray.errors import InputError
from factor_ray.models.quantile.alignment import align
from factor_ray.models.quantile.qcf import QuantileFactors
from factor_ray.models.quantile.single_index import Recovery, recover_indices

Floats = npt.NDArray[np.float64]


def bootstrap_indices(
    coefficients_TP: npt.ArrayLike, model: QuantileFactors, draws: int, seed: int, *, rule: Recovery = "projection"
) -> Floats:
    """Index coefficients of months drawn with replacement; steps 2 and 3 are repeated, step 1 is not.

    Each draw's factors are brought into the order and signs of the model's. With one factor the spread estimates what
    the covariance of :func:`index_inference` does. With several it answers another question: drawn months break
    ``F'F / T = I``, so that their factors are rotated against the model's. The spread is then that of factors defined
    by moments of all months that might have been, often several times the covariance's, which takes them as given.

    Parameters
    ----------
    coefficients_TP : array (T, P)
        Step 1's coefficients from which the model was estimated.
    model : QuantileFactors
        The estimate of those months.
    draws, seed : int
        Number of draws, at least 2, and what starts the random numbers.
    rule : "projection" or "pure_powers"
        As in the estimation.

    Returns
    -------
    array (draws, R, D)
        Its standard deviation over the first axis is a standard error. Draws are independent of each other.

    Raises
    ------
    InputError
        If draws are fewer than 2 or the coefficients do not fit the model.
    """
    C_TP = np.asarray(coefficients_TP, dtype=np.float64)
    if draws < 2:
        raise InputError(f"A bootstrap needs at least 2 draws; got {draws}")
    if C_TP.shape != (len(model.factors), model.betas.shape[1]):
        raise InputError(
            f"Coefficients must be the model's {len(model.factors)} months x {model.betas.shape[1]} terms; got shape "
            f"{C_TP.shape}"
        )
    (factors, width), order = model.thetas.shape, model.loading_coefficients.shape[1]
    rng = np.random.default_rng(seed)
    drawn_ST = rng.integers(len(C_TP), size=(draws, len(C_TP)))
    betas_SRP = np.array([_betas(C_TP[months_T], factors) for months_T in drawn_ST])
    thetas_KD, b_KJ = recover_indices(betas_SRP.reshape(draws * factors, -1), width, order, rule)
    parts = zip(betas_SRP, thetas_KD.reshape(draws, factors, -1), b_KJ.reshape(draws, factors, -1), strict=True)
    return np.array([align(QuantileFactors(model.tau, model.factors, *each), model).thetas for each in parts])


def _betas(C_TP: Floats, factors: int) -> Floats:
    """Step 2's coefficients of the factors, (R, P), by moments: eigenvalues lose digits that no standard error has."""
    if C_TP.shape[0] <= C_TP.shape[1]:
        _, left_TR = _largest(C_TP @ C_TP.T, factors)
        betas_RP = left_TR.T @ C_TP / np.sqrt(len(C_TP))
    else:
        squared_R, right_PR = _largest(C_TP.T @ C_TP / len(C_TP), factors)
        betas_RP = np.sqrt(np.maximum(squared_R, 0.0))[:, None] * right_PR.T
    mean_R = betas_RP @ C_TP.mean(axis=0)  # the sign of a factor's mean
    return np.asarray(np.where(mean_R < 0.0, -1.0, 1.0)[:, None] * betas_RP, dtype=np.float64)


def _largest(moments_PP: Floats, count: int) -> tuple[Floats, Floats]:
    """The largest eigenvalues of a symmetric matrix, falling, and their vectors in columns."""
    size = len(moments_PP)
    values, vectors = eigh(moments_PP, subset_by_index=[size - count, size - 1], check_finite=False)
    return values[::-1], vectors[:, ::-1]

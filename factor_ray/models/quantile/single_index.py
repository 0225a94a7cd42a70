"""Step 3 of QCF: from factors' sieve coefficients to their indices and loading functions.

Without error ``beta_k = (b_k0, b_k1 a_1(theta_k)', ..., b_k,m-1 a_{m-1}(theta_k)')'``, with a_j(theta) of
:mod:`factor_ray.models.quantile.hermite`. Axes: K factor, D characteristic, P term, J degree
(0 to m - 1).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError
from factor_ray.models.quantile.hermite import basis_size, degree_slices, exponents, index_coefficients
from factor_ray.models.quantile.index_ascent import nearest_indices
from factor_ray.models.quantile.quadratic_index import nearest_quadratic_indices

Floats = npt.NDArray[np.float64]
Recovery = Literal["projection", "pure_powers"]


def recover_index(
    beta: npt.ArrayLike, characteristics: int, order: int, rule: Recovery = "projection"
) -> tuple[Floats, Floats]:
    """Index theta (D,) and loading coefficients b (J,) of one factor with coefficients beta (P,).

    See :func:`recover_indices`, which gives the same bits.
    """
    thetas_KD, b_KJ = recover_indices(np.asarray(beta, dtype=np.float64)[None], characteristics, order, rule)
    return thetas_KD[0], b_KJ[0]


def recover_indices(
    betas: npt.ArrayLike, characteristics: int, order: int, rule: Recovery = "projection"
) -> tuple[Floats, Floats]:
    """Indices and loading coefficients of many factors, each independent of the others, bit for bit.

    Parameters
    ----------
    betas : array (K, P)
        The factors' coefficients of every term of the sieve.
    characteristics, order : int
        D and m; ``P = basis_size(D, m)``, and m is at least 2: a constant has no index.
    rule : "projection" or "pure_powers"
        "projection" takes the theta whose polynomials lie nearest to beta: ``max sum over j >= 1 of
        (a_j(theta)'beta_j)^2``, and ``b_j = a_j(theta)'beta_j``. Up to order 3 no theta is nearer, above it none of
        several ascents led to a nearer one. "pure_powers" is the paper's: theta from the linear terms alone, |b_j| from
        the pure powers; it fails where the loading function has no linear part and inflates b under noise.

    Returns
    -------
    thetas : array (K, D)
        Of unit length, their first elements positive.
    b : array (K, J)
        ``g_k(w) = sum_j b_kj h_j(w)``.

    Raises
    ------
    InputError
        If betas are not K x P finite numbers, order is below 2, or the rule is unknown.
    """
    betas_KP = np.asarray(betas, dtype=np.float64)
    if order < 2:
        raise InputError(f"An index needs a sieve of order 2 or more; got order {order}, which is a constant alone")
    size = basis_size(characteristics, order)
    if betas_KP.ndim != 2 or betas_KP.shape[1] != size or not np.isfinite(betas_KP).all():
        raise InputError(
            f"Every beta must hold {size} finite numbers for {characteristics} characteristics and order {order}; got "
            f"shape {betas_KP.shape[1:]} with {int(np.isfinite(betas_KP).sum())} finite in {len(betas_KP)} betas"
        )
    if rule not in ("projection", "pure_powers"):
        raise InputError(f"rule must be 'projection' or 'pure_powers'; got {rule!r}")
    if rule == "pure_powers":
        thetas_KD = _unit(betas_KP[:, 1 : 1 + characteristics])
        return thetas_KD, np.array(
            [_from_pure_powers(beta_P, theta_D, order) for beta_P, theta_D in zip(betas_KP, thetas_KD, strict=True)]
        )
    directions_KD = betas_KP[:, 1 : 1 + characteristics].copy()
    varying_K = betas_KP[:, 1:].any(axis=1)
    if order > 2 and varying_K.any():
        varying_KP = betas_KP[varying_K]
        directions_KD[varying_K] = (
            nearest_quadratic_indices(varying_KP, characteristics)
            if order == 3
            else nearest_indices(varying_KP, characteristics, order)
        )
    thetas_KD = _unit(directions_KD)
    return thetas_KD, _projected(betas_KP, thetas_KD, order)


def _unit(directions_KD: Floats) -> Floats:
    """Unit length, first element positive; the first axis where there is no direction."""
    norm_K1 = np.sqrt(np.sum(directions_KD**2, axis=1, keepdims=True))
    first_D = np.eye(directions_KD.shape[1])[0]
    signed_KD = np.copysign(1.0, directions_KD[:, :1]) * directions_KD
    return np.where(norm_K1 > 0.0, signed_KD / np.where(norm_K1 > 0.0, norm_K1, 1.0), first_D)


def _projected(betas_KP: Floats, thetas_KD: Floats, order: int) -> Floats:
    """``b_j = a_j(theta)'beta_j``."""
    places = degree_slices(thetas_KD.shape[1], order)
    products_KP = index_coefficients(thetas_KD, order) * betas_KP
    return np.stack([products_KP[:, place].sum(axis=1) for place in places], axis=1)


def _from_pure_powers(beta_P: Floats, theta_D: Floats, order: int) -> Floats:
    """``|b_j| = (sum_l |beta at j e_l|^(2/j))^(j/2)``, signed as theta's powers agree with those coefficients."""
    p_PD = exponents(len(theta_D), order)
    b_J = np.empty(order)
    b_J[0] = beta_P[0]
    for j in range(1, order):
        pure = np.array([beta_P[(p_PD == j * axis).all(axis=1)][0] for axis in np.eye(len(theta_D))])
        b_J[j] = np.sum(np.abs(pure) ** (2.0 / j)) ** (j / 2.0) * np.sign(pure @ theta_D**j)
    return b_J

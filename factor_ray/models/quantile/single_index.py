"""Step 3 of QCF: from one factor's sieve coefficients to its index and its loading function.

Without error ``beta_k = (b_k0, b_k1 a_1(theta_k)', ..., b_k,m-1 a_{m-1}(theta_k)')'``, with a_j(theta) of
:mod:`factor_ray.models.quantile.hermite`. Axes: D characteristic, P term, J degree (0 to m - 1).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from factor_ray.errors import InputError
from factor_ray.models.quantile.hermite import basis_size, degree_slices, exponents, index_coefficients

Floats = npt.NDArray[np.float64]
Recovery = Literal["projection", "pure_powers"]


def recover_index(
    beta: npt.ArrayLike, characteristics: int, order: int, rule: Recovery = "projection"
) -> tuple[Floats, Floats]:
    """Index theta and loading coefficients b of one factor.

    Parameters
    ----------
    beta : array (P,)
        The factor's coefficients of every term of the sieve.
    characteristics, order : int
        D and m; ``P = basis_size(D, m)``, and m is at least 2: a constant has no index.
    rule : "projection" or "pure_powers"
        "projection" takes the theta whose polynomials lie nearest to beta: ``max sum over j >= 1 of
        (a_j(theta)'beta_j)^2``, and ``b_j = a_j(theta)'beta_j``. "pure_powers" is the paper's: theta from the
        linear terms alone, |b_j| from the pure powers; it fails where the loading function has no linear part and
        inflates b under noise.

    Returns
    -------
    theta : array (D,)
        Of unit length, its first element positive.
    b : array (J,)
        ``g(w) = sum_j b_j h_j(w)``.

    Raises
    ------
    InputError
        If beta has not P finite elements, order is below 2, or the rule is unknown.
    """
    beta_P = np.asarray(beta, dtype=np.float64)
    if order < 2:
        raise InputError(f"An index needs a sieve of order 2 or more; got order {order}, which is a constant alone")
    size = basis_size(characteristics, order)
    if beta_P.shape != (size,) or not np.isfinite(beta_P).all():
        raise InputError(
            f"beta must hold {size} finite numbers for {characteristics} characteristics and order {order}; got shape "
            f"{beta_P.shape} with {int(np.isfinite(beta_P).sum())} finite"
        )
    places = degree_slices(characteristics, order)
    if rule not in ("projection", "pure_powers"):
        raise InputError(f"rule must be 'projection' or 'pure_powers'; got {rule!r}")
    if rule == "projection":
        theta_D = _unit(_nearest_index(beta_P, characteristics, order))
        a_P = index_coefficients(theta_D, order)
        return theta_D, np.array([a_P[place] @ beta_P[place] for place in places])
    theta_D = _unit(beta_P[places[1]])
    return theta_D, _from_pure_powers(beta_P, theta_D, order)


def _unit(direction_D: Floats) -> Floats:
    """Unit length, first element positive; the first axis where there is no direction."""
    norm = float(np.linalg.norm(direction_D))
    if norm == 0.0:
        return np.concatenate([np.ones(1), np.zeros(len(direction_D) - 1)])
    return np.asarray(direction_D * (np.copysign(1.0, direction_D[0]) / norm), dtype=np.float64)


def _nearest_index(beta_P: Floats, characteristics: int, order: int) -> Floats:
    """The theta of the projection rule, the best of several ascents.

    With ``q_j(theta) = a_j(theta)'beta_j``, homogeneous of degree j, the gradient of q_j is ``G_j a_{j-1}(theta)``
    where ``G_j[l, s] = sqrt(j (s_l + 1)) beta_{s + e_l}``, and ``q_j = theta' grad q_j / j``. The leading left singular
    vectors of each G_j are where the ascents start: without error theta is the first of all of them.
    """
    places = degree_slices(characteristics, order)
    varying = float(np.linalg.norm(beta_P[1:]))
    if order == 2 or varying == 0.0:
        return np.asarray(beta_P[places[1]], dtype=np.float64)
    gradients = _gradient_maps(beta_P / varying, characteristics, order)

    def loss(direction_D: Floats) -> tuple[float, Floats]:
        length = float(np.linalg.norm(direction_D))
        theta_D = direction_D / length
        a_P = index_coefficients(theta_D, order - 1)  # the gradients hold the highest degree
        value, slope_D = 0.0, np.zeros(characteristics)
        for j, gradient in enumerate(gradients, start=1):
            change_D = gradient @ a_P[places[j - 1]]
            q = float(theta_D @ change_D) / j
            value += q**2
            slope_D += 2.0 * q * change_D
        return -value, -(slope_D - (theta_D @ slope_D) * theta_D) / length

    starts = [column for gradient in gradients for column in np.linalg.svd(gradient, full_matrices=False)[0].T[:2]]
    ascents = [minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9}) for start in starts]
    best = min(ascents, key=lambda ascent: float(ascent.fun))
    return np.asarray(best.x, dtype=np.float64)


def _gradient_maps(beta_P: Floats, characteristics: int, order: int) -> list[Floats]:
    p_PD = exponents(characteristics, order)
    place = {tuple(p): number for number, p in enumerate(p_PD.tolist())}
    maps = []
    for j, lower in enumerate(degree_slices(characteristics, order)[:-1], start=1):
        raised = np.array(
            [[place[tuple(s)] for s in p_PD[lower] + step] for step in np.eye(characteristics, dtype=int)]
        )
        maps.append(np.sqrt(j * (p_PD[lower].T + 1.0)) * beta_P[raised])
    return maps


def _from_pure_powers(beta_P: Floats, theta_D: Floats, order: int) -> Floats:
    """``|b_j| = (sum_l |beta at j e_l|^(2/j))^(j/2)``, signed as theta's powers agree with those coefficients."""
    p_PD = exponents(len(theta_D), order)
    b_J = np.empty(order)
    b_J[0] = beta_P[0]
    for j in range(1, order):
        pure = np.array([beta_P[(p_PD == j * axis).all(axis=1)][0] for axis in np.eye(len(theta_D))])
        b_J[j] = np.sum(np.abs(pure) ** (2.0 / j)) ** (j / 2.0) * np.sign(pure @ theta_D**j)
    return b_J

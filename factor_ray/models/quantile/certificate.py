"""The duality gap: a proof that coefficients are optimal to within it. Axes: K problem, N row, P column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Certificate:
    """Objective of each problem, and an upper bound of its distance from the least one, both in units of the sum."""

    objective_K: Floats
    gap_K: Floats


def certify(
    y_N: Floats, e_KN: Floats, c_KP: Floats, d_KN: Floats, r_KP: Floats, tau_K: Floats, penalty_KP: Floats
) -> Certificate:
    """Objective and duality gap of coefficients c (residuals e = y - Xc) and of duals d (r = X'd) inside their box.

    Weak duality bounds the least objective from below by ``y'd - r'R^+ r / 2`` when ``r_j = 0`` for the columns without
    penalty. What rounding leaves of such an ``r_j`` moves the bound by ``c_j r_j``, which is counted against us.
    """
    free_P = penalty_KP[0] == 0.0
    objective_K = pinball(e_KN, tau_K[:, None]).sum(axis=1) + 0.5 * (penalty_KP * c_KP**2).sum(axis=1)
    inverse_KP = np.divide(1.0, penalty_KP, out=np.zeros_like(penalty_KP), where=~free_P)
    bound_K = (y_N * d_KN).sum(axis=1) - 0.5 * (inverse_KP * r_KP**2).sum(axis=1)
    leak_K = (np.abs(c_KP * r_KP) * free_P).sum(axis=1)
    return Certificate(objective_K, np.maximum(objective_K - bound_K + leak_K, 0.0))


def pinball(residual: Floats, tau: Floats | float) -> Floats:
    """``rho_tau(e) = e (tau - 1(e < 0))`` in the units of the residual (Koenker and Bassett 1978)."""
    return np.maximum(tau * residual, (tau - 1.0) * residual)

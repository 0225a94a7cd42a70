"""Loading functions ``g_k(x_i'theta_k)`` of many months' assets. Axes: M asset of all months, V month, R factor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.compiled import compiled

Floats = npt.NDArray[np.float64]


def index_loadings(x_MD: Floats, bounds: npt.NDArray[np.int64], thetas_VRD: Floats, b_VRJ: Floats) -> Floats:
    """Loadings (R, M) of months that lie end to end, each with its own indices and loading coefficients.

    Parameters
    ----------
    x_MD : array (M, D)
        Characteristics.
    bounds : int array (V + 1,)
        Where each month begins, and the end.
    thetas_VRD, b_VRJ : arrays (V, R, D), (V, R, J)
        ``g_k(w) = sum_j b_kj h_j(w)``.
    """
    Xt_RM = np.empty((thetas_VRD.shape[1], len(x_MD)))
    _fill(np.ascontiguousarray(x_MD), bounds, thetas_VRD, b_VRJ, Xt_RM)
    return Xt_RM


@compiled
def _fill(x_MD: Floats, bounds: npt.NDArray[np.int64], thetas_VRD: Floats, b_VRJ: Floats, Xt_RM: Floats) -> None:
    factors, order = b_VRJ.shape[1:]
    for v in range(len(bounds) - 1):
        for i in range(bounds[v], bounds[v + 1]):
            for r in range(factors):
                w = 0.0
                for d in range(x_MD.shape[1]):
                    w += x_MD[i, d] * thetas_VRD[v, r, d]
                # The recursion of hermite_functions: sqrt(j+1) h_{j+1} = w h_j - sqrt(j) h_{j-1}.
                before, h, total = 0.0, 1.0, 0.0
                for j in range(order):
                    total += b_VRJ[v, r, j] * h
                    before, h = h, (w * h - np.sqrt(j) * before) / np.sqrt(j + 1.0)
                Xt_RM[r, i] = total

"""Loading functions ``g_k(x_i'theta_k)`` of many months' assets. Axes: M asset of all months, V month, R factor."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.compiled import compiled

Floats = npt.NDArray[np.float64]


def index_loadings(xt_DM: Floats, bounds: npt.NDArray[np.int64], thetas_VRD: Floats, b_VRJ: Floats) -> Floats:
    """Loadings (R, M) of months that lie end to end, each with its own indices and loading coefficients.

    Parameters
    ----------
    xt_DM : array (D, M), contiguous
        Characteristics.
    bounds : int array (V + 1,)
        Where each month begins, and the end.
    thetas_VRD, b_VRJ : arrays (V, R, D), (V, R, J)
        ``g_k(w) = sum_j b_kj h_j(w)``.
    """
    loadings_RM = np.zeros((thetas_VRD.shape[1], xt_DM.shape[1]))
    _fill(xt_DM, bounds, thetas_VRD, b_VRJ, loadings_RM)
    return loadings_RM


@compiled
def _fill(xt_DM: Floats, bounds: npt.NDArray[np.int64], thetas_VRD: Floats, b_VRJ: Floats, loadings_RM: Floats) -> None:
    roots_J = np.sqrt(np.arange(b_VRJ.shape[2] + 1.0))
    for v in range(len(bounds) - 1):
        first, stop = bounds[v], bounds[v + 1]
        for r in range(len(loadings_RM)):
            w_N = loadings_RM[r, first:stop]
            for d in range(len(xt_DM)):
                x_N, theta = xt_DM[d, first:stop], thetas_VRD[v, r, d]
                for i in range(len(w_N)):
                    w_N[i] += x_N[i] * theta
            for i in range(len(w_N)):
                # The recursion of hermite_functions: sqrt(j+1) h_{j+1} = w h_j - sqrt(j) h_{j-1}.
                before, h, total = 0.0, 1.0, 0.0
                for j in range(b_VRJ.shape[2]):
                    total += b_VRJ[v, r, j] * h
                    before, h = h, (w_N[i] * h - roots_J[j] * before) / roots_J[j + 1]
                w_N[i] = total

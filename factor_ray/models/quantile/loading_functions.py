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
    order, most = b_VRJ.shape[2], np.max(np.diff(bounds))
    w_M, h_M, before_M = np.empty(most), np.empty(most), np.empty(most)
    for v in range(len(bounds) - 1):
        first, stop = bounds[v], bounds[v + 1]
        w_N, h_N, before_N = w_M[: stop - first], h_M[: stop - first], before_M[: stop - first]
        for r in range(len(loadings_RM)):
            total_N, b_J = loadings_RM[r, first:stop], b_VRJ[v, r]
            w_N[:] = 0.0
            for d in range(len(xt_DM)):
                x_N, theta = xt_DM[d, first:stop], thetas_VRD[v, r, d]
                for i in range(len(w_N)):
                    w_N[i] += x_N[i] * theta
            # The recursion of hermite_functions: sqrt(j+1) h_{j+1} = w h_j - sqrt(j) h_{j-1}; degree by degree, since
            # processors take several rows at once.
            total_N[:] = b_J[0]
            h_N[:] = 1.0
            before_N[:] = 0.0
            for j in range(order - 1):
                root, next_root, b = np.sqrt(j), np.sqrt(j + 1), b_J[j + 1]
                for i in range(len(w_N)):
                    above = (w_N[i] * h_N[i] - root * before_N[i]) / next_root
                    before_N[i], h_N[i] = h_N[i], above
                    total_N[i] += b * above

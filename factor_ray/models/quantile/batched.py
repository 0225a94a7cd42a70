"""Linear systems in a batch, of which some may be singular."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def solve_systems(matrices: Floats, right: Floats) -> Floats:
    """Solutions (..., R) of systems (..., R, R) with right sides (..., R); NaN where a matrix is singular.

    LAPACK is called for each system by itself: a solution's bits do not depend on the others.
    """
    try:
        return np.asarray(np.linalg.solve(matrices, right[..., None])[..., 0], dtype=np.float64)
    except np.linalg.LinAlgError:
        if matrices.ndim == 2:
            return np.full_like(right, np.nan)
        return np.array([solve_systems(matrix, side) for matrix, side in zip(matrices, right, strict=True)])

"""Unbalanced months of assets with planted loadings and factors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import History, Sample

# Axes: T months, n assets of a month, P characteristics, I instruments (and the constant), K factors.

GAMMA_IK = np.linalg.qr(np.random.default_rng(7).standard_normal((6, 2)))[0]


def market(
    first: int, last: int, *, assets: int = 60, noise: float = 0.05, curvature: float = 0.0, missing: float = 0.05
) -> Sample:
    """Return months first..last - 1 of one market: a month is the same whatever others are asked for.

    r = (Gamma'[x; 1] + curvature x_0 x_1 e_1)'f + noise.
    """
    parts = [_month(month, assets, noise, curvature, missing) for month in range(first, last)]
    x_NP, y_N, asset_N = (np.concatenate(column) for column in zip(*parts, strict=True))
    month_N = np.repeat(np.arange(first, last, dtype=np.int32), [len(part[1]) for part in parts])
    nothing = np.zeros((last, 0), np.float32)
    for array in (x_NP, y_N, asset_N, month_N):
        array.flags.writeable = False  # as in memory that workers share
    history = History(x_NP, month_N, asset_N, np.full_like(y_N, np.nan), y_N, nothing)
    return Sample(x_NP, month_N, nothing, y_N, np.zeros((len(y_N), 0), np.float32), history)


def factor_of(month: int) -> npt.NDArray[np.float64]:
    """Return a month's planted factors (2,)."""
    return np.random.default_rng([1, month]).normal([0.02, 0.01], [0.06, 0.04])


def _month(
    month: int, assets: int, noise: float, curvature: float, missing: float
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rng = np.random.default_rng([2, month])
    count = int(rng.integers(assets // 2, assets + 1))
    x_nP = rng.uniform(-1, 1, (count, len(GAMMA_IK) - 1))
    loading_nK = np.column_stack([x_nP, np.ones(count)]) @ GAMMA_IK
    loading_nK[:, 0] += curvature * x_nP[:, 0] * x_nP[:, 1]
    y_n = loading_nK @ factor_of(month) + noise * rng.standard_normal(count)
    y_n[rng.random(count) < missing] = np.nan
    asset_n = np.sort(rng.choice(2 * assets, count, replace=False)).astype(np.int64)
    return x_nP.astype(np.float32), y_n.astype(np.float32), asset_n

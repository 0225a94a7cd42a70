"""Markets in which an asset's next return follows the characteristics of the assets that move with it, not its own."""

from __future__ import annotations

import numpy as np

from factor_ray.data.sample import History, Sample

# Axes: T months, A assets, N rows, G groups.

MONTHS, ASSETS, GROUPS = 70, 40, 5
TRAIN, VALIDATION, TEST = (0, 50), (50, 58), (58, 70)


def history(*, signed: bool, seed: int = 0, alive: float = 0.95, months: int = MONTHS, assets: int = ASSETS) -> History:
    """Rows of a market whose targets are the next month's returns.

    Groups share a shock, ``signed`` ones with either sign. What drives the next return is the mean of the first
    characteristic over the others of the group, less that over those of the other sign, and a hundredth of it noise.
    """
    rng = np.random.default_rng(seed)
    group_A = np.arange(assets) % GROUPS
    sign_A = np.where(np.arange(assets) // GROUPS % 2, -1.0, 1.0) if signed else np.ones(assets)
    x_TAP = rng.uniform(-1, 1, (months, assets, 3))
    alike_AA = (group_A[:, None] == group_A) * np.outer(sign_A, sign_A)
    np.fill_diagonal(alike_AA, 0)
    signal_TA = x_TAP[:, :, 0] @ alike_AA.T / np.abs(alike_AA).sum(1)
    shock_TA = rng.standard_normal((months, GROUPS))[:, group_A] * sign_A
    r_TA = 0.03 * shock_TA + 0.012 * rng.standard_normal((months, assets))
    r_TA[1:] += 0.2 * signal_TA[:-1]
    y_TA = np.vstack([r_TA[1:], np.full((1, assets), np.nan)])
    there_TA = rng.random((months, assets)) < alive
    month_N, asset_N = np.nonzero(there_TA)
    return History(
        x_HP=x_TAP[there_TA].astype(np.float32),
        month_H=month_N.astype(np.int32),
        asset_H=(asset_N * 7 + 3).astype(np.int64),
        r_H=r_TA[there_TA].astype(np.float32),
        y_H=y_TA[there_TA].astype(np.float32),
        f_TF=np.zeros((months, 0), np.float32),
    )


def cut(rows: History, first: int, last: int, *, targets: bool = True) -> Sample:
    """Rows of the months before ``last`` from ``first`` on, with all before them as their history."""
    start, end = np.searchsorted(rows.month_H, [first, last])
    y_N = rows.y_H[start:end] if targets else np.full(end - start, np.nan, np.float32)
    known_H = np.concatenate([rows.y_H[:start], y_N])
    return Sample(
        x_NP=rows.x_HP[start:end],
        month_N=rows.month_H[start:end],
        z_Td=np.zeros((int(rows.month_H[-1]) + 1, 0), np.float32),
        y_N=y_N,
        c_NC=np.zeros((end - start, 0), np.float32),
        history=History(
            rows.x_HP[:end], rows.month_H[:end], rows.asset_H[:end], rows.r_H[:end], known_H, rows.f_TF[:last]
        ),
    )


def r_squared(model: type, point: object, weights: object, rows: History, months: tuple[int, int] = TEST) -> float:
    """Out-of-sample R2 against zero over months, each forecast by itself as it is known at its end."""
    member, error, total = model.fitted(point, weights), 0.0, 0.0
    for month in range(*months):
        y_N = cut(rows, month, month + 1).y_N
        forecast_N = member.forecast(cut(rows, month, month + 1, targets=False)).returns
        assert np.isfinite(forecast_N).all()
        known_N = np.isfinite(y_N)
        error += float(np.square(y_N - forecast_N)[known_N].sum())
        total += float(np.square(y_N)[known_N].sum())
    return 1 - error / total

"""Characteristics as instruments: their moments with the returns of every month, and loadings linear in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import History, Sample
from factor_ray.models.latent import Array, OfRows, months_of

# Axes: N rows, T months, I instruments (characteristics, and after them the constant), K factors.


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of the months of a panel; rows without a known target are left out.

    Attributes
    ----------
    months : int64 array (T,)
    count_T : int64 array (T,)
        Known targets.
    gram_TII, cross_TI : float64 arrays
        Z'Z and Z'y.
    square_T : float64 array (T,)
        y'y.
    """

    months: npt.NDArray[np.int64]
    count_T: npt.NDArray[np.int64]
    gram_TII: Array
    cross_TI: Array
    square_T: Array


def month_moments(sample: Sample, *, constant: bool) -> Moments:
    """Return the moments of a sample's months; the constant is the last instrument."""
    spans = list(months_of(sample.month_N))
    instruments = sample.x_NP.shape[1] + constant
    gram_TII, cross_TI = np.empty((len(spans), instruments, instruments)), np.empty((len(spans), instruments))
    square_T, count_T = np.empty(len(spans)), np.empty(len(spans), dtype=np.int64)
    for position, (_, rows) in enumerate(spans):
        known_N = np.isfinite(sample.y_N[rows])
        z_nI = instruments_of(sample.x_NP[rows][known_N], constant=constant)
        y_n = sample.y_N[rows][known_N].astype(np.float64)
        gram_TII[position], cross_TI[position] = z_nI.T @ z_nI, y_n @ z_nI
        square_T[position], count_T[position] = y_n @ y_n, len(y_n)
    return Moments(np.array([month for month, _ in spans], dtype=np.int64), count_T, gram_TII, cross_TI, square_T)


def instruments_of(x_NP: npt.NDArray[np.float32], *, constant: bool) -> Array:
    """Return characteristics, and after them the constant, in double precision (N, I)."""
    z_NI = np.ones((len(x_NP), x_NP.shape[1] + constant))
    z_NI[:, : x_NP.shape[1]] = x_NP
    return z_NI


def linear(coefficients: npt.NDArray[np.floating[Any]], *, constant: bool) -> OfRows:
    """Return the function that multiplies a month's instruments with coefficients (I, K) or (I,)."""
    weights = np.asarray(coefficients, dtype=np.float64)
    return lambda history, rows: instruments_of(history.x_HP[rows], constant=constant) @ weights


def projection(of_rows: OfRows, history: History) -> Array:
    """Return the coefficients (K, P) of a pooled regression of loadings on characteristics and a constant.

    Rows without loadings are left out. The coefficients describe loadings that are not linear.
    """
    width = history.x_HP.shape[1] + 1
    gram_II, cross = np.zeros((width, width)), []
    for _, rows in months_of(history.month_H):
        beta_NK = np.asarray(of_rows(history, rows), dtype=np.float64)
        known_N = np.isfinite(beta_NK).all(axis=1)
        z_nI = instruments_of(history.x_HP[rows][known_N], constant=True)
        gram_II += z_nI.T @ z_nI
        cross.append(z_nI.T @ beta_NK[known_N])
    return np.asarray(np.linalg.lstsq(gram_II, np.sum(cross, axis=0), rcond=None)[0][:-1].T)

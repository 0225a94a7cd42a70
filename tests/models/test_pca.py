"""PCA and RP-PCA: eigenvectors of assets' moments, planted loadings in an unbalanced panel, and assets not known."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from factor_ray.data.sample import History, Sample
from factor_ray.errors import InputError
from factor_ray.models.pca import PCA, PCASettings, components, pivot

# Axes: N firm-months, A assets, P characteristics, K factors, T months.

T, A, P, K = 80, 60, 3, 2
RNG = np.random.default_rng(0)
LOADINGS_AK = RNG.standard_normal((A, K))
FACTORS_TK = [0.03, 0.02] + RNG.standard_normal((T, K)) * [0.1, 0.05]


def market(first: int, last: int, *, missing: float = 0.2, noise: float = 0.02) -> Sample:
    """Months of the planted market with the history from month 0 on, targets known throughout."""
    rng = np.random.default_rng(1)
    y_TA = (FACTORS_TK @ LOADINGS_AK.T + noise * rng.standard_normal((T, A))).astype(np.float32)
    there_TA = rng.random((T, A)) >= missing
    month_H, row_H = np.nonzero(there_TA[:last])
    x_HP = np.column_stack([LOADINGS_AK[row_H], rng.standard_normal(len(row_H))]).astype(np.float32)
    states, zeros = np.zeros((T, 0), np.float32), np.zeros(len(row_H), np.float32)
    history = History(x_HP, month_H.astype(np.int32), 1000 + 7 * row_H, zeros, y_TA[month_H, row_H], states)
    own = slice(int(np.searchsorted(month_H, first)), None)
    return Sample(x_HP[own], history.month_H[own], states, history.y_H[own], zeros[own][:, None][:, :0], history)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    first, second = (np.linalg.qr(columns)[0] for columns in (first, second))
    return float(np.linalg.norm(first - second @ (second.T @ first), 2))


@pytest.mark.parametrize("gamma", [-1.0, 0.0, 10.0])
def test_in_a_balanced_panel_loadings_span_the_assets_eigenvectors(gamma):
    y_TA = 0.05 * np.random.default_rng(2).standard_normal((30, 12)) + FACTORS_TK[:30] @ LOADINGS_AK[:12].T
    mean_A = y_TA.mean(axis=0)
    moment_AA = y_TA.T @ y_TA / 30 + gamma * np.outer(mean_A, mean_A)
    expected = np.linalg.eigh(moment_AA)[1][:, -3:]
    assert distance(components(y_TA, 3, gamma, 24), expected) < 1e-8


def test_a_weak_factor_with_a_high_mean_is_found_by_gamma_alone():
    rng = np.random.default_rng(3)
    loadings_AK = rng.standard_normal((A, 2))
    factors_TK = [0.0, 0.02] + rng.standard_normal((200, 2)) * [0.1, 0.01]
    y_TA = factors_TK @ loadings_AK.T + 0.15 * rng.standard_normal((200, A))
    found = {gamma: distance(components(y_TA, 2, gamma, 24), loadings_AK) for gamma in (-1.0, 20.0)}
    assert found[20.0] < 0.5 < found[-1.0]


@pytest.mark.parametrize("gamma", [-1.0, 10.0])
def test_planted_loadings_are_found_where_returns_are_missing(gamma):
    train, validation = market(0, 60), market(60, 80)
    point = PCASettings(factors=K, gamma=gamma)
    (found,) = PCA.fit_pack([point], [0], train, validation, order_seed=0)
    assert distance(found.weights["loadings"], LOADINGS_AK) < 0.15  # two months share 38 of 60 assets
    np.testing.assert_allclose(found.weights["loadings"].T @ found.weights["loadings"], np.eye(K), atol=1e-9)
    assert found.scores["total_r2"] > 0.95
    assert found.scores["selection"] > 1 - found.scores["total_r2"]
    implied_TA = found.weights["factors"] @ found.weights["loadings"].T
    error_TA = implied_TA - FACTORS_TK[:60] @ LOADINGS_AK.T
    assert np.sqrt(np.mean(np.square(error_TA))) < 0.015  # returns have 0.11, their noise 0.02
    described = PCA.fitted(point, found.weights).describe()
    assert described.loadings.shape == (K, P)
    np.testing.assert_allclose(LOADINGS_AK @ described.loadings[:, :K].T, found.weights["loadings"], atol=0.05)


def test_the_pivot_is_a_slow_loops():
    train = market(0, 30)
    months, assets, y_TA = pivot(train)
    assert np.isnan(y_TA).sum() == y_TA.size - np.isfinite(train.y_N).sum()
    for row in range(0, len(train), 37):
        at = np.flatnonzero(months == train.month_N[row])[0], np.flatnonzero(assets == train.history.asset_H[row])[0]
        assert y_TA[at] == train.y_N[row]


def test_assets_that_training_hardly_knew_are_not_forecast():
    train, validation = market(0, 60), market(60, 80)
    strangers = (train.history.asset_H == 1000) & (train.month_N > 10)
    y_N = np.where(strangers, np.float32(np.nan), train.y_N)
    changed = dataclasses.replace(train, y_N=y_N, history=dataclasses.replace(train.history, y_H=y_N))
    point = PCASettings(factors=K)
    (found,) = PCA.fit_pack([point], [0], changed, validation, order_seed=0)
    month = market(79, 80, missing=0.0)
    unknown = np.full(len(month), np.nan, np.float32)
    y_H = np.concatenate([month.history.y_H[: -len(month)], unknown])
    month = dataclasses.replace(month, y_N=unknown, history=dataclasses.replace(month.history, y_H=y_H))
    forecast = PCA.fitted(point, found.weights).forecast(month).returns
    np.testing.assert_array_equal(np.isnan(forecast), np.arange(A) == 0)
    expected = LOADINGS_AK @ FACTORS_TK[:79].mean(axis=0)
    np.testing.assert_allclose(forecast[1:], expected[1:], atol=0.02)


def test_companions_change_no_bit():
    train, validation = market(0, 60), market(60, 80)
    points = [PCASettings(factors=K, gamma=gamma) for gamma in (-1.0, 5.0)]
    together = PCA.fit_pack(points, [0, 1], train, validation, order_seed=0)
    (alone,) = PCA.fit_pack(points[1:], [9], train, validation, order_seed=3)
    for name, weights in alone.weights.items():
        np.testing.assert_array_equal(together[1].weights[name], weights)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(InputError, match="least_months"):
        PCA.fit_pack([PCASettings()], [0], market(0, 20), market(20, 30), order_seed=0)


def test_torch_is_not_loaded():
    code = "import sys, factor_ray.models.pca as m; m.PCASettings(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

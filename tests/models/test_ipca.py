"""IPCA: planted factors, the `ipca` package, pseudo-observations for the ridge, and what it refuses."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys

import numpy as np
import pytest
from interpreted_ipca import InstrumentedPCA

from factor_ray.data.sample import History, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Available
from factor_ray.models.instruments import month_moments
from factor_ray.models.ipca import IPCA, IPCASettings, alternating_least_squares

# Axes: N firm-months, P characteristics, K factors, T months.

T, P, K = 50, 7, 2


def market(
    seed: int, *, noise: float, missing: float = 0.1, alpha: float = 0.0
) -> tuple[Sample, np.ndarray, np.ndarray]:
    """An unbalanced panel with planted loadings and intercept."""
    rng = np.random.default_rng(seed)
    month_N = np.repeat(np.arange(T), rng.integers(20, 80, T)).astype(np.int32)
    rows = len(month_N)
    x_NP = rng.uniform(-1, 1, (rows, P)).astype(np.float32)
    basis = np.linalg.qr(rng.standard_normal((P, K + 1)))[0]
    gamma_PK, alpha_P = basis[:, :K], alpha * basis[:, K]
    factors_TK = 0.05 + rng.standard_normal((T, K)) * [0.3, 0.2]
    y_N = np.einsum("nk,nk->n", x_NP @ gamma_PK, factors_TK[month_N]) + x_NP @ alpha_P
    y_N = (y_N + noise * rng.standard_normal(rows)).astype(np.float32)
    y_N[rng.random(rows) < missing] = np.nan
    nothing, states = np.zeros((rows, 0), np.float32), np.zeros((T, 0), np.float32)
    asset_N = np.concatenate([rng.permutation(99)[:count] for count in np.bincount(month_N)])
    history = History(x_NP, month_N, asset_N, np.zeros(rows, np.float32), y_N, states)
    return Sample(x_NP, month_N, states, y_N, nothing, history), gamma_PK, alpha_P


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """Sine of the largest angle between the spans of the columns."""
    first, second = (np.linalg.qr(columns)[0] for columns in (first, second))
    return float(np.linalg.norm(first - second @ (second.T @ first), 2))


def fit(sample: Sample, validation: Sample | None = None, **settings):
    point = IPCASettings(**{"factors": K, "constant": False, "tolerance": 1e-9, **settings})
    (found,) = IPCA.fit_pack([point], [0], sample, validation or sample, order_seed=0)
    return point, found


@pytest.mark.parametrize("constant", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.02])
def test_planted_loadings_and_intercept_are_found(constant, alpha):
    sample, gamma_PK, alpha_P = market(0, noise=0.0, alpha=alpha)
    _, found = fit(sample, intercept=alpha > 0, constant=constant)
    assert distance(found.weights["gamma"][:P], gamma_PK) < 1e-5
    assert found.scores["total_r2"] == pytest.approx(1, abs=1e-9)
    if alpha:
        np.testing.assert_allclose(found.weights["alpha"][:P], alpha_P, atol=1e-6)


@pytest.mark.parametrize("intercept", [False, True])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_agrees_with_the_ipca_package(seed, intercept):
    sample, _, _ = market(seed, noise=0.3, alpha=0.02)
    _, found = fit(sample, intercept=intercept)
    known = np.isfinite(sample.y_N)
    x_NP, y_N, month_N = sample.x_NP[known].astype(float), sample.y_N[known].astype(float), sample.month_N[known]
    oracle = InstrumentedPCA(n_factors=K, intercept=intercept, max_iter=10_000, iter_tol=1e-10)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        indices = np.column_stack([sample.history.asset_H[known], month_N])
        oracle = oracle.fit(X=x_NP, y=y_N, indices=indices, data_type="panel", quiet=True)
    gamma_PJ, factors_KT = oracle.get_factors(label_ind=False)
    assert distance(found.weights["gamma"], gamma_PJ[:, :K]) < 1e-6
    if intercept:
        np.testing.assert_allclose(found.weights["alpha"], gamma_PJ[:, K], atol=1e-6)
    factors_TJ = np.column_stack([factors_KT[:K].T, np.ones(T)])[:, : gamma_PJ.shape[1]]
    residual_N = y_N - np.einsum("nj,nj->n", x_NP @ gamma_PJ, factors_TJ[month_N])
    total_r2 = 1 - np.square(residual_N).sum() / np.square(y_N).sum()
    assert found.scores["total_r2"] == pytest.approx(total_r2, abs=1e-6)


def test_the_ridge_is_that_of_pseudo_observations():
    sample, _, _ = market(4, noise=0.3, missing=0.0)
    ridge, parts = 0.3, []
    for month in range(T):
        own = sample.x_NP[sample.month_N == month].astype(np.float64)
        parts.append(np.vstack([own, np.sqrt(ridge * np.square(own).sum() / P) * np.eye(P)]))
    month_N = np.repeat(np.arange(T), [len(part) for part in parts]).astype(np.int32)
    y_N = np.concatenate(
        [np.concatenate([sample.y_N[sample.month_N == month], np.zeros(P, np.float32)]) for month in range(T)]
    )
    widened = Sample(np.vstack(parts).astype(np.float32), month_N, sample.z_Td, y_N, np.zeros((len(y_N), 0)))
    settings = IPCASettings(factors=K, constant=False, tolerance=1e-10)
    expected, factors_TK, _ = alternating_least_squares(month_moments(widened, constant=False), settings)
    gamma_PK, found_TK, _ = alternating_least_squares(
        month_moments(sample, constant=False), settings.model_copy(update={"ridge": ridge})
    )
    assert distance(gamma_PK, expected) < 1e-6
    np.testing.assert_allclose(found_TK @ gamma_PK.T, factors_TK @ expected.T, atol=1e-6)
    assert distance(gamma_PK, fit(sample)[1].weights["gamma"]) > 1e-3


def test_iterations_never_raise_the_loss_which_is_that_of_the_residuals():
    sample, _, _ = market(5, noise=0.5, alpha=0.05)
    _, found = fit(sample, factors=3, intercept=True)
    losses = np.array(found.history["train_loss"])
    assert (np.diff(losses) <= 1e-12).all()
    assert len(losses) == found.scores["iterations"]
    known = np.isfinite(sample.y_N)
    coefficient_TP = found.weights["factors"] @ found.weights["gamma"].T + found.weights["alpha"]
    residual_N = sample.y_N - np.einsum("np,np->n", sample.x_NP, coefficient_TP[sample.month_N])
    assert losses[-1] == pytest.approx(np.mean(np.square(residual_N[known])), rel=1e-6)


def test_factors_are_identified():
    _, found = fit(market(6, noise=0.3, alpha=0.05)[0], intercept=True)
    gamma_PK, factors_TK = found.weights["gamma"], found.weights["factors"]
    np.testing.assert_allclose(gamma_PK.T @ gamma_PK, np.eye(K), atol=1e-10)
    np.testing.assert_allclose(gamma_PK.T @ found.weights["alpha"], 0, atol=1e-10)
    covariance = np.cov(factors_TK.T)
    assert covariance[0, 1] == pytest.approx(0, abs=1e-10)
    assert covariance[0, 0] > covariance[1, 1]
    assert (factors_TK.mean(axis=0) > 0).all()


def test_the_score_and_the_forecast_are_those_of_slow_loops():
    train, _, _ = market(7, noise=0.3, alpha=0.05)
    validation, _, _ = market(8, noise=0.3)
    point, found = fit(train, validation, intercept=True, constant=True)
    z_NI = np.column_stack([validation.x_NP, np.ones(len(validation))])
    errors, left_out, squares = 0.0, 0.0, 0.0
    for month in range(T):
        rows = (validation.month_N == month) & np.isfinite(validation.y_N)
        left_n = validation.y_N[rows] - z_NI[rows] @ found.weights["alpha"]
        own_nK = z_NI[rows] @ found.weights["gamma"]
        errors += np.square(left_n - own_nK @ np.linalg.lstsq(own_nK, left_n, rcond=None)[0]).sum()
        squares += np.square(validation.y_N[rows]).sum()
        for asset in range(len(left_n)):
            others = np.arange(len(left_n)) != asset
            factors_K = np.linalg.lstsq(own_nK[others], left_n[others], rcond=None)[0]
            left_out += (left_n[asset] - own_nK[asset] @ factors_K) ** 2
    assert found.scores["total_r2"] == pytest.approx(1 - errors / squares, abs=1e-6)
    assert found.scores["selection"] == pytest.approx(left_out / squares, rel=1e-5)

    rows = train.month_N == T - 1
    unknown = np.where(train.month_N == T - 1, np.float32(np.nan), train.y_N)
    history = History(train.x_NP, train.month_N, train.history.asset_H, train.history.r_H, unknown, train.z_Td)
    month = Sample(train.x_NP[rows], train.month_N[rows], train.z_Td, unknown[rows], np.zeros((rows.sum(), 0)), history)
    fitted = IPCA.fitted(point, found.weights)
    own_NI = np.column_stack([month.x_NP, np.ones(rows.sum())])
    mean_K = found.weights["factors"].mean(axis=0)
    expected = own_NI @ (found.weights["gamma"] @ mean_K + found.weights["alpha"])
    np.testing.assert_allclose(fitted.forecast(month).returns, expected, rtol=1e-4, atol=1e-6)
    assert fitted.describe().loadings.shape == (K, P)


def test_companions_change_no_bit():
    train, validation = market(9, noise=0.3)[0], market(10, noise=0.3)[0]
    points = [IPCASettings(factors=K, ridge=ridge) for ridge in (0.0, 0.1, 0.0)]
    together = IPCA.fit_pack(points, [0, 1, 2], train, validation, order_seed=0)
    (alone,) = IPCA.fit_pack(points[1:2], [5], train, validation, order_seed=7)
    for name, weights in alone.weights.items():
        np.testing.assert_array_equal(together[1].weights[name], weights)
        np.testing.assert_array_equal(together[0].weights[name], together[2].weights[name])
    assert not np.array_equal(together[0].weights["gamma"], alone.weights["gamma"])


def test_months_with_few_targets_and_empty_instruments_are_harmless():
    sample, _, _ = market(11, noise=0.0)
    y_N, x_NP = sample.y_N.copy(), sample.x_NP.copy()
    first = np.flatnonzero(sample.month_N == 3)
    y_N[first[1:]] = np.nan
    y_N[first[0]] = 5.0
    x_NP[:, 2] = 0
    changed = Sample(x_NP, sample.month_N, sample.z_Td, y_N, sample.c_NC, sample.history)
    _, found = fit(changed, sample)
    assert np.isnan(found.weights["factors"][3]).all()
    assert np.isfinite(np.delete(found.weights["factors"], 3, axis=0)).all()
    np.testing.assert_array_equal(found.weights["gamma"][2], 0)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(InputError, match="factors 8"):
        IPCA.require(IPCASettings(factors=8), Available(P - 1, 0, 0, 12))
    IPCA.require(IPCASettings(factors=P), Available(P, 0, 0, 12))
    sample, _, _ = market(12, noise=0.1)
    empty = Sample(
        sample.x_NP, sample.month_N, sample.z_Td, np.full(len(sample), np.nan, np.float32), sample.c_NC, sample.history
    )
    with pytest.raises(InputError, match="training months"):
        fit(empty, sample)


def test_torch_is_not_loaded():
    code = "import sys, factor_ray.models.ipca as m; m.IPCASettings(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

"""The three-step estimator on planted truth, exactly without error and closely with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student

from factor_ray.errors import InputError
from factor_ray.models.quantile.hermite import (
    basis_size,
    degree_slices,
    hermite_basis,
    hermite_functions,
    index_coefficients,
)
from factor_ray.models.quantile.qcf import (
    QuantileFactors,
    _left_vectors,
    factors_from_coefficients,
    fit_quantile_factors,
    monthly_coefficients,
    total_quantiles,
    window_models,
)
from factor_ray.models.quantile.single_index import recover_index, recover_indices
from factor_ray.models.quantile.solver import quantile_regression

# Orthogonal indices and loadings without constants make beta_1'beta_2 = 0, as the identification asks.
THETAS = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]]) / np.sqrt([[3.0], [2.0]])
LOADINGS = np.array([[0.0, 1.0, 0.5], [0.0, 0.6, -0.2]])


def planted_factors(months, rng):
    """Two factors with F'F / T = I and positive means."""
    raw = np.column_stack([0.7 + rng.standard_normal(months), 0.5 + rng.standard_normal(months)])
    left, _, right = np.linalg.svd(raw, full_matrices=False)
    return np.sqrt(months) * left @ right


def planted_betas(order=3):
    betas = np.zeros((2, basis_size(3, order)))
    for beta, theta, b in zip(betas, THETAS, LOADINGS, strict=True):
        a = index_coefficients(theta, order)
        for j, place in enumerate(degree_slices(3, order)[: len(b)]):
            beta[place] = b[j] * a[place]
    return betas


def planted_months(tau, assets, months, seed=0, noise=0.5):
    """Months of uneven size whose tau-quantile is the planted model's, under Student-t errors; and those quantiles."""
    rng = np.random.default_rng(seed)
    factors = planted_factors(months, rng)
    panel, quantiles = [], []
    for f in factors:
        size = assets + int(rng.integers(-20, 20))
        x = rng.standard_normal((size, 3))
        h = hermite_functions(x @ THETAS.T, 3)
        quantiles.append(np.einsum("jnr,rj->nr", h, LOADINGS) @ f)
        panel.append((x, quantiles[-1] + noise * (student.rvs(4, size=size, random_state=rng) - student.ppf(tau, 4))))
    return panel, factors, quantiles


@pytest.mark.parametrize("rule", ["projection", "pure_powers"])
@pytest.mark.parametrize("order", [3, 4])
def test_exact_coefficients_give_back_the_truth(rule, order):
    factors = planted_factors(30, np.random.default_rng(0))
    found = factors_from_coefficients(factors @ planted_betas(order), 0.5, 2, 3, order, rule=rule)
    np.testing.assert_allclose(found.factors, factors, atol=1e-9)
    np.testing.assert_allclose(found.thetas, THETAS, atol=1e-7)
    np.testing.assert_allclose(found.loading_coefficients[:, :3], LOADINGS, atol=1e-7)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), characteristics=st.integers(2, 8), order=st.integers(2, 5))
def test_projection_gives_back_any_index_even_without_a_linear_part(seed, characteristics, order):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(characteristics)
    theta *= np.sign(theta[0]) / np.linalg.norm(theta)
    b = rng.uniform(0.3, 1.0, order) * rng.choice([-1.0, 1.0], order) * 0.01
    if order > 2:
        b[1] = 0.0
    a = index_coefficients(theta, order)
    beta = np.concatenate([b[j] * a[place] for j, place in enumerate(degree_slices(characteristics, order))])
    found_theta, found_b = recover_index(beta, characteristics, order)
    np.testing.assert_allclose(found_theta, theta, atol=1e-5)
    np.testing.assert_allclose(found_b, b, atol=1e-6)


def test_pure_powers_need_a_linear_part_and_the_projection_does_not():
    beta = planted_betas()[0]
    beta[1:4] = 1e-6 * np.array([0.0, 1.0, -1.0])
    assert abs(recover_index(beta, 3, 3)[0] @ THETAS[0]) > 0.999
    assert abs(recover_index(beta, 3, 3, "pure_powers")[0] @ THETAS[0]) < 0.1


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.95])
def test_planted_indices_are_found_at_any_level(tau):
    months, factors, quantiles = planted_months(tau, assets=400, months=100)
    found = fit_quantile_factors(months, tau, factors=2, order=3, ridge=1e-5)
    assert (np.sum(found.thetas * THETAS, axis=1) >= 0.99).all()
    for truth, estimate in zip(factors.T, found.factors.T, strict=True):
        assert np.corrcoef(truth, estimate)[0, 1] >= 0.97
    np.testing.assert_allclose(found.loading_coefficients, LOADINGS, atol=0.1)
    fitted = np.concatenate([found.in_sample(x, month) for month, (x, _) in enumerate(months)])
    assert np.corrcoef(fitted, np.concatenate(quantiles))[0, 1] >= 0.99


def test_order_sign_and_norm_of_the_factors_are_fixed():
    months, _, _ = planted_months(0.5, assets=80, months=20)
    found = fit_quantile_factors(months, 0.5, factors=4, order=3, ridge=1e-3)
    np.testing.assert_allclose(found.factors.T @ found.factors / 20, np.eye(4), atol=1e-10)
    products = found.betas @ found.betas.T
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-10)
    assert (np.diff(np.diag(products)) < 0).all()
    assert (found.factors.mean(axis=0) > 0).all()
    assert (found.thetas[:, 0] > 0).all()


def test_fewer_factors_are_the_first_ones():
    months, _, _ = planted_months(0.5, assets=80, months=20)
    three = fit_quantile_factors(months, 0.5, factors=3, order=3, ridge=1e-3)
    one = fit_quantile_factors(months, 0.5, factors=1, order=3, ridge=1e-3)
    for name in ("factors", "betas", "thetas", "loading_coefficients"):
        np.testing.assert_array_equal(getattr(three.keep(1), name), getattr(one, name))


def test_a_months_coefficients_do_not_depend_on_the_window():
    months, _, _ = planted_months(0.5, assets=60, months=6)
    whole = monthly_coefficients(months, 0.3, 3, 1e-3)
    np.testing.assert_array_equal(monthly_coefficients(months[2:4], 0.3, 3, 1e-3), whole[2:4])


def test_forecast_uses_mean_factors_and_the_total_fit_the_months_own_returns():
    months, _, quantiles = planted_months(0.5, assets=300, months=41)
    found = fit_quantile_factors(months[:40], 0.5, factors=2, order=3, ridge=1e-5)
    x, y = months[40]
    np.testing.assert_allclose(found.predictive(x), found.loadings(x) @ found.factors.mean(axis=0))
    total = found.total(x, y)
    assert np.corrcoef(total, quantiles[40])[0, 1] > 0.99
    assert np.mean(np.abs(y - total)) < np.mean(np.abs(y - found.predictive(x)))


def test_refuses_in_words():
    months, _, _ = planted_months(0.5, assets=60, months=5)
    found = fit_quantile_factors(months, 0.5, factors=2, order=2, ridge=1e-3)
    with pytest.raises(InputError, match="smaller of 5 months and 10 terms; got 6"):
        fit_quantile_factors(months, 0.5, factors=6, order=3, ridge=1e-3)
    with pytest.raises(InputError, match="at least one month"):
        fit_quantile_factors([], 0.5, factors=1, order=3, ridge=1e-3)
    with pytest.raises(InputError, match="same characteristics"):
        fit_quantile_factors([*months, (np.zeros((9, 2)), np.zeros(9))], 0.5, factors=1, order=3, ridge=1e-3)
    with pytest.raises(InputError, match="order 2 or more"):
        fit_quantile_factors(months, 0.5, factors=1, order=1, ridge=1e-3)
    with pytest.raises(InputError, match="needs at least as many rows as columns; got 9 rows and 10 columns"):
        fit_quantile_factors([(np.zeros((9, 3)), np.zeros(9))], 0.5, factors=1, order=3, ridge=0.0)
    with pytest.raises(InputError, match="between 1 and the 2 estimated"):
        found.keep(3)
    with pytest.raises(InputError, match="assets x 3"):
        found.loadings(np.zeros((4, 2)))
    with pytest.raises(InputError, match="months x 10 terms"):
        factors_from_coefficients(np.zeros((4, 9)), 0.5, 1, 3, 3)
    with pytest.raises(InputError, match="rule must be"):
        recover_index(planted_betas()[0], 3, 3, "best")
    with pytest.raises(InputError, match="10 finite numbers"):
        recover_index(np.full(10, np.nan), 3, 3)


@pytest.mark.parametrize("rule", ["projection", "pure_powers"])
def test_windows_of_a_sample_are_what_they_are_alone(rule):
    rng = np.random.default_rng(3)
    coefficients = planted_factors(30, rng) @ planted_betas() + 0.1 * rng.standard_normal((30, 10))
    windows = [(0, 12), (3, 15), (0, 30), (25, 30)]
    models = window_models(coefficients, windows, 0.3, 3, 3, 3, rule)
    for (first, stop), model in zip(windows, models, strict=True):
        alone = factors_from_coefficients(coefficients[first:stop], 0.3, 3, 3, 3, rule=rule)
        for name in ("factors", "betas", "thetas", "loading_coefficients"):
            np.testing.assert_array_equal(getattr(model, name), getattr(alone, name))
        left, singular, right = np.linalg.svd(coefficients[first:stop], full_matrices=False)
        np.testing.assert_allclose(model.factors @ model.betas, left[:, :3] * singular[:3] @ right[:3], atol=1e-12)
    assert window_models(coefficients, [], 0.3, 3, 3, 3) == []
    with pytest.raises(InputError, match="within the 30 months; got one from 25 to before 31"):
        window_models(coefficients, [(25, 31)], 0.3, 3, 3, 3)
    with pytest.raises(InputError, match="smaller of 2 months"):
        window_models(coefficients, [(0, 12), (3, 5)], 0.3, 3, 3, 3)


def test_totals_of_many_months_are_those_of_each():
    months, _, _ = planted_months(0.3, assets=60, months=12)
    coefficients = monthly_coefficients(months, 0.3, 3, 1e-3)
    models = window_models(coefficients, [(0, 8), (1, 9), (2, 10)], 0.3, 2, 3, 3)
    for total, model, (x, y) in zip(total_quantiles(models, months[9:]), models, months[9:], strict=True):
        np.testing.assert_array_equal(total, model.total(x, y))
        slow = quantile_regression(model.loadings(x), y, 0.3, unpenalised=())
        assert np.mean(np.abs(y - total) + 0.4 * (total - y)) / 2 == pytest.approx(slow.objective, rel=1e-9)
    with pytest.raises(InputError, match="got 2 months and 3 models"):
        total_quantiles(models, months[10:])
    with pytest.raises(InputError, match=r"\[\(0.3, 1\), \(0.3, 2\)\]"):
        total_quantiles([models[0].keep(1), models[1]], months[10:])


def test_what_the_index_explains_is_the_nearest_part_of_the_betas_and_all_of_them_without_noise():
    rng = np.random.default_rng(0)
    betas = rng.standard_normal((2, 10))
    thetas, b = recover_indices(betas, 3, 3)
    model = QuantileFactors(0.5, rng.standard_normal((5, 2)), betas, thetas, b)
    part = model.of_index()
    np.testing.assert_allclose(np.sum(part * (betas - part), axis=1), 0.0, atol=1e-12)
    x_ND = rng.standard_normal((50, 3))
    np.testing.assert_allclose(hermite_basis(x_ND, 3) @ part.T, model.loadings(x_ND), atol=1e-12)
    exact = replace(model, betas=part)
    np.testing.assert_allclose(recover_indices(part, 3, 3)[0], thetas, atol=1e-9)
    np.testing.assert_allclose(exact.of_index(), part)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(6, 20), (20, 6), (9, 9), (23, 120)]),
    weakest=st.sampled_from([0.0, 1e-9, 2e-3, 0.3]),
)
def test_factors_are_those_of_the_decomposition_however_weak_and_however_many(seed, shape, weakest):
    rng = np.random.default_rng(seed)
    size = min(shape)
    left, right = (np.linalg.qr(rng.standard_normal((side, size)))[0] for side in shape)
    singular = np.geomspace(1.0, max(weakest, 1e-3), size)
    singular[3:] *= weakest > 0.0
    singular[3:] = np.minimum(singular[3:], weakest)
    many = _left_vectors((left * singular @ right.T)[None], 5)[0]
    np.testing.assert_allclose(many.T @ many, np.eye(5), atol=1e-8)
    found = np.abs(np.sum(many[:, :3] * left[:, :3], axis=0))
    np.testing.assert_allclose(found, 1.0, rtol=1e-9)
    few = _left_vectors((left * singular @ right.T)[None], 2)[0]
    np.testing.assert_array_equal(few, many[:, :2])

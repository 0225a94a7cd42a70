"""Covariance of the index coefficients: its propagation against numerical derivatives, its size against simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import chi2
from scipy.stats import t as student

from factor_ray.errors import InputError
from factor_ray.models.quantile import (
    align,
    bootstrap_indices,
    factors_from_coefficients,
    fit_quantile_factors,
    index_inference,
    monthly_coefficients,
)
from factor_ray.models.quantile.description import describe
from factor_ray.models.quantile.hermite import (
    degree_slices,
    hermite_functions,
    index_coefficients,
    index_gradients,
)
from factor_ray.models.quantile.inference import _degree_rows, _index_jacobian, _propagation

THETAS = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0]]) / np.sqrt([[3.0], [2.0]])
LOADINGS = np.array([[0.0, 1.0, 0.5], [0.0, 0.6, -0.2]])


def orthonormal_factors(months, rng):
    left, _, right = np.linalg.svd(rng.normal([0.7, 0.5], 1.0, (months, 2)), full_matrices=False)
    return np.sqrt(months) * left @ right


def betas():
    return np.array(
        [
            np.concatenate([b[j] * index_coefficients(theta, 3)[place] for j, place in enumerate(degree_slices(3, 3))])
            for theta, b in zip(THETAS, LOADINGS, strict=True)
        ]
    )


def simulated_months(tau, assets, months, seed, strength=(1.0, 1.0)):
    """Two factors, Student-t errors whose tau-quantile is zero."""
    rng = np.random.default_rng(seed)
    panel = []
    for f in orthonormal_factors(months, rng):
        x = rng.standard_normal((assets, 3))
        quantile = np.einsum("jnr,rj->nr", hermite_functions(x @ THETAS.T, 3), LOADINGS) @ (f * strength)
        panel.append((x, quantile + 0.2 * (student.rvs(4, size=assets, random_state=rng) - student.ppf(tau, 4))))
    return panel


def z_scores(tau, assets, months, repetitions):
    """z-scores (repetitions, 2, 3), and Wald p-values of theta_2's last element, which is zero, and of the others."""
    scores, sizes, powers = [], [], []
    for seed in range(repetitions):
        panel = simulated_months(tau, assets, months, seed)
        fitted = fit_quantile_factors(panel, tau, 2, 3, 1e-6)
        result = index_inference(fitted, panel, 1e-6)
        scores.append((fitted.thetas - THETAS) / result.standard_errors)
        sizes.append(result.wald(1, [2]).p_value)
        powers.append(result.wald(1, [0, 1]).p_value)
    return np.array(scores), np.array(sizes), np.array(powers)


@pytest.mark.parametrize("order", [2, 4])
def test_gradients_of_the_expansion_are_its_derivatives(order):
    theta = np.array([0.6, -0.64, 0.48])
    tangent = np.array([0.8, 0.48, -0.36])
    step = 1e-6
    moved = [theta * np.cos(s) + tangent * np.sin(s) for s in (step, -step)]
    slope = (index_coefficients(moved[0], order) - index_coefficients(moved[1], order)) / (2 * step)
    np.testing.assert_allclose(index_gradients(theta, order) @ tangent, slope, atol=1e-8)


@pytest.mark.parametrize("rule", ["projection", "pure_powers"])
def test_errors_of_step_1_reach_the_index_as_the_formula_says(rule):
    rng = np.random.default_rng(3)
    factors = orthonormal_factors(12, rng)
    coefficients = factors @ betas()
    errors = rng.standard_normal(coefficients.shape)
    truth = factors_from_coefficients(coefficients, 0.5, 2, 3, 3, rule=rule)
    step = 1e-5
    up, down = (factors_from_coefficients(coefficients + s * errors, 0.5, 2, 3, 3, rule=rule) for s in (step, -step))

    def predicted(jacobians):
        moves = [_propagation(truth, jacobians, f) @ e for f, e in zip(truth.factors, errors, strict=True)]
        return np.reshape(np.mean(moves, 0), (2, 3))

    index_jacobians = np.array([_index_jacobian(truth, k, rule) for k in range(2)])
    np.testing.assert_allclose((up.thetas - down.thetas) / (2 * step), predicted(index_jacobians), atol=1e-4)
    if rule == "projection":
        loading_moves = (up.loading_coefficients - down.loading_coefficients) / (2 * step)
        degree_rows = np.array([_degree_rows(truth, k) for k in range(2)])
        np.testing.assert_allclose(loading_moves, predicted(degree_rows), atol=1e-4)


def test_standard_errors_are_the_right_size_and_tests_find_what_is_there():
    scores, sizes, powers = z_scores(0.5, assets=150, months=16, repetitions=8)
    assert 0.3 < np.sqrt(np.mean(scores**2)) < 1.2
    assert (sizes > 0.001).all()
    assert (powers < 1e-6).all()


@pytest.mark.parametrize(("tau", "assets"), [(0.5, 200), (0.95, 400)])
def test_bands_of_loading_functions_cover_what_they_say(tau, assets):
    w = np.linspace(-2.0, 2.0, 9)
    truth = LOADINGS @ hermite_functions(w, 3)
    scores = []
    for seed in range(12):
        panel = simulated_months(tau, assets, 24, 100 + seed)
        fitted = fit_quantile_factors(panel, tau, 2, 3, 1e-6)
        result = index_inference(fitted, panel, 1e-6)
        errors = np.array([result.loading_errors(k, w) for k in range(2)])
        scores.append((fitted.loading_coefficients @ hermite_functions(w, 3) - truth) / errors)
        bands = describe(fitted, np.arange(24), panel, 1e-6).curves
        assert all((np.diff(band[:, [2, 1, 3]], axis=1) > 0).all() for band in bands)
        np.testing.assert_allclose(
            bands[1][:, 3] - bands[1][:, 2], 2 * 1.959964 * result.loading_errors(1, bands[1][:, 0]), rtol=1e-6
        )
    assert 0.5 < np.sqrt(np.mean(np.square(scores))) < 1.3
    assert np.mean(np.abs(scores) < 1.96) > 0.88


def test_paper_rule_has_curves_without_a_band():
    panel = simulated_months(0.5, 100, 8, 0)
    fitted = fit_quantile_factors(panel, 0.5, 2, 3, 1e-6, rule="pure_powers")
    description = describe(fitted, np.arange(8), panel, 1e-6, rule="pure_powers")
    assert description.standard_errors is not None
    assert [curve.shape[1] for curve in description.curves] == [2, 2]


def test_wald_of_one_coefficient_is_its_squared_t_statistic_and_stars_follow():
    panel = simulated_months(0.5, 100, 10, 0)
    fitted = fit_quantile_factors(panel, 0.5, 2, 3, 1e-6)
    result = index_inference(fitted, panel, 1e-6)
    wald = result.wald(0, [1])
    assert wald.statistic == pytest.approx((result.thetas / result.standard_errors)[0, 1] ** 2)
    assert wald.p_value == pytest.approx(result.p_values[0, 1])
    assert wald.degrees == 1
    pair = result.wald(1, [0, 2])
    assert pair.p_value == chi2.sf(pair.statistic, 2)
    assert result.stars[0] == ["***"] * 3
    planned = replace(
        result, covariance=np.diag((result.thetas.ravel() / [1.0, 1.7, 2.0, 3.0, 1.0, 1.0]) ** 2).reshape(2, 3, 2, 3)
    )
    assert planned.stars == [["", "*", "**"], ["***", "", ""]]
    # theta has unit length, so that its error is orthogonal to it
    across = np.einsum("rdse,se->rds", result.covariance, result.thetas)
    assert np.abs(across).max() < 1e-12
    with pytest.raises(InputError, match="1 to 2 different characteristics"):
        result.wald(0, [0, 1, 2])
    with pytest.raises(InputError, match="factor must lie between 0 and 1"):
        result.wald(2, [0])
    with pytest.raises(InputError, match="1 to 2 different characteristics of a factor"):
        result.wald_of([])


def test_wald_of_several_factors_is_their_joint_chi_square_at_its_size():
    panel = simulated_months(0.5, 100, 10, 0)
    result = index_inference(fit_quantile_factors(panel, 0.5, 2, 3, 1e-6), panel, 1e-6)
    chosen = [(0, 2), (1, 0), (1, 2)]
    theta = np.array([result.thetas[k, d] for k, d in chosen])
    block = np.array([[result.covariance[k, d, s, e] for s, e in chosen] for k, d in chosen])
    assert result.wald_of(chosen).statistic == pytest.approx(theta @ np.linalg.inv(block) @ theta)
    assert result.wald_of(chosen).degrees == 3
    assert result.wald_of([(1, 2), (1, 0)]).statistic == pytest.approx(result.wald(1, [0, 2]).statistic)


def test_a_description_holds_the_bootstrap_joint_tests_and_how_far_factors_are_apart():
    panel = simulated_months(0.5, 100, 10, 0)
    coefficients = monthly_coefficients(panel, 0.5, 3, 1e-6)
    fitted = factors_from_coefficients(coefficients, 0.5, 2, 3, 3)
    result = index_inference(fitted, panel, 1e-6)
    found = describe(fitted, np.arange(10), panel, 1e-6, coefficients_TP=coefficients)
    np.testing.assert_array_equal(found.separation, result.separation)
    np.testing.assert_array_equal(found.bootstrap_errors, bootstrap_indices(coefficients, fitted, 100, 0).std(axis=0))
    np.testing.assert_array_equal(found.joint_p, [result.wald_of([(0, d), (1, d)]).p_value for d in range(3)])
    assert describe(fitted, np.arange(10), panel, 1e-6).bootstrap_errors is None


def test_bootstrap_over_months_agrees_where_one_factor_leaves_nothing_to_rotate():
    panel = simulated_months(0.5, 100, 30, 1, strength=(1.0, 0.0))
    coefficients = monthly_coefficients(panel, 0.5, 3, 1e-6)
    fitted = factors_from_coefficients(coefficients, 0.5, 1, 3, 3)
    draws = bootstrap_indices(coefficients, fitted, 40, seed=5)
    np.testing.assert_array_equal(draws, bootstrap_indices(coefficients, fitted, 40, seed=5))
    ratio = draws.std(axis=0) / index_inference(fitted, panel, 1e-6).standard_errors
    assert ((ratio > 0.3) & (ratio < 1.2)).all()
    with pytest.raises(InputError, match="at least 2 draws"):
        bootstrap_indices(coefficients, fitted, 1, seed=5)
    with pytest.raises(InputError, match="30 months x 10 terms"):
        bootstrap_indices(coefficients[1:], fitted, 5, seed=5)


def test_near_ties_warn():
    panel = simulated_months(0.5, 60, 6, 0)
    fitted = fit_quantile_factors(panel, 0.5, 4, 2, 1e-6)
    with pytest.warns(UserWarning, match="nearly the same strength"):
        index_inference(fitted, panel, 1e-6)


def test_alignment_undoes_any_order_and_signs():
    panel = simulated_months(0.5, 80, 10, 0)
    fitted = fit_quantile_factors(panel, 0.5, 2, 3, 1e-6)
    spoilt = replace(
        fitted,
        factors=fitted.factors[:, ::-1] * [-1.0, 1.0],
        betas=fitted.betas[::-1] * [[-1.0], [1.0]],
        thetas=fitted.thetas[::-1] * [[1.0], [-1.0]],
        loading_coefficients=fitted.loading_coefficients[::-1] * [[-1.0], [1.0]] * [[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]],
    )
    found = align(spoilt, fitted)
    for name in ("factors", "betas", "thetas", "loading_coefficients"):
        np.testing.assert_allclose(getattr(found, name), getattr(fitted, name))
    np.testing.assert_allclose(found.in_sample(panel[3][0], 3), spoilt.in_sample(panel[3][0], 3))
    with pytest.raises(InputError, match="Only models of one size"):
        align(fitted, fitted.keep(1))


def test_refuses_in_words():
    panel = simulated_months(0.5, 40, 5, 0)
    fitted = fit_quantile_factors(panel, 0.5, 1, 3, 1e-6)
    with pytest.raises(InputError, match="5 months of estimation; got 4"):
        index_inference(fitted, panel[:4], 1e-6)
    with pytest.raises(InputError, match="bandwidth must be"):
        index_inference(fitted, panel, 1e-6, bandwidth=0.0)
    with pytest.raises(InputError, match="too few for 10 terms"):
        index_inference(fitted, panel, 0.0, bandwidth=0.05)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_coverage_table():
    """Print what the z-scores' spread, the coverage of 95% intervals and the size of a 5% Wald test are."""
    print("\n  tau    N   T   sd of z (factor 1, factor 2)   coverage   size")
    for tau in (0.05, 0.5, 0.95):
        for assets, months in ((200, 36), (800, 36)):
            scores, sizes, _ = z_scores(tau, assets, months, repetitions=50)
            spread = scores.std(axis=(0, 2))
            size = np.mean(sizes < 0.05)
            covered = np.mean(np.abs(scores) < 1.96)
            print(f"{tau:5} {assets:4} {months:3}   {spread[0]:8.2f} {spread[1]:8.2f} {covered:20.3f} {size:9.3f}")
            assert spread.min() > 0.4
            assert spread.max() < 1.2
            assert covered > 0.92

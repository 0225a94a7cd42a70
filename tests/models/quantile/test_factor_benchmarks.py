"""Benchmarks of the quantile factor model on planted truth: latent factors without characteristics, observed ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from factor_ray.errors import InputError
from factor_ray.models.quantile import (
    fit_latent_factors,
    number_of_factors,
    observed_factor_loadings,
    quantile_regression,
    rolling_observed,
)


def location_scale(tau, months=30, assets=35, seed=0, noise=0.3):
    """``y = L f + s_i g_t e``, so that its quantile has three factors (two at the median); returns it with y."""
    rng = np.random.default_rng(seed)
    location = rng.normal(0.5, 1.0, (months, 2)) @ rng.normal(0.2, 1.0, (2, assets))
    scale = np.outer(0.5 + np.abs(rng.standard_normal(months)), 0.5 + rng.random(assets)) * noise
    return location + scale * rng.standard_normal((months, assets)), location + scale * norm.ppf(tau)


@pytest.mark.parametrize(("tau", "factors"), [(0.5, 2), (0.1, 3)])
def test_latent_factors_find_planted_quantiles(tau, factors):
    y, quantiles = location_scale(tau)
    model = fit_latent_factors(y, tau, factors, starts=2)
    fitted = model.in_sample()
    assert np.corrcoef(fitted.ravel(), quantiles.ravel())[0, 1] > 0.97
    error = y - fitted
    assert model.loss == pytest.approx(np.mean(np.where(error < 0, (tau - 1) * error, tau * error)))
    assert model.loss < np.mean(np.where(y < quantiles, (tau - 1) * (y - quantiles), tau * (y - quantiles)))
    np.testing.assert_allclose(model.factors.T @ model.factors / 30, np.eye(factors), atol=1e-10)
    products = model.loadings.T @ model.loadings / 35
    np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-10)
    assert (np.diff(np.diag(products)) < 0).all()
    assert (model.factors.mean(axis=0) >= 0).all()


def test_without_noise_the_fit_is_exact_and_missing_returns_are_filled():
    y, _ = location_scale(0.5, months=15, assets=15, noise=0.0)
    holes = np.random.default_rng(1).random(y.shape) < 0.1
    model = fit_latent_factors(np.where(holes, np.nan, y), 0.3, 2, starts=1, tolerance=1e-4)
    assert np.abs(model.in_sample() - y).max() < 0.05
    assert model.loss < 1e-3


def test_more_starts_never_end_higher_and_repeat_themselves():
    y, _ = location_scale(0.1, months=12, assets=12)
    one, three = (fit_latent_factors(y, 0.1, 2, starts=starts) for starts in (1, 3))
    assert three.loss <= one.loss
    np.testing.assert_array_equal(three.factors, fit_latent_factors(y, 0.1, 2, starts=3).factors)


def test_a_later_months_factors_are_fitted_or_expected():
    y, quantiles = location_scale(0.5, months=31)
    model = fit_latent_factors(y[:30], 0.5, 2, starts=1)
    last = y[30].copy()
    last[3] = np.nan
    assert np.corrcoef(model.total(last), quantiles[30])[0, 1] > 0.95
    np.testing.assert_allclose(model.predictive(), model.in_sample().mean(axis=0))


def test_rank_minimisation_counts_the_factors():
    rng = np.random.default_rng(0)
    factors, loadings = (np.sqrt(30) * np.linalg.qr(rng.standard_normal((30, 2)))[0] for _ in range(2))
    y = factors @ np.diag([1.0, 0.7]) @ loadings.T + 0.2 * rng.standard_normal((30, 30))
    assert number_of_factors(y, 0.5, most=4) == 2


def test_observed_factors_are_regressed_on_asset_by_asset():
    rng = np.random.default_rng(2)
    factors, loadings = rng.standard_normal((200, 3)), rng.standard_normal((4, 3))
    y = 0.1 + factors @ loadings.T + 0.1 * rng.standard_normal((200, 4))
    y[:190, 3] = np.nan
    y[5:9, 1] = np.nan
    found = observed_factor_loadings(y, factors, 0.9, least=24, intercept=True)
    np.testing.assert_allclose(found[:3, 1:], loadings[:3], atol=0.05)
    np.testing.assert_allclose(found[:3, 0], 0.1 + 0.1 * norm.ppf(0.9), atol=0.04)
    assert np.isnan(found[3]).all()
    there = ~np.isnan(y[:, 1])
    alone = quantile_regression(factors[there], y[there, 1], 0.9, unpenalised=()).coefficients
    np.testing.assert_allclose(observed_factor_loadings(y, factors, 0.9, least=24)[1], alone, rtol=1e-12)


@pytest.mark.parametrize("intercept", [False, True])
def test_rolling_windows_end_the_month_before(intercept):
    rng = np.random.default_rng(4)
    factors, y = rng.standard_normal((14, 2)), rng.standard_normal((14, 3))
    found = rolling_observed(y, factors, 0.5, window=10, least=8, intercept=intercept)
    assert found.months.tolist() == [10, 11, 12, 13]
    loadings = observed_factor_loadings(y[2:12], factors[2:12], 0.5, least=8, intercept=intercept)
    regressors = np.column_stack([np.ones(14), factors]) if intercept else factors
    np.testing.assert_allclose(found.total[2], loadings @ regressors[12])
    np.testing.assert_allclose(found.predictive[2], loadings @ regressors[2:12].mean(axis=0))
    later = y + 100.0 * (np.arange(14) >= 12)[:, None]
    again = rolling_observed(later, factors, 0.5, window=10, least=8, intercept=intercept)
    np.testing.assert_array_equal(again.total[2], found.total[2])


def test_refuses_in_words():
    y = np.random.default_rng(0).standard_normal((6, 5))
    with pytest.raises(InputError, match="the fewest are 5"):
        fit_latent_factors(y, 0.5, 6)
    with pytest.raises(InputError, match="1 infinite values"):
        fit_latent_factors(np.where(y == y.max(), np.inf, y), 0.5, 1)
    with pytest.raises(InputError, match="starts must be at least 1"):
        fit_latent_factors(y, 0.5, 1, starts=0)
    with pytest.raises(InputError, match="one return for each of 5 assets"):
        fit_latent_factors(y, 0.5, 1, starts=1).total(y[0, :3])
    with pytest.raises(InputError, match="same months x factors"):
        rolling_observed(y, np.ones((5, 1)), 0.5)
    with pytest.raises(InputError, match="1 values are not"):
        observed_factor_loadings(y, [[1.0], [np.nan], [1.0], [1.0], [1.0], [1.0]], 0.5, least=2)
    with pytest.raises(InputError, match="no fewer than the 2 coefficients"):
        observed_factor_loadings(y, np.ones((6, 2)), 0.5, least=1)
    with pytest.raises(InputError, match="between least = 24 and 5"):
        rolling_observed(y, np.ones((6, 1)), 0.5)

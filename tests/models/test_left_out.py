"""Total fits without an asset's own return: the plain way of computing them, and the number of factors they tell."""

from __future__ import annotations

import numpy as np
import pytest

from factor_ray.models.latent import left_out_residuals, realised_factors


@pytest.mark.parametrize("factors", [1, 4])
def test_it_is_the_regression_repeated_without_each_asset(factors):
    rng = np.random.default_rng(0)
    loadings_NK, y_N = rng.normal(size=(30, factors)), rng.normal(size=30)
    y_N[[3, 7]] = np.nan
    found = left_out_residuals(loadings_NK, y_N)
    for asset in range(30):
        others = np.arange(30) != asset
        slow = y_N[asset] - loadings_NK[asset] @ realised_factors(loadings_NK[others], y_N[others], ridge=0.0)
        assert found[asset] == pytest.approx(slow, nan_ok=True)


def test_too_few_assets_leave_nothing_and_no_loadings_leave_the_returns():
    assert np.isnan(left_out_residuals(np.eye(3), np.ones(3))).all()
    np.testing.assert_array_equal(left_out_residuals(np.zeros((5, 2)), np.arange(5.0)), np.arange(5.0))


def test_needless_factors_raise_the_plain_total_r2_and_lower_this_one():
    rng = np.random.default_rng(1)
    plain, left_out = np.zeros(8), np.zeros(8)
    for _ in range(200):
        loadings_NK = rng.normal(size=(100, 8))
        y_N = loadings_NK[:, :3] @ rng.normal(0, 0.05, 3) + rng.normal(0, 0.1, 100)
        for k in range(8):
            used_NK = loadings_NK[:, : k + 1]
            plain[k] += np.sum((y_N - used_NK @ realised_factors(used_NK, y_N)) ** 2)
            left_out[k] += np.sum(left_out_residuals(used_NK, y_N) ** 2)
    assert (np.diff(plain) < 0).all()
    assert int(left_out.argmin()) == 2

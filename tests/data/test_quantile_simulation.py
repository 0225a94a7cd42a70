"""The design with many weak characteristics (Setting 1 of the QCF paper's Section 4)."""

from __future__ import annotations

import numpy as np
import pytest

from factor_ray.data.quantile_simulation import MANY_WEAK_THETAS, THETAS, simulate_quantiles


def test_most_characteristics_are_weak_and_the_indices_orthonormal():
    np.testing.assert_allclose(MANY_WEAK_THETAS @ MANY_WEAK_THETAS.T, np.eye(2), atol=1e-15)
    strong, weak = np.abs(MANY_WEAK_THETAS[0, :3]), np.abs(MANY_WEAK_THETAS[0, 3:])
    assert len(weak) == 7
    np.testing.assert_allclose(weak, 0.1 * strong[0])
    # Without the weak ones the indices are those of Setting 2, but for their length.
    left = MANY_WEAK_THETAS[:, :3] / np.linalg.norm(MANY_WEAK_THETAS[:, :3], axis=1, keepdims=True)
    np.testing.assert_allclose(left, THETAS)


@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_its_quantiles_are_true_and_follow_its_indices(tau):
    sample = simulate_quantiles(2_000, 10, seed=2, thetas=MANY_WEAK_THETAS)
    assert sample.x.shape == (10, 2_000, 10)
    assert np.mean(sample.y <= sample.quantiles(tau)) == pytest.approx(tau, abs=0.01)
    index = sample.x @ MANY_WEAK_THETAS.T
    location = sample.location / index[:, :, 0]
    np.testing.assert_allclose(location, np.broadcast_to(location[:, :1], location.shape))
    scale = sample.scale / (1.0 + index[:, :, 1] ** 2)
    np.testing.assert_allclose(scale, np.broadcast_to(scale[:, :1], scale.shape))

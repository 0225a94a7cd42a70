"""Indices of many factors at once, against ascents by BFGS, one factor and one start at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from factor_ray.models.quantile.hermite import basis_size, degree_slices, index_coefficients, index_gradients
from factor_ray.models.quantile.single_index import recover_index, recover_indices

SIZES = [(14, 3, 30), (3, 3, 60), (5, 4, 25), (7, 5, 4), (2, 4, 40)]


def drawn_betas(characteristics, order, count, noise):
    """Planted indices under noise that drowns them at 10 and leaves them at .1."""
    rng = np.random.default_rng(characteristics * order)
    betas = noise * rng.standard_normal((count, basis_size(characteristics, order)))
    for beta in betas:
        theta = rng.standard_normal(characteristics)
        a = index_coefficients(theta / np.linalg.norm(theta), order)
        for place in degree_slices(characteristics, order):
            beta[place] += rng.standard_normal() * a[place]
    return betas


def loss_and_slope(direction, beta, order):
    """``-sum over j of q_j(theta)^2`` with theta the direction brought to unit length."""
    length = np.linalg.norm(direction)
    theta = direction / length
    a, change = index_coefficients(theta, order), index_gradients(theta, order)
    value, slope = 0.0, np.zeros_like(theta)
    for place in degree_slices(len(theta), order)[1:]:
        q = a[place] @ beta[place]
        value += q**2
        slope += 2.0 * q * (beta[place] @ change[place])
    return -value, -(slope - (theta @ slope) * theta) / length


def slowly(beta, characteristics, order):
    """The least loss of BFGS from the linear part, and from the quadratic part's eigenvectors of both ends."""
    linear, quadratic = degree_slices(characteristics, order)[1:3]
    matrix = np.zeros((characteristics, characteristics))
    matrix[np.triu_indices(characteristics)] = beta[quadratic]
    vectors = np.linalg.eigh(matrix + matrix.T)[1]
    starts = [beta[linear], vectors[:, 0], vectors[:, -1]]
    ends = [minimize(loss_and_slope, s, (beta, order), jac=True, method="BFGS", options={"gtol": 1e-9}) for s in starts]
    return min(end.fun for end in ends)


@pytest.mark.parametrize("noise", [0.1, 10.0])
@pytest.mark.parametrize(("characteristics", "order", "count"), SIZES)
def test_no_ascent_of_the_slow_kind_ends_higher(characteristics, order, count, noise):
    betas = drawn_betas(characteristics, order, count, noise)
    betas /= np.linalg.norm(betas[:, 1:], axis=1)[:, None]
    thetas, b = recover_indices(betas, characteristics, order)
    for beta, theta, b_j in zip(betas, thetas, b, strict=True):
        value, slope = loss_and_slope(theta, beta, order)
        assert value <= slowly(beta, characteristics, order) * (1.0 - 1e-10)
        assert np.linalg.norm(slope) < 1e-9
        assert np.sum(b_j[1:] ** 2) == pytest.approx(-value, rel=1e-12)
        assert theta[0] > 0


@pytest.mark.parametrize("rule", ["projection", "pure_powers"])
@pytest.mark.parametrize(("characteristics", "order"), [(14, 3), (8, 4), (3, 5), (4, 2)])
def test_a_factor_does_not_depend_on_its_companions_to_the_last_bit(characteristics, order, rule):
    betas = drawn_betas(characteristics, order, 50, 1.0)
    thetas, b = recover_indices(betas, characteristics, order, rule)
    for part in (slice(7, 8), slice(20, 23), slice(1, 50)):
        some_thetas, some_b = recover_indices(betas[part], characteristics, order, rule)
        np.testing.assert_array_equal(some_thetas, thetas[part])
        np.testing.assert_array_equal(some_b, b[part])
    theta, b_j = recover_index(betas[-1], characteristics, order, rule)
    np.testing.assert_array_equal(theta, thetas[-1])
    np.testing.assert_array_equal(b_j, b[-1])


def test_flat_objectives_and_vanishing_factors_have_some_index():
    betas = np.zeros((3, basis_size(3, 3)))
    betas[1, [4, 7, 9]] = 1.0  # the same for every theta
    betas[2, 0] = 5.0
    thetas, b = recover_indices(betas, 3, 3)
    np.testing.assert_allclose(np.linalg.norm(thetas, axis=1), 1.0)
    np.testing.assert_allclose(b, [[0, 0, 0], [0, 0, 1], [5, 0, 0]], atol=1e-12)


def test_one_characteristic_is_its_own_index():
    thetas, b = recover_indices([[1.0, -2.0, 0.5]], 1, 3)
    np.testing.assert_allclose(thetas, [[1.0]])
    np.testing.assert_allclose(b, [[1.0, -2.0, 0.5]])

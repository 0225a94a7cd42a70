"""Indices at order 3: against BFGS from many starts, the ascents of any order, and the circle point by point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import minimize

from factor_ray.models.quantile.hermite import basis_size
from factor_ray.models.quantile.index_ascent import nearest_indices
from factor_ray.models.quantile.quadratic_index import nearest_quadratic_indices

SPECIAL = [0.0, 1.0, -1.0, 0.5, 2.0, 3.0**0.5, 1e-7, 1e-16, -1e-40, 1e8]


def normal(rng, width):
    return rng.standard_normal(width), rng.standard_normal(width)


def heavy_tailed(rng, width):
    return rng.standard_cauchy(width), rng.standard_cauchy(width)


def unlike(rng, width):
    """Linear and quadratic parts of unlike sizes."""
    return 10.0 ** rng.uniform(-12, 12) * rng.standard_normal(width), rng.standard_normal(width)


def planted(rng, width):
    """One direction, up to noise."""
    first = np.eye(width)[0]
    noise = 10.0 ** rng.uniform(-10, 0)
    return rng.normal() * first + noise * rng.normal(size=width), rng.normal() * first + noise * rng.normal(size=width)


def hard(rng, width):
    """Linear parts that are orthogonal to the eigenvectors of both ends, or nearly so."""
    levels, alphas = np.sort(rng.standard_normal(width)), rng.standard_normal(width)
    alphas[[0, -1]] *= rng.choice([0.0, 1.0]) * 10.0 ** rng.uniform(-20, -1, 2)
    return alphas, levels


def repeated(rng, width):
    return rng.standard_normal(width) * (rng.random(width) < 0.5), np.round(rng.standard_normal(width))


def close(rng, width):
    """Eigenvalues that differ by little, of one sign or of both."""
    levels = 1.0 + 10.0 ** rng.uniform(-14, -1) * rng.standard_normal(width)
    return 10.0 ** rng.uniform(-4, 1, width) * rng.standard_normal(width), levels * rng.choice([-1.0, 1.0], width)


def balanced(rng, width):
    """Linear and quadratic parts of nearly one size, with maxima of nearly one height."""
    alphas, levels = rng.standard_normal(width), rng.standard_normal(width)
    return alphas / np.linalg.norm(alphas), rng.normal(1.0, 0.1) * levels / np.abs(levels).max()


def drawn_betas(kind, width, count):
    """Betas (K, P) with a's elements and B's eigenvalues of a kind, in random eigenvectors."""
    rng = np.random.default_rng(width)
    betas = np.zeros((count, basis_size(width, 3)))
    upper, twice = np.triu_indices(width), np.sqrt(2.0 - np.eye(width))
    for beta in betas:
        alphas, levels = kind(rng, width)
        vectors = np.linalg.qr(rng.standard_normal((width, width)))[0]
        beta[1 : 1 + width] = vectors @ alphas
        beta[1 + width :] = (twice * (vectors @ np.diag(levels) @ vectors.T))[upper]
    betas[~betas.any(axis=1), 1] = 1.0
    return betas


def parts_of(betas, width):
    """Linear parts a (K, D) and symmetric B (K, D, D), brought to unit length."""
    unit = betas[:, 1:] / np.linalg.norm(betas[:, 1:], axis=1)[:, None]
    B = np.zeros((len(betas), width, width))
    upper = np.triu_indices(width)
    B[:, *upper] = unit[:, width:] / np.sqrt(2.0 - np.eye(width))[upper]
    return unit[:, :width], B + np.triu(B, 1).swapaxes(1, 2)


def values_and_slopes(betas, thetas):
    """F of each beta at its theta, and the length of the gradient of f / 2 along the sphere."""
    a, B = parts_of(betas, thetas.shape[1])
    Bx = np.einsum("kdc,kc->kd", B, thetas)
    p, q = np.sum(a * thetas, axis=1), np.sum(Bx * thetas, axis=1)
    slopes = p[:, None] * a + 2.0 * q[:, None] * Bx
    slopes -= np.sum(slopes * thetas, axis=1)[:, None] * thetas
    return p**2 + q**2, np.linalg.norm(slopes, axis=1)


def slowly(a, B, starts, rng):
    """The highest f of BFGS from random starts."""

    def loss_and_slope(direction):
        length = np.linalg.norm(direction)
        x = direction / length
        p, q = a @ x, x @ B @ x
        slope = 2.0 * p * a + 4.0 * q * (B @ x)
        return -(p**2) - q**2, -(slope - (slope @ x) * x) / length

    return -min(
        minimize(loss_and_slope, rng.standard_normal(len(a)), jac=True, method="BFGS", options={"gtol": 1e-9}).fun
        for _ in range(starts)
    )


@pytest.mark.parametrize("width", [1, 2, 3, 6, 14])
@pytest.mark.parametrize("kind", [normal, heavy_tailed, unlike, planted, hard, repeated, close, balanced])
def test_no_ascent_ends_higher_and_every_end_is_flat(kind, width):
    betas = drawn_betas(kind, width, 100)
    thetas = nearest_quadratic_indices(betas, width)
    values, slopes = values_and_slopes(betas, thetas)
    np.testing.assert_allclose(np.linalg.norm(thetas, axis=1), 1.0, rtol=1e-14)
    assert slopes.max() < 2e-14
    assert (values >= values_and_slopes(betas, nearest_indices(betas, width, 3))[0] * (1.0 - 1e-13)).all()


@pytest.mark.parametrize("kind", [normal, hard, balanced])
@pytest.mark.parametrize(("width", "count", "starts"), [(2, 8, 6), (5, 8, 12), (14, 4, 40)])
def test_no_random_start_of_a_general_optimiser_ends_higher(kind, width, count, starts):
    betas = drawn_betas(kind, width, count)
    values, _ = values_and_slopes(betas, nearest_quadratic_indices(betas, width))
    rng = np.random.default_rng(0)
    best = np.array([slowly(a, B, starts, rng) for a, B in zip(*parts_of(betas, width), strict=True)])
    assert (values >= best * (1.0 - 1e-12)).all()
    assert np.mean(values <= best * (1.0 + 1e-8)) > 0.9  # the optimiser does find most of them


@settings(deadline=None)
@given(hnp.arrays(np.float64, 6, elements=st.sampled_from(SPECIAL) | st.floats(-2.0, 2.0)))
def test_no_point_of_the_circle_is_higher(beta):
    if not np.abs(beta[1:]).max() > 1e-100:
        beta[1] = 1.0
    angles = np.linspace(0.0, np.pi, 20_000)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    values, slopes = values_and_slopes(beta[None], nearest_quadratic_indices(beta[None], 2))
    assert slopes[0] < 2e-14
    assert values[0] >= values_and_slopes(np.tile(beta, (len(circle), 1)), circle)[0].max() * (1.0 - 1e-13)


@settings(deadline=None)
@given(st.data(), st.integers(1, 5))
def test_special_coefficients_have_a_flat_maximum_no_lower_than_any_ascent_s(data, width):
    elements = st.sampled_from(SPECIAL)
    beta = data.draw(hnp.arrays(np.float64, (1, basis_size(width, 3)), elements=elements))
    if not np.abs(beta[0, 1:]).max() > 1e-100:
        beta[0, 1] = 1.0
    values, slopes = values_and_slopes(beta, nearest_quadratic_indices(beta, width))
    assert slopes[0] < 2e-14
    assert values[0] >= values_and_slopes(beta, nearest_indices(beta, width, 3))[0][0] * (1.0 - 1e-13)


@pytest.mark.parametrize("alpha", [0.0, 1e-300, 1e-20, 1e-16, 1e-12, 1e-6])
@pytest.mark.parametrize(("size", "ahead"), [(0.99, 0), (1.01, 1)])
def test_a_hard_case_has_its_maximum_at_an_axis(alpha, size, ahead):
    # f = (size sin)^2 + cos^4, up to alpha: convex in cos^2.
    theta = nearest_quadratic_indices(np.array([[0.0, alpha, size, 1.0, 0.0, 0.0]]), 2)[0]
    np.testing.assert_allclose(np.abs(theta), np.eye(2)[ahead], atol=300.0 * alpha + 1e-14)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_maximum_that_is_flat_to_the_fourth_order_is_found(sign):
    # At the angle delta from a, where q = 0, f = 2 / 3 (1 - sin(delta)^4).
    beta = np.array([[0.0, 2.0, 2.0, sign * np.sqrt(2.0), 0.0, -sign * np.sqrt(2.0)]])
    values, slopes = values_and_slopes(beta, nearest_quadratic_indices(beta, 2))
    assert values[0] == pytest.approx(2.0 / 3.0, rel=1e-15)
    assert slopes[0] < 2e-14

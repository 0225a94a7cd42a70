"""The Hermite sieve against numpy's polynomials, Gauss-Hermite quadrature and its own expansion identity."""

from __future__ import annotations

from itertools import product
from math import comb, factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial import hermite_e

from factor_ray.errors import InputError
from factor_ray.models.quantile.hermite import (
    basis_size,
    degree_slices,
    exponents,
    hermite_basis,
    hermite_functions,
    index_coefficients,
    term_names,
)


def test_functions_are_numpys_polynomials_over_root_factorial():
    w = np.linspace(-4, 4, 41)
    for degree, values in enumerate(hermite_functions(w, 9)):
        expected = hermite_e.hermeval(w, [0] * degree + [1]) / np.sqrt(factorial(degree))
        np.testing.assert_allclose(values, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("characteristics", "order"), [(1, 6), (2, 5), (3, 4)])
def test_basis_is_orthonormal_under_the_normal(characteristics, order):
    nodes, weights = hermite_e.hermegauss(order)
    grid = np.array(list(product(nodes, repeat=characteristics)))
    weight = np.array([np.prod(w) for w in product(weights / weights.sum(), repeat=characteristics)])
    phi = hermite_basis(grid, order)
    np.testing.assert_allclose(phi.T @ (weight[:, None] * phi), np.eye(phi.shape[1]), atol=1e-10)


@pytest.mark.parametrize(("characteristics", "order", "size"), [(14, 2, 15), (14, 3, 120), (14, 4, 680), (1, 1, 1)])
def test_size_is_the_specs(characteristics, order, size):
    assert basis_size(characteristics, order) == size == comb(order - 1 + characteristics, characteristics)
    assert hermite_basis(np.zeros((2, characteristics)), order).shape == (2, size)
    assert exponents(characteristics, order).shape == (size, characteristics)


def test_every_term_is_the_product_of_its_univariate_polynomials():
    x = np.random.default_rng(0).standard_normal((7, 4))
    phi = hermite_basis(x, 5)
    for column, p in zip(phi.T, exponents(4, 5), strict=True):
        expected = np.ones(len(x))
        for value, power in zip(x.T, p, strict=True):
            expected *= hermite_e.hermeval(value, [0] * power + [1]) / np.sqrt(factorial(power))
        np.testing.assert_allclose(column, expected, rtol=1e-12, atol=1e-13)


def test_exponents_cover_every_degree_once_in_order():
    p = exponents(5, 4)
    assert len({tuple(row) for row in p.tolist()}) == len(p)
    for degree, place in enumerate(degree_slices(5, 4)):
        assert (p[place].sum(axis=1) == degree).all()
    np.testing.assert_array_equal(p[degree_slices(5, 4)[1]], np.eye(5))


@given(seed=st.integers(0, 10_000), characteristics=st.integers(1, 6), order=st.integers(1, 5))
def test_index_polynomials_expand_in_the_basis(seed, characteristics, order):
    rng = np.random.default_rng(seed)
    theta = rng.standard_normal(characteristics)
    theta /= np.linalg.norm(theta)
    x = rng.standard_normal((20, characteristics))
    phi, a = hermite_basis(x, order), index_coefficients(theta, order)
    for h, place in zip(hermite_functions(x @ theta, order), degree_slices(characteristics, order), strict=True):
        np.testing.assert_allclose(phi[:, place] @ a[place], h, atol=1e-10, rtol=1e-10)
        assert np.sum(a[place] ** 2) == pytest.approx(1.0, abs=1e-12)


def test_names_say_what_a_term_is():
    assert term_names(["duration", "spread"], 3) == [
        "1",
        "duration",
        "spread",
        "h2(duration)",
        "duration x spread",
        "h2(spread)",
    ]


def test_missing_characteristics_give_missing_terms_only_where_they_enter():
    phi = hermite_basis([[np.nan, 1.0]], 2)
    np.testing.assert_array_equal(np.isnan(phi), [[False, True, False]])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hermite_basis(np.zeros(3), 2), "two axes"),
        (lambda: hermite_basis(np.zeros((3, 0)), 2), "at least one characteristic"),
        (lambda: hermite_basis(np.zeros((3, 2)), 0), "order of a Hermite sieve"),
        (lambda: index_coefficients([1.0, 1.0], 3), "unit length"),
        (lambda: index_coefficients([np.nan, 1.0], 3), "unit length"),
        (lambda: basis_size(0, 3), "at least one characteristic"),
    ],
)
def test_refuses_in_words(call, message):
    with pytest.raises(InputError, match=message):
        call()

"""Small quantile regressions that begin near known fits: the same bits, whatever these are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.errors import InputError
from factor_ray.models.quantile import ragged_quantile_regressions, small_quantile_regressions
from factor_ray.models.quantile.small_near import vertices_near


def drawn(rng, count, rows, columns, kind):
    X = rng.standard_normal((count, rows, columns))
    y = X @ rng.standard_normal(columns) + rng.standard_t(3, (count, rows))
    if kind == "ties":
        return np.round(X, 1), np.round(y, 1)
    if kind == "interpolated":
        return X, np.where(rng.random(y.shape) < 0.1, X @ rng.standard_normal(columns), y)
    return X, y


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    tau=st.floats(0.02, 0.98),
    rows=st.integers(20, 700),
    columns=st.integers(1, 5),
    kind=st.sampled_from(["plain", "ties", "interpolated"]),
    error=st.sampled_from([0.0, 0.03, 0.5, 1e6]),
    shared=st.booleans(),
)
def test_a_known_fit_changes_no_bit_however_good_or_bad_it_is(seed, tau, rows, columns, kind, error, shared):
    rng = np.random.default_rng(seed)
    X, y = drawn(rng, 6, rows, columns, kind)
    X = X[0] if shared else X
    mask = rng.random(y.shape) < 0.9
    mask[:, : columns + 1] = True
    fits = small_quantile_regressions(X, y, tau, mask)
    near = y - np.einsum("...nr,kr->kn" if shared else "knr,kr->kn", X, fits.coefficients)
    near = near + error * rng.standard_normal((6, 1))
    again = small_quantile_regressions(X, y, tau, mask, np.where(mask, near, np.nan))
    np.testing.assert_array_equal(again.coefficients, fits.coefficients)
    np.testing.assert_array_equal(again.objective, fits.objective)
    np.testing.assert_array_equal(again.gap, fits.gap)


def test_good_fits_lead_to_all_optima_and_bad_ones_to_none():
    rng = np.random.default_rng(0)
    X, y = drawn(rng, 30, 900, 3, "plain")
    Xt, real = np.ascontiguousarray(X.transpose(0, 2, 1)), np.ones(y.shape, dtype=bool)
    fits = small_quantile_regressions(X, y, 0.1)
    near = y - np.einsum("knr,kr->kn", X, fits.coefficients)
    for moved, found in ((0.02, 30), (0.1, 30), (3.0, 0)):
        vertices = vertices_near(Xt, y, real, 0.1, near + moved)
        assert np.isfinite(vertices.objective_K).sum() == found
    few = vertices_near(Xt[:, :, :100], y[:, :100], real[:, :100], 0.1, near[:, :100])
    assert np.isnan(few.objective_K).all()  # too few rows to leave some out


def test_an_optimum_that_is_not_alone_is_left_to_the_usual_way():
    """Where a whole edge is optimal the way decides which end of it is found."""
    rng = np.random.default_rng(0)
    y = np.sort(rng.standard_normal((5, 400)), axis=1)  # an even number of rows: any number between two is a median
    Xt, real = np.ones((5, 1, 400)), np.ones(y.shape, dtype=bool)
    near = y - y[:, 199:200]
    assert np.isnan(vertices_near(Xt, y, real, 0.5, near).objective_K).all()
    assert np.isfinite(vertices_near(Xt[:, :, 1:], y[:, 1:], real[:, 1:], 0.5, near[:, 1:]).objective_K).all()


def test_problems_of_unlike_sizes_take_their_own_residuals():
    rng = np.random.default_rng(0)
    problems = [drawn(rng, 1, rows, 2, "plain") for rows in (300, 900, 30, 901)]
    problems = [(X[0], y[0]) for X, y in problems]
    fits = ragged_quantile_regressions(problems, 0.3)
    near = [y - X @ c for (X, y), c in zip(problems, fits.coefficients, strict=True)]
    again = ragged_quantile_regressions(problems, 0.3, near)
    np.testing.assert_array_equal(again.coefficients, fits.coefficients)
    with pytest.raises(InputError, match="near must hold residuals of every problem's rows"):
        ragged_quantile_regressions(problems, 0.3, near[::-1])
    with pytest.raises(InputError, match="near must hold residuals in the shape of y"):
        small_quantile_regressions(problems[0][0], problems[0][1][None], 0.3, near=near[0][None, :-1])
    with pytest.raises(InputError, match="near must be finite residuals; those of problem 2 are not"):
        ragged_quantile_regressions(problems, 0.3, [*near[:2], np.full(30, np.nan), near[3]])

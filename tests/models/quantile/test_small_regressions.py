"""Small quantile regressions in a batch against HiGHS, the general solver, and themselves alone."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from factor_ray.errors import InputError
from factor_ray.models.quantile import quantile_regression, ragged_quantile_regressions, small_quantile_regressions

KINDS = ("normal", "cauchy", "rounded", "duplicates", "scaled")


def drawn(kind, count, rows, columns, seed=0):
    """Designs (K, N, R) and responses (K, N)."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((count, rows, columns))
    y = X @ rng.standard_normal(columns) + rng.standard_normal((count, rows))
    if kind == "cauchy":
        return X, y + rng.standard_cauchy(y.shape)
    if kind == "rounded":
        return np.round(X), np.round(y)
    if kind == "duplicates":
        X[:, rows // 2 :], y[:, rows // 2 :] = X[:, : rows - rows // 2], y[:, : rows - rows // 2]
    if kind == "scaled":
        return X * 10.0 ** np.arange(-3, columns - 3), 1e-4 * y
    return X, y


def highs(X, y, tau):
    """The least loss; X and y are brought to unit size, as HiGHS's tolerances are absolute."""
    rows, columns = X.shape
    size = np.abs(y).max()
    X, y = X / np.abs(X).max(axis=0), y / size
    equations = np.hstack([X, -X, np.eye(rows), -np.eye(rows)])
    costs = np.concatenate([np.zeros(2 * columns), np.full(rows, tau), np.full(rows, 1.0 - tau)])
    return linprog(costs, A_eq=equations, b_eq=y, method="highs").fun / rows * size


def loss(X, y, c, tau):
    error = y - X @ c
    return np.mean(np.maximum(tau * error, (tau - 1.0) * error))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "columns"), [(36, 3), (60, 1), (9, 5), (200, 8)])
def test_every_problem_of_a_batch_reaches_the_least_loss_and_proves_it(kind, rows, columns):
    # Rounded numbers often have many optima and no vertex of their own: the general solver's tolerance holds.
    closely = 1e-8 if kind == "rounded" else 1e-9
    for tau in (0.05, 0.5, 0.8):
        X, y = drawn(kind, 12, rows, columns)
        mask = np.random.default_rng(1).random(y.shape) < 0.8
        mask[:, : columns + 1] = True
        fits = small_quantile_regressions(X, np.where(mask, y, np.nan), tau, mask)
        for k in range(12):
            X_k, y_k = X[k, mask[k]], y[k, mask[k]]
            least = highs(X_k, y_k, tau)
            tiny = 1e-11 * np.abs(y_k).mean()
            assert loss(X_k, y_k, fits.coefficients[k], tau) == pytest.approx(least, rel=closely, abs=tiny)
            assert fits.objective[k] == pytest.approx(least, rel=closely, abs=tiny)
            assert 0.0 <= fits.gap[k] <= 1e-8 * least + tiny


def test_months_of_a_thousand_assets_agree_with_the_general_solver():
    X, y = drawn("cauchy", 6, 1000, 4)
    for tau in (0.05, 0.5):
        fits = small_quantile_regressions(X, y, tau)
        for k in range(6):
            slow = quantile_regression(X[k], y[k], tau, unpenalised=(), tolerance=1e-12)
            assert fits.objective[k] == pytest.approx(slow.objective, rel=1e-12)
            np.testing.assert_allclose(fits.coefficients[k], slow.coefficients, rtol=1e-8)


@pytest.mark.parametrize("kind", ["cauchy", "rounded"])
@pytest.mark.parametrize("shared", [True, False])
def test_a_problem_does_not_depend_on_its_companions_to_the_last_bit(kind, shared):
    X, y = drawn(kind, 50, 70, 4)
    X = X[0] if shared else X
    mask = np.random.default_rng(1).random(y.shape) < np.linspace(0.3, 1.1, 50)[:, None]
    whole = small_quantile_regressions(X, y, 0.3, mask)
    for part in (slice(7, 8), slice(30, 33), slice(49, 50), slice(1, 50)):
        some = small_quantile_regressions(X if shared else X[part], y[part], 0.3, mask[part])
        np.testing.assert_array_equal(some.coefficients, whole.coefficients[part])
        np.testing.assert_array_equal(some.objective, whole.objective[part])
    k = 20
    X_k, y_k = (X if shared else X[k])[mask[k]], y[k, mask[k]]
    np.testing.assert_array_equal(
        small_quantile_regressions(X_k, y_k[None], 0.3).coefficients[0], whole.coefficients[k]
    )


def test_more_interpolated_rows_than_columns_are_solved_in_the_batch(monkeypatch):
    """As in the months of a factor model that converges, whose assets' regressions went through them."""
    monkeypatch.delattr("factor_ray.models.quantile.small.quantile_regression")
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 200, 3))
    c = rng.standard_normal((40, 3))
    y = np.einsum("knr,kr->kn", X, c) + np.where(rng.random((40, 200)) < 0.5, 0.0, rng.standard_normal((40, 200)))
    fits = small_quantile_regressions(X, y, 0.5)
    exact = np.abs(fits.coefficients - c).max(axis=1) < 1e-12
    assert exact.sum() > 20
    for k in range(0, 40, 5):
        assert fits.objective[k] == pytest.approx(highs(X[k], y[k], 0.5), rel=1e-9)


def test_what_has_no_single_optimum_goes_to_the_general_solver():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((5, 30, 3))
    X[1, :, 2] = X[1, :, 0] - X[1, :, 1]
    X[2, :, 1] = 0.0
    y = rng.standard_normal((5, 30))
    y[3] = 0.0
    y[4] = X[4] @ [1.0, 2.0, 3.0]
    fits = small_quantile_regressions(X, y, 0.25)
    for k in (1, 2):
        alone = quantile_regression(X[k], y[k], 0.25, unpenalised=())
        np.testing.assert_array_equal(fits.coefficients[k], alone.coefficients)
    np.testing.assert_array_equal(fits.coefficients[3], 0.0)
    np.testing.assert_allclose(fits.coefficients[4], [1.0, 2.0, 3.0])


def test_problems_of_unlike_sizes_are_fitted_as_alone():
    rng = np.random.default_rng(0)
    problems = [(rng.standard_normal((rows, 2)), rng.standard_normal(rows)) for rows in (2, 30, 31, 7, 100)]
    fits = ragged_quantile_regressions(problems, 0.3)
    for k, (X, y) in enumerate(problems):
        np.testing.assert_array_equal(fits.coefficients[k], small_quantile_regressions(X, y[None], 0.3).coefficients[0])


def test_refuses_in_words():
    X, y = drawn("normal", 3, 10, 2)
    with pytest.raises(InputError, match="problems x rows x columns"):
        small_quantile_regressions(X, y[0], 0.5)
    with pytest.raises(InputError, match="one matrix or as many as problems"):
        small_quantile_regressions(X[:2], y, 0.5)
    with pytest.raises(InputError, match="tau must lie"):
        small_quantile_regressions(X, y, 1.0)
    with pytest.raises(InputError, match="1 hold missing or infinite values, the first in problem 2"):
        small_quantile_regressions(X, np.where(y == y[2, 4], np.nan, y), 0.5)
    with pytest.raises(InputError, match="problem 1 has 1 rows and 2 columns"):
        small_quantile_regressions(X, y, 0.5, np.arange(10) < np.array([[9], [1], [9]]))
    with pytest.raises(InputError, match="at least one problem"):
        ragged_quantile_regressions([], 0.5)
    with pytest.raises(InputError, match="first in problem 1"):
        ragged_quantile_regressions([(X[0], y[0]), (X[1], np.full(10, np.nan)), (X[2], y[2])], 0.5)
    with pytest.raises(InputError, match="problem 1 do not fit together"):
        ragged_quantile_regressions([(X[0], y[0]), (X[1], y[1, :4])], 0.5)

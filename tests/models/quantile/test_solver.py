"""What a user of quantile_regression may rely on: known answers, equivariance, awkward designs, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.errors import InputError, WorkError
from factor_ray.models.quantile import hermite_basis, interior_point, quantile_regression, quantile_regressions

TAUS = (0.05, 0.25, 0.5, 0.75, 0.95)


def random_design(seed, rows, columns):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, columns))
    X[:, 0] = 1.0
    return X, X[:, : min(3, columns)].sum(axis=1) + rng.standard_t(3, rows)


# --- known answers


def test_engel_median_is_the_one_that_r_quantreg_prints():
    engel = sm.datasets.engel.load_pandas().data
    fit = quantile_regression(sm.add_constant(engel["income"]), engel["foodexp"], 0.5)
    np.testing.assert_allclose(fit.coefficients, [81.4822474, 0.5601806], rtol=1e-7)


@pytest.mark.filterwarnings("ignore:Convergence cycle")  # theirs, at a tolerance that it oscillates around
@pytest.mark.parametrize("tau", TAUS)
def test_engel_agrees_with_statsmodels(tau):
    engel = sm.datasets.engel.load_pandas().data
    X = sm.add_constant(engel["income"])
    theirs = sm.QuantReg(engel["foodexp"], X).fit(q=tau, max_iter=5000, p_tol=1e-9)
    ours = quantile_regression(X, engel["foodexp"], tau)
    np.testing.assert_allclose(ours.coefficients, theirs.params, rtol=1e-5)


@pytest.mark.parametrize("tau", TAUS)
def test_constant_alone_gives_a_sample_quantile(tau):
    y = np.random.default_rng(1).standard_cauchy(101)
    fit = quantile_regression(np.ones((101, 1)), y, tau)
    assert fit.coefficients[0] == pytest.approx(np.quantile(y, tau, method="inverted_cdf"), rel=1e-12)


def test_vanishing_penalised_coefficients_under_a_huge_ridge():
    X, y = random_design(2, 81, 6)
    fit = quantile_regression(X, y, 0.3, ridge=1e6)
    assert np.abs(fit.coefficients[1:]).max() < 1e-5
    assert fit.coefficients[0] == pytest.approx(np.quantile(y, 0.3, method="inverted_cdf"), abs=1e-3)


def test_duals_are_the_derivative_of_the_objective_and_meet_the_optimality_conditions():
    X, y = random_design(3, 60, 5)
    fit = quantile_regression(X, y, 0.7, ridge=0.02)
    np.testing.assert_allclose(X.T @ fit.duals / 60, [0.0, *(2 * 0.02 * fit.coefficients[1:])], atol=1e-12)
    residual = y - X @ fit.coefficients
    np.testing.assert_allclose(fit.duals[residual > 1e-9], 0.7)
    np.testing.assert_allclose(fit.duals[residual < -1e-9], -0.3)
    step = np.random.default_rng(4).standard_normal(60) * 1e-6
    change = quantile_regression(X, y + step, 0.7, ridge=0.02).objective - fit.objective
    assert change == pytest.approx(fit.duals @ step / 60, abs=1e-12)


def test_wide_design_with_a_ridge():
    X, y = random_design(5, 40, 120)
    fit = quantile_regression(X, y, 0.5, ridge=0.01)
    assert fit.gap <= 1e-8 * fit.objective
    np.testing.assert_allclose(X[:, 1:].T @ fit.duals / 40, 0.02 * fit.coefficients[1:], atol=1e-9)


# --- equivariance (Koenker and Bassett 1978, theorem 3.2), carried over to the ridge

problems = st.tuples(st.integers(0, 10_000), st.integers(8, 80), st.integers(1, 6), st.sampled_from(TAUS))
ridges = st.sampled_from([0.0, 1e-4, 0.1])


@settings(deadline=None, max_examples=40)
@given(problems, ridges, st.sampled_from([1e-6, 0.3, 7.0, 1e5]))
def test_scaling_y(problem, ridge, factor):
    seed, rows, columns, tau = problem
    X, y = random_design(seed, rows, columns)
    one = quantile_regression(X, y, tau, ridge)
    other = quantile_regression(X, factor * y, tau, ridge / factor)
    assert other.objective == pytest.approx(factor * one.objective, rel=2e-8)


def test_scaling_y_by_a_power_of_two_is_exact():
    X, y = random_design(6, 90, 7)
    for ridge in (0.0, 0.01):
        one = quantile_regression(X, y, 0.2, ridge)
        other = quantile_regression(X, y * 1024.0, 0.2, ridge / 1024.0)
        np.testing.assert_array_equal(other.coefficients, one.coefficients * 1024.0)


@settings(deadline=None, max_examples=40)
@given(problems)
def test_shifting_y_by_a_fit(problem):
    seed, rows, columns, tau = problem
    X, y = random_design(seed, rows, columns)
    shift = np.random.default_rng(seed + 1).standard_normal(columns)
    one, other = quantile_regression(X, y, tau), quantile_regression(X, y + X @ shift, tau)
    assert other.objective == pytest.approx(one.objective, rel=2e-8, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(problems, ridges)
def test_flipping_the_sign_of_y_flips_the_level(problem, ridge):
    seed, rows, columns, tau = problem
    X, y = random_design(seed, rows, columns)
    one, other = quantile_regression(X, y, tau, ridge), quantile_regression(X, -y, 1.0 - tau, ridge)
    assert other.objective == pytest.approx(one.objective, rel=2e-8, abs=1e-12)


@settings(deadline=None, max_examples=40)
@given(problems)
def test_objective_is_invariant_to_a_change_of_regressors(problem):
    seed, rows, columns, tau = problem
    X, y = random_design(seed, rows, columns)
    turn = np.random.default_rng(seed + 2).standard_normal((columns, columns)) + 3.0 * np.eye(columns)
    one, other = quantile_regression(X, y, tau), quantile_regression(X @ turn, y, tau)
    assert other.objective == pytest.approx(one.objective, rel=1e-7, abs=1e-11)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 12).flatmap(
        lambda rows: st.tuples(
            st.lists(st.lists(st.integers(-2, 2), min_size=2, max_size=2), min_size=rows, max_size=rows),
            st.lists(st.integers(-3, 3), min_size=rows, max_size=rows),
        )
    ),
    st.sampled_from(TAUS),
    st.sampled_from([1e-3, 0.5]),
)
def test_small_whole_numbers_with_all_their_ties(table, tau, ridge):
    columns, y = np.array(table[0], dtype=float), np.array(table[1], dtype=float)
    X = np.column_stack([np.ones(len(y)), columns])
    for weight in (0.0, ridge) if len(y) >= 3 else (ridge,):
        fit = quantile_regression(X, y, tau, weight)
        assert fit.gap <= 1e-8 * fit.objective + 1e-13


# --- many in one call


@pytest.mark.parametrize(("rows", "columns"), [(60, 4), (300, 70), (30, 50)])
def test_a_fit_is_the_same_bits_whatever_its_companions(rows, columns):
    months = [random_design(seed, rows + seed, columns) for seed in range(2)]
    weights = [0.0, 1e-3, 0.1] if rows >= columns else [1e-3, 0.1]
    together = quantile_regressions(months, TAUS, weights)
    assert [list(fits) for fits in together] == [[(tau, weight) for tau in TAUS for weight in weights]] * 2
    for (X, y), fits in zip(months, together, strict=True):
        for (tau, weight), fit in fits.items():
            alone = quantile_regression(X, y, tau, weight)
            np.testing.assert_array_equal(fit.coefficients, alone.coefficients)
            np.testing.assert_array_equal(fit.duals, alone.duals)
            assert (fit.objective, fit.gap, fit.iterations) == (alone.objective, alone.gap, alone.iterations)
            assert (fit.tau, fit.ridge) == (tau, weight)


# --- awkward designs


def test_dependent_columns_share_what_one_would_get():
    X, y = random_design(7, 100, 4)
    wide = np.column_stack([X, X[:, 2], np.full(100, 3.0), np.zeros(100)])
    for ridge in (0.0, 0.05):
        fit = quantile_regression(wide, y, 0.4, ridge)
        assert fit.gap <= 1e-8 * fit.objective
        assert fit.coefficients[2] == pytest.approx(fit.coefficients[4], rel=1e-6)
        np.testing.assert_allclose(fit.coefficients[5:], 0.0, atol=1e-8)
    assert quantile_regression(wide, y, 0.4).objective == pytest.approx(quantile_regression(X, y, 0.4).objective)


def test_two_constants_without_penalty():
    X, y = random_design(8, 50, 3)
    twice = np.column_stack([np.full(50, 2.0), X])
    fit = quantile_regression(twice, y, 0.4, 0.1, unpenalised=(0, 1))
    single = quantile_regression(X, y, 0.4, 0.1)
    assert fit.objective == pytest.approx(single.objective, rel=1e-9)
    assert fit.coefficients @ [2.0, 1.0, 0.0, 0.0] == pytest.approx(single.coefficients[0], rel=1e-6)


def test_nearly_dependent_columns():
    X, y = random_design(9, 200, 5)
    X[:, 4] = X[:, 3] + 1e-7 * X[:, 4]
    fit = quantile_regression(X, y, 0.5)
    assert fit.gap <= 1e-8 * fit.objective


@pytest.mark.parametrize("guessing", [True, False])
@pytest.mark.parametrize("seed", [0, 3, 7])
def test_heavy_tailed_collinear_terms_under_a_ridge_too_small_for_their_cross_products(seed, guessing, monkeypatch):
    if not guessing:
        monkeypatch.setattr(interior_point, "exact_solution", lambda *_: None)
    rng = np.random.default_rng(seed)
    x = (rng.standard_normal((300, 1)) + 0.5 * rng.standard_normal((300, 14))) ** 3
    X = hermite_basis((x - x.mean(axis=0)) / x.std(axis=0), 3)
    y = 0.08 * rng.standard_t(3, 300)
    fit = quantile_regression(X, y, 0.05, ridge=1e-5)
    assert fit.gap <= 1e-8 * fit.objective
    assert fit.iterations < 20
    np.testing.assert_allclose(X.T @ fit.duals / 300, [0.0, *(2e-5 * fit.coefficients[1:])], atol=1e-8)


def test_columns_of_very_different_sizes():
    X, y = random_design(10, 200, 5)
    sizes = 10.0 ** np.array([0, 6, -6, 3, -3])
    assert quantile_regression(X * sizes, y, 0.5).objective == pytest.approx(quantile_regression(X, y, 0.5).objective)


@pytest.mark.parametrize(("rows", "columns"), [(12, 12), (30, 4)])
def test_perfect_fit(rows, columns):
    X, _ = random_design(11, rows, columns)
    truth = np.arange(1.0, columns + 1)
    fit = quantile_regression(X, X @ truth, 0.3)
    np.testing.assert_allclose(fit.coefficients, truth, rtol=1e-9)
    assert fit.gap <= 1e-12


def test_y_of_zeros():
    X, _ = random_design(12, 20, 3)
    for ridge in (0.0, 1.0):
        np.testing.assert_array_equal(quantile_regression(X, np.zeros(20), 0.3, ridge).coefficients, np.zeros(3))


def test_without_a_constant_all_columns_can_be_penalised():
    X, y = random_design(13, 40, 3)
    fit = quantile_regression(X, y, 0.5, ridge=0.1, unpenalised=())
    np.testing.assert_allclose(X.T @ fit.duals / 40, 0.2 * fit.coefficients, atol=1e-9)


# --- refusals

X_GOOD, Y_GOOD = random_design(14, 20, 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tau": 0.0}, "tau must lie between 0 and 1.*got 0.0"),
        ({"tau": 1.0}, "tau must lie between"),
        ({"tau": np.nan}, "tau must lie between"),
        ({"ridge": -0.1}, "ridge must be zero or a positive number; got -0.1"),
        ({"ridge": np.inf}, "ridge must be"),
        ({"X": X_GOOD[:2], "y": Y_GOOD[:2]}, "2 rows and 3 columns: set ridge above 0"),
        ({"X": np.zeros((0, 3)), "y": []}, "at least one row"),
        ({"X": np.zeros((20, 0))}, "at least one row and one column"),
        ({"X": Y_GOOD}, "two axes"),
        ({"y": Y_GOOD[1:]}, "one value for each of the 20 rows"),
        ({"y": np.where(np.arange(20) == 3, np.nan, Y_GOOD)}, "y .* must be finite; got 1 missing"),
        ({"X": np.full((20, 3), np.inf)}, "X .* must be finite; got 60"),
        ({"X": [["a"] * 3] * 20}, "arrays of numbers"),
        ({"unpenalised": (3,)}, "columns of X, 0 to 2; got 3"),
        ({"tolerance": 0.0}, "tolerance must be a positive number"),
    ],
)
def test_refuses_in_words(changes, message):
    with pytest.raises(InputError, match=message):
        quantile_regression(**{"X": X_GOOD, "y": Y_GOOD, "tau": 0.5} | changes)


def test_says_which_problem_is_refused():
    with pytest.raises(InputError, match="quantile regression 1 must be finite"):
        quantile_regressions([(X_GOOD, Y_GOOD), (X_GOOD, Y_GOOD * np.nan)], [0.5])


def test_says_how_far_it_came_when_it_does_not_reach_the_tolerance(monkeypatch):
    monkeypatch.setattr(interior_point, "MAXIMUM_ITERATIONS", 2)
    with pytest.raises(WorkError, match=r"tau 0\.5 stopped at a relative duality gap of .* after 2 iterations"):
        quantile_regression(X_GOOD, Y_GOOD, 0.5)

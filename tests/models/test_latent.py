"""What latent-factor models share, against planted factors and slow loops."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from factor_ray.data.prepare import prepare
from factor_ray.data.sample import History, Sample, WindowView, asset_numbers, observed_factors_of
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns, own_excess_returns
from factor_ray.data.windows import Window
from factor_ray.errors import InputError
from factor_ray.models.latent import (
    LatentFitted,
    expected_factors,
    identification,
    months_of,
    realised_factors,
    realised_months,
    rotate_loadings,
    total_loss_ratio,
)
from factor_ray.models.registry import model

# Axes: N rows of a month, H rows of a history, P characteristics, K factors, T months.

P, K, T, HORIZON = 5, 2, 40, 1
GAMMA_PK = np.random.default_rng(0).standard_normal((P, K))


def market(seed: int = 0, noise: float = 0.05) -> tuple[History, np.ndarray]:
    """Returns of planted factors: all targets known."""
    rng = np.random.default_rng(seed)
    month_H = np.sort(rng.integers(0, T, 30 * T)).astype(np.int32)
    x_HP = rng.uniform(-1, 1, (len(month_H), P)).astype(np.float32)
    factors_TK = 0.1 + rng.standard_normal((T, K))
    y_H = np.einsum("hk,hk->h", x_HP @ GAMMA_PK, factors_TK[month_H]) + noise * rng.standard_normal(len(month_H))
    y_H[rng.random(len(y_H)) < 0.1] = np.nan
    nothing_TF = np.zeros((T, 0), np.float32)
    asset_H = rng.integers(0, 99, len(y_H))
    return History(
        x_HP, month_H, asset_H, np.zeros_like(y_H, np.float32), y_H.astype(np.float32), nothing_TF
    ), factors_TK


def as_known(
    history: History, month: int, *, total: bool = False, origin: int = 0, begins: int = 0, deleted: bool = False
) -> Sample:
    """The rows of one month as known at its end; in a panel that counts from another origin or begins later."""
    begin, end = np.searchsorted(history.month_H, [begins, month + 1]).tolist()
    seen, rows = slice(begin, end), end - int(np.searchsorted(history.month_H, month))
    month_H = (history.month_H[seen] - origin).astype(np.int32)
    all_H = history.y_H[seen]
    y_H = np.where(history.month_H[seen] > month - HORIZON, np.float32(np.nan), all_H)
    parts = [history.x_HP[seen], month_H, history.asset_H[seen], history.r_H[seen], y_H, history.f_TF]
    y_N = (all_H if total and not deleted else y_H)[-rows:]
    nothing, known = np.zeros((rows, 0), np.float32), History(*parts, first=-origin)
    return Sample(parts[0][-rows:], month_H[-rows:], np.zeros((T, 0), np.float32), y_N, nothing, known)


def loadings(history: History, rows: slice) -> np.ndarray:
    assert rows.stop == len(history)
    assert np.isnan(history.y_H).all()
    return history.x_HP[rows].astype(np.float64) @ GAMMA_PK


def half(history: History, rows: slice) -> np.ndarray:  # noqa: ARG001
    return np.full(rows.stop - rows.start, 0.5)


HISTORY, FACTORS_TK = market()
TRAINED = 20


def member(**settings) -> LatentFitted:
    months, factors_TK = realised_months(loadings, HISTORY)
    return LatentFitted(loadings, months[:TRAINED], factors_TK[:TRAINED], GAMMA_PK.T, first=0, **settings)


def test_factors_are_those_of_a_regression_on_what_is_known():
    rng = np.random.default_rng(1)
    loadings_NK, y_N = rng.standard_normal((9, K)), rng.standard_normal(9)
    y_N[3] = np.nan
    known = np.isfinite(y_N)
    expected = np.linalg.lstsq(loadings_NK[known], y_N[known], rcond=None)[0]
    np.testing.assert_allclose(realised_factors(loadings_NK, y_N), expected, rtol=1e-6)
    loadings_NK[5, 1] = np.nan
    known[5] = False
    expected = np.linalg.lstsq(loadings_NK[known], y_N[known], rcond=None)[0]
    np.testing.assert_allclose(realised_factors(loadings_NK, y_N), expected, rtol=1e-6)
    y_N[1:] = np.nan
    assert np.isnan(realised_factors(loadings_NK, y_N)).all()
    np.testing.assert_array_equal(realised_factors(np.zeros((5, K)), np.ones(5)), 0.0)
    equal_NK = np.ones((6, K))
    assert np.isfinite(realised_factors(equal_NK, np.arange(6.0))).all()


def test_planted_factors_are_realised_month_by_month():
    months, factors_TK = realised_months(loadings, market(noise=0.0)[0])
    np.testing.assert_array_equal(months, np.arange(T))
    np.testing.assert_allclose(factors_TK, FACTORS_TK, rtol=1e-4, atol=1e-5)


def test_expected_factors_are_what_their_formulas_say():
    rng = np.random.default_rng(2)
    factors_TK = np.zeros((600, 2))
    for month in range(1, 600):
        factors_TK[month] = [0.2, -0.1] + np.array([0.8, 0.0]) * factors_TK[month - 1] + rng.standard_normal(2) * 0.1
    factors_TK[[5, 77]] = np.nan
    known = np.delete(factors_TK, [5, 77], axis=0)
    np.testing.assert_allclose(expected_factors(factors_TK), known.mean(axis=0))
    weights = np.delete(0.5 ** (np.arange(600)[::-1] / 24), [5, 77])
    expected = np.average(known, axis=0, weights=weights)
    np.testing.assert_allclose(expected_factors(factors_TK, "ewma", half_life=24), expected)
    ahead = expected_factors(factors_TK, "ar1")
    assert ahead[0] == pytest.approx(0.2 + 0.8 * factors_TK[-1, 0], abs=0.05)
    assert ahead[1] == pytest.approx(-0.1, abs=0.03)
    far = expected_factors(factors_TK, "ar1", steps=3)
    assert far[0] == pytest.approx(0.2 * (1 + 0.8 + 0.64) + 0.8**3 * factors_TK[-1, 0], abs=0.08)
    np.testing.assert_allclose(expected_factors(factors_TK[:10], "ar1"), expected_factors(factors_TK[:10]))
    assert np.isnan(expected_factors(np.full((4, 2), np.nan))).all()


def test_identification_keeps_products_and_holds_its_conditions():
    rng = np.random.default_rng(3)
    gamma_PK, factors_TK = rng.standard_normal((8, 3)), rng.standard_normal((50, 3)) @ rng.standard_normal((3, 3)) + 0.3
    factors_TK[4] = np.nan
    rotation = identification(gamma_PK, factors_TK)
    gamma, factors = rotate_loadings(gamma_PK, rotation), factors_TK @ rotation
    known = np.delete(factors, 4, axis=0)
    np.testing.assert_allclose(gamma.T @ gamma, np.eye(3), atol=1e-10)
    covariance = np.cov(known.T)
    np.testing.assert_allclose(covariance, np.diag(np.diag(covariance)), atol=1e-10)
    assert (np.diff(np.diag(covariance)) < 0).all()
    assert (known.mean(axis=0) > 0).all()
    np.testing.assert_allclose(factors @ gamma.T, factors_TK @ gamma_PK.T, atol=1e-10)
    mixed = rng.standard_normal((3, 3))
    again = identification(gamma_PK @ mixed, factors_TK @ np.linalg.inv(mixed).T)
    np.testing.assert_allclose(rotate_loadings(gamma_PK @ mixed, again), gamma, atol=1e-8)


@pytest.mark.parametrize("intercept", [None, half])
@pytest.mark.parametrize("expected", ["mean", "ewma", "ar1"])
def test_forecasts_are_a_slow_loops(expected, intercept):
    fitted = member(expected=expected, intercept=intercept)
    trained_TK = realised_months(loadings, HISTORY)[1][:TRAINED]
    for month in range(TRAINED + 3, T):
        found = fitted.forecast(as_known(HISTORY, month)).returns
        factors = list(trained_TK)
        for past in range(TRAINED, month - HORIZON + 1):
            rows = HISTORY.month_H == past
            alpha = 0.0 if intercept is None else 0.5
            factors.append(realised_factors(HISTORY.x_HP[rows] @ GAMMA_PK, HISTORY.y_H[rows] - alpha))
        m_K = expected_factors(np.array(factors), expected, steps=HORIZON)
        own = HISTORY.x_HP[HISTORY.month_H == month] @ GAMMA_PK
        np.testing.assert_allclose(found, own @ m_K + (0.0 if intercept is None else 0.5), rtol=1e-4, atol=1e-5)
        assert found.dtype == np.float32


def test_forecasts_do_not_depend_on_the_months_asked_for():
    every = member()
    all_months = {month: every.forecast(as_known(HISTORY, month)).returns for month in range(TRAINED, T)}
    for months in ([T - 1], [TRAINED + 2, TRAINED + 9, T - 1], list(range(T - 1, TRAINED - 1, -3))):
        fitted = member()
        for month in months:
            np.testing.assert_array_equal(fitted.forecast(as_known(HISTORY, month)).returns, all_months[month])


def test_another_panel_may_count_its_months_from_elsewhere():
    here, there = member(), member()
    for month in (TRAINED, T - 1):
        there_sample = as_known(HISTORY, month, origin=-7)
        np.testing.assert_array_equal(
            here.forecast(as_known(HISTORY, month)).returns, there.forecast(there_sample).returns
        )


@pytest.mark.parametrize("expected", ["mean", "ewma", "ar1"])
def test_a_panel_may_begin_after_the_windows_first_month(expected):
    """The months since training are all there, so that nothing that the forecast rests on is missing."""
    for begins in (1, TRAINED - 1, TRAINED):
        for month in (TRAINED + 1, T - 1):
            whole, late = as_known(HISTORY, month), as_known(HISTORY, month, origin=begins, begins=begins)
            assert late.history.month_H[0] == 0
            np.testing.assert_array_equal(
                member(expected=expected).forecast(late).returns, member(expected=expected).forecast(whole).returns
            )


def test_a_window_may_begin_with_months_that_have_no_rows():
    """As where preparation drops them: a lag, or a firm's least history."""
    gone = 4
    months, factors_TK = realised_months(loadings, HISTORY)
    own = slice(gone, TRAINED)
    fitted = LatentFitted(loadings, months[own], factors_TK[own], GAMMA_PK.T, first=0)
    for month in (TRAINED, T - 1):
        sample = as_known(HISTORY, month, begins=gone)
        assert sample.history.month_H[0] == gone
        mean_K = factors_TK[gone:month].mean(axis=0)
        np.testing.assert_allclose(fitted.forecast(sample).returns, sample.x_NP @ GAMMA_PK @ mean_K, rtol=2e-5)


@pytest.mark.parametrize("name", ["ipca", "pca", "conditional_autoencoder", "neurif"])
def test_every_latent_model_stores_where_its_window_begins_and_wants_targets(name):
    panel = simulate(seed=3, slots=24, months=30, characteristics=9).panel
    first, gone = int(panel.months[0]) + 1, 5
    ready = prepare(panel.between(first + gone, int(panel.months[-1])))
    view = WindowView(
        panel=ready,
        horizon=1,
        target_N=excess_returns(ready, 1),
        excess_N=own_excess_returns(ready),
        asset_N=asset_numbers(ready),
        state_Td=np.zeros((len(ready.months), 0), np.float32),
        factors_TF=observed_factors_of(ready),
        first=first,
    )
    window = Window(train=(first, first + 20), validation=(first + 21, first + 24), test=(first + 25, first + 27))
    family = model(name)
    small = {"factors": 2, "epochs": 1, "width": 4, "heads": 2, "hidden": (3,), "least_months": 3}
    chosen = {key: value for key, value in small.items() if key in family.Settings.model_fields}
    point = family.Settings(**chosen)
    (fit,) = family.fit_pack([point], [0], view.train(window), view.validation(window), order_seed=0)
    assert fit.weights["first"].tolist() == [-gone]
    assert fit.weights["months"][0] == 0
    unknown = dataclasses.replace(view.validation(window), y_N=np.full(1, np.nan, np.float32))
    with pytest.raises(InputError, match="the validation months hold no known target return among their 1 rows"):
        family.fit_pack([point], [0], view.train(window), unknown, order_seed=0)


def test_totals_fit_the_months_own_returns():
    history, _ = market(noise=0.0)
    fitted = member()
    sample = as_known(history, T - 2, total=True)
    total_N, known_N = fitted.total(sample), np.isfinite(sample.y_N)
    np.testing.assert_allclose(total_N[known_N], sample.y_N[known_N], rtol=1e-4, atol=1e-5)
    assert np.isfinite(total_N).all()
    assert np.isnan(fitted.total(as_known(history, T - 2, total=True, deleted=True))).all()


def test_the_total_loss_is_that_of_a_slow_loop():
    sample = as_known(HISTORY, T - 1, total=True)
    whole = Sample(
        HISTORY.x_HP, HISTORY.month_H, np.zeros((T, 0), np.float32), HISTORY.y_H, HISTORY.x_HP[:, :0], HISTORY
    )
    errors, squares = 0.0, 0.0
    for month in range(T):
        rows = (HISTORY.month_H == month) & np.isfinite(HISTORY.y_H)
        own_nK, y_n = HISTORY.x_HP[rows] @ GAMMA_PK, HISTORY.y_H[rows]
        errors += np.square(y_n - own_nK @ np.linalg.lstsq(own_nK, y_n, rcond=None)[0]).sum()
        squares += np.square(y_n).sum()
    assert total_loss_ratio(loadings, whole) == pytest.approx(errors / squares, rel=1e-5)
    assert total_loss_ratio(lambda history, rows: 0.0 * loadings(history, rows), sample) == 1.0


def test_months_of_sorted_rows():
    assert list(months_of(np.array([3, 3, 5]))) == [(3, slice(0, 2)), (5, slice(2, 3))]
    assert list(months_of(np.array([], np.int32))) == []


def test_the_description_is_of_training():
    described = member().describe()
    assert described.factors.shape == (TRAINED, K)
    assert described.loadings.shape == (K, P)
    np.testing.assert_array_equal(described.months, np.arange(TRAINED))


def test_a_sample_without_history_is_refused():
    sample = as_known(HISTORY, T - 1)
    bare = Sample(sample.x_NP, sample.month_N, sample.z_Td, sample.y_N, sample.c_NC)
    with pytest.raises(InputError, match="history"):
        member().forecast(bare)


def test_torch_is_not_loaded():
    code = "import sys, factor_ray.models.latent; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

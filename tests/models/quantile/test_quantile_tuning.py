"""Tuning by one-month-ahead losses, against windows fitted one by one; and the simulated design it is run on."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from factor_ray.errors import InputError
from factor_ray.models.quantile import (
    Scores,
    Setting,
    factors_from_coefficients,
    fit_quantile_factors,
    rolling_models,
    score_settings,
    select,
    simulate_quantiles,
    step_one,
)


@pytest.fixture(scope="module")
def months():
    return simulate_quantiles(60, 12, seed=0).months


@pytest.fixture(scope="module")
def coefficients(months):
    return step_one(months, 0.3, [2, 3], [1e-4, 1e-1])


@pytest.mark.parametrize("window", [None, 6])
def test_a_score_is_the_loss_of_the_window_that_ends_the_month_before(months, coefficients, window):
    scores = score_settings(months, 0.3, coefficients, [1, 2], first=7, window=window)
    assert scores.losses.shape == (5, 8)
    assert list(scores.settings) == sorted(scores.settings)
    for setting in (Setting(2, 3, 1e-4), Setting(1, 2, 1e-1)):
        for row, month in ((0, 7), (4, 11)):
            past = months[:month] if window is None else months[month - window : month]
            slow = fit_quantile_factors(past, 0.3, setting.factors, setting.order, setting.ridge)
            x, y = months[month]
            error = y - slow.total(x, y)
            loss = np.mean(np.where(error < 0, -0.7 * error, 0.3 * error))
            assert scores.losses[row, scores.settings.index(setting)] == pytest.approx(loss, rel=1e-6)


def test_fewer_factors_are_scored_with_the_strongest_where_alignment_puts_a_weaker_one_first(months):
    first, second = np.linspace(3.0, 1.0, 12), np.linspace(1.0, 3.0, 12) * np.tile([1.0, -1.0], 6)
    coefficients_TP = np.column_stack([first, second]) @ np.array([[0.0, 1.0, 0.1, 0.0], [0.0, -0.1, 1.0, 0.0]])
    aligned = rolling_models(coefficients_TP, 0.3, 2, 3, 2, first=4, window=4)
    assert np.diff([np.linalg.norm(model.betas, axis=1) for model in aligned]).max() > 0
    scores = score_settings(months, 0.3, {(2, 0.1): coefficients_TP}, [1, 2], first=4, window=4)
    for row, month in enumerate(scores.months):
        x, y = months[month]
        alone = factors_from_coefficients(coefficients_TP[month - 4 : month], 0.3, 1, 3, 2)
        error = y - alone.total(x, y)
        loss = np.mean(np.where(error < 0, -0.7 * error, 0.3 * error))
        assert scores.losses[row, 0] == pytest.approx(loss, rel=1e-9)


def test_factors_keep_their_order_and_sign_from_window_to_window(coefficients):
    models = rolling_models(coefficients[3, 1e-4], 0.3, 2, 3, 3, first=6, window=6)
    assert len(models) == 7
    alone = [
        factors_from_coefficients(coefficients[3, 1e-4][month - 6 : month], 0.3, 2, 3, 3) for month in range(6, 13)
    ]
    assert any((model.betas != same.betas).any() for model, same in zip(models, alone, strict=True))
    for earlier, later in pairwise(models):
        assert (np.sum(earlier.betas * later.betas, axis=1) > 0).all()
    for model, same in zip(models, alone, strict=True):
        np.testing.assert_allclose(model.factors @ model.betas, same.factors @ same.betas, atol=1e-12)


def test_selection_reads_earlier_months_only_and_prefers_the_simple_if_told():
    settings = (Setting(1, 2, 0.1), Setting(1, 3, 0.1), Setting(2, 3, 0.1))
    losses = np.array([[1.0, 2.0, 3.0], [1.0, 0.9, 0.88], [1.0, 0.5, 0.1]])
    scores = Scores(settings, np.array([5, 6, 7]), losses)
    assert select(scores, 6) == settings[0]
    assert select(scores, 7) == settings[0]
    late = Scores(settings, np.array([6, 7]), losses[1:])
    assert select(late, 7) == settings[2]
    assert select(late, 7, tolerance=0.03) == settings[1]
    assert select(late, 7, tolerance=0.2) == settings[0]
    ridges = Scores((*settings, Setting(1, 3, 1.0)), late.months, np.column_stack([losses[1:], [0.89, 0.0]]))
    assert select(ridges, 7, tolerance=0.03) == Setting(1, 3, 1.0)
    spoilt = Scores(settings, scores.months, losses + 1e6 * (scores.months >= 7)[:, None] * [0, 0, 1])
    assert select(spoilt, 7) == select(scores, 7)


def test_simulated_factors_are_identified_and_quantiles_true():
    sample = simulate_quantiles(2_000, 20, seed=1)
    for tau in (0.05, 0.5, 0.9):
        assert np.mean(sample.y <= sample.quantiles(tau)) == pytest.approx(tau, abs=0.01)
    location, scale = sample.location[:, 0] / sample.x[:, 0].sum(axis=1), sample.scale[:, 0]
    second = scale / (0.15 * (1 + (sample.x[:, 0] @ [1, -1, 0]) ** 2 / 2))
    factors = np.column_stack([location * np.sqrt(3), second])
    np.testing.assert_allclose(factors.T @ factors / 20, np.eye(2), atol=1e-10)
    assert (second >= 0).all()
    np.testing.assert_array_equal(sample.y, simulate_quantiles(2_000, 20, seed=1).y)


def test_refuses_in_words(months, coefficients):
    with pytest.raises(InputError, match="first must lie between 1 and 11"):
        score_settings(months, 0.3, coefficients, [1], first=12, window=None)
    with pytest.raises(InputError, match="first must lie between 1 and the 12 months"):
        rolling_models(coefficients[2, 1e-4], 0.3, 1, 3, 2, first=0, window=None)
    scores = Scores((Setting(1, 2, 0.1),), np.array([5]), np.ones((1, 1)))
    with pytest.raises(InputError, match="first scored is 5"):
        select(scores, 5)
    with pytest.raises(InputError, match="tolerance must be zero"):
        select(scores, 6, tolerance=-1.0)
    with pytest.raises(InputError, match="at least 1 asset and 3 months"):
        simulate_quantiles(5, 2, seed=0)

"""The next factors by causal attention: what it sees, what it finds, and what it makes of nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_neurif import TINY, TRAIN, VALIDATION, months_after

from factor_ray.models.latent import realised_factors
from factor_ray.models.neurif import NeurIF, NeurIFSettings
from factor_ray.models.neurif_fit import frozen_loadings
from factor_ray.models.neurif_forecast import _NextFactor, fit_next_factor, next_factor


def swinging(months: int, seed: int = 0) -> np.ndarray:
    """Two factors, the first of which turns from month to month; the second is noise about its mean."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(0.0, 0.02, (months, 2)) + np.array([0.0, 0.01])
    for t in range(1, months):
        factors[t, 0] -= 0.8 * factors[t - 1, 0]
    return factors


def regimes(months: int) -> np.ndarray:
    """The first factor's mean jumps every twenty months."""
    rng = np.random.default_rng(0)
    factors = rng.normal(0.0, 0.02, (months, 2))
    factors[:, 0] += np.repeat(rng.choice([-0.03, 0.03], months // 20), 20)
    return factors


def errors(forecast, factors: np.ndarray, first: int) -> np.ndarray:
    """Mean squared errors of each factor's forecasts, over those of the expanding mean."""
    told = np.array([forecast(factors[:t], 1) for t in range(first, len(factors))])
    mean = np.array([factors[:t].mean(axis=0) for t in range(first, len(factors))])
    return ((told - factors[first:]) ** 2).mean(axis=0) / ((mean - factors[first:]) ** 2).mean(axis=0)


def test_it_finds_what_a_mean_cannot_and_keeps_the_mean_where_there_is_nothing():
    for factors, most in ((swinging(600), 0.6), (regimes(600), 0.85)):
        ratio = errors(next_factor(fit_next_factor(factors[:400], 1)), factors, 400)
        assert ratio[0] < most
        assert ratio[1] < 1.1
    noise = np.random.default_rng(2).normal(0.01, 0.03, (600, 2))
    assert (errors(next_factor(fit_next_factor(noise[:400], 1)), noise, 400) < 1.05).all()


def test_a_month_sees_no_later_one():
    network = _NextFactor(2)
    torch.nn.init.normal_(network.outward.weight)
    torch.nn.init.normal_(network.attention.outward.weight)
    f_TK, position_T = torch.randn(30, 2), torch.arange(30)
    changed = torch.cat([f_TK[:20], torch.randn(10, 2)])
    with torch.no_grad():
        one, other = network(f_TK, position_T), network(changed, position_T)
    torch.testing.assert_close(one[:20], other[:20])
    assert not torch.allclose(one[20:], other[20:])


def test_few_months_are_their_mean_and_months_without_factors_are_left_out():
    factors = swinging(30)
    weights = fit_next_factor(factors, 1)
    np.testing.assert_allclose(next_factor(weights)(factors, 2), factors.mean(axis=0), rtol=1e-5)
    gaps = swinging(200)
    gaps[[0, 50, 51]] = np.nan
    forecast = next_factor(fit_next_factor(gaps, 1))
    assert np.isfinite(forecast(gaps, 1)).all()
    assert np.isnan(forecast(gaps[:1], 1)).all()
    again = fit_next_factor(gaps, 1)
    assert all(again[name].tobytes() == value.tobytes() for name, value in fit_next_factor(gaps, 1).items())
    assert any((again[name] != value).any() for name, value in fit_next_factor(gaps, 2).items())


@pytest.mark.parametrize("attention", ["exact"])
def test_neurif_forecasts_with_it(attention):
    settings = {**TINY, "attention": attention, "epochs": 2}
    plain, asked = (NeurIFSettings(**settings, factor_forecast=kind) for kind in ("mean", "attention"))
    alone, pack = (NeurIF.fit_pack(p, [3] * len(p), TRAIN, VALIDATION, order_seed=0) for p in ([asked], [plain, asked]))
    for name, value in alone[0].weights.items():
        assert pack[1].weights[name].tobytes() == np.asarray(value).tobytes()
    assert not any(name.startswith("next_factor.") for name in pack[0].weights)
    (month,) = months_after(50, 51)
    history, loadings = month.history, frozen_loadings(asked, alone[0].weights)
    realised = list(alone[0].weights["factors"])
    for later in (48, 49):
        rows = np.flatnonzero(history.month_H == later)
        span = slice(rows[0], rows[-1] + 1)
        realised.append(realised_factors(loadings(history, span), history.y_H[span]))
    own = slice(len(history) - len(month), len(history))
    wanted_N = loadings(history, own) @ next_factor(alone[0].weights)(np.stack(realised), 1)
    found = NeurIF.fitted(asked, alone[0].weights).forecast(month).returns
    np.testing.assert_allclose(found, wanted_N, atol=1e-6)

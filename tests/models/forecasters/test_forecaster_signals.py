"""Planted signals that only a model's structure finds: a trend along the months, a product across inputs and months."""

from __future__ import annotations

import numpy as np
import pytest

from factor_ray.data.sample import History, Sample
from factor_ray.models.registry import model

LOOKBACK, CHARACTERISTICS, COHORTS = 6, 3, 10
SHALLOW = {name: {"layers": 1} for name in ("transformer", "patchtst", "itransformer", "crossformer")} | {
    "dlinear": {"epochs": 40}
}


def trends(rng, assets: int):
    """Straight lines that end anywhere, whatever their slope; the slope of the first is the return."""
    end_NP, slope_NP = rng.uniform(-0.5, 0.5, (2, assets, CHARACTERISTICS))
    ago_L = np.arange(LOOKBACK - 1, -1, -1) / LOOKBACK
    return end_NP[:, None] - slope_NP[:, None] * ago_L[:, None], 0.3 * slope_NP[:, 0]


def products(rng, assets: int):
    """The return is one input's value three months ago times another one's now."""
    x_NLP = rng.uniform(-1, 1, (assets, LOOKBACK, CHARACTERISTICS))
    return x_NLP, 0.3 * x_NLP[:, -4, 0] * x_NLP[:, -1, 1]


def sample(signal, assets: int, seed: int) -> Sample:
    """Assets that live for one lookback, in staggered cohorts, and have a target in their last month only."""
    rng = np.random.default_rng(seed)
    x_NLP, truth_N = signal(rng, assets)
    start_N = np.arange(assets) % COHORTS
    month = (start_N[:, None] + np.arange(LOOKBACK)).ravel()
    y_NL = np.full((assets, LOOKBACK), np.nan)
    y_NL[:, -1] = truth_N + 0.05 * rng.standard_normal(assets)
    order = np.argsort(month, kind="stable")
    x_HP = x_NLP.reshape(-1, CHARACTERISTICS)[order].astype(np.float32)
    month_H, asset_H = month[order].astype(np.int32), np.repeat(np.arange(assets), LOOKBACK)[order]
    y_H, nothing = y_NL.ravel()[order].astype(np.float32), np.zeros((0, 0), np.float32)
    history = History(x_HP, month_H, asset_H, y_H, y_H, nothing)
    z_Td = np.zeros((COHORTS + LOOKBACK, 0), np.float32)
    return Sample(x_HP, month_H, z_Td, y_H, np.zeros((len(y_H), 0), np.float32), history)


def r_squared(name: str, signal, **settings) -> float:
    """Out-of-sample R2 of the best of a few epochs' weights."""
    train, validation, test = (sample(signal, assets, seed) for assets, seed in ((1500, 0), (500, 1), (500, 2)))
    family = model(name)
    point = family.Settings(
        **{"lookback": LOOKBACK, "batch_size": 100, "learning_rate": 5e-3, "dropout": 0.0, "epochs": 15, **settings}
    )
    (fit,) = family.fit_pack([point], [0], train, validation, order_seed=0)
    returns = family.fitted(point, fit.weights).forecast(test).returns
    known = np.isfinite(test.y_N)
    return float(1 - np.mean(np.square(test.y_N - returns)[known]) / np.mean(np.square(test.y_N)[known]))


@pytest.fixture(scope="module")
def last_month_alone():
    return r_squared("mlp", trends, lookback=1)


@pytest.mark.parametrize("name", ["dlinear", "transformer", "patchtst"])
def test_a_trend_is_found_along_time(name, last_month_alone):
    """Noise leaves an R2 of three quarters; the last month says next to nothing of it."""
    assert last_month_alone < 0.05
    assert r_squared(name, trends, **SHALLOW[name]) > 0.6


@pytest.fixture(scope="module")
def linear():
    return r_squared("dlinear", products)


@pytest.mark.parametrize("name", ["itransformer", "crossformer"])
def test_a_product_across_characteristics_and_months_is_found(name, linear):
    """Noise leaves an R2 of four fifths; no linear map finds anything."""
    assert linear < 0.05
    assert r_squared(name, products, **SHALLOW[name]) > 0.6

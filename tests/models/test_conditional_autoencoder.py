"""The conditional autoencoder: what it recovers beside IPCA, what its weights mean, and what it refuses."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from factor_ray.data.sample import History, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Available
from factor_ray.models.conditional_autoencoder import ConditionalAutoencoder, ConditionalAutoencoderSettings
from factor_ray.models.conditional_autoencoder_network import AutoencoderTask, betas, loadings
from factor_ray.models.instruments import month_moments
from factor_ray.models.ipca import IPCA, IPCASettings
from factor_ray.training.weights import WeightStack

# Axes: N firm-months, P characteristics, K factors, T months.

P, K = 5, 2
GAMMA_PK = np.linalg.qr(np.random.default_rng(0).standard_normal((P, K)))[0]


def market(seed: int, months: int, *, nonlinear: bool = False) -> Sample:
    """Returns of planted factors, with loadings that are linear in the characteristics or bent."""
    rng = np.random.default_rng(seed)
    month_N = np.repeat(np.arange(months), rng.integers(40, 80, months)).astype(np.int32)
    rows = len(month_N)
    x_NP = rng.uniform(-1, 1, (rows, P)).astype(np.float32)
    beta_NK = x_NP @ GAMMA_PK
    if nonlinear:
        beta_NK[:, 0] = 2 * np.abs(x_NP[:, 0])  # its mean is not 0: the portfolios can see the factor
    factors_TK = 0.05 + rng.standard_normal((months, K)) * [0.2, 0.1]
    y_N = (beta_NK * factors_TK[month_N]).sum(axis=1) + 0.1 * rng.standard_normal(rows)
    y_N[rng.random(rows) < 0.1] = np.nan
    nothing, states = np.zeros((rows, 0), np.float32), np.zeros((months, 0), np.float32)
    y_N = y_N.astype(np.float32)
    history = History(x_NP, month_N, np.arange(rows), np.zeros(rows, np.float32), y_N, states)
    return Sample(x_NP, month_N, states, y_N, nothing, history)


def fit(train: Sample, validation: Sample, seeds=(0,), **settings):
    point = ConditionalAutoencoderSettings(**{"factors": K, "epochs": 60, **settings})
    return point, ConditionalAutoencoder.fit_pack([point] * len(seeds), seeds, train, validation, order_seed=0)


LINEAR = market(1, 48), market(2, 24)
BENT = market(1, 48, nonlinear=True), market(2, 24, nonlinear=True)


@pytest.fixture(scope="module")
def linear_fit():
    point, (found,) = fit(*LINEAR, hidden=(), l1=0.0)
    return point, found


@pytest.fixture(scope="module")
def bent_fit():
    return fit(*BENT, hidden=(16,), seeds=(0, 1))


def test_without_hidden_layers_it_spans_ipcas_loadings(linear_fit):
    _, found = linear_fit
    (ipca,) = IPCA.fit_pack([IPCASettings(factors=K)], [0], *LINEAR, order_seed=0)
    bases = [
        np.linalg.qr(columns)[0] for columns in (found.weights["head.weight"].astype(float), ipca.weights["gamma"][:P])
    ]
    assert np.linalg.norm(bases[0] - bases[1] @ (bases[1].T @ bases[0]), 2) < 0.06
    assert found.scores["total_r2"] == pytest.approx(ipca.scores["total_r2"], abs=2e-3)
    np.testing.assert_allclose(found.weights["gamma"], found.weights["head.weight"].T, atol=1e-5)


def test_a_hidden_layer_beats_ipca_where_loadings_are_bent(bent_fit):
    _, found = bent_fit
    (ipca,) = IPCA.fit_pack([IPCASettings(factors=K)], [0], *BENT, order_seed=0)
    assert min(member.scores["total_r2"] for member in found) > ipca.scores["total_r2"] + 0.1


def test_the_score_is_that_of_the_rotated_weights_and_of_the_best_epoch(bent_fit):
    _, (found, _) = bent_fit
    validation = BENT[1]
    of_rows, errors, left_out, squares = loadings(found.weights), 0.0, 0.0, 0.0
    for month in range(24):
        rows = np.flatnonzero(validation.month_N == month)
        beta_nK, y_n = of_rows(validation.history, slice(rows[0], rows[-1] + 1)), validation.y_N[rows]
        known = np.isfinite(y_n)
        beta_nK, y_n = beta_nK[known].astype(float), y_n[known].astype(float)
        errors += np.square(y_n - beta_nK @ np.linalg.lstsq(beta_nK, y_n, rcond=None)[0]).sum()
        squares += np.square(y_n).sum()
        for asset in range(len(y_n)):
            others = np.arange(len(y_n)) != asset
            factors_K = np.linalg.lstsq(beta_nK[others], y_n[others], rcond=None)[0]
            left_out += (y_n[asset] - beta_nK[asset] @ factors_K) ** 2
    assert found.scores["selection"] == pytest.approx(left_out / squares, rel=1e-4)
    assert found.scores["selection"] == min(found.history["validation_loss"])
    assert found.scores["total_r2"] == pytest.approx(1 - errors / squares, rel=1e-4)


def test_factors_are_identified_and_realised_from_the_loadings(bent_fit):
    point, (found, _) = bent_fit
    train = BENT[0]
    beta_NK = np.concatenate(
        [
            loadings(found.weights)(train.history, slice(rows[0], rows[-1] + 1)).astype(float)
            for rows in (np.flatnonzero(train.month_N == month) for month in range(48))
        ]
    )
    np.testing.assert_allclose(beta_NK.T @ beta_NK / len(train), np.eye(K), atol=1e-4)
    factors_TK = found.weights["factors"]
    covariance = np.cov(factors_TK.T)
    assert covariance[0, 1] == pytest.approx(0, abs=1e-9)
    assert covariance[0, 0] > covariance[1, 1]
    assert (factors_TK.mean(axis=0) > 0).all()
    rows = (train.month_N == 5) & np.isfinite(train.y_N)
    expected = np.linalg.lstsq(beta_NK[rows], train.y_N[rows].astype(float), rcond=None)[0]
    np.testing.assert_allclose(factors_TK[5], expected, rtol=1e-3, atol=1e-5)
    described = ConditionalAutoencoder.fitted(point, found.weights).describe()
    assert described.loadings.shape == (K, P)
    np.testing.assert_array_equal(described.months, np.arange(48))


def test_the_training_loss_is_the_formula():
    train, validation = LINEAR
    point = ConditionalAutoencoderSettings(factors=K, hidden=(4,), l1=0.01, months_per_batch=48)
    moments = month_moments(train, constant=True)
    task = AutoencoderTask([point], [3], train, validation, moments, order_seed=0, device="cpu")
    weights = task.initialise(0)
    (through,) = WeightStack([weights], 1, "cpu").passes
    (batch,) = task.batches(1, [0])
    loss = float(task.loss(batch, through).detach())

    scale = np.sqrt(np.nanmean(np.square(train.y_N.astype(float))))
    portfolios_TI = np.full((48, P + 1), np.nan)
    for month in range(48):
        rows = (train.month_N == month) & np.isfinite(train.y_N)
        z_nI = np.column_stack([train.x_NP[rows], np.ones(rows.sum())]).astype(float)
        portfolios_TI[month] = np.linalg.lstsq(z_nI, train.y_N[rows].astype(float), rcond=None)[0]
    portfolios_TI /= np.sqrt(np.mean(np.square(portfolios_TI)))
    factors_TK = portfolios_TI @ weights["factors.weight"].numpy()
    beta_NK = betas({name: w[None] for name, w in weights.items()}, torch.from_numpy(train.x_NP)[None])[0].numpy()
    error_N = train.y_N / scale - (beta_NK * factors_TK[train.month_N]).sum(axis=1)
    size = sum(float(w.abs().sum()) for name, w in weights.items() if name.endswith("weight"))
    assert loss == pytest.approx(np.nanmean(np.square(error_N)) + 0.01 * size, rel=1e-4)


def test_companions_change_no_bit(bent_fit):
    point, together = bent_fit
    (alone,) = ConditionalAutoencoder.fit_pack([point], [1], *BENT, order_seed=0)
    assert alone.scores == together[1].scores
    for name, weights in alone.weights.items():
        np.testing.assert_array_equal(together[1].weights[name], weights)
    assert not np.array_equal(together[0].weights["head.weight"], alone.weights["head.weight"])


def test_the_penalty_shrinks_weights():
    faded = fit(*LINEAR, hidden=(), l1=1.0, epochs=40)[1][0]
    free = fit(*LINEAR, hidden=(), l1=0.0, epochs=40)[1][0]
    assert faded.history["validation_loss"][-1] > free.history["validation_loss"][-1] + 0.05


def test_training_months_without_targets_are_left_out():
    train, validation = LINEAR
    y_N = np.where(train.month_N == 3, np.float32(np.nan), train.y_N)
    changed = dataclasses.replace(train, y_N=y_N, history=dataclasses.replace(train.history, y_H=y_N))
    _, (found,) = fit(changed, validation, epochs=3)
    assert np.isnan(found.weights["factors"][3]).all()
    assert np.isfinite(np.delete(found.weights["factors"], 3, axis=0)).all()
    assert np.isfinite(found.scores["selection"])


def test_a_member_whose_loss_is_not_finite_is_reported():
    _, (found,) = fit(*LINEAR, learning_rate=1e30, gradient_clip=1e30, epochs=5)
    assert found.status == "diverged"
    assert found.scores["selection"] == float("inf")


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(InputError, match="7 factors"):
        ConditionalAutoencoder.require(ConditionalAutoencoderSettings(factors=7), Available(P, 0, 0, 12))
    train, validation = LINEAR
    empty = dataclasses.replace(train, y_N=np.full(len(train), np.nan, np.float32))
    with pytest.raises(InputError, match="training months hold no known target"):
        fit(empty, validation)


def test_settings_load_no_torch():
    code = (
        "import sys, factor_ray.models.conditional_autoencoder as m; m.ConditionalAutoencoderSettings(); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

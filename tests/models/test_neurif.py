"""NeurIF: it is IPCA without blocks, finds what IPCA cannot with them, and forecasts from realised factors alone."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from interpreted_ipca import InstrumentedPCA
from neurif_market import GAMMA_IK, factor_of, market
from pydantic import ValidationError

from factor_ray.data.simulation import simulate
from factor_ray.data.windows import Windows
from factor_ray.errors import InputError
from factor_ray.models.base import Available
from factor_ray.models.ensemble import FittedMember, ensemble_forecast
from factor_ray.models.latent import expected_factors, left_out_loss_ratio, realised_factors, total_loss_ratio
from factor_ray.models.neurif import NeurIF, NeurIFSettings
from factor_ray.models.neurif_fit import frozen_loadings, identified
from factor_ray.models.neurif_step import return_loss
from factor_ray.models.neurif_task import NeurIFTask

# Axes: N rows, n known rows, T months, I instruments, K factors.

TRAIN, VALIDATION = market(0, 48), market(48, 60)
LINEAR = {"blocks": 0, "temporal": False, "orthogonality": 0.0, "instrumentation": 0.0, "weight_decay": 0.0}
TINY = {"factors": 2, "width": 16, "heads": 2, "blocks": 1}


def fit(train=TRAIN, validation=VALIDATION, *, seed=1, **changes):
    point = NeurIFSettings(**{**TINY, **changes})
    return point, NeurIF.fit_pack([point], [seed], train, validation, order_seed=0)[0]


def distance(left_IK, right_IK):
    """Largest sine of the angles between two spaces."""
    left, right = np.linalg.qr(left_IK)[0], np.linalg.qr(right_IK)[0]
    return np.linalg.norm(left @ left.T - right @ right.T, 2)


def total_r2(point, weights, sample):
    return 1 - total_loss_ratio(frozen_loadings(point, weights), sample)


@pytest.fixture(scope="module")
def oracle():
    """Gamma and total R2 of the ipca package on the training months."""
    known_N = np.isfinite(TRAIN.y_N)
    x_nI = np.column_stack([TRAIN.x_NP, np.ones(len(TRAIN))])[known_N].astype(np.float64)
    y_n, month_n = TRAIN.y_N[known_N].astype(np.float64), TRAIN.month_N[known_N]
    indices = np.column_stack([TRAIN.history.asset_H[known_N], month_n])
    regressor = InstrumentedPCA(n_factors=2, max_iter=10_000, iter_tol=1e-9)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        regressor = regressor.fit(X=x_nI, y=y_n, indices=indices, data_type="panel", quiet=True)
    gamma_IK, factor_KT = regressor.get_factors(label_ind=False)
    error_n = y_n - np.einsum("nk,kn->n", x_nI @ gamma_IK, factor_KT[:, month_n])
    return gamma_IK, 1 - np.square(error_n).sum() / np.square(y_n).sum()


@pytest.fixture(scope="module")
def fitted():
    return fit(epochs=4)


# What it finds


@pytest.mark.parametrize(
    "changes",
    [
        {"start": "ipca", "epochs": 20},
        {"start": "random", "epochs": 400, "learning_rate": 1e-2, "patience": 60, "plateau_patience": 8},
    ],
    ids=["from-ipca", "from-random-numbers"],
)
def test_without_its_blocks_it_is_ipca(oracle, changes):
    """The gradients alone find IPCA from random numbers, and stay there from IPCA's own solution."""
    point, found = fit(TRAIN, TRAIN, **LINEAR, **changes)
    gamma_IK, r2 = oracle
    assert distance(found.weights["loadings.gamma"], gamma_IK) < 0.02
    assert total_r2(point, found.weights, TRAIN) == pytest.approx(r2, abs=1e-3)
    embedded_TK = found.weights["embedded_factors"]  # F' itself, not only what is realised from its loadings
    np.testing.assert_allclose(embedded_TK, found.weights["factors"], atol=2e-3)
    assert distance(found.weights["loadings.gamma"], GAMMA_IK) < 0.2


@pytest.mark.parametrize("attention", ["exact", "induced"])
def test_curved_loadings_are_found_by_the_blocks(attention):
    train, validation, test = (market(*months, curvature=2.0) for months in ((0, 80), (80, 100), (100, 130)))
    linear_point, linear = fit(train, validation, **LINEAR)
    changes = {"width": 32, "dropout": 0.0, "instrumentation": 1e-3, "learning_rate": 4e-3, "epochs": 40}
    point, curved = fit(train, validation, attention=attention, **changes)
    assert total_r2(point, curved.weights, test) > total_r2(linear_point, linear.weights, test) + 0.1


# The loss


@pytest.mark.parametrize("blocks", [0, 1])
def test_the_loss_is_its_formula(blocks):
    point = NeurIFSettings(**{**TINY, "blocks": blocks, "dropout": 0.0})
    task = NeurIFTask([point], [0], TRAIN, VALIDATION, order_seed=0, device="cpu")
    network = task.networks[0]
    if blocks:
        torch.nn.init.normal_(network.loadings.outward)
    b, months = 0.3, [4, 17, 30]
    found, factor_TK = return_loss(network, dict(network.named_parameters()), task.months, months, instrumentation=b)
    y_N = TRAIN.y_N / task.scale
    squares_a_month = np.nansum(np.square(y_N)) / 48
    wanted = 0.0
    for month in months:
        rows = TRAIN.month_N == month
        (chunk,) = task.months.chunks([month])
        linear_nK, beyond_nK = network.loadings(chunk.x_nP, chunk.position_nd, [(0, int(rows.sum()))])
        loading_nK = (linear_nK if beyond_nK is None else linear_nK + beyond_nK).detach().numpy()
        error_n = y_N[rows] - loading_nK @ factor_TK[month].detach().numpy()
        wanted += np.nansum(np.square(error_n)) / squares_a_month / 3
        if beyond_nK is not None:
            wanted += b * float(beyond_nK.detach().square().sum()) / np.square(loading_nK).sum() / 3
    assert float(found.detach()) == pytest.approx(wanted, rel=1e-5)


def test_gradients_taken_chunk_by_chunk_are_those_of_the_whole():
    point = NeurIFSettings(**{**TINY, "dropout": 0.0})
    task = NeurIFTask([point], [0], TRAIN, VALIDATION, order_seed=0, device="cpu")
    network = task.networks[0].double()
    torch.nn.init.normal_(network.loadings.outward)
    weights = dict(network.named_parameters())

    def value() -> torch.Tensor:
        return return_loss(network, weights, task.months, [3, 5, 40], instrumentation=0.5)[0]

    gradients = torch.autograd.grad(value(), list(weights.values()))
    for (name, weight), gradient in zip(weights.items(), gradients, strict=True):
        at = int(gradient.abs().argmax())
        ends = []
        for step in (1e-6, -2e-6):
            weight.data.view(-1)[at] += step
            ends.append(float(value().detach()))
        weight.data.view(-1)[at] += 1e-6
        assert float(gradient.view(-1)[at]) == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4), name


def test_rows_without_a_return_teach_nothing():
    """Their targets are masked; a month without any is no step."""
    y_N = TRAIN.y_N.copy()
    y_N[TRAIN.month_N == 7] = np.nan
    train = dataclasses.replace(TRAIN, y_N=y_N, history=dataclasses.replace(TRAIN.history, y_H=y_N))
    task = NeurIFTask([NeurIFSettings(**TINY)], [0], train, VALIDATION, order_seed=0, device="cpu")
    steps = [month for step in task.batches(1, [0]) for month in step.months]
    assert sorted(steps) == [month for month in range(48) if month != 7]
    _, found = fit(train, epochs=2)
    assert np.isnan(found.weights["factors"][7]).all()
    assert found.status == "ok"


# What is kept of a fit


def test_factors_are_identified(fitted):
    _, found = fitted
    gamma_IK, factor_TK = found.weights["loadings.gamma"], found.weights["factors"]
    np.testing.assert_allclose(gamma_IK.T @ gamma_IK, np.eye(2), atol=1e-6)
    covariance_KK = np.cov(factor_TK.T)
    assert abs(covariance_KK[0, 1]) < 1e-6 * covariance_KK[0, 0]
    assert covariance_KK[0, 0] > covariance_KK[1, 1]
    assert (factor_TK.mean(0) > 0).all()
    assert (np.abs(np.corrcoef(factor_TK.T, found.weights["embedded_factors"].T)[:2, 2:].diagonal()) > 0.9).all()


def test_the_description_is_the_regression_of_all_loadings_not_gamma_alone(fitted):
    point, found = fitted
    assert point.blocks > 0
    of_rows, month_H = frozen_loadings(point, found.weights), TRAIN.history.month_H
    starts = np.flatnonzero(np.diff(month_H, prepend=-1))
    spans = [slice(start, stop) for start, stop in zip(starts, [*starts[1:], len(month_H)], strict=True)]
    loadings_NK = np.concatenate([of_rows(TRAIN.history, rows) for rows in spans])
    x_NI = np.column_stack([TRAIN.history.x_HP, np.ones(len(month_H))])
    wanted_IK = np.linalg.lstsq(x_NI, loadings_NK, rcond=None)[0]
    described = NeurIF.fitted(point, found.weights).describe().loadings
    np.testing.assert_allclose(described, wanted_IK[:-1].T, atol=1e-4 * np.abs(wanted_IK).max())
    assert np.abs(described - found.weights["loadings.gamma"][: described.shape[1]].T).max() > 1e-3


def test_identification_changes_no_fit():
    point, found = fit(epochs=1)
    turn_KK = np.array([[0.5, -1.0], [2.0, 0.3]])
    turned = dict(found.weights)
    for name in ("loadings.gamma", "loadings.outward"):
        turned[name] = (found.weights[name] @ np.linalg.inv(turn_KK).T).astype(np.float32)
    turned["embedded_factors"] = found.weights["embedded_factors"] @ turn_KK
    again = identified(point, turned, TRAIN)
    rows, months = slice(0, int((TRAIN.month_N == 0).sum())), slice(0, 1)
    fits = [
        frozen_loadings(point, weights)(TRAIN.history, rows) @ weights["embedded_factors"][months].T
        for weights in (found.weights, turned, again)
    ]
    np.testing.assert_allclose(fits[1], fits[0], atol=1e-6)
    np.testing.assert_allclose(fits[2], fits[0], atol=1e-6)
    np.testing.assert_allclose(again["loadings.gamma"], found.weights["loadings.gamma"], atol=1e-4)


def test_scores_are_those_of_the_frozen_loadings_on_the_validation_months(fitted):
    point, found = fitted
    loadings = frozen_loadings(point, found.weights)
    assert found.scores["selection"] == pytest.approx(left_out_loss_ratio(loadings, VALIDATION), abs=1e-5)
    assert found.scores["selection"] == min(found.history["validation_loss"])
    assert found.scores["total_r2"] == pytest.approx(1 - total_loss_ratio(loadings, VALIDATION), abs=1e-5)


def test_a_fit_that_diverges_says_so():
    _, found = fit(epochs=3, learning_rate=1e18, gradient_clip=1e30)
    assert found.status == "diverged"
    assert found.scores["selection"] == np.inf


# Forecasts


def months_after(first, last):
    """Months as they were known at their end: targets up to the month before the last."""
    for month in range(first, last):
        seen = market(0, month + 1)
        own = seen.month_N == month
        y_H = np.where(own, np.float32(np.nan), seen.y_N)
        yield dataclasses.replace(
            seen,
            x_NP=seen.x_NP[own],
            month_N=seen.month_N[own],
            y_N=y_H[own],
            c_NC=seen.c_NC[own],
            history=dataclasses.replace(seen.history, y_H=y_H),
        )


def test_a_forecast_is_loadings_times_the_mean_realised_factor(fitted):
    point, found = fitted
    (month,) = months_after(50, 51)
    history, loadings = month.history, frozen_loadings(point, found.weights)
    realised = list(found.weights["factors"])
    for later in (48, 49):
        rows = np.flatnonzero(history.month_H == later)
        span = slice(rows[0], rows[-1] + 1)
        realised.append(realised_factors(loadings(history, span), history.y_H[span]))
    own = slice(len(history) - len(month), len(history))
    wanted_N = loadings(history, own) @ np.mean(realised, axis=0)
    np.testing.assert_allclose(NeurIF.fitted(point, found.weights).forecast(month).returns, wanted_N, atol=1e-6)
    for kind in ("ewma", "ar1"):
        other = point.model_copy(update={"factor_forecast": kind})
        wanted_N = loadings(history, own) @ expected_factors(np.stack(realised), kind)
        np.testing.assert_allclose(NeurIF.fitted(other, found.weights).forecast(month).returns, wanted_N, atol=1e-6)


def test_forecasts_of_a_month_do_not_depend_on_the_months_asked_for(fitted):
    point, found = fitted
    member = FittedMember(point, found.weights)
    alone = ensemble_forecast(NeurIF, [member], months_after(55, 56)).returns
    among = ensemble_forecast(NeurIF, [member], months_after(50, 58)).returns
    sizes = [len(month) for month in months_after(50, 58)]
    assert alone.tobytes() == among[sum(sizes[:5]) : sum(sizes[:6])].tobytes()


@pytest.mark.parametrize("attention", ["exact", "induced"])
def test_a_member_has_the_same_bits_alone_and_in_a_pack(attention):
    points = [
        NeurIFSettings(**TINY, attention=attention, epochs=3, dropout=0.2, learning_rate=rate)
        for rate in (1e-3, 3e-3, 1e-3)
    ]
    pack = NeurIF.fit_pack(points, [1, 2, 3], TRAIN, VALIDATION, order_seed=0)
    for point, seed, together in zip(points, [1, 2, 3], pack, strict=True):
        (alone,) = NeurIF.fit_pack([point], [seed], TRAIN, VALIDATION, order_seed=0)
        assert alone.scores == together.scores
        assert alone.weights.keys() == together.weights.keys()
        for name, weight in alone.weights.items():
            assert weight.tobytes() == together.weights[name].tobytes(), name
    assert pack[0].weights["loadings.gamma"].tobytes() != pack[2].weights["loadings.gamma"].tobytes()


def test_its_description_follows_the_planted_factors():
    point, found = fit(**LINEAR, epochs=10)
    described = NeurIF.fitted(point, found.weights).describe()
    assert described.factors.shape == (48, 2)
    assert described.loadings.shape == (2, 5)
    planted_TK = np.stack([factor_of(month) for month in range(48)])
    design = np.column_stack([np.ones(48), described.factors])
    fit_TK = design @ np.linalg.lstsq(design, planted_TK, rcond=None)[0]
    assert (1 - (planted_TK - fit_TK).var(0) / planted_TK.var(0) > 0.9).all()


def test_a_notebook_fits_and_forecasts():
    panel = simulate(slots=20, months=48, characteristics=9).panel
    window = Windows(first_train_end="2000-06", validation=6, test=6).split(panel.months.tolist())[0]
    model = NeurIF(**{**TINY, "epochs": 2}, members=2).fit(panel, window)
    frame = model.predict(panel)
    assert np.isfinite(frame["prediction"]).all()
    alone = model.predict(panel, (window.test[1], window.test[1]))
    assert alone["prediction"].tolist() == frame["prediction"].tolist()[-len(alone) :]


# What it refuses


@pytest.mark.parametrize(
    ("point", "available", "words"),
    [
        ({"factors": 7}, Available(5, 0, 0, 12), "as many instruments as factors"),
        ({}, Available(0, 0, 0, 12), "at least one characteristic"),
        ({"workers": 2}, Available(5, 0, 0, 12), "compute.workers gives groups of 1: set compute.workers to 2"),
        ({"workers": 2}, Available(5, 0, 0, 12, 3), "compute.workers gives groups of 3"),
    ],
)
def test_data_it_cannot_be_fitted_on(point, available, words):
    with pytest.raises(InputError, match=words):
        NeurIF.require(NeurIFSettings(**point), available)


def test_months_without_targets_are_refused():
    nothing = dataclasses.replace(VALIDATION, y_N=np.full_like(VALIDATION.y_N, np.nan))
    with pytest.raises(InputError, match="the validation months hold no known target"):
        fit(validation=nothing)


@pytest.mark.parametrize(
    "wrong", [{"heads": 3}, {"factors": 65}, {"dropout": 1.0}, {"blocks": -1}, {"attention": "all"}]
)
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValidationError):
        NeurIFSettings(**wrong)


def test_settings_need_no_torch():
    code = "import sys, factor_ray.models.neurif; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

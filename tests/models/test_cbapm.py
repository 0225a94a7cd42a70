"""CB-APM: what it recovers, what its hyperparameters mean, what it refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from pydantic import ValidationError

from factor_ray.data.sample import Sample
from factor_ray.errors import InputError
from factor_ray.models.cbapm import CBAPM, CBAPMSettings, pricing_coefficients

# Axes: N firm-months, P characteristics, T months, C consensus variables.

WEIGHT_C = np.array([[0.8, 0.5, 0.0, 0.0], [0.0, -0.6, 0.7, 0.0], [0.5, 0.0, 0.0, -0.7]], np.float32)
PRICE_C = np.array([0.10, -0.08, 0.0], np.float32)


def market(rows: int, seed: int, *, missing: float = 0.1) -> Sample:
    """Returns priced by the part of the consensus that characteristics and a macro state explain."""
    rng = np.random.default_rng(seed)
    x_NP = rng.uniform(-1, 1, (rows, 6)).astype(np.float32)
    month_N = np.sort(rng.integers(0, 24, rows)).astype(np.int32)
    z_Td = rng.standard_normal((24, 1)).astype(np.float32)
    signal_N3 = np.column_stack([x_NP[:, 0], x_NP[:, 1] * x_NP[:, 2], 0.5 * x_NP[:, 3] * z_Td[month_N, 0]])
    truth_NC = np.tanh(np.column_stack([signal_N3, x_NP[:, 4]]) @ WEIGHT_C.T)
    c_NC = (truth_NC + 0.3 * rng.standard_normal((rows, 3))).astype(np.float32)
    y_N = (truth_NC @ PRICE_C + 0.05 * rng.standard_normal(rows)).astype(np.float32)
    c_NC[rng.random(c_NC.shape) < missing] = np.nan
    y_N[rng.random(rows) < missing] = np.nan
    return Sample(x_NP, month_N, z_Td, y_N, c_NC)


def without_consensus(sample: Sample) -> Sample:
    return Sample(sample.x_NP, sample.month_N, sample.z_Td, sample.y_N, sample.c_NC[:, :0])


TRAIN, VALIDATION, TEST = market(4000, 0), market(1500, 1), market(1500, 2, missing=0.0)


@pytest.fixture(scope="module")
def fits():
    points = [
        CBAPMSettings(consensus_weight=0.0, epochs=30, dropout=0.05, learning_rate=3e-3),
        CBAPMSettings(consensus_weight=0.1, epochs=30, dropout=0.05, learning_rate=3e-3),
        CBAPMSettings(consensus_only=True, epochs=30, dropout=0.05, learning_rate=3e-3),
    ]
    return points, CBAPM.fit_pack(points, [1, 1, 1], TRAIN, VALIDATION, order_seed=0)


def r_squared(actual, forecast):
    return 1 - np.mean(np.square(actual - forecast)) / np.mean(np.square(actual))


def test_planted_truth_is_recovered(fits):
    points, (naive, joint, _) = fits
    with_bottleneck = CBAPM.forecast(points[1], joint.weights, TEST)
    assert r_squared(TEST.y_N, with_bottleneck.returns) > 0.35
    assert r_squared(TEST.c_NC, with_bottleneck.consensus) > 0.5
    assert r_squared(TEST.y_N, CBAPM.forecast(points[0], naive.weights, TEST).returns) > 0.35
    np.testing.assert_allclose(pricing_coefficients(joint.weights), PRICE_C, atol=0.02)


def test_scores_are_what_the_weights_forecast(fits):
    points, (_, joint, _) = fits
    forecast = CBAPM.forecast(points[1], joint.weights, VALIDATION)
    known, c_known = np.isfinite(VALIDATION.y_N), np.isfinite(VALIDATION.c_NC)
    loss = np.mean(np.square(VALIDATION.y_N - forecast.returns)[known])
    c_loss = np.mean(np.square(VALIDATION.c_NC - forecast.consensus)[c_known])
    assert joint.scores["return_loss"] == pytest.approx(loss, rel=1e-5)
    assert joint.scores["consensus_loss"] == pytest.approx(c_loss, rel=1e-5)
    assert joint.scores["return_loss_of_zero"] == pytest.approx(np.mean(np.square(VALIDATION.y_N[known])), rel=1e-6)
    assert joint.scores["validation_loss"] == min(joint.history["validation_loss"])
    s_r, s_c = np.nanmean(np.square(TRAIN.y_N)), np.nanmean(np.square(TRAIN.c_NC))
    assert joint.scores["validation_loss"] == pytest.approx((loss + 0.1 * c_loss) / (s_r + 0.1 * s_c), rel=1e-4)


def test_pricing_coefficients_are_the_forecasts_own(fits):
    points, (_, joint, _) = fits
    forecast = CBAPM.forecast(points[1], joint.weights, TEST)
    slope_N = forecast.consensus @ pricing_coefficients(joint.weights)
    np.testing.assert_allclose(forecast.returns - slope_N, (forecast.returns - slope_N)[0], atol=1e-5)


def test_consensus_only_forecasts_no_return(fits):
    points, (_, joint, only) = fits
    forecast = CBAPM.forecast(points[2], only.weights, TEST)
    assert forecast.returns is None
    assert np.isnan(only.scores["return_loss"])
    assert only.scores["consensus_loss"] < 1.02 * joint.scores["consensus_loss"]


def test_a_missing_target_is_left_out_of_its_own_loss_only():
    """A row whose targets are spread over copies of it, beside one without any, teaches what the whole row teaches."""
    point = CBAPMSettings(epochs=30, learning_rate=3e-3, batch_size=2000, hidden=(8,), dropout=0.0)
    whole = market(300, 5, missing=0.0)
    x_NP, month_N = np.repeat(whole.x_NP, 4, axis=0), np.repeat(whole.month_N, 4)
    y_N, c_NC = np.full(1200, np.nan, np.float32), np.full((1200, 3), np.nan, np.float32)
    y_N[::4] = whole.y_N
    c_NC[1::4, 0] = whole.c_NC[:, 0]
    c_NC[2::4, 1:] = whole.c_NC[:, 1:]
    spread = Sample(x_NP, month_N, whole.z_Td, y_N, c_NC)
    expected, found = (
        CBAPM.forecast(point, CBAPM.fit_pack([point], [0], train, TEST, order_seed=0)[0].weights, TEST)
        for train in (whole, spread)
    )
    np.testing.assert_allclose(found.returns, expected.returns, atol=1e-5)
    np.testing.assert_allclose(found.consensus, expected.consensus, atol=1e-4)


def test_training_rows_without_any_return_are_refused():
    point, half = CBAPMSettings(epochs=2, hidden=(8,)), market(300, 5)
    nothing = Sample(half.x_NP, half.month_N, half.z_Td, np.full(300, np.nan, np.float32), half.c_NC)
    with pytest.raises(InputError, match="no known target return"):
        CBAPM.fit_pack([point], [0], nothing, TEST, order_seed=0)


def test_without_consensus_variables_lambda_must_be_zero():
    point = CBAPMSettings(consensus_weight=0.0, epochs=2, hidden=(8,))
    train, validation = without_consensus(TRAIN), without_consensus(VALIDATION)
    fit = CBAPM.fit_pack([point], [0], train, validation, order_seed=0)[0]
    forecast = CBAPM.forecast(point, fit.weights, without_consensus(TEST))
    assert forecast.consensus is None
    assert np.isfinite(forecast.returns).all()
    with pytest.raises(InputError, match="consensus_weight must be 0"):
        CBAPM.fit_pack([CBAPMSettings()], [0], train, validation, order_seed=0)
    with pytest.raises(InputError, match="without consensus variables"):
        pricing_coefficients(fit.weights)


@pytest.mark.parametrize(("rows", "size"), [(300, 128), (50_000, 500), (605_722, 5000)])
def test_batch_size_by_rows(rows, size):
    assert CBAPMSettings().rows_per_batch(rows) == size
    assert CBAPMSettings(batch_size=77).rows_per_batch(rows) == 77


@pytest.mark.parametrize(
    "wrong", [{"dropout": 1.0}, {"consensus_weight": -1}, {"hidden": []}, {"hidden": [0]}, {"batch_size": "all"}]
)
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValidationError):
        CBAPMSettings(**wrong)


def test_shape_and_free_hyperparameters():
    assert set(CBAPMSettings.shape_names()) | set(CBAPMSettings.free_names()) == set(CBAPMSettings.model_fields)
    assert "hidden" in CBAPMSettings.shape_names()
    assert "consensus_weight" in CBAPMSettings.free_names()


def test_settings_need_no_torch():
    code = "import sys, factor_ray.models.cbapm; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

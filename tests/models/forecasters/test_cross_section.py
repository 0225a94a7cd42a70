"""What holds of every forecaster that looks across assets: bits, masks, and what it may not see."""

from __future__ import annotations

import dataclasses
import gc
import subprocess
import sys

import numpy as np
import pytest
from linked_market import cut, history
from pydantic import ValidationError

from factor_ray.data.sample import History, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Hyperparameters
from factor_ray.models.forecasters.cross_section import CrossSection
from factor_ray.models.forecasters.dy_gap import DYGAP, DYGAPSettings
from factor_ray.models.forecasters.sthd import STHD, STHDSettings

ROWS = history(signed=True, months=34, assets=15)
SMALL = {"correlation_months": 12, "overlap": 6, "epochs": 2, "learning_rate": 5e-3, "width": 8, "heads": 2}
POINTS: dict[type[CrossSection], Hyperparameters] = {
    STHD: STHDSettings(**SMALL, lookback=3, patch=2, neighbours=3, feedforward=8),
    DYGAP: DYGAPSettings(**SMALL, edges=3, level=0.3, hidden=8),
}
MODELS = pytest.mark.parametrize("model", POINTS, ids=lambda model: model.name)


def with_macro(sample: Sample, seed: int = 5) -> Sample:
    z_Td = np.random.default_rng(seed).standard_normal((len(sample.z_Td), 2)).astype(np.float32)
    return dataclasses.replace(sample, z_Td=z_Td)


def fit(model, points=None, seeds=(1,), train=None, validation=None):
    train = with_macro(cut(ROWS, 0, 24)) if train is None else train
    validation = with_macro(cut(ROWS, 24, 28)) if validation is None else validation
    return model.fit_pack(points or [POINTS[model]], seeds, train, validation, order_seed=0)


def same_weights(one, other):
    assert one.weights.keys() == other.weights.keys()
    return all(np.array_equal(one.weights[name], other.weights[name]) for name in one.weights)


@pytest.fixture(scope="module")
def fits():
    return {model: fit(model)[0] for model in POINTS}


@MODELS
def test_a_members_bits_do_not_depend_on_its_companions(model, fits):
    other = POINTS[model].model_copy(update={"dropout": 0.4, "learning_rate": 1e-2})
    pack = fit(model, [other, POINTS[model], POINTS[model]], [3, 1, 2])
    assert same_weights(pack[1], fits[model])
    assert pack[1].scores == fits[model].scores
    assert not same_weights(pack[2], fits[model])
    assert not same_weights(pack[0], pack[1])


@MODELS
def test_forecasts_of_a_month_do_not_depend_on_which_others_are_asked_for(model, fits):
    point, weights = POINTS[model], fits[model].weights
    months = [with_macro(cut(ROWS, month, month + 1, targets=False)) for month in range(28, 32)]
    alone = [model.fitted(point, weights).forecast(month).returns for month in months]
    member = model.fitted(point, weights)
    for number in (3, 0, 2, 1, 0):
        np.testing.assert_array_equal(member.forecast(months[number]).returns, alone[number])
    together = with_macro(cut(ROWS, 28, 32, targets=False))
    np.testing.assert_array_equal(member.forecast(together).returns, np.concatenate(alone))


@MODELS
def test_nothing_looks_ahead(model, fits):
    rng, late_H = np.random.default_rng(9), ROWS.month_H > 29
    changed = dataclasses.replace(
        ROWS,
        x_HP=np.where(late_H[:, None], rng.uniform(-1, 1, ROWS.x_HP.shape), ROWS.x_HP).astype(np.float32),
        r_H=np.where(late_H, 0.9, ROWS.r_H).astype(np.float32),
        y_H=np.where(ROWS.month_H > 28, -0.9, ROWS.y_H).astype(np.float32),
    )
    later_T = np.arange(34) > 29

    def altered(sample: Sample) -> Sample:
        sample = with_macro(sample)
        return dataclasses.replace(sample, z_Td=np.where(later_T[:, None], np.float32(7), sample.z_Td))

    (again,) = fit(model, train=altered(cut(changed, 0, 24)), validation=altered(cut(changed, 24, 28)))
    assert same_weights(again, fits[model])
    member = model.fitted(POINTS[model], again.weights)
    for month in (28, 29):
        seen, before = altered(cut(changed, month, month + 1)), with_macro(cut(ROWS, month, month + 1, targets=False))
        np.testing.assert_array_equal(member.forecast(seen).returns, member.forecast(before).returns)
    late, before = altered(cut(changed, 30, 31)), with_macro(cut(ROWS, 30, 31))
    assert not np.array_equal(member.forecast(late).returns, member.forecast(before).returns)


@MODELS
def test_a_month_of_the_past_alone_changes_a_forecast(model, fits):
    sample = with_macro(cut(ROWS, 30, 31))
    assert sample.history is not None
    lags_H = sample.history.month_H >= 20
    turned = dataclasses.replace(sample.history, r_H=np.where(lags_H, -sample.history.r_H[::-1], sample.history.r_H))
    member = model.fitted(POINTS[model], fits[model].weights)
    other = member.forecast(dataclasses.replace(sample, history=turned)).returns
    assert not np.array_equal(other, member.forecast(sample).returns)


@MODELS
def test_scores_are_what_the_forecasts_say_on_known_targets(model):
    train, validation = cut(ROWS, 0, 24), cut(ROWS, 24, 28)
    gaps_N = np.random.default_rng(1).random(len(validation)) < 0.5
    validation = dataclasses.replace(validation, y_N=np.where(gaps_N, np.float32(np.nan), validation.y_N))
    train = dataclasses.replace(train, y_N=np.where(train.month_N == 20, np.float32(np.nan), train.y_N))
    (found,) = fit(model, train=train, validation=validation)
    forecast_N = model.fitted(POINTS[model], found.weights).forecast(validation).returns
    known_N = np.isfinite(validation.y_N)
    loss = np.mean(np.square(validation.y_N - forecast_N)[known_N])
    of_zero = np.mean(np.square(validation.y_N)[known_N])
    assert found.scores["return_loss"] == pytest.approx(loss, rel=1e-5)
    assert found.scores["return_loss_of_zero"] == pytest.approx(of_zero, rel=1e-5)
    assert found.scores["selection"] == pytest.approx(loss / of_zero, rel=1e-5)
    assert found.scores["validation_loss"] == min(found.history["validation_loss"])
    assert found.scores["validation_loss"] == pytest.approx(loss / np.nanmean(np.square(train.y_N)), rel=1e-4)


@MODELS
def test_training_starts_at_the_zero_forecast_whose_loss_is_one(model):
    (found,) = fit(model, [POINTS[model].model_copy(update={"learning_rate": 1e-12, "epochs": 1})])
    assert found.history["train_loss"][0] == pytest.approx(1, rel=1e-5)
    assert found.scores["selection"] == pytest.approx(1, rel=1e-5)


@MODELS
def test_assets_without_neighbours_are_forecast(model, fits):
    whole = with_macro(cut(ROWS, 30, 31))
    assert whole.history is not None
    unknown = dataclasses.replace(whole.history, r_H=np.full_like(whole.history.r_H, np.nan))
    member = model.fitted(POINTS[model], fits[model].weights)
    forecast_N = member.forecast(dataclasses.replace(whole, history=unknown)).returns
    assert np.isfinite(forecast_N).all()
    assert forecast_N.std() > 0
    alone = Sample(
        whole.x_NP[:1],
        whole.month_N[:1],
        whole.z_Td,
        whole.y_N[:1],
        whole.c_NC[:1],
        History(
            whole.x_NP[:1],
            whole.month_N[:1],
            unknown.asset_H[:1],
            unknown.r_H[:1],
            unknown.y_H[:1],
            unknown.f_TF,
        ),
    )
    assert np.isfinite(member.forecast(alone).returns).all()
    no_links = [
        dataclasses.replace(s, history=dataclasses.replace(s.history, r_H=s.history.r_H * np.float32(np.nan)))
        for s in (cut(ROWS, 0, 24), cut(ROWS, 24, 28))
    ]
    (found,) = fit(model, train=no_links[0], validation=no_links[1])
    assert found.status == "ok"
    assert np.isfinite(found.scores["selection"])


@MODELS
def test_arrays_that_workers_share_are_only_read(model):
    samples = [with_macro(cut(ROWS, 0, 24)), with_macro(cut(ROWS, 24, 28)), with_macro(cut(ROWS, 28, 29))]
    arrays = [
        getattr(owner, field.name)
        for sample in samples
        for owner in (sample, sample.history)
        for field in dataclasses.fields(owner)
    ]
    for array in arrays:
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    try:
        (found,) = fit(model, train=samples[0], validation=samples[1])
        for weight in found.weights.values():
            weight.flags.writeable = False
        assert np.isfinite(model.fitted(POINTS[model], found.weights).forecast(samples[2]).returns).all()
    finally:
        for array in (ROWS.x_HP, ROWS.month_H, ROWS.asset_H, ROWS.r_H, ROWS.y_H, ROWS.f_TF):
            array.flags.writeable = True


@MODELS
def test_a_fit_that_runs_away_is_said_to_have_diverged(model):
    (found,) = fit(model, [POINTS[model].model_copy(update={"learning_rate": 1e30})])
    assert found.status == "diverged"
    assert found.scores["selection"] == np.inf


def test_members_of_an_ensemble_share_a_months_links_and_nothing_stays(fits, monkeypatch):
    from factor_ray.models.forecasters import cross_section_task

    asked = []
    links = STHD.links
    monkeypatch.setattr(STHD, "links", lambda *given: asked.append(1) or links(*given))
    members = [STHD.fitted(POINTS[STHD], fits[STHD].weights) for _ in range(3)]
    month = with_macro(cut(ROWS, 30, 31))
    for member in members:
        member.forecast(month)
    assert len(asked) == 1
    STHD.fitted(POINTS[STHD].model_copy(update={"neighbours": 3, "overlap": 5}), fits[STHD].weights).forecast(month)
    assert len(asked) == 2
    del month
    gc.collect()
    assert cross_section_task._latest._months is None


@MODELS
def test_what_is_refused(model):
    with pytest.raises(InputError, match="the training months hold no known target return"):
        fit(model, train=cut(ROWS, 0, 24, targets=False))
    with pytest.raises(InputError, match="needs a sample with its history"):
        fit(model, train=dataclasses.replace(cut(ROWS, 0, 24), history=None))
    with pytest.raises(ValidationError, match="overlap must be at most correlation_months; got 24 and 12"):
        model.Settings(correlation_months=12)
    with pytest.raises(ValidationError, match="width must be a multiple of heads; got width 10 and heads 4"):
        model.Settings(width=10)


def test_settings_need_no_torch():
    names = "factor_ray.models.forecasters.sthd, factor_ray.models.forecasters.dy_gap"
    code = f"import sys, {names}\nassert 'torch' not in sys.modules and 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

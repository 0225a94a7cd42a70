"""What holds of every registered model, on a small market: the contract between models and what runs them."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass

import numpy as np
import pytest

from factor_ray.data.macro import Macro
from factor_ray.data.prepare import prepare
from factor_ray.data.sample import Sample, WindowView, asset_numbers, observed_factors_of
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns, own_excess_returns
from factor_ray.data.windows import Window, Windows
from factor_ray.errors import InputError
from factor_ray.models.base import Available, Fit, Hyperparameters, Model
from factor_ray.models.registry import model, model_names
from factor_ray.runner.cells import CellStore

SMALL = {
    "epochs": 2,
    "warm_up": 0,
    "width": 4,
    "heads": 2,
    "layers": 1,
    "blocks": 1,
    "feedforward": 4,
    "lookback": 3,
    "patch": 2,
    "factors": 2,
    "correlation_months": 12,
    "overlap": 6,
    "iterations": 50,
    "starts": 1,
    "dropout": 0.2,
}
"""Hyperparameters that make a fit quick, of the models that have them."""
OF_ONE = {"cbapm": {"hidden": (4,)}, "mlp": {"hidden": (4,)}}
OBSERVED = ("qr_observed", "observed_factors")
"""Models whose factors are observed: they are not realised from targets, and their totals do not look at them."""
WELL_KNOWN = 30
"""Training returns of an asset that are enough for every model."""


@dataclass(frozen=True)
class Case:
    """One model, its point and what it was fitted to."""

    family: type[Model]
    point: Hyperparameters
    train: Sample
    validation: Sample
    months: list[Sample]
    realised: list[Sample]
    fit: Fit
    before: list[str]

    def forecasts(self, fit: Fit, months: list[Sample]) -> list[bytes]:
        member = self.family.fitted(self.point, fit.weights)
        return [returned(member.forecast(month)).tobytes() for month in months]


def returned(prediction) -> np.ndarray:
    parts = [part.reshape(-1) for part in (prediction.returns, prediction.consensus) if part is not None]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def market() -> tuple[WindowView, Window]:
    panel = simulate(seed=3, slots=24, months=48, characteristics=9, consensus=2, death=0.02, birth=0.4).panel
    factors_TF = np.random.default_rng(0).normal(0, 0.04, (len(panel.months), 2)).astype(np.float32)
    ready = prepare(panel.with_factors(Macro(panel.months, ("market", "size"), factors_TF)))
    first = int(ready.months[0])
    (window, *_) = Windows(first_train_end="2001-04", validation=4, test=4).split(ready.months, horizon=1)
    state_Td = np.random.default_rng(1).standard_normal((len(ready.months), 2)).astype(np.float32)
    view = WindowView(
        panel=ready,
        horizon=1,
        target_N=excess_returns(ready, 1),
        excess_N=own_excess_returns(ready),
        asset_N=asset_numbers(ready),
        state_Td=state_Td,
        factors_TF=observed_factors_of(ready),
        first=first,
    )
    return view, window


@pytest.fixture(scope="module", params=model_names())
def case(request, market) -> Case:
    view, window = market
    family = model(request.param)
    chosen = {name: value for name, value in SMALL.items() if name in family.Settings.model_fields}
    point = family.Settings(**chosen, **OF_ONE.get(request.param, {}))
    train, validation = view.train(window), view.validation(window)
    months, realised = list(view.forecast_months(window.test)), list(view.realised_months(window.test))
    assert len(months) == 4
    before = [digest(sample) for sample in (train, validation, *months, *realised)]
    (fit,) = family.fit_pack([point], [7], train, validation, order_seed=1)
    return Case(family, point, train, validation, months, realised, fit, before)


def test_it_fits_what_it_does_not_refuse(case):
    case.family.require(case.point, Available(characteristics=9, consensus=2, factors=2, validation=4))
    assert case.fit.status == "ok"
    assert np.isfinite(list(case.fit.scores.values())).all()
    assert "selection" in case.fit.scores
    assert not any(np.isinf(weight).any() for weight in case.fit.weights.values())
    assert all(np.isfinite(values).all() for values in case.fit.history.values())


@pytest.mark.parametrize("name", model_names())
def test_it_refuses_windows_without_validation_months(name):
    family = model(name)
    with pytest.raises(InputError, match=rf"^windows\.validation must be at least 1 for {name}, .*: give it months$"):
        family.require(family.Settings(), Available(characteristics=9, consensus=2, factors=2, validation=0))


def test_a_point_of_another_model_is_refused(case):
    with pytest.raises(TypeError, match=r"^a point must be a \w+; got a Hyperparameters: "):
        case.family.fit_pack([Hyperparameters()], [7], case.train, case.validation, order_seed=1)


def test_every_row_of_a_month_is_forecast(case):
    """But for assets without enough returns, by models that know assets by their returns alone."""
    member = case.family.fitted(case.point, case.fit.weights)
    known, returns = [], []
    for month in case.months:
        prediction = member.forecast(month)
        assert prediction.returns is not None
        assert prediction.returns.shape == (len(month),)
        assert prediction.returns.dtype == np.float32
        known.append(np.isfinite(prediction.returns))
        assert np.ptp(prediction.returns[known[-1]]) > 0
        if prediction.consensus is not None:
            assert prediction.consensus.shape == month.c_NC.shape
            assert np.isfinite(prediction.consensus).all()
        returns.append(training_returns(case.train, month))
    known_N, returns_N = np.concatenate(known), np.concatenate(returns)
    assert (returns_N >= WELL_KNOWN).any()
    assert (returns_N == 0).any()
    assert known_N[returns_N >= WELL_KNOWN].all()
    assert known_N.all() or not known_N[returns_N == 0].any()


def training_returns(train: Sample, month: Sample) -> np.ndarray:
    """How many returns each asset of a month has among the training months."""
    assets = train.history.asset_H[np.isfinite(train.history.r_H)]
    return np.array([np.sum(assets == asset) for asset in month.history.asset_H[-len(month) :]])


def test_a_members_bits_do_not_depend_on_its_companions(case):
    fields = case.family.Settings.free_names()
    changed = {"learning_rate": 2e-2, "dropout": 0.5, "ridge": 0.1}
    other = case.point.model_copy(update={name: value for name, value in changed.items() if name in fields})
    _, again = case.family.fit_pack([other, case.point], [8, 7], case.train, case.validation, order_seed=1)
    assert again.weights.keys() == case.fit.weights.keys()
    for name, weight in case.fit.weights.items():
        np.testing.assert_array_equal(again.weights[name], weight, err_msg=name)
    assert again.scores == case.fit.scores


def test_a_months_forecasts_do_not_depend_on_which_others_are_asked_for(case):
    together = case.forecasts(case.fit, case.months)
    assert [case.forecasts(case.fit, [month])[0] for month in case.months] == together
    assert case.forecasts(case.fit, case.months[1::2]) == together[1::2]


def test_weights_that_were_stored_forecast_the_same(case, tmp_path):
    store = CellStore(tmp_path)
    store.write("ab" * 16, case.fit, {"model": case.family.name})
    read = store.read("ab" * 16)
    assert case.forecasts(read, case.months) == case.forecasts(case.fit, case.months)
    assert read.scores == case.fit.scores


def test_what_is_realised_reads_the_months_own_targets_or_is_not_there(case):
    """A factor that is realised from targets moves with them, and is not known without them."""
    member, observed = case.family.fitted(case.point, case.fit.weights), case.family.name in OBSERVED
    has_factors, known = observed or member.describe() is not None, 0
    for month, realised in zip(case.months, case.realised, strict=True):
        found = member.total(realised)
        member.forecast(month)
        halved, unknown = (
            member.total(dataclasses.replace(realised, y_N=realised.y_N * np.float32(share))) for share in (0.5, np.nan)
        )
        assert [total is not None for total in (found, halved, unknown)] == [has_factors] * 3
        if not has_factors:
            continue
        assert found.shape == (len(realised),)
        assert np.isfinite(found).any() == np.isfinite(realised.y_N).any()
        known += np.isfinite(found).any()
        if observed:
            np.testing.assert_array_equal(halved, found)
            np.testing.assert_array_equal(unknown, found)
        else:
            assert not np.isclose(halved, found).any()
            assert np.isnan(unknown).all()
    assert known >= 3 or not has_factors


def test_what_workers_share_is_only_read(case):
    case.forecasts(case.fit, case.months)
    after = [digest(sample) for sample in (case.train, case.validation, *case.months, *case.realised)]
    assert after == case.before


def digest(sample: Sample) -> str:
    owners = (sample, sample.history)
    arrays = [getattr(owner, field.name) for owner in owners for field in dataclasses.fields(owner)]
    held = hashlib.sha256()
    for array in arrays:
        if isinstance(array, np.ndarray):
            held.update(array.tobytes())
    return held.hexdigest()

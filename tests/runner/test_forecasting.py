"""Ensembles: the plain mean, the greedy one against a slow reference, and forecasts that know nothing of each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_model import Toy, ToySettings

from factor_ray.data.sample import Sample
from factor_ray.errors import WorkError
from factor_ray.models import registry
from factor_ray.models.base import Fit, Prediction
from factor_ray.models.ensemble import ensemble_forecast
from factor_ray.runner.cells import CellStore
from factor_ray.runner.forecasting import Member, fitted_members, greedy_weights, read_fits


@pytest.fixture(autouse=True, scope="module")
def _toy():
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(registry._OURS, "toy", "toy_model:Toy")
        yield


def draw(seed: int, *, months: int = 5, assets: int = 7, p: int = 3, d: int = 2, c: int = 2) -> Sample:
    stream = np.random.default_rng(seed)
    month_N = np.repeat(np.arange(months, dtype=np.int32), assets)[stream.random(months * assets) < 0.8]
    rows = len(month_N)
    y_N = stream.normal(0, 0.1, rows).astype(np.float32)
    y_N[stream.random(rows) < 0.2] = np.nan
    y_N[0] = 0.1
    return Sample(
        x_NP=stream.normal(size=(rows, p)).astype(np.float32),
        month_N=month_N,
        z_Td=stream.normal(size=(months, d)).astype(np.float32),
        y_N=y_N,
        c_NC=stream.normal(size=(rows, c)).astype(np.float32),
    )


def fitted(*points: ToySettings, seed: int = 0) -> tuple[list[Member], dict[str, Fit]]:
    train, validation = draw(seed + 100), draw(seed + 200)
    fits = {
        f"cell{k}": Toy.fit_pack([point], [k], train, validation, order_seed=0)[0] for k, point in enumerate(points)
    }
    return [Member(cell, point) for cell, point in zip(fits, points, strict=True)], fits


def by_month(sample: Sample) -> list[Sample]:
    return [kept(sample, sample.month_N == month) for month in np.unique(sample.month_N)]


def kept(sample: Sample, rows: np.ndarray) -> Sample:
    return dataclasses.replace(
        sample, x_NP=sample.x_NP[rows], month_N=sample.month_N[rows], y_N=sample.y_N[rows], c_NC=sample.c_NC[rows]
    )


def forecast(members: Sequence[Member], fits: dict[str, Fit], sample: Sample) -> Prediction:
    return ensemble_forecast(Toy, fitted_members("toy", members, fits), by_month(sample))


def greedy(members: Sequence[Member], fits: dict[str, Fit], validation: Sample, picks: int) -> list[Member]:
    return greedy_weights("toy", members, fits, by_month(validation), validation.y_N, picks)


def slow_mean(members: Sequence[Member], fits: dict[str, Fit], sample: Sample, what: str) -> np.ndarray:
    total = sum(member.weight for member in members)
    mean = 0.0
    for member in members:
        found = Toy.forecast(member.settings, fits[member.cell].weights, sample)
        mean = mean + getattr(found, what).astype(float) * member.weight / total
    return np.asarray(mean)


def test_an_ensemble_is_the_weighted_mean():
    members, fits = fitted(ToySettings(penalty=0.1), ToySettings(penalty=10), ToySettings(penalty=100))
    members = [dataclasses.replace(member, weight=w) for member, w in zip(members, (1.0, 2.0, 5.0), strict=True)]
    sample = draw(1)
    found = forecast(members, fits, sample)
    assert found.returns is not None
    assert found.consensus is not None
    np.testing.assert_allclose(found.returns, slow_mean(members, fits, sample, "returns"), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(found.consensus, slow_mean(members, fits, sample, "consensus"), rtol=1e-5, atol=1e-6)
    assert found.returns.dtype == found.consensus.dtype == np.float32


def test_members_that_failed_are_left_out():
    members, fits = fitted(ToySettings(), ToySettings(fails=True), ToySettings(penalty=5))
    sample = draw(1)
    sound = [members[0], members[2]]
    all_of_them, without = (forecast(some, fits, sample) for some in (members, sound))
    np.testing.assert_array_equal(all_of_them.returns, without.returns)
    with pytest.raises(WorkError, match=r"every member of an ensemble of toy diverged \(.*fails=True\)"):
        forecast(members[1:2], fits, sample)


def test_what_no_member_forecasts_is_missing():
    members, fits = fitted(ToySettings(learns="consensus"), ToySettings(learns="consensus", penalty=2))
    found = forecast(members, fits, draw(1))
    assert found.returns is None
    assert found.consensus is not None
    members, fits = fitted(ToySettings(learns="returns"))
    assert forecast(members, fits, draw(1)).consensus is None


def test_members_that_forecast_share_the_mean():
    members, fits = fitted(ToySettings(), ToySettings(learns="consensus"), ToySettings(penalty=7))
    sample = draw(1)
    mixed = forecast(members, fits, sample)
    alone = forecast([members[0], members[2]], fits, sample)
    np.testing.assert_array_equal(mixed.returns, alone.returns)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.sets(st.integers(0, 4), min_size=1))
def test_a_month_is_forecast_to_the_bit_whichever_others_are_asked_for(seed, months):
    members, fits = fitted(ToySettings(), ToySettings(penalty=9))
    sample = draw(seed)
    whole = forecast(members, fits, sample)
    asked = np.isin(sample.month_N, list(months))
    if not asked.any():
        return
    found = forecast(members, fits, kept(sample, asked))
    assert whole.returns is not None
    assert whole.consensus is not None
    np.testing.assert_array_equal(found.returns, whole.returns[asked])
    np.testing.assert_array_equal(found.consensus, whole.consensus[asked])


def slow_greedy(members: list[Member], fits: dict[str, Fit], validation: Sample, picks: int) -> dict[str, float]:
    """Caruana et al. (2004), with lists."""
    known = [n for n in range(len(validation)) if not np.isnan(validation.y_N[n])]
    forecasts = {
        m.cell: Toy.forecast(m.settings, fits[m.cell].weights, validation).returns[known].astype(float)  # type: ignore[index]
        for m in members
    }
    chosen: list[str] = []
    for _ in range(picks):
        errors = {}
        for cell in forecasts:
            mean = sum(forecasts[name] for name in [*chosen, cell]) / (len(chosen) + 1)
            errors[cell] = float(np.mean((mean - validation.y_N[known].astype(float)) ** 2))
        chosen.append(min(errors, key=lambda cell: errors[cell]))
    return {cell: float(chosen.count(cell)) for cell in forecasts if cell in chosen}


@pytest.mark.parametrize("seed", range(6))
def test_greedy_weights_are_those_of_a_slow_loop(seed):
    points = [ToySettings(penalty=10.0**k) for k in range(-2, 5)]
    members, fits = fitted(*points, seed=seed)
    validation = draw(seed)
    found = greedy(members, fits, validation, picks=12)
    assert {member.cell: member.weight for member in found} == slow_greedy(members, fits, validation, 12)
    assert sum(member.weight for member in found) == 12


def test_greedy_weights_see_validation_returns_only():
    members, fits = fitted(ToySettings(penalty=0.01), ToySettings(penalty=1e4))
    validation = draw(3)
    assert len(greedy(members, fits, validation, 8)) >= 1
    unknown = np.isnan(validation.y_N)
    other = validation.x_NP.copy()
    other[unknown] = 99
    changed = dataclasses.replace(validation, x_NP=other, c_NC=validation.c_NC + 1)
    assert greedy(members, fits, changed, 8) == greedy(members, fits, validation, 8)


def test_greedy_weights_leave_out_what_failed_or_forecasts_no_returns():
    members, fits = fitted(ToySettings(fails=True), ToySettings(learns="consensus"), ToySettings(penalty=3))
    assert [member.cell for member in greedy(members, fits, draw(1), 5)] == ["cell2"]
    assert greedy(members[:2], fits, draw(1), 5) == []


def test_fits_are_read_from_the_store(tmp_path):
    members, fits = fitted(ToySettings(), ToySettings(penalty=2))
    store = CellStore(tmp_path)
    for cell, fit in fits.items():
        store.write(cell, fit, {})
    read = read_fits(store, members)
    sample = draw(4)
    first, second = (forecast(members, some, sample) for some in (fits, read))
    np.testing.assert_array_equal(first.returns, second.returns)

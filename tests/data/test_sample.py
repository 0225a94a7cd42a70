"""What a window sees: rows, histories, and nothing that is not known yet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.data import sample as samples
from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.sample import WindowView, asset_numbers, observed_factors_of
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns, own_excess_returns
from factor_ray.data.windows import Windows
from factor_ray.errors import InputError

MONTHS = 40


@pytest.fixture(scope="module")
def panel() -> Panel:
    raw = simulate(seed=3, slots=12, months=MONTHS, characteristics=9, consensus=2).panel
    index = pd.period_range("1990-01", periods=600, freq="M")
    factors = pd.DataFrame({"market": np.arange(600.0), "size": -np.arange(600.0)}, index=index)
    return prepare(raw.with_factors(Macro.from_frame(factors, lag=0)))


def view_of(panel: Panel, horizon: int, first: int) -> WindowView:
    return WindowView(
        panel=panel,
        horizon=horizon,
        target_N=excess_returns(panel, horizon),
        excess_N=own_excess_returns(panel),
        asset_N=asset_numbers(panel),
        state_Td=np.zeros((len(panel.months), 0), dtype=np.float32),
        factors_TF=observed_factors_of(panel),
        first=first,
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2))
def test_nothing_is_seen_before_it_is_known(panel, horizon, number):
    months = panel.months.tolist()
    windows = Windows.model_validate(
        {
            "scheme": "rolling",
            "length": 12,
            "validation": 4,
            "test": 3,
            "step": 3,
            "first_train_end": str(np.datetime64(int(months[22]), "M")),
        }
    )
    window = windows.split(months, horizon)[number]
    view = view_of(panel, horizon, window.train[0])
    origin = months[0]
    for sample in view.forecast_months(window.test):
        month = int(sample.month_N[0])
        assert np.isnan(sample.y_N).all()
        history = sample.history
        assert history.month_H[0] == window.train[0] - origin
        assert history.month_H[-1] == month
        assert np.isnan(history.y_H[history.month_H > month - horizon]).all()
        assert np.isfinite(history.y_H[history.month_H <= month - horizon]).any()
        assert len(history.f_TF) == month + 1
        np.testing.assert_array_equal(history.x_HP[-len(sample) :], sample.x_NP)
    validation = view.validation(window)
    assert validation.history is not None
    assert np.isfinite(validation.y_N).any()
    known = validation.history.y_H[np.isfinite(validation.history.y_H)]
    assert len(known) == np.isfinite(view.train(window).y_N).sum()


def test_realised_months_differ_from_forecast_months_in_their_own_targets_alone(panel):
    months = panel.months.tolist()
    view = view_of(panel, 1, months[0])
    span = (months[20], months[24])
    for blind, seeing in zip(view.forecast_months(span), view.realised_months(span), strict=True):
        np.testing.assert_array_equal(blind.history.y_H, seeing.history.y_H)
        np.testing.assert_array_equal(seeing.y_N, view.target_N[panel.row_months == months[0] + seeing.month_N[0]])
        assert len(seeing.history.f_TF) == len(blind.history.f_TF) + 1


def test_own_returns_are_the_targets_of_a_month_before(panel):
    view = view_of(panel, 1, int(panel.months[0]))
    frame = pd.DataFrame(
        {"asset": panel.assets, "month": panel.row_months, "own": view.excess_N, "next": view.target_N}
    )
    later = frame.assign(month=frame["month"] - 1).merge(frame, on=["asset", "month"], suffixes=("_later", ""))
    both = later[["own_later", "next"]].dropna()
    assert len(both) > 100
    np.testing.assert_allclose(both["own_later"], both["next"], atol=1e-7)


def test_asset_numbers_depend_on_the_name_alone(panel):
    numbers = asset_numbers(panel)
    assert (numbers == panel.assets.astype(np.int64)).all()
    roles = {"month": "month", "asset": "asset", "returns": "r", "characteristics": ["x"]}
    base = pd.DataFrame(
        {"month": ["2001-01", "2001-01", "2001-02"], "asset": ["IBM", "T", "IBM"], "r": 0.1, "x": [1.0, 2.0, 3.0]}
    )
    one, two = (asset_numbers(Panel.from_frame(part, **roles)) for part in (base, base.iloc[1:]))
    assert one[0] == one[2] == two[1] != one[1] == two[0]
    assert one.min() >= 2**31
    assert one.max() < 2**53


def test_names_that_look_alike_have_numbers_of_their_own():
    roles = {"month": "month", "asset": "asset", "returns": "r", "characteristics": ["x"]}
    names = ["123", "00123", "0123", "firm 33514", "firm 41701", "4294967419"]  # the two firms shared 31 bits
    frame = pd.DataFrame({"month": "2001-01", "asset": names, "r": 0.1, "x": np.arange(6.0)})
    panel = Panel.from_frame(frame, **roles)
    assert len(set(asset_numbers(panel).tolist())) == 6
    assert 123 in asset_numbers(panel)


def test_assets_that_share_a_number_are_refused(monkeypatch):
    roles = {"month": "month", "asset": "asset", "returns": "r", "characteristics": ["x"]}
    frame = pd.DataFrame({"month": "2001-01", "asset": ["A", "B", "C"], "r": 0.1, "x": [1.0, 2.0, 3.0]})
    monkeypatch.setattr(samples, "_number", lambda name: 7 if name in "BC" else 1)
    with pytest.raises(InputError, match="the assets 'B' and 'C' cannot be told apart by number: rename one"):
        asset_numbers(Panel.from_frame(frame, **roles))


def test_a_history_says_where_its_window_begins(panel):
    first, last = int(panel.months[5]), int(panel.months[-1])
    (whole,) = view_of(panel, 1, first).forecast_months((last, last))
    assert whole.history.first == 5 == whole.history.month_H[0]
    (late,) = view_of(panel.between(first + 3, last), 1, first).forecast_months((last, last))
    assert late.history.first == -3
    assert late.history.month_H[0] == 0

"""Trivial forecasts against slow loops, and what they may not see."""

import dataclasses

import numpy as np
import pytest

from factor_ray.data.panel import Panel
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns
from factor_ray.models.trivial import trivial_forecasts


def market(months: int = 30) -> Panel:
    return simulate(seed=2, slots=8, months=months, characteristics=9, consensus=1, death=0.05, birth=0.3).panel


@pytest.mark.parametrize("horizon", [1, 3, 12])
def test_they_are_what_slow_loops_say(horizon):
    panel = market()
    target_N = excess_returns(panel, horizon)
    found = trivial_forecasts(panel, target_N, horizon)
    assert list(found) == ["zero", "historical_mean", "last_value"]
    rows = list(zip(panel.row_months, panel.assets, target_N, strict=True))
    own = {(month, asset): target for month, asset, target in rows}
    for position, (month, asset, _) in enumerate(rows):
        known = [target for then, _, target in rows if then + horizon <= month and not np.isnan(target)]
        mean = np.mean(known) if known else np.nan
        np.testing.assert_allclose(found["historical_mean"][position], mean, rtol=1e-5, atol=1e-8)
        np.testing.assert_array_equal(
            found["last_value"][position], own.get((month - horizon, asset), np.float32("nan"))
        )
        assert found["zero"][position] == 0
    assert np.isnan(found["historical_mean"]).any()
    assert np.isfinite(found["historical_mean"]).any()
    assert np.isfinite(found["last_value"]).any()
    assert all(values.dtype == np.float32 for values in found.values())


@pytest.mark.parametrize("horizon", [1, 3])
def test_no_forecast_sees_a_return_after_its_month(horizon):
    panel = market()
    before = trivial_forecasts(panel, excess_returns(panel, horizon), horizon)
    month = int(panel.months[17])
    returns_N = panel.values("return").copy()
    late_N = panel.row_months > month
    returns_N[late_N] = np.where(np.isnan(returns_N[late_N]), np.nan, 0.5)
    table = panel.table.set_column(panel.table.column_names.index("return"), "return", [returns_N])
    changed = dataclasses.replace(panel, table=table)
    after = trivial_forecasts(changed, excess_returns(changed, horizon), horizon)
    for name in before:
        np.testing.assert_array_equal(before[name][~late_N], after[name][~late_N])
    assert not np.array_equal(before["historical_mean"][late_N], after["historical_mean"][late_N], equal_nan=True)


def test_a_horizon_longer_than_the_panel_knows_nothing():
    panel = market(months=5)
    found = trivial_forecasts(panel, excess_returns(panel, 12), 12)
    assert np.isnan(found["historical_mean"]).all()
    assert np.isnan(found["last_value"]).all()

"""The same forecasts within smaller universes: what a plain selection of rows gives, and what is asked for in vain."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns, next_returns
from factor_ray.data.universe import Universe
from factor_ray.data.windows import Windows
from factor_ray.errors import InputError
from factor_ray.evaluation import forecast_statistics, long_short, sort_portfolios
from factor_ray.experiment import PortfolioSettings
from factor_ray.tables import Forecast
from factor_ray.within import measure_within, require_within, rows_within

LARGE = {"large": Universe(min_cap_percentile=40)}


@pytest.fixture(scope="module")
def panel() -> Panel:
    return simulate(seed=1, slots=60, months=30, characteristics=9, consensus=2).panel


def test_measures_are_those_of_the_universes_rows(panel):
    target_N, next_N = excess_returns(panel, 1), next_returns(panel)
    rows = np.flatnonzero(panel.row_months >= panel.months[8])
    returns = np.random.default_rng(0).normal(0.01, 0.02, len(rows)).astype(np.float32)
    settings = PortfolioSettings(number=3, costs=(0.0, 50.0))
    inside_N = rows_within(panel, LARGE)["large"]
    zero_N = np.zeros(len(panel), dtype=np.float32)
    found = measure_within(
        panel, Forecast("toy", 1, rows, returns), inside_N, target_N, zero_N, next_N, settings, sorts=True
    )

    frame = pd.DataFrame(
        {
            "month": month_ends(panel.row_months[rows]),
            "asset": panel.assets[rows],
            "horizon": 1,
            "prediction": returns,
            "realized": target_N[rows],
            "market_cap": panel.values("market_cap")[rows],
            "next_return": next_N[rows],
        }
    )
    large = frame[frame["market_cap"] >= frame.groupby("month")["market_cap"].transform(lambda c: c.quantile(0.4))]
    assert found["rows"] == len(large) < len(frame)
    expected = forecast_statistics(large, by=["horizon"]).iloc[0]
    for measure in ("r2", "ic", "observations", "assets"):
        assert found["returns"][measure] == pytest.approx(expected[measure])
    formed = sort_portfolios(large, portfolios=3, weights="value")
    sharpes = long_short(formed, costs=(0.0, 50.0))["sharpe"]
    assert [row["sharpe"] for row in found["long_short"]] == pytest.approx(sharpes.tolist())
    without = measure_within(
        panel, Forecast("toy", 1, rows, returns), inside_N, target_N, zero_N, next_N, settings, sorts=False
    )
    assert "long_short" not in without


def test_a_universe_that_the_data_cannot_tell_is_refused_by_its_name(panel):
    with pytest.raises(InputError, match=r"within\.cheap\.min_price needs a column of the role 'price'"):
        rows_within(panel, {"cheap": Universe(min_price=5.0)})


def test_a_universe_without_rows_is_refused_by_its_name(panel):
    labels = np.where(panel.row_months < panel.months[10], "N", "Q")
    listed = Panel(panel.table.append_column("exchange", pa.array(labels, type=pa.string())), panel.macro)
    windows = {1: Windows(first_train_end="1999-03", validation=2, test=3).split(panel.months.tolist(), 1)}
    require_within(listed, {"nasdaq": Universe(exchange=("Q",))}, windows)
    for name, exchange in (("typo", "NYS"), ("nyse", "N")):
        with pytest.raises(
            InputError, match=rf"^within\.{name} must hold an asset in some test month, and none passes"
        ):
            require_within(listed, {name: Universe(exchange=(exchange,))}, windows)


def test_of_a_universe_that_preparation_has_emptied_nothing_is_measured(panel):
    forecast = Forecast("toy", 1, np.arange(100), np.zeros(100, dtype=np.float32))
    nothing_N, zero_N = np.zeros(len(panel), dtype=bool), np.zeros(len(panel), dtype=np.float32)
    found = measure_within(panel, forecast, nothing_N, zero_N, zero_N, zero_N, PortfolioSettings(), sorts=True)
    assert found == {"rows": 0}

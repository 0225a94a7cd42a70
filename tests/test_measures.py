"""Measures: the figures of metrics.json against what evaluation says of plain tables."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.data.simulation import simulate
from factor_ray.data.targets import excess_returns, next_returns
from factor_ray.data.windows import Windows
from factor_ray.errors import InputError
from factor_ray.evaluation import forecast_statistics, quantile_statistics
from factor_ray.evaluation.quantile_groups import quantile_groups
from factor_ray.experiment import PortfolioSettings
from factor_ray.measures import (
    fills_portfolios,
    form_portfolios,
    market_portfolio,
    measure_consensus,
    measure_market,
    measure_portfolios,
    measure_quantiles,
    measure_returns,
    plain,
    portfolio_weights,
    require_portfolios,
)
from factor_ray.models.trivial import trivial_forecasts
from factor_ray.tables import Forecast

SETTINGS = PortfolioSettings(number=5, costs=(0, 25))


@pytest.fixture(scope="module")
def panel() -> Panel:
    return simulate(seed=4, slots=40, months=40, characteristics=9, consensus=2).panel


@pytest.fixture(scope="module")
def forecast(panel) -> Forecast:
    rows = np.flatnonzero(panel.row_months >= panel.months[20])
    stream = np.random.default_rng(0)
    returns = (0.2 * excess_returns(panel, 3)[rows] + stream.normal(0, 0.02, len(rows))).astype(np.float32)
    returns[np.isnan(returns)] = 0.01
    consensus = stream.normal(0, 0.5, (len(rows), 2)).astype(np.float32)
    return Forecast("toy", 3, rows, returns, consensus)


def without_caps(panel: Panel) -> Panel:
    return Panel(panel.table.drop_columns(["market_cap"]), panel.macro)


def test_accuracy_is_that_of_the_definition_pooled_and_by_year(panel, forecast):
    target_N = excess_returns(panel, 3)
    benchmark_N = trivial_forecasts(panel, target_N, 3)["historical_mean"]
    found = measure_returns(panel, forecast, forecast.returns, target_N, benchmark_N)
    rows = forecast.rows
    errors = pd.DataFrame(
        {
            "year": month_ends(panel.row_months[rows]).astype("datetime64[Y]").astype(str),
            "error": (forecast.returns.astype(float) - target_N[rows]) ** 2,
            "zero": target_N[rows].astype(float) ** 2,
            "mean": (benchmark_N[rows].astype(float) - target_N[rows]) ** 2,
        }
    ).dropna()
    sums = errors[["error", "zero", "mean"]].sum()
    assert found["all"]["r2"] == pytest.approx(1 - sums["error"] / sums["zero"])
    assert found["all"]["r2_historical_mean"] == pytest.approx(1 - sums["error"] / sums["mean"])
    assert found["all"]["rmse"] == pytest.approx(math.sqrt(errors["error"].mean()))
    assert found["all"]["observations"] == len(errors)
    assert found["all"]["skipped"] == len(rows) - len(errors)
    assert "horizon" not in found["all"]
    by_year = errors.groupby("year")[["error", "zero"]].sum()
    known = {year: values["r2"] for year, values in found["by_year"].items() if values["observations"]}
    assert known == {str(year): pytest.approx(1 - total["error"] / total["zero"]) for year, total in by_year.iterrows()}


def test_accuracy_is_what_the_statistics_of_the_written_table_say(panel, forecast):
    target_N = excess_returns(panel, 3)
    benchmark_N = trivial_forecasts(panel, target_N, 3)["historical_mean"]
    table = pd.DataFrame(
        {
            "month": month_ends(panel.row_months[forecast.rows]),
            "asset": panel.assets[forecast.rows],
            "horizon": 3,
            "prediction": forecast.returns,
            "realized": target_N[forecast.rows],
            "benchmark": benchmark_N[forecast.rows],
        }
    )
    pooled = forecast_statistics(table, by=["horizon"]).iloc[0].drop("horizon").to_dict()
    yearly = forecast_statistics(table, by=["horizon", "year"]).drop(columns="horizon").to_dict("records")
    found = measure_returns(panel, forecast, forecast.returns, target_N, benchmark_N)
    # As written: figures that are not known are equal there.
    wanted = {"all": pooled, "by_year": {str(row.pop("year")): row for row in yearly}}
    assert json.dumps(found) == json.dumps(wanted)


def test_consensus_is_measured_where_analysts_spoke(panel, forecast):
    found = measure_consensus(panel, forecast)
    assert list(found) == ["consensus_0", "consensus_1"]
    for position, measured in enumerate(found.values()):
        actual = panel.consensus[forecast.rows, position].astype(float)
        known = ~np.isnan(actual)
        error = forecast.consensus[known, position].astype(float) - actual[known]
        assert measured["all"]["r2"] == pytest.approx(1 - (error**2).sum() / (actual[known] ** 2).sum())
        assert measured["all"]["observations"] == known.sum()
        assert all(len(year) == 4 for year in measured["by_year"])


def test_weights_are_by_value_where_there_are_caps_and_never_guessed(panel):
    bare = without_caps(panel)
    assert portfolio_weights(PortfolioSettings(), panel) == "value"
    assert portfolio_weights(PortfolioSettings(weights="equal"), panel) == "equal"
    assert portfolio_weights(PortfolioSettings(), bare) == "equal"
    with pytest.raises(
        InputError, match=r"portfolios.weights is value and the data has no market capitalisations: name"
    ):
        portfolio_weights(PortfolioSettings(weights="value"), bare)


@pytest.mark.parametrize("valued", [True, False])
def test_portfolios_are_formed_at_the_months_end_and_earn_the_next_return(panel, forecast, valued):
    panel = panel if valued else without_caps(panel)
    next_return_N = next_returns(panel)
    formed = form_portfolios(panel, forecast, next_return_N, SETTINGS)
    assert formed[["model", "horizon"]].drop_duplicates().to_numpy().tolist() == [["toy", 3]]
    rows = forecast.rows
    month_N = panel.row_months[rows] - panel.months[0]
    group_N = quantile_groups(month_N, forecast.returns.astype(float), np.ones(len(rows), dtype=bool), 5)
    weight_N = panel.values("market_cap")[rows].astype(float) if valued else np.ones(len(rows))
    earned_N = next_return_N[rows].astype(float)
    for month in panel.months[20:37]:  # later forecasts are all equal
        when = pd.Timestamp(month_ends([month])[0])
        of_month = formed[formed["month"] == when].set_index("portfolio")["return"]
        for portfolio in range(1, 6):
            held = (panel.row_months[rows] == month) & (group_N == portfolio) & ~np.isnan(earned_N)
            expected = (weight_N * earned_N)[held].sum() / weight_N[held].sum()
            assert of_month[str(portfolio)] == pytest.approx(expected)
        assert of_month["high-low"] == pytest.approx(of_month["5"] - of_month["1"])
    measured = measure_portfolios(formed, SETTINGS.costs)
    assert [row["cost_bp"] for row in measured["long_short"]] == [0, 25]
    assert measured["long_short"][0]["mean_return"] > measured["long_short"][1]["mean_return"]
    assert len(measured["portfolios"]) >= 5


@pytest.mark.parametrize("valued", [True, False])
def test_the_market_is_all_that_was_held(panel, forecast, valued):
    panel = panel if valued else without_caps(panel)
    next_return_N = next_returns(panel)
    market = market_portfolio(panel, forecast.rows, next_return_N, SETTINGS)
    assert set(market["portfolio"]) == {"market"}
    for when, earned in zip(market["month"], market["return"], strict=True):
        month = (when.year - 1970) * 12 + when.month - 1
        rows = panel.rows(month, month)
        returns = next_return_N[rows].astype(float)
        weight = panel.values("market_cap")[rows].astype(float) if valued else np.ones(len(returns))
        held = ~np.isnan(returns)
        assert earned == pytest.approx((weight * returns)[held].sum() / weight[held].sum())
    assert len(market) == 19  # nothing is earned after the last month
    assert measure_market(market, market)["mean_return"] == pytest.approx(market["return"].mean())


def test_the_market_is_judged_by_what_it_earned_above_the_risk_free_rate(panel, forecast):
    def measured(returns_N: np.ndarray, rate_N: np.ndarray) -> dict[str, float]:
        table = panel.table.append_column("risk_free", pa.array(rate_N.astype(np.float32)))
        own = Panel(table, panel.macro).with_plain({"return": returns_N.astype(np.float32)})
        gross, excess = next_returns(own), excess_returns(own, 1)
        return measure_market(
            *(market_portfolio(own, forecast.rows, earned_N, SETTINGS) for earned_N in (gross, excess))
        )

    plain_N, none_N = panel.values("return"), np.zeros(len(panel))
    without, raised = measured(plain_N, none_N), measured(plain_N + 0.004, none_N + 0.004)
    assert raised["mean_return"] == pytest.approx(without["mean_return"] + 0.004, abs=1e-7)
    assert raised["cumulative_log_return"] > without["cumulative_log_return"] + 0.05
    for name in ("sharpe", "t_statistic", "mean_excess_return"):
        assert raised[name] == pytest.approx(without[name], rel=1e-4)
    assert without["sharpe"] == pytest.approx(
        math.sqrt(12) * without["mean_return"] / market_sd(panel, forecast), rel=1e-5
    )


def market_sd(panel: Panel, forecast: Forecast) -> float:
    return float(market_portfolio(panel, forecast.rows, next_returns(panel), SETTINGS)["return"].std())


def test_more_portfolios_than_assets_are_refused_before_anything_is_fitted(panel, forecast):
    windows = {3: Windows(first_train_end="1999-06", validation=2, test=6).split(panel.months.tolist(), 3)}
    require_portfolios(SETTINGS, panel, windows)
    tested = pd.Series(panel.row_months[forecast.rows])[np.isfinite(next_returns(panel)[forecast.rows])]
    most = int(tested.value_counts().max())
    form_portfolios(panel, forecast, next_returns(panel), PortfolioSettings(number=most))
    for number, sentence in [
        (most, None),
        (most + 1, f"no test month has more than {most} assets with a market"),
    ]:
        settings = PortfolioSettings(number=number)
        if sentence is None:
            require_portfolios(settings, panel, windows)
        else:
            with pytest.raises(InputError, match=rf"portfolios.number is {number} and {sentence}"):
                require_portfolios(settings, panel, windows)
    with pytest.raises(InputError, match=r"portfolios.weights is value"):
        require_portfolios(PortfolioSettings(weights="value"), without_caps(panel), windows)


def test_assets_without_a_market_cap_fill_no_portfolio_that_is_weighted_by_value(panel, forecast):
    windows = {3: Windows(first_train_end="1999-06", validation=2, test=6).split(panel.months.tolist(), 3)}
    in_month_N = np.arange(len(panel)) - panel.offsets[panel.row_months - panel.months[0]]
    caps_N = np.select([in_month_N < 3, in_month_N < 6], [panel.values("market_cap"), 0.0], np.nan)
    few = panel.with_plain({"market_cap": caps_N.astype(np.float32)})
    require_portfolios(PortfolioSettings(number=2), few, windows)
    sentence = r"no test month has more than [1-3] assets with a market capitalisation above 0 and a return"
    with pytest.raises(InputError, match=sentence):
        require_portfolios(PortfolioSettings(number=4), few, windows)
    require_portfolios(PortfolioSettings(number=4, weights="equal"), few, windows)
    assert fills_portfolios(few, forecast, next_returns(few), PortfolioSettings(number=2))
    assert not fills_portfolios(few, forecast, next_returns(few), PortfolioSettings(number=4))


def test_plain_is_what_json_holds():
    value = {
        1: np.float32(0.5),
        "nested": [np.int64(3), (math.nan, -math.inf), {"x": np.nan, "y": np.bool_(True)}],
        "text": "a",
        "none": None,
    }
    found = plain(value)
    assert found == {"1": 0.5, "nested": [3, [None, None], {"x": None, "y": True}], "text": "a", "none": None}
    json.dumps(found, allow_nan=False)
    assert type(found["1"]) is float
    assert type(found["nested"][0]) is int


def test_quantiles_are_measured_as_the_public_statistics_measure_their_table(panel, forecast):
    target_N, tau = excess_returns(panel, 3), 0.05
    level = replace(forecast, returns=np.where(forecast.rows % 7, forecast.returns - 0.1, np.nan), tau=tau)
    found = measure_quantiles(panel, replace(level, total=forecast.returns), target_N)
    for kind, values in (("predictive", level.returns), ("total", forecast.returns)):
        table = pd.DataFrame(
            {
                "month": month_ends(panel.row_months[forecast.rows]),
                "asset": panel.assets[forecast.rows],
                "tau": tau,
                "prediction": values,
                "realized": target_N[forecast.rows],
            }
        )
        assert found[kind] == quantile_statistics(table, by=["tau"]).iloc[0].to_dict()
    assert found["predictive"]["skipped"] > found["total"]["skipped"] > 0


def test_an_infinite_quantile_is_refused(panel, forecast):
    endless = replace(forecast, returns=np.full(len(forecast.rows), np.inf, dtype=np.float32), tau=0.5)
    with pytest.raises(InputError, match="'prediction' of the quantiles table must be finite"):
        measure_quantiles(panel, endless, excess_returns(panel, 3))

"""Long-short statistics, against the formulas written out."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.errors import InputError
from factor_ray.evaluation import long_short, mean_test, portfolio_means, return_statistics


def make_portfolios(seed: int = 0, months: int = 60) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2013-01-31", periods=months, freq="ME")
    labels = ["1", "2", "high-low"]
    table = pd.MultiIndex.from_product([dates, labels], names=["month", "portfolio"]).to_frame(index=False)
    table["return"] = rng.normal(0.01, 0.05, len(table))
    table["turnover"] = rng.uniform(0.5, 1.5, len(table))
    table["assets"] = rng.integers(5, 9, len(table))
    unformed = table["month"].isin(dates[[10, 11]])
    table.loc[unformed, ["return", "turnover"]] = np.nan
    table.loc[unformed, "assets"] = 0
    table.loc[table["month"].isin(dates[[9, -1]]), "turnover"] = np.nan
    return table


def test_long_short_agrees_with_the_formulas_written_out() -> None:
    portfolios = make_portfolios()
    own = portfolios[(portfolios["portfolio"] == "high-low") & portfolios["return"].notna()]
    table = long_short(portfolios.sample(frac=1, random_state=1), lags=4).set_index("cost_bp")
    assert list(table.index) == [0, 25, 50, 75]
    for cost, row in table.iterrows():
        net = []
        for month in own.itertuples():
            charged = 0.0 if math.isnan(month.turnover) else cost / 10_000 * month.turnover
            net.append(own.loc[month.Index, "return"] - charged)
        log = [math.log(1 + r) for r in net]
        mean, mean_log = sum(net) / len(net), sum(log) / len(log)
        sd = math.sqrt(sum((r - mean) ** 2 for r in net) / (len(net) - 1))
        wealth, peak, drawdown = 1.0, 1.0, 0.0
        for r in net:
            wealth *= 1 + r
            peak = max(peak, wealth)
            drawdown = max(drawdown, 1 - wealth / peak)
        assert row["mean_log_return"] == pytest.approx(mean_log)
        assert row["sd_log_return"] == pytest.approx(math.sqrt(sum((r - mean_log) ** 2 for r in log) / (len(log) - 1)))
        assert row["cumulative_log_return"] == pytest.approx(sum(log))
        assert row["mean_return"] == pytest.approx(mean)
        assert row["sharpe"] == pytest.approx(math.sqrt(12) * mean / sd)
        assert row["worst_month"] == pytest.approx(min(net))
        assert row["max_drawdown"] == pytest.approx(drawdown)
        assert row["t_statistic"] == pytest.approx(mean_test(net, 4).t_statistic)
        assert row["turnover"] == pytest.approx(own["turnover"].mean())
        assert (row["months"], row["months_skipped"], row["rebalances"]) == (58, 2, 56)
        assert row["mean_assets"] == pytest.approx(own["assets"].mean())


def test_drawdown_closed_forms() -> None:
    assert return_statistics([0.1, 0.2, 0.0])["max_drawdown"] == 0.0
    assert return_statistics([-0.5, 0.1])["max_drawdown"] == pytest.approx(0.5)
    assert return_statistics([1.0, -0.5, -0.5, 3.0])["max_drawdown"] == pytest.approx(0.75)


def test_a_month_that_loses_everything_has_no_log_return() -> None:
    statistics = return_statistics([0.1, -1.2, 0.3])
    assert math.isnan(statistics["mean_log_return"])
    assert math.isnan(statistics["cumulative_log_return"])
    assert statistics["max_drawdown"] == 1.0
    assert statistics["worst_month"] == -1.2


def test_no_returns_and_constant_returns_have_no_ratios() -> None:
    empty = return_statistics([float("nan")])
    assert empty["months"] == 0
    assert all(math.isnan(value) for name, value in empty.items() if name != "months")
    constant = return_statistics([0.1] * 12)
    assert math.isnan(constant["sharpe"])
    assert constant["mean_return"] == pytest.approx(0.1)


@settings(max_examples=50, deadline=None)
@given(returns=st.lists(st.floats(-0.9, 2.0), min_size=2, max_size=40))
def test_bounds(returns: list[float]) -> None:
    statistics = return_statistics(returns)
    assert 0.0 <= statistics["max_drawdown"] <= 1.0
    assert statistics["max_drawdown"] >= -min(0.0, statistics["worst_month"]) - 1e-12
    assert statistics["mean_log_return"] <= statistics["mean_return"] + 1e-12
    assert math.expm1(statistics["cumulative_log_return"]) == pytest.approx(
        np.prod(1 + np.array(returns)) - 1, abs=1e-6
    )


def test_costs_lower_the_mean_by_what_is_traded() -> None:
    portfolios = make_portfolios()
    gross, net = long_short(portfolios, costs=[0, 50])["mean_return"]
    row = long_short(portfolios, costs=[0]).iloc[0]
    assert gross - net == pytest.approx(0.005 * row["turnover"] * row["rebalances"] / row["months"])


def test_portfolio_means_agree_with_each_portfolio() -> None:
    portfolios = make_portfolios()
    table = portfolio_means(portfolios, lags=2)
    assert list(table["portfolio"]) == ["1", "2", "high-low"]
    for portfolio, row in table.set_index("portfolio").iterrows():
        own = portfolios[portfolios["portfolio"] == portfolio]
        test = mean_test(own["return"], 2)
        assert (row["mean_return"], row["t_statistic"], row["months"]) == (test.mean, test.t_statistic, test.months)
        assert row["sd_return"] == pytest.approx(own["return"].std())
        assert row["sharpe"] == pytest.approx(math.sqrt(12) * row["mean_return"] / row["sd_return"])
        assert row["turnover"] == pytest.approx(own["turnover"].mean())
        assert row["months_skipped"] == 2
        assert row["mean_assets"] == pytest.approx(own["assets"][own["return"].notna()].mean())


def test_portfolio_means_of_several_models() -> None:
    both = pd.concat([make_portfolios(seed).assign(model=model) for seed, model in enumerate(["a", "b"])])
    table = portfolio_means(both, by=("model", "portfolio"))
    pd.testing.assert_frame_equal(
        table[table["model"] == "b"].drop(columns="model").reset_index(drop=True), portfolio_means(make_portfolios(1))
    )
    with pytest.raises(InputError, match="add the column that tells them apart"):
        portfolio_means(both)


def test_long_short_refuses_what_it_cannot_use() -> None:
    portfolios = make_portfolios()
    with pytest.raises(InputError, match="one model at one horizon"):
        long_short(pd.concat([portfolios, portfolios]))
    with pytest.raises(InputError, match="'high-low'; it has none"):
        long_short(portfolios[portfolios["portfolio"] == "1"])

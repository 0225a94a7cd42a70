"""Sorted portfolios and their turnover, against loops over months, portfolios and assets."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.errors import InputError
from factor_ray.evaluation import double_sort, sort_portfolios
from factor_ray.evaluation.quantile_groups import quantile_groups

Weights = dict[str, float]


def make_signals(seed: int = 0, assets: int = 30, months: int = 14, known: float = 0.9) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    dates = pd.date_range("2013-06-30", periods=months, freq="ME")
    names = [f"s{i:03d}" for i in range(assets)]
    table = pd.MultiIndex.from_product([dates, names], names=["month", "asset"]).to_frame(index=False)
    n = len(table)
    table["prediction"] = rng.normal(size=n).round(1)
    table["feps"] = (0.5 * table["prediction"] + rng.normal(size=n)).round(1)
    table["next_return"] = rng.normal(0.01, 0.15, n).clip(-0.9)
    table["market_cap"] = np.exp(rng.normal(4, 2, n))
    table["nyse"] = rng.random(n) < 0.6
    for column in ("prediction", "next_return", "market_cap"):
        table.loc[rng.random(n) > known, column] = np.nan
    return table.sample(frac=0.95, random_state=seed, ignore_index=True)


def number(months: pd.Series) -> pd.Series:
    return months.dt.year * 12 + months.dt.month


def slow_weights(rows: pd.DataFrame, portfolio: str, weights: str, breakpoints: str | None, k: int) -> Weights:
    """Weights of one portfolio in one month, signed for high-low; empty where it is not formed."""
    if portfolio == "high-low":
        top, bottom = (slow_weights(rows, label, weights, breakpoints, k) for label in (str(k), "1"))
        if not top or not bottom:
            return {}
        return {**top, **{asset: -weight for asset, weight in bottom.items()}}
    ranked = [r for r in rows.itertuples() if not math.isnan(r.prediction)]
    if weights == "value":
        ranked = [r for r in ranked if r.market_cap > 0]
    ascending = sorted(r.prediction for r in ranked if breakpoints is None or getattr(r, breakpoints))
    n = len(ascending)
    if n < k:
        return {}
    points = [ascending[math.ceil(n * j / k) - 1] for j in range(1, k)]
    held = {
        r.asset: r.market_cap if weights == "value" else 1.0
        for r in ranked
        if 1 + sum(point < r.prediction for point in points) == int(portfolio) and not math.isnan(r.next_return)
    }
    return {asset: weight / sum(held.values()) for asset, weight in held.items()}


def slow_portfolio(
    signals: pd.DataFrame, portfolio: str, weights: str, breakpoints: str | None, k: int
) -> list[tuple[int, float, float, int]]:
    """(month, return, turnover, assets) of every month in which some asset has a return."""
    by_month = dict(list(signals.groupby(number(signals["month"]))))
    held = {month: slow_weights(rows, portfolio, weights, breakpoints, k) for month, rows in by_month.items()}
    result = []
    for month, rows in by_month.items():
        if rows["next_return"].isna().all():
            continue
        returns = dict(zip(rows["asset"], rows["next_return"], strict=True))
        now, then = held[month], held.get(month + 1, {})
        earned = sum(weight * returns[asset] for asset, weight in now.items()) if now else math.nan
        traded = math.nan
        if now and then:
            traded = 0.0
            for asset in now.keys() | then.keys():
                drifted = now.get(asset, 0.0) * (1 + returns.get(asset, 0.0)) / (1 + earned) if asset in now else 0.0
                traded += abs(then.get(asset, 0.0) - drifted)
        result.append((month, earned, traded, len(now)))
    return result


@pytest.mark.parametrize("weights", ["equal", "value"])
@pytest.mark.parametrize("breakpoints", [None, "nyse"])
@pytest.mark.parametrize("k", [2, 5, 10])
def test_agrees_with_a_loop(weights: str, breakpoints: str | None, k: int) -> None:
    signals = make_signals()
    # A month without signals, one with too few, a calendar gap and a last month whose returns are not known yet.
    months = sorted(signals["month"].unique())
    signals.loc[signals["month"] == months[3], "prediction"] = np.nan
    signals = signals[(signals["month"] != months[6]) | (signals["asset"] < "s004")]
    signals = signals[signals["month"] != months[9]]
    signals.loc[signals["month"] == months[-1], "next_return"] = np.nan

    table = sort_portfolios(signals, portfolios=k, weights=weights, breakpoints=breakpoints)
    assert list(table["portfolio"].unique()) == [*map(str, range(1, k + 1)), "high-low"]
    for portfolio, rows in table.groupby("portfolio"):
        slow = slow_portfolio(signals, str(portfolio), weights, breakpoints, k)
        assert list(number(rows["month"])) == [month for month, *_ in slow]
        np.testing.assert_allclose(rows["return"], [row[1] for row in slow], rtol=1e-10, atol=1e-14)
        np.testing.assert_allclose(rows["turnover"], [row[2] for row in slow], rtol=1e-10, atol=1e-14)
        assert list(rows["assets"]) == [row[3] for row in slow]


def test_assets_without_a_next_return_are_counted() -> None:
    signals = make_signals()
    table = sort_portfolios(signals, portfolios=3)
    unheld = signals[signals["prediction"].notna() & signals["next_return"].isna()]
    single = table[table["portfolio"] != "high-low"]
    assert single["not_held"].sum() == len(unheld)
    both = table.pivot_table(index="month", columns="portfolio", values="not_held", observed=True)
    assert (both["high-low"] == both["1"] + both["3"]).all()


def test_a_portfolio_that_keeps_its_drifted_weights_trades_nothing() -> None:
    """Value weights follow prices: without issues, entries or exits there is no turnover, in the spread either."""
    returns = np.random.default_rng(3).normal(0.01, 0.1, (12, 10))
    caps = 100 * np.vstack([np.ones(10), (1 + returns).cumprod(axis=0)[:-1]])
    months = pd.date_range("2020-01-31", periods=12, freq="ME")
    signals = pd.MultiIndex.from_product([months, range(10)], names=["month", "asset"]).to_frame(index=False)
    signals = signals.assign(prediction=signals["asset"], next_return=returns.ravel(), market_cap=caps.ravel())
    table = sort_portfolios(signals, portfolios=2, weights="value").set_index(["portfolio", "month"])["turnover"]
    np.testing.assert_allclose(table[["1", "2"]].dropna(), 0.0, atol=1e-14)
    assert table.groupby("portfolio").count().to_dict() == {"1": 11, "2": 11, "high-low": 11}


def test_turnover_of_a_complete_exchange() -> None:
    months = pd.to_datetime(["2020-01-31", "2020-01-31", "2020-02-29", "2020-02-29"])
    signals = pd.DataFrame({"month": months, "asset": ["a", "b", "a", "b"], "prediction": [0.0, 1.0, 1.0, 0.0]})
    table = sort_portfolios(signals.assign(next_return=0.0), portfolios=2).set_index("portfolio")["turnover"]
    assert table.groupby("portfolio").max().to_dict() == {"1": 2.0, "2": 2.0, "high-low": 4.0}


def test_a_spread_is_rebalanced_to_the_wealth_it_has() -> None:
    """Long doubles, short is flat: wealth 2, holdings 2 and -1, so weights 1 and -1/2, and 1/2 is sold short again."""
    months = pd.to_datetime(["2020-01-31", "2020-01-31", "2020-02-29", "2020-02-29"])
    signals = pd.DataFrame({"month": months, "asset": ["a", "b", "a", "b"], "prediction": [0.0, 1.0, 0.0, 1.0]})
    table = sort_portfolios(signals.assign(next_return=[0.0, 1.0, 0.0, 0.0]), portfolios=2)
    spread = table[table["portfolio"] == "high-low"].iloc[0]
    assert (spread["return"], spread["turnover"]) == (1.0, 0.5)


def test_no_turnover_where_no_wealth_is_left() -> None:
    months = pd.to_datetime(["2020-01-31", "2020-01-31", "2020-02-29", "2020-02-29"])
    signals = pd.DataFrame({"month": months, "asset": ["a", "b", "a", "b"], "prediction": [0.0, 1.0, 0.0, 1.0]})
    table = sort_portfolios(signals.assign(next_return=[1.5, 0.0, 0.0, 0.0]), portfolios=2).set_index("portfolio")
    assert table.loc["high-low", "return"].iloc[0] == -1.5
    assert table.loc["high-low", "turnover"].isna().all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), weights=st.sampled_from(["equal", "value"]), k=st.integers(2, 6))
def test_properties_of_every_sort(seed: int, weights: str, k: int) -> None:
    signals = make_signals(seed, months=5)
    table = sort_portfolios(signals, portfolios=k, weights=weights)
    shuffled = signals.sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(table, sort_portfolios(shuffled, portfolios=k, weights=weights), check_exact=True)
    monotone = signals.assign(prediction=np.arctan(signals["prediction"]) * 3 + 1)
    pd.testing.assert_frame_equal(table, sort_portfolios(monotone, portfolios=k, weights=weights), check_exact=True)

    returns = table.pivot_table(index="month", columns="portfolio", values="return", dropna=False)
    np.testing.assert_allclose(returns["high-low"], returns[str(k)] - returns["1"], atol=1e-14)
    single = table["portfolio"] != "high-low"
    assert (table.loc[single, "turnover"].dropna() <= 2 + 1e-12).all()
    # Weights sum to one: with every asset returning 3%, so does every portfolio, and the spread earns nothing.
    flat = sort_portfolios(signals.assign(next_return=0.03), portfolios=k, weights=weights)
    expected = np.where(flat["portfolio"] == "high-low", 0.0, 0.03)
    np.testing.assert_allclose(flat["return"].fillna(pd.Series(expected)), expected, atol=1e-15)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_reversed_signal_reverses_the_spread(seed: int) -> None:
    rng = np.random.default_rng(seed)
    signals = make_signals(seed, months=4, known=1.1)
    signals["prediction"] = rng.permutation(len(signals))
    # Whole multiples of k a month, so that both ends of the sort have one size.
    signals = signals[signals.groupby("month").cumcount() < 20]
    up = sort_portfolios(signals, portfolios=5).query("portfolio == 'high-low'")
    down = sort_portfolios(signals.assign(prediction=-signals["prediction"]), portfolios=5)
    np.testing.assert_allclose(up["return"], -down.query("portfolio == 'high-low'")["return"], atol=1e-14)


@pytest.mark.parametrize("method", ["independent", "conditional"])
@pytest.mark.parametrize("weights", ["equal", "value"])
def test_double_sort_agrees_with_a_loop(method: str, weights: str) -> None:
    signals = make_signals(assets=80, months=6)
    table = double_sort(
        signals,
        first="feps",
        second="prediction",
        portfolios=(3, 2),
        method=method,
        weights=weights,
        breakpoints="nyse",
    )
    cells = table.set_index(["month", "first", "second"])["return"]
    for month, rows in signals.groupby("month"):
        if weights == "value":
            rows = rows[rows["market_cap"].notna()]
        ranked = rows.reset_index(drop=True)
        by_first = _slow_groups(ranked, "feps", 3)
        if method == "independent":
            by_second = _slow_groups(ranked, "prediction", 2)
        else:
            parts = [_slow_groups(ranked[by_first == i], "prediction", 2) for i in (1, 2, 3)]
            by_second = pd.concat(parts).reindex(ranked.index).fillna(0)
        slow = {}
        for i in (1, 2, 3):
            for j in (1, 2):
                own = ranked[(by_first == i) & (by_second == j) & ranked["next_return"].notna()]
                weight = own["market_cap"] if weights == "value" else pd.Series(1.0, own.index)
                slow[i, j] = (weight * own["next_return"]).sum() / weight.sum()
                assert cells[month, str(i), str(j)] == pytest.approx(slow[i, j], rel=1e-10)
        for i in (1, 2, 3):
            assert cells[month, str(i), "high-low"] == pytest.approx(slow[i, 2] - slow[i, 1], abs=1e-13)
        for j in (1, 2):
            assert cells[month, "high-low", str(j)] == pytest.approx(slow[3, j] - slow[1, j], abs=1e-13)
    assert len(table) == signals["month"].nunique() * (6 + 2 + 3)


def _slow_groups(rows: pd.DataFrame, signal: str, k: int) -> pd.Series:
    """One group; the rule itself is tested in test_quantile_groups.py."""
    together = np.zeros(len(rows), dtype=np.int64)
    assigned = quantile_groups(together, rows[signal].to_numpy(), rows["nyse"].to_numpy(), k)
    return pd.Series(assigned, rows.index)


def test_a_conditional_sort_is_a_sort_within_each_portfolio() -> None:
    """Within each portfolio of the first sort the second's have one size, however the signals go together."""
    signals = make_signals(assets=75, months=3, known=1.1)
    rng = np.random.default_rng(1)
    signals["feps"] = rng.permutation(len(signals)).astype(float)
    signals["prediction"] = signals["feps"] + rng.normal(0, 0.1, len(signals))
    table = double_sort(signals, first="feps", second="prediction")
    sizes = table[(table["first"] != "high-low") & (table["second"] != "high-low")]["assets"]
    assert sizes.between(2, 4).all()
    independent = double_sort(signals, first="feps", second="prediction", method="independent")
    assert (independent["assets"] == 0).any()
    assert independent.loc[independent["assets"] == 0, "return"].isna().all()


def test_value_weights_without_market_caps_are_refused() -> None:
    signals = make_signals()
    with pytest.raises(InputError, match=r"need a column 'market_cap'.*weights='equal'"):
        sort_portfolios(signals.drop(columns="market_cap"), weights="value")
    with pytest.raises(InputError, match=r"need a positive 'market_cap'.*weights='equal'"):
        sort_portfolios(signals.assign(market_cap=np.nan), weights="value")
    with pytest.raises(InputError, match="must not be negative"):
        sort_portfolios(signals.assign(market_cap=np.where(signals.index == 3, -1.0, 1.0)), weights="value")


def test_input_errors_name_the_remedy() -> None:
    signals = make_signals(assets=8)
    with pytest.raises(InputError, match="one model at one horizon at a time"):
        sort_portfolios(pd.concat([signals, signals]))
    with pytest.raises(InputError, match="at most 8 assets a month: use fewer portfolios"):
        sort_portfolios(signals, portfolios=10)
    with pytest.raises(InputError, match="at most 0 assets a month"):
        sort_portfolios(signals.iloc[:0])
    with pytest.raises(InputError, match="divide percentages by 100"):
        sort_portfolios(signals.assign(next_return=signals["next_return"] * 100))
    with pytest.raises(InputError, match="must be at least 2; got 1"):
        sort_portfolios(signals, portfolios=1)
    with pytest.raises(InputError, match="'equal' or 'value'"):
        sort_portfolios(signals, weights="cap")
    with pytest.raises(InputError, match="true or false in every row"):
        sort_portfolios(signals, breakpoints="market_cap")
    with pytest.raises(InputError, match="lacks signal_x"):
        sort_portfolios(signals, signal="signal_x")
    with pytest.raises(InputError, match="'independent' or 'conditional'"):
        double_sort(signals, first="feps", second="prediction", method="both")

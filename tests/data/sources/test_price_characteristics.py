from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from factor_ray.data.sources.daily_prices import read_daily_prices
from factor_ray.data.sources.french import UNTITLED, french
from factor_ray.data.sources.price_characteristics import PRICE_CHARACTERISTICS, price_characteristics
from factor_ray.errors import InputError


def simulated(assets: int = 4, start: str = "2010-01-01", end: str = "2016-06-30") -> pl.DataFrame:
    random = np.random.default_rng(7)
    dates = pd.bdate_range(start, end)
    frames = []
    for i in range(assets):
        close = 20.0 * np.exp(np.cumsum(random.normal(0.0003, 0.02, len(dates))))
        spread = 1.0 + np.abs(random.normal(0, 0.01, len(dates)))
        volume = np.maximum(random.normal(1000, 600, len(dates)), 0.0)
        frames.append(
            pl.DataFrame({"asset": f"A{i}", "date": dates.to_numpy(), "close": close, "volume": volume}).with_columns(
                open=pl.col("close"), high=pl.col("close") * spread, low=pl.col("close") / spread
            )
        )
    return pl.concat(frames).with_columns(pl.col("date").cast(pl.Date))


def market_of(daily: pl.DataFrame) -> pd.DataFrame:
    months = pd.period_range(daily["date"].min(), daily["date"].max(), freq="M", name="month")
    random = np.random.default_rng(3)
    return pd.DataFrame({"Mkt-RF": random.normal(0.01, 0.04, len(months)), "RF": 0.002}, index=months)


def one(frame: pd.DataFrame, asset: str) -> pd.DataFrame:
    return frame[frame["asset"] == asset].set_index("month")


def test_against_a_plain_reading_of_the_definitions() -> None:
    daily = simulated()
    market = market_of(daily)
    ours = one(price_characteristics(daily, market=market), "A1")
    days = daily.filter(pl.col("asset") == "A1").to_pandas()
    days["month"] = pd.PeriodIndex(days["date"], freq="M")
    days["ret"] = days["close"].pct_change()
    month = pd.Period("2016-03", "M")
    close = days.groupby("month")["close"].last()
    returns = close.pct_change()
    volume = days.groupby("month")["volume"].sum()

    def r(first: int, last: int) -> float:
        return float((1.0 + returns[month - last : month - first]).prod() - 1.0)

    now, upto = days[days["month"] == month], days[days["month"] <= month]
    y = (returns - market["RF"])[month - 59 : month].to_numpy()
    x = market["Mkt-RF"][month - 59 : month].to_numpy()
    beta, alpha = np.polyfit(x, y, 1)
    e, xd = y - alpha - beta * x, x - x.mean()
    trend = volume[month - 59 : month].to_numpy()
    amihud = (
        (days["ret"].abs() / (days["close"] * days["volume"])).where(days["volume"] > 0).groupby(days["month"]).mean()
    )
    expected = {
        "return": returns[month],
        "STreversal": returns[month],
        "Mom6m": r(1, 5),
        "Mom12m": r(1, 11),
        "IntMom": r(6, 11),
        "MRreversal": r(12, 17),
        "LRreversal": r(12, 35),
        "MomSeasonShort": returns[month - 11],
        "High52": close[month] / upto["high"].tail(252).max(),
        "MaxRet": now["ret"].max(),
        "RealizedVol": now["ret"].std(),
        "ReturnSkew": now["ret"].skew(),
        "Illiquidity": amihud[month - 11 : month].mean() * 1e6,
        "DolVol": np.log((days["close"] * days["volume"]).groupby(days["month"]).sum()[month - 1]),
        "VolSD": volume[month - 35 : month].std(),
        "VolumeTrend": np.polyfit(np.arange(60), trend, 1)[0] / trend.mean(),
        "zerotrade": (days["volume"] == 0).groupby(days["month"]).sum()[month - 5 : month].sum(),
        "Price": np.log(close[month]),
        "Rev5d": (1.0 + now["ret"].tail(5)).prod() - 1.0,
        "Beta": beta,
        "IdioVolMkt60": e.std(ddof=1),
        "Coskewness": (e * xd**2).mean() / (e.std() * xd.var()),
    }
    for name, value in expected.items():
        assert ours.loc[month, name] == pytest.approx(value, rel=1e-9), name
    assert set(PRICE_CHARACTERISTICS) - set(expected) == {"BidAskSpread"}
    assert len(PRICE_CHARACTERISTICS) == 22


def test_spread_of_corwin_and_schultz() -> None:
    daily = simulated(assets=1, end="2010-02-26")
    ours = one(price_characteristics(daily), "A0")["BidAskSpread"]["2010-02"]
    high, low = daily["high"].to_numpy(), daily["low"].to_numpy()
    first = int((daily["date"].dt.month() == 1).sum())
    spreads = []
    for t in range(first, daily.height):
        beta = np.log(high[t] / low[t]) ** 2 + np.log(high[t - 1] / low[t - 1]) ** 2
        gamma = np.log(max(high[t], high[t - 1]) / min(low[t], low[t - 1])) ** 2
        k = 3 - 2 * np.sqrt(2)
        alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
        spreads.append(max(0.0, 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))))
    assert ours == pytest.approx(np.mean(spreads), rel=1e-9)


@pytest.mark.parametrize("with_market", [True, False])
def test_nothing_is_known_before_its_time(with_market: bool) -> None:
    daily = simulated()
    market = market_of(daily) if with_market else None
    whole = price_characteristics(daily, market=market)
    cut = price_characteristics(daily.filter(pl.col("date") < pl.date(2014, 10, 1)), market=market)
    earlier = whole[whole["month"] <= pd.Period("2014-09", "M")].reset_index(drop=True)
    pd.testing.assert_frame_equal(cut, earlier, rtol=1e-9)


def test_shuffled_rows_give_the_same_table() -> None:
    daily = simulated(end="2012-06-29")
    pd.testing.assert_frame_equal(
        price_characteristics(daily), price_characteristics(daily.sample(fraction=1.0, shuffle=True, seed=1))
    )


def test_gaps_and_short_histories_are_missing() -> None:
    daily = simulated(assets=2, end="2011-12-30")
    gap = (pl.col("asset") == "A0") & (pl.col("date") >= pl.date(2011, 3, 1)) & (pl.col("date") < pl.date(2011, 4, 1))
    table = one(price_characteristics(daily.filter(~gap)), "A0")
    assert pd.Period("2011-03", "M") not in table.index
    assert np.isnan(table.loc["2011-04", "return"])
    assert np.isnan(table.loc["2011-06", "Mom6m"])
    assert table.loc["2011-12", "Mom6m"] == pytest.approx(table["return"]["2011-07":"2011-11"].add(1).prod() - 1)
    assert table["Beta"].isna().all() or table["Beta"].first_valid_index() >= pd.Period("2011-12", "M")


def test_closes_alone_give_what_they_can() -> None:
    daily = simulated(assets=2).with_columns(
        [pl.lit(None, pl.Float64).alias(name) for name in ("open", "high", "low", "volume")]
    )
    table = price_characteristics(daily)
    empty = {name for name in PRICE_CHARACTERISTICS if table[name].isna().all()}
    assert empty == {"High52", "Illiquidity", "DolVol", "VolSD", "VolumeTrend", "zerotrade", "BidAskSpread"}


def test_a_month_that_has_not_ended_is_left_out() -> None:
    daily = simulated(assets=2, end="2012-06-13")
    assert price_characteristics(daily)["month"].max() == pd.Period("2012-05", "M")
    daily = simulated(assets=2, end="2012-06-27")
    assert price_characteristics(daily)["month"].max() == pd.Period("2012-06", "M")
    with pytest.raises(InputError, match="must hold a complete month; they end on 2012-06-13"):
        price_characteristics(simulated(assets=1, start="2012-06-01", end="2012-06-13"))


def test_market_must_be_monthly() -> None:
    with pytest.raises(InputError, match="must be indexed by month"):
        price_characteristics(simulated(assets=1), market=pd.DataFrame({"MKT": [0.1]}))


def test_against_the_panel_made_from_the_same_prices(real: Path) -> None:
    """SOURCES.md defines it; its histories start in 1998 and ours in 2004, so long windows are compared once full."""
    market = french(real / "factors/F-F_Research_Data_5_Factors_2x3.csv")[UNTITLED]
    ours = price_characteristics(read_daily_prices(real / "panels/us_daily_ohlcv_A.parquet"), market=market)
    theirs = pd.read_parquet(real / "panels/us_monthly_chars_A.parquet")
    theirs["month"] = pd.PeriodIndex(theirs["date"], freq="M")
    theirs = theirs[theirs["ticker"].isin(ours["asset"].unique())]
    both = theirs.merge(ours, left_on=["month", "ticker"], right_on=["month", "asset"], suffixes=("_theirs", ""))
    assert len(both) == len(theirs) == 30_005
    assert both["days"].equals(both["ndays"].astype(float))
    np.testing.assert_allclose(both["risk_free"], both["rf"], atol=1e-12)
    np.testing.assert_allclose(both["return"], both["ret"], atol=1e-12)
    since = {"VolSD": "2007-01", "VolumeTrend": "2009-01", "Beta": "2009-02", "IdioVolMkt60": "2009-02"}
    # Theirs demeans the market by a rolling mean, ours takes the residual of one regression a window.
    for name in sorted(set(PRICE_CHARACTERISTICS) - {"Coskewness"}):
        late = both[both["month"] >= pd.Period(since.get(name, "2005-04"), "M")]
        pair = late[[name, f"{name}_theirs"]].astype("float64").dropna()
        relative = (pair[name] - pair[f"{name}_theirs"]).abs() / (pair[f"{name}_theirs"].abs() + 1e-6)
        assert len(pair) > 15_000, name
        assert (relative < 1e-5).mean() > 0.995, name


def test_a_thousand_tickers_take_seconds() -> None:
    one_asset = simulated(assets=1, start="2005-01-03", end="2014-12-31")
    daily = pl.concat([one_asset.with_columns(asset=pl.lit(f"T{i:04d}")) for i in range(1000)])
    start = time.perf_counter()
    table = price_characteristics(daily)
    assert table["asset"].nunique() == 1000
    assert time.perf_counter() - start < 60.0

"""Monthly returns and price and volume characteristics from daily prices, known at each month's end."""

from __future__ import annotations

import numpy as np
import pandas as pd
import polars as pl

from factor_ray.errors import InputError

PRICE_CHARACTERISTICS: tuple[str, ...] = (
    *("STreversal", "Mom6m", "Mom12m", "IntMom", "MRreversal", "LRreversal", "MomSeasonShort", "High52", "MaxRet"),
    *("RealizedVol", "ReturnSkew", "Illiquidity", "DolVol", "VolSD", "VolumeTrend", "zerotrade", "BidAskSpread"),
    *("Price", "Rev5d", "Beta", "IdioVolMkt60", "Coskewness"),
)
"""The 22 characteristics, by Open Source Asset Pricing's names (definitions are simplified)."""

_TOLERATED_DAYS = 3


def price_characteristics(daily: pl.DataFrame, *, market: pd.DataFrame | None = None) -> pd.DataFrame:
    """Turn daily prices into monthly returns and 22 characteristics that are known at the month's end.

    Parameters
    ----------
    daily
        asset, date, open, high, low, close, volume as `read_daily_prices` returns them.
    market
        Monthly ``Mkt-RF`` and ``RF`` in decimals, indexed by month (PeriodIndex), as in French's factor files. None:
        the equally weighted mean return of the assets of the month, and a risk-free rate of zero, stand in.

    Returns
    -------
    DataFrame
        One row per asset and month with a price, sorted by month and asset: month (period), asset, return (month-end
        close over that of the calendar month before, less one), risk_free (if `market` is given), days (trading days)
        and `PRICE_CHARACTERISTICS`; float64, NaN where history is too short or a field is missing. A last month that
        ends more than 3 weekdays after the last date in the data is left out: its end is not known yet.

    Raises
    ------
    InputError
        If `market` is not indexed by month or lacks Mkt-RF or RF, or the data hold no complete month.

    Notes
    -----
    With r the monthly return: STreversal r(t); Mom6m, Mom12m, IntMom, MRreversal, LRreversal r compounded over
    t-5..t-1, t-11..t-1, t-11..t-6, t-17..t-12, t-35..t-12; MomSeasonShort r(t-11); High52 close over the highest high
    of 252 days (at least 120); MaxRet, RealizedVol, ReturnSkew of the month's daily returns; Illiquidity (Amihud) mean
    of |return| / dollars traded x 1e6 over the month's days, averaged over 12 months (at least 6); DolVol log dollars
    traded in t-1; VolSD standard deviation of monthly volume over 36 months (at least 24); VolumeTrend its slope over
    its mean, 60 months (at least 30); zerotrade days without volume in 6 months; BidAskSpread (Corwin and Schultz,
    2012) negative values set to 0, mean over the month; Price log close; Rev5d return of the month's last 5 days; Beta,
    IdioVolMkt60 and Coskewness (Harvey and Siddique, 2000) of the regression on the market's excess return, 60 months
    (at least 24).
    """
    wide = _wide(_monthly(_complete_months(daily)))
    close, volume = wide["close"], wide["volume"]
    returns = close / close.shift() - 1.0
    excess, market_excess, risk_free = against_market(returns, market)
    characteristics = {
        **past_return_characteristics(returns, excess, market_excess),
        "High52": wide["High52"],
        "MaxRet": wide["MaxRet"],
        "RealizedVol": wide["RealizedVol"],
        "ReturnSkew": wide["ReturnSkew"],
        "Illiquidity": wide["illiquidity"].rolling(12, min_periods=6).mean(),
        "DolVol": _log(wide["dollars"]).shift(),
        "VolSD": volume.rolling(36, min_periods=24).std(),
        "VolumeTrend": _trend(volume),
        "zerotrade": wide["idle_days"].rolling(6, min_periods=6).sum(),
        "BidAskSpread": wide["BidAskSpread"],
        "Price": _log(close),
        "Rev5d": wide["Rev5d"],
    }
    columns = {"return": returns, **({} if market is None else {"risk_free": risk_free}), "days": wide["days"]}
    columns |= {name: characteristics[name] for name in PRICE_CHARACTERISTICS}
    return _stacked(columns, close.notna())


def past_return_characteristics(
    returns: pd.DataFrame, excess: pd.DataFrame, market_excess: pd.DataFrame
) -> dict[str, pd.DataFrame]:
    """Return the ten characteristics that need monthly returns only, months x assets, as `price_characteristics` does.

    Parameters
    ----------
    returns
        Monthly returns, every month from first to last x assets, decimals.
    excess, market_excess
        Excess returns of the assets and of the market, of the same shape; see `against_market`.
    """
    return {
        "STreversal": returns,
        "Mom6m": _compounded(returns, 1, 5),
        "Mom12m": _compounded(returns, 1, 11),
        "IntMom": _compounded(returns, 6, 11),
        "MRreversal": _compounded(returns, 12, 17),
        "LRreversal": _compounded(returns, 12, 35),
        "MomSeasonShort": returns.shift(11),
        **_market_regression(excess, market_excess),
    }


def against_market(
    returns: pd.DataFrame, market: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Return excess returns, the market's excess return and the risk-free rate, each months x assets.

    Where an asset has no return, the first two are NaN. Without a market (``Mkt-RF`` and ``RF`` by month), the mean
    return of all assets and a rate of zero stand in.
    """
    if market is None:
        series, rate = returns.mean(axis="columns"), pd.Series(0.0, index=returns.index)
    else:
        absent = [name for name in ("Mkt-RF", "RF") if name not in market.columns]
        if absent or not isinstance(market.index, pd.PeriodIndex):
            raise InputError(
                f"`market` must be indexed by month (PeriodIndex) and have Mkt-RF and RF; it has "
                f"{list(market.columns)} and a {type(market.index).__name__}: give a monthly factor file of French's"
            )
        series, rate = market["Mkt-RF"].reindex(returns.index), market["RF"].reindex(returns.index)
    excess = returns.sub(rate, axis="index")
    ones = pd.DataFrame(1.0, index=returns.index, columns=returns.columns)
    paired = ones.mul(series, axis="index")
    return excess.where(paired.notna()), paired.where(excess.notna()), ones.mul(rate, axis="index")


def _complete_months(daily: pl.DataFrame) -> pl.DataFrame:
    last = daily["date"].to_numpy().max().astype("datetime64[D]")
    month = last.astype("datetime64[M]")
    if np.busday_count(last + 1, (month + 1).astype("datetime64[D]")) > _TOLERATED_DAYS:
        daily = daily.filter(pl.col("date") < pl.lit(month.astype("datetime64[D]")))
    if daily.is_empty():
        raise InputError(f"daily prices must hold a complete month; they end on {last} in their first: give more days")
    return daily


def _monthly(daily: pl.DataFrame) -> pl.DataFrame:
    close, high, low, volume = pl.col("close"), pl.col("high"), pl.col("low"), pl.col("volume")
    ret, dollars = pl.col("ret"), pl.col("close") * pl.col("volume")
    days = daily.sort("asset", "date").with_columns(
        month=pl.col("date").dt.truncate("1mo"),
        ret=(close / close.shift() - 1.0).over("asset"),
        High52=(close / high.rolling_max(252, min_samples=120)).over("asset"),
        spread=_corwin_schultz(high, low, high.shift(), low.shift()).over("asset"),
    )
    traded = volume.count() > 0
    return days.group_by("asset", "month").agg(
        close=close.last(),
        days=pl.len(),
        volume=pl.when(traded).then(volume.sum()),
        dollars=pl.when(traded).then(dollars.sum()),
        idle_days=pl.when(traded).then((volume == 0).sum()),
        illiquidity=(ret.abs() / dollars).filter(dollars > 0).mean() * 1e6,
        High52=pl.col("High52").last(),
        MaxRet=ret.max(),
        RealizedVol=ret.std(),
        ReturnSkew=ret.skew(bias=False),
        BidAskSpread=pl.when(pl.col("spread") < 0).then(0.0).otherwise(pl.col("spread")).mean(),
        Rev5d=pl.when(ret.tail(5).count() > 0).then((ret.tail(5) + 1.0).product() - 1.0),
    )


def _corwin_schultz(high: pl.Expr, low: pl.Expr, high_before: pl.Expr, low_before: pl.Expr) -> pl.Expr:
    """Corwin and Schultz (2012), equations 14 and 18, of two days."""
    k = 3.0 - 2.0 * 2.0**0.5
    beta = (high / low).log() ** 2 + (high_before / low_before).log() ** 2
    # Max and min pass over nulls; a day without a range must not.
    both = pl.when(beta.is_not_null()).then(pl.max_horizontal(high, high_before) / pl.min_horizontal(low, low_before))
    alpha = ((2.0 * beta).sqrt() - beta.sqrt()) / k - (both.log() ** 2 / k).sqrt()
    spread: pl.Expr = 2.0 * (alpha.exp() - 1.0) / (1.0 + alpha.exp())
    return spread


def _wide(monthly: pl.DataFrame) -> dict[str, pd.DataFrame]:
    months = monthly["month"].to_numpy().astype("datetime64[M]").astype(np.int64)
    assets, column = np.unique(monthly["asset"].to_numpy().astype(str), return_inverse=True)
    every = np.arange(months.min(), months.max() + 1).astype("datetime64[M]").astype("datetime64[s]")
    index = pd.PeriodIndex(every, freq="M", name="month")
    frames = {}
    for name in monthly.columns:
        if name not in ("asset", "month"):
            values = np.full((len(index), len(assets)), np.nan)
            values[months - months.min(), column] = monthly[name].cast(pl.Float64).to_numpy()
            frames[name] = pd.DataFrame(values, index=index, columns=pd.Index(assets, name="asset"))
    return frames


def _compounded(returns: pd.DataFrame, first: int, last: int) -> pd.DataFrame:
    length = last - first + 1
    return pd.DataFrame(np.exp(_log(1.0 + returns).rolling(length, min_periods=length).sum())).shift(first) - 1.0


def _trend(volume: pd.DataFrame) -> pd.DataFrame:
    time = pd.DataFrame(
        np.repeat(np.arange(float(len(volume)))[:, None], volume.shape[1], axis=1), volume.index, volume.columns
    ).where(volume.notna())
    mean_time, mean = _mean60(time, 30), _mean60(volume, 30)
    slope = (_mean60(time * volume, 30) - mean_time * mean) / (_mean60(time**2, 30) - mean_time**2)
    return (slope / mean).where(mean > 0)


def _market_regression(y: pd.DataFrame, x: pd.DataFrame) -> dict[str, pd.DataFrame]:
    count = y.rolling(60, min_periods=24).count()
    y1, x1, xx, xy, yy = (_mean60(z, 24) for z in (y, x, x**2, x * y, y**2))
    xxx, xxy = _mean60(x**3, 24), _mean60(x**2 * y, 24)
    variance = xx - x1**2
    beta = (xy - x1 * y1) / variance
    residual = (yy - y1**2 - beta * (xy - x1 * y1)).clip(lower=0.0)
    third = xxx - 3.0 * x1 * xx + 2.0 * x1**3
    cross = xxy - 2.0 * x1 * xy + x1**2 * y1 - y1 * variance - beta * third
    return {
        "Beta": beta,
        "IdioVolMkt60": (residual * count / (count - 1.0)) ** 0.5,
        "Coskewness": (cross / (residual**0.5 * variance)).where(residual > 0),
    }


def _log(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(np.log(frame.where(frame > 0)))


def _mean60(frame: pd.DataFrame, least: int) -> pd.DataFrame:
    return frame.rolling(60, min_periods=least).mean()


def _stacked(columns: dict[str, pd.DataFrame], present: pd.DataFrame) -> pd.DataFrame:
    rows, assets = np.nonzero(present.to_numpy())
    return pd.DataFrame(
        {
            "month": present.index[rows],
            "asset": present.columns[assets],
            **{name: frame.to_numpy()[rows, assets] for name, frame in columns.items()},
        }
    )

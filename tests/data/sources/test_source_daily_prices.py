from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from factor_ray.data.sources.daily_prices import read_daily_prices
from factor_ray.errors import InputError

FIELDS = ("Open", "High", "Low", "Close", "Volume")


def long_table(assets: tuple[str, ...] = ("AAA", "LOW", "BRK.B"), days: int = 15) -> pd.DataFrame:
    random = np.random.default_rng(1)
    dates = pd.bdate_range("2020-01-01", periods=days)
    frames = []
    for asset in assets:
        close = np.round(50.0 * np.exp(np.cumsum(random.normal(0, 0.02, days))), 2)
        bars = {"Open": close - 0.25, "High": close + 1.0, "Low": close - 1.0, "Close": close}
        frames.append(
            pd.DataFrame({"Date": dates, "Ticker": asset, **bars, "Volume": random.integers(1, 9, days) * 100})
        )
    return pd.concat(frames, ignore_index=True)


def wide_table(table: pd.DataFrame, name: str) -> pd.DataFrame:
    columns = {
        name.format(asset=asset, field=field): group.set_index("Date")[field]
        for asset, group in table.groupby("Ticker")
        for field in FIELDS
    }
    return pd.DataFrame(columns).reset_index()


def yfinance_text(table: pd.DataFrame, *, tickers_first: bool, third_row: bool) -> str:
    wide = wide_table(table, "{field}|{asset}")
    parts = [column.split("|") for column in wide.columns[1:]]
    fields, tickers = ["Price", *(part[0] for part in parts)], ["Ticker", *(part[1] for part in parts)]
    rows = [tickers, fields] if tickers_first else [fields, tickers]
    rows += [["Date"] + [""] * len(parts)] if third_row else []
    return "\n".join(",".join(row) for row in rows) + "\n" + wide.to_csv(index=False, header=False)


def test_every_layout_gives_the_same_table(tmp_path: Path) -> None:
    table = long_table()
    table.to_csv(tmp_path / "long.csv", index=False)
    expected = read_daily_prices(tmp_path / "long.csv")
    assert expected.columns == ["asset", "date", "open", "high", "low", "close", "volume"]
    assert expected.height == 45
    layouts: dict[str, str] = {
        "shuffled": table.sample(frac=1.0, random_state=2).to_csv(index=False),
        "semicolons": table.to_csv(index=False, sep=";"),
        "renamed": table.rename(columns={"Ticker": "symbol", "Volume": "Vol", "Close": "CLOSE"}).to_csv(index=False),
        "american": table.assign(Date=table["Date"].dt.strftime("%m/%d/%Y")).to_csv(index=False),
        "digits": table.assign(Date=table["Date"].dt.strftime("%Y%m%d")).to_csv(index=False),
        "zoned": table.assign(Date=table["Date"].dt.strftime("%Y-%m-%d 00:00:00-05:00")).to_csv(index=False),
        "asset_field": wide_table(table, "{asset}_{field}").to_csv(index=False),
        "field_asset": wide_table(table, "{field} {asset}").to_csv(index=False),
        "tuples": wide_table(table, "('{field}', '{asset}')").to_csv(index=False),
        "yfinance": yfinance_text(table, tickers_first=False, third_row=True),
        "yfinance_by_ticker": yfinance_text(table, tickers_first=True, third_row=False),
    }
    for name, text in layouts.items():
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        assert read_daily_prices(path).equals(expected), name
    table.to_parquet(tmp_path / "long.parquet")
    wide_table(table, "{asset}.{field}").to_parquet(tmp_path / "wide.parquet")
    for name in ("long.parquet", "wide.parquet"):
        assert read_daily_prices(tmp_path / name).equals(expected), name


def test_closes_only(tmp_path: Path) -> None:
    table = long_table(assets=("AAA", "LOW"))
    table.pivot_table(index="Date", columns="Ticker", values="Close").to_csv(tmp_path / "closes.csv")
    prices = read_daily_prices(tmp_path / "closes.csv")
    assert sorted(prices["asset"].unique()) == ["AAA", "LOW"]
    assert prices["close"].to_list() == table["Close"].tolist()
    assert prices["volume"].null_count() == prices.height


def test_adjusted_close_keeps_the_dollars_traded(tmp_path: Path) -> None:
    table = long_table(assets=("AAA",)).assign(**{"Adj Close": lambda t: t["Close"] / 2.0})
    table.to_csv(tmp_path / "a.csv", index=False)
    prices = read_daily_prices(tmp_path / "a.csv")
    np.testing.assert_allclose(prices["close"], table["Close"] / 2.0)
    np.testing.assert_allclose(prices["high"], table["High"] / 2.0)
    np.testing.assert_allclose(prices["close"] * prices["volume"], table["Close"] * table["Volume"])


def test_bad_prices_are_left_out(tmp_path: Path) -> None:
    table = long_table(assets=("AAA",))
    table.loc[3, "Close"] = 0.0
    table.loc[4, ["High", "Low"]] = [10.0, 20.0]
    table.loc[5, "Open"] = -1.0
    pd.concat([table, table.iloc[[0]]]).to_csv(tmp_path / "a.csv", index=False)
    prices = read_daily_prices(tmp_path / "a.csv")
    assert prices.height == 14
    assert prices.select("open", "high", "low").null_count().row(0) == (1, 1, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda t: t.rename(columns={"Close": "Last"}), "one named close"),
        (lambda t: t.rename(columns={"Ticker": "Firma"}), "column of assets"),
        (lambda t: t.assign(Volume=-1), "volume must not be negative; 'AAA' on 2020-01-01 has -1.0"),
        (lambda t: t.assign(Close=["x", *t["Close"][1:]]), "'Close' must hold numbers; got 'x'"),
        (
            lambda t: t.assign(Date=["13/13/2020", *t["Date"][1:].astype(str)]),
            "must hold dates .*begins with '13/13/2020'",
        ),
        (lambda t: pd.concat([t, t.iloc[[0]].assign(Close=1.0)]), "different rows for 'AAA' on 2020-01-01"),
        (lambda t: t.assign(Close=0.0), "no positive close"),
        (lambda t: t.assign(Date=pd.date_range("2020-01-31", periods=len(t), freq="ME")), "must hold daily prices"),
        (lambda t: t.rename(columns={"Open": "Close "}), "named 'Close'"),
    ],
)
def test_broken_tables(tmp_path: Path, change: object, says: str) -> None:
    path = tmp_path / "prices.csv"
    change(long_table(assets=("AAA",))).to_csv(path, index=False)  # type: ignore[operator]
    with pytest.raises(InputError, match=says) as caught:
        read_daily_prices(path)
    assert "prices.csv" in str(caught.value)


def test_ragged_lines_and_missing_closes(tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("Date,AAA_Close,BBB_Volume\n2020-01-01,1,2\n2020-01-02,1,2\n")
    with pytest.raises(InputError, match="no close for 'BBB'"):
        read_daily_prices(path)
    path.write_text("Date,AAA_Close,AAA_Volume,note\n2020-01-01,1,2,3\n2020-01-02,1,2,3\n")
    with pytest.raises(InputError, match=r"in one order, .* got 'note'"):
        read_daily_prices(path)
    path.write_text("Date,AAA\n2020-01-01,1,2,3\n")
    with pytest.raises(InputError, match="not one table"):
        read_daily_prices(path)


def folder_of(folder: Path, table: pd.DataFrame, ending: str = ".csv") -> Path:
    folder.mkdir()
    for ticker, own in table.groupby("Ticker"):
        bare = own.drop(columns="Ticker")
        if ending == ".parquet":
            bare.to_parquet(folder / f"{ticker}{ending}")
        else:
            bare.to_csv(folder / f"{ticker}{ending}", index=False)
    return folder


def test_a_folder_of_one_file_per_ticker_is_the_same_table(tmp_path: Path) -> None:
    table = long_table()
    table.to_csv(tmp_path / "long.csv", index=False)
    expected = read_daily_prices(tmp_path / "long.csv")
    for ending in (".csv", ".parquet", ".csv.gz"):
        folder = folder_of(tmp_path / ending[1:], table, ending)
        (folder / ".hidden.csv").write_text("x")
        (folder / "readme.md").write_text("x")
        assert read_daily_prices(folder).equals(expected), ending
    years = tmp_path / "named"
    years.mkdir()
    for number, part in enumerate((table.iloc[:20], table.iloc[15:])):  # five rows are in both
        part.to_csv(years / f"part{number}.csv", index=False)
    assert read_daily_prices(years).equals(expected)


def test_files_of_yahoo_and_of_stooq(tmp_path: Path) -> None:
    table = long_table(assets=("AAPL.US",)).drop(columns="Ticker")
    yahoo, stooq, dump = tmp_path / "yahoo", tmp_path / "stooq", tmp_path / "dump"
    for folder in (yahoo, stooq, dump):
        folder.mkdir()
    table.assign(**{"Adj Close": table["Close"]})[
        ["Date", "Open", "High", "Low", "Close", "Adj Close", "Volume"]
    ].to_csv(yahoo / "AAPL.US.csv", index=False)
    table.to_csv(stooq / "AAPL.US.txt", index=False)
    own = table.assign(Ticker="AAPL.US", Per="D", Time="000000", Openint=0, Date=table["Date"].dt.strftime("%Y%m%d"))
    own = own[["Ticker", "Per", "Date", "Time", "Open", "High", "Low", "Close", "Volume", "Openint"]]
    own.columns = pd.Index([f"<{name.upper()}>".replace("VOLUME", "VOL") for name in own.columns])
    own.to_csv(dump / "some.txt", index=False)
    expected = read_daily_prices(stooq)
    assert expected["asset"].unique().to_list() == ["AAPL.US"]
    assert read_daily_prices(yahoo).equals(expected)
    assert read_daily_prices(dump).equals(expected)
    table.rename(columns={"Close": "Adj. Close"}).to_csv(stooq / "AAPL.US.txt", index=False)
    assert read_daily_prices(stooq).equals(expected)


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("AAA.csv", lambda t: t.assign(Close="x"), r"AAA\.csv: column 'Close' must hold numbers; got 'x'"),
        ("AAA.csv", lambda t: t.drop(columns="Close"), r"AAA\.csv must have .* one named close"),
        ("AAA.csv", lambda t: t.assign(Volume=-1), r"AAA\.csv: volume must not be negative; 'AAA'"),
        ("AAA.csv", lambda t: t.assign(Close=0.0), r"AAA\.csv holds no positive close"),
        ("AAA.csv", lambda t: t.assign(Date="2020-13-01"), r"AAA\.csv: column 'Date' must hold dates"),
        (
            "AAA.csv",
            lambda t: t.assign(Date=pd.date_range("2020-01-31", periods=len(t), freq="ME")),
            r"AAA\.csv must hold daily prices; it has 1 days in a typical month",
        ),
        (
            "aaa.csv",
            lambda t: t.assign(Ticker="BBB", Close=1.0),
            r"BBB\.csv and aaa\.csv have different rows for 'BBB'",
        ),
        (
            "AAA.csv",
            lambda t: t.assign(**{"Adj Close": t["Close"]}),
            r"AAA\.csv has adjusted closes and BBB\.csv has none",
        ),
        ("AAA.csv", lambda t: pd.concat([t, t.iloc[:1].assign(Close=1.0)]), r"AAA\.csv has different rows for 'AAA'"),
    ],
)
def test_a_broken_file_of_a_folder_is_named(tmp_path: Path, name: str, change: object, says: str) -> None:
    table = long_table(assets=("AAA", "BBB"), days=80)
    folder = folder_of(tmp_path / "prices", table)
    (folder / "AAA.csv").unlink()
    own = table[table["Ticker"] == "AAA"].drop(columns="Ticker")
    change(own).to_csv(folder / name, index=False)  # type: ignore[operator]
    with pytest.raises(InputError, match=says) as caught:
        read_daily_prices(folder)
    assert "\n" not in str(caught.value)


def test_empty_files_of_a_folder_are_named_at_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "prices", long_table())
    for name in "zyx":
        (folder / f"{name}.txt").write_text("")
    with pytest.raises(InputError, match=r"3 empty files \(x\.txt, y\.txt, z\.txt\): remove them"):
        read_daily_prices(folder)


def test_the_real_file_one_ticker_a_file(real: Path, tmp_path: Path) -> None:
    table = pd.read_parquet(real / "panels/us_daily_ohlcv_A.parquet")
    table = table[table["Ticker"].isin(table["Ticker"].unique()[:12])]
    table.to_parquet(tmp_path / "some.parquet")
    assert read_daily_prices(folder_of(tmp_path / "prices", table)).equals(read_daily_prices(tmp_path / "some.parquet"))


def test_the_real_file(real: Path) -> None:
    prices = read_daily_prices(real / "panels/us_daily_ohlcv_A.parquet")
    assert prices.height == 637_297
    assert prices["asset"].n_unique() == 250
    assert (str(prices["date"].min()), str(prices["date"].max())) == ("2004-01-02", "2017-11-10")
    assert prices["high"].null_count() == 1
    assert prices.sort("asset", "date").equals(prices)
    assert prices.filter(pl.col("asset") == "ABG")["close"][0] == 15.35

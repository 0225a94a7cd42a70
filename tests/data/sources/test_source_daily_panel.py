from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.load import load
from factor_ray.data.months import format_month
from factor_ray.data.settings import DailyPricesData
from factor_ray.data.sources.daily_panel import daily_prices
from factor_ray.errors import InputError


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    days = pd.bdate_range("2000-01-03", "2001-12-31")
    random = np.random.default_rng(0)
    pieces = []
    for ticker in ("A", "B", "C"):
        close = 50.0 * np.exp(np.cumsum(random.normal(0.0, 0.02, len(days))))
        volume = random.integers(1_000, 9_000, len(days))
        piece = {"date": days, "ticker": ticker, "high": close * 1.01, "low": close * 0.99, "close": close}
        pieces.append(pd.DataFrame({**piece, "volume": volume}))
    path = tmp_path / "daily.csv"
    pd.concat(pieces).to_csv(path, index=False)
    return path


def factors(path: Path, months: int = 24) -> Path:
    every = pd.period_range("2000-01", periods=months, freq="M")
    path.write_text("prose\n\n,Mkt-RF,RF\n" + "".join(f"{m:%Y%m},{(-1) ** i:.2f},0.30\n" for i, m in enumerate(every)))
    return path


def test_a_panel_with_and_without_a_market(prices: Path, tmp_path: Path) -> None:
    alone = daily_prices(prices)
    assert len(alone) == 3 * 24
    assert not alone.has_risk_free
    # Two years are too short for a year-and-a-half reversal over three years, volume over 30 months; no day is idle.
    assert {"LRreversal", "VolumeTrend", "zerotrade"}.isdisjoint(alone.characteristic_names)
    assert "left out: LRreversal" in alone.notes[-1]
    assert set(alone.frequency.values()) == {"monthly"}
    beside = daily_prices(prices, market=factors(tmp_path / "french.csv"))
    assert set(beside.values("risk_free")) == {np.float32(0.003)}
    np.testing.assert_array_equal(alone.values("return"), beside.values("return"))
    close = pd.read_csv(prices).query("ticker == 'B'").set_index("date")["close"]
    frame = alone.to_frame().query("asset == 'B'").set_index("month")
    expected = close["2000-05-31"] / close["2000-04-28"] - 1
    assert frame["return"]["2000-05-31"].item() == pytest.approx(expected, rel=1e-5)


def test_consensus_names_and_span(prices: Path) -> None:
    panel = daily_prices(prices, consensus=["RealizedVol"], start="2001-01", end="2001-06")
    assert [format_month(month) for month in panel.months[[0, -1]]] == ["2001-01", "2001-06"]
    assert panel.consensus_names == ("RealizedVol",)
    assert "RealizedVol" not in panel.characteristic_names
    assert np.isfinite(panel.to_frame()["Mom12m"].iloc[-3:]).all()  # days before the first month kept are history
    assert daily_prices(prices, characteristics=["Price", "MaxRet"]).characteristic_names == ("Price", "MaxRet")


def test_a_shuffled_file_gives_the_same_panel(prices: Path, tmp_path: Path) -> None:
    pd.read_csv(prices).sample(frac=1.0, random_state=1).to_csv(tmp_path / "shuffled.csv", index=False)
    ours, theirs = daily_prices(prices).to_frame(), daily_prices(tmp_path / "shuffled.csv").to_frame()
    pd.testing.assert_frame_equal(ours, theirs, rtol=1e-6)


def test_a_folder_gives_the_same_panel_and_its_files_are_in_the_lineage(prices: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prices"
    folder.mkdir()
    for ticker, own in pd.read_csv(prices).groupby("ticker"):
        own.drop(columns="ticker").to_csv(folder / f"{ticker}.csv", index=False)
    loaded = load(DailyPricesData.model_validate({"source": "daily_prices", "path": str(folder)}))
    pd.testing.assert_frame_equal(loaded.panel.to_frame(), daily_prices(prices).to_frame())
    assert [file["name"] for file in loaded.lineage["panel"]["files"]] == ["A.csv", "B.csv", "C.csv"]


def test_what_cannot_be_used_is_refused(prices: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="daily prices give no characteristic 'Size'; choose among STreversal"):
        daily_prices(prices, characteristics=["Size"])
    with pytest.raises(InputError, match=r"french\.csv has no risk-free rate for 2001-12"):
        daily_prices(prices, market=factors(tmp_path / "french.csv", months=23))
    with pytest.raises(
        InputError, match=r"daily\.csv reaches from .* to .*, of which data\.start 2010-01 leaves no month"
    ):
        daily_prices(prices, start="2010-01")
    with pytest.raises(InputError, match=r"daily\.csv: column 'zerotrade' .* must vary"):
        daily_prices(prices, characteristics=["zerotrade", "Price"])


def test_real_prices(real: Path) -> None:
    market = real / "factors/F-F_Research_Data_5_Factors_2x3.csv"
    panel = daily_prices(real / "panels/us_daily_ohlcv_A.parquet", market=market)
    assert len(panel) == 30_497
    assert [format_month(month) for month in panel.months[[0, -1]]] == ["2004-01", "2017-10"]
    assert len(panel.characteristic_names) == 22

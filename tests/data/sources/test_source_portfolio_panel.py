from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.months import format_month, parse_month
from factor_ray.data.sources.french import french, french_linearmodels
from factor_ray.data.sources.portfolio_panel import french_portfolios
from factor_ray.errors import InputError

MONTHS = pd.period_range("2000-01", periods=30, freq="M")
NAMES = ("Lo", "Mid", "Hi")


def french_file(path: Path, *, titles: tuple[str, ...] = ()) -> Path:
    random = np.random.default_rng(0)

    def block(title: str, values: np.ndarray, dates: list[str]) -> str:
        rows = [f"{date}," + ",".join(f"{v:.4f}" for v in row) for date, row in zip(dates, values, strict=True)]
        return "\n".join([title, ",".join(["", *NAMES]), *rows, ""])

    monthly = [f"{month:%Y%m}" for month in MONTHS]
    shape = (len(MONTHS), len(NAMES))
    returns = random.normal(1.0, 5.0, shape)
    returns[3, 0] = -99.99
    years = ["1999", "2000", "2001"]
    blocks = [
        "prose about the file\n",
        block("  Average Value Weighted Returns -- Monthly", returns, monthly),
        block("  Average Equal Weighted Returns -- Monthly", returns + 1.0, monthly),
        block("  Average Value Weighted Returns -- Annual", random.normal(10.0, 20.0, (3, 3)), years),
        block("  Number of Firms in Portfolios", np.tile([10.0, 20.0, 30.0], (len(MONTHS), 1)), monthly),
        block("  Average Firm Size", np.tile([1.0, 5.0, 100.0], (len(MONTHS), 1)), monthly),
        block("  Sum of BE / Sum of ME", np.outer([1.0, 2.0, 3.0], [1.0, 10.0, 100.0]), years),
        *(block(title, random.random(shape), monthly) for title in titles),
    ]
    path.write_text("\n".join(blocks))
    return path


def test_returns_blocks_and_capitalisations(tmp_path: Path) -> None:
    title = "For portfolios formed in June of year t Value Weight Average of OP Calculated as: OP(t-1) / BE(t-1)"
    panel = french_portfolios(french_file(tmp_path / "p.csv", titles=(title, title.replace("OP ", "BE/ME "))))
    assert panel.characteristic_names[:5] == ("number_of_firms", "firm_size", "sum_of_be_sum_of_me", "op", "be_me")
    assert {"STreversal", "Mom12m", "Beta"} <= set(panel.characteristic_names)
    assert not panel.has_risk_free
    frame = panel.to_frame().set_index(["asset", "month"])
    assert len(frame) == 3 * 30 - 1  # a portfolio without firms has no row
    assert set(frame.loc["Hi", "market_cap"]) == {3000.0}
    assert set(panel.frequency.values()) == {"monthly"}
    assert "mean return of all portfolios stands in" in panel.notes[0]
    assert panel.notes[1] == "Left out, since no value is known: LRreversal."


def test_annual_tables_are_known_from_july_of_their_year_on(tmp_path: Path) -> None:
    frame = french_portfolios(french_file(tmp_path / "p.csv")).to_frame()
    middle = frame[frame["asset"] == "Mid"].set_index("month")["sum_of_be_sum_of_me"]
    assert middle["2000-06"].item() == 10.0
    assert middle["2000-07"].item() == 20.0
    assert middle["2001-06"].item() == 20.0
    assert middle["2001-07"].item() == 30.0


def test_weights_rates_and_span(tmp_path: Path) -> None:
    file = french_file(tmp_path / "p.csv")
    rates = "prose\n\n,Mkt-RF,RF\n" + "".join(f"{m:%Y%m},{(-1) ** i:.2f},0.30\n" for i, m in enumerate(MONTHS[:29]))
    (tmp_path / "factors.csv").write_text(rates)
    with pytest.raises(InputError, match=r"factors\.csv has no risk-free rate for 2002-06: .* data\.end"):
        french_portfolios(file, market=tmp_path / "factors.csv")
    value = french_portfolios(file, market=tmp_path / "factors.csv", start="2000-06", end="2002-05")
    equal = french_portfolios(file, market=tmp_path / "factors.csv", weights="equal", start="2000-06", end="2002-05")
    assert [format_month(month) for month in value.months[[0, -1]]] == ["2000-06", "2002-05"]
    np.testing.assert_allclose(equal.values("return") - value.values("return"), 0.01, atol=1e-6)
    assert set(value.values("risk_free")) == {np.float32(0.003)}
    # The months before the first one kept are history.
    assert np.isfinite(value.to_frame()["Mom6m"].iloc[2])


def test_what_is_no_portfolio_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "factors.csv").write_text("prose\n\n,Mkt-RF,RF\n200001,1.00,0.3\n200002,-1.00,0.3\n")
    with pytest.raises(InputError, match=r"factors\.csv has no table 'Average Value Weighted Returns -- Monthly'"):
        french_portfolios(tmp_path / "factors.csv")
    file = french_file(tmp_path / "p.csv")
    with pytest.raises(InputError, match=r"p\.csv reaches from .* to .*, of which data\.start 2010-01 leaves no month"):
        french_portfolios(file, start="2010-01")


def test_the_set_inside_linearmodels() -> None:
    panel = french_portfolios()
    assert (len(panel), len(panel.months), len(set(panel.assets))) == (30 * 819, 819, 30)
    packaged = french_linearmodels()
    frame = panel.to_frame()
    row = frame[(frame["asset"] == "S1V5") & (frame["month"] == "1999-12-31")].iloc[0]
    assert row["return"] == pytest.approx(packaged.loc["1999-12", "S1V5"], rel=1e-6)
    assert row["risk_free"] == pytest.approx(packaged.loc["1999-12", "RF"], rel=1e-6)
    momentum = (1 + packaged["S1V5"]).rolling(11).apply(np.prod, raw=True).shift(1) - 1
    assert row["Mom12m"] == pytest.approx(momentum["1999-12"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "rows", "cap", "characteristics"),
    [
        ("25_Portfolios_5x5.csv", 29_900, True, ("be_me", "op", "investment", "market_cap")),
        ("25_Portfolios_ME_Prior_12_2.csv", 29_746, True, ("prior_returns", "prior_returns_equal")),
        ("49_Industry_Portfolios.csv", 55_736, True, ("firm_size", "sum_of_be_sum_of_me", "be_me")),
        ("30_Industry_Portfolios.CSV", 34_380, True, ("firm_size", "be_me")),
    ],
)
def test_real_files(real: Path, name: str, rows: int, cap: bool, characteristics: tuple[str, ...]) -> None:
    panel = french_portfolios(real / "portfolios" / name)
    assert len(panel) == rows
    assert panel.has_market_cap is cap
    assert set(characteristics) <= set(panel.characteristic_names)


def test_real_book_to_market_with_rates(real: Path) -> None:
    path = real / "portfolios/25_Portfolios_5x5.csv"
    factors = real / "factors/F-F_Research_Data_5_Factors_2x3.csv"
    panel = french_portfolios(path, market=factors, start="1963-07", end="2024-12")
    assert len(panel) == 25 * (parse_month("2024-12") - parse_month("1963-07") + 1)
    held = {title: table for title, table in french(path).items() if "BE/ME" in title}
    last = panel.to_frame().query("asset == 'SMALL LoBM'").iloc[-1]
    assert last["be_me"] == pytest.approx(next(iter(held.values())).loc["2024-12", "SMALL LoBM"], rel=1e-5)

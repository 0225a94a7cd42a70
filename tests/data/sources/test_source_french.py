from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.data.sources.factors import observed_factors
from factor_ray.data.sources.french import UNTITLED, french, french_linearmodels, is_french
from factor_ray.data.sources.monthly_table import monthly_table
from factor_ray.errors import InputError

FILE = """This file was created by CMPT using the 202412 CRSP database.
The 1-month TBill rate, as of 2024, is "from" ICE.

,Mkt-RF,SMB ,RF
192607,    2.96,   -2.56,    0.22
192608,  -99.99,   -1.17,    0.25
192609,  -999,      0.33,    0.23

  Annual Factors: January-December
,Mkt-RF,SMB,RF
  1927,   29.47,   -2.04,    3.12

  Number of Firms in Portfolios
,Lo 30,Hi 30
192607,    120,    500
192608,   -99.99,    501

  For portfolios formed in June of year t
  Value Weight Average of BE/ME Calculated as:
,Lo 30,Hi 30
192607,    0.55,   1.20

Copyright 2024 Eugene F. Fama and Kenneth R. French
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "french.csv"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    return path


def test_tables_titles_units_and_missing_values(tmp_path: Path) -> None:
    tables = french(write(tmp_path, FILE))
    assert list(tables) == [
        UNTITLED,
        "Annual Factors: January-December",
        "Number of Firms in Portfolios",
        "For portfolios formed in June of year t Value Weight Average of BE/ME Calculated as:",
    ]
    factors, annual, firms, ratio = tables.values()
    assert list(factors.columns) == ["Mkt-RF", "SMB", "RF"]
    np.testing.assert_allclose(factors["Mkt-RF"], [0.0296, np.nan, np.nan])
    assert annual.index.name == "year"
    assert annual.loc["1927", "Mkt-RF"].item() == pytest.approx(0.2947)
    np.testing.assert_array_equal(firms["Lo 30"], [120.0, np.nan])
    assert ratio["Hi 30"].item() == 1.2
    assert [table.attrs["units"] for table in tables.values()] == ["decimal"] * 2 + ["as in the file"] * 2


def test_zip_and_spreadsheet_copies_are_the_same(tmp_path: Path) -> None:
    plain = french(write(tmp_path, FILE))
    with zipfile.ZipFile(tmp_path / "french.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("F-F.CSV", FILE)
    padded = "\n".join(line + "," * (3 - line.count(",")) for line in FILE.split("\n"))
    (tmp_path / "padded.csv").write_text(padded)
    for other in (french(tmp_path / "french.zip"), french(tmp_path / "padded.csv")):
        for ours, theirs in zip(plain.values(), other.values(), strict=True):
            pd.testing.assert_frame_equal(ours, theirs)


def as_txt(text: str) -> str:
    """Write a CSV file of French's as his TXT files are: right-aligned columns, each as wide as its widest cell."""
    lines, made = text.split("\n"), []
    cells = [[cell.strip() for cell in line.split(",")] for line in lines]
    in_table = [
        line.startswith(",") or bool(row[0].isdigit() and len(row) > 1) for line, row in zip(lines, cells, strict=True)
    ]
    width = 1 + max(len(cell) for row, held in zip(cells, in_table, strict=True) if held for cell in row[1:])
    for line, row, held in zip(lines, cells, in_table, strict=True):
        made.append(row[0].rjust(6) + "".join(cell.rjust(width) for cell in row[1:]) if held else line)
    return "\n".join(made)


def same_tables(ours: dict[str, pd.DataFrame], theirs: dict[str, pd.DataFrame]) -> None:
    assert list(ours) == list(theirs)
    for title in ours:
        pd.testing.assert_frame_equal(ours[title], theirs[title])
        assert ours[title].attrs == theirs[title].attrs


def test_txt_files_are_read_as_csv_files_are(tmp_path: Path) -> None:
    expected = french(write(tmp_path, FILE))
    assert "192607   2.96  -2.56   0.22" in as_txt(FILE)
    assert not is_french("a b\n1 2\n")
    assert is_french(as_txt(FILE))
    collapsed = "\n".join(" ".join(line.split()) if line[:6].isdigit() else line for line in as_txt(FILE).split("\n"))
    factors = observed_factors({write(tmp_path, as_txt(FILE)): {"SMB": "percent"}})
    np.testing.assert_allclose(factors["SMB"], [-0.0256, -0.0117, 0.0033])
    named = as_txt(FILE).replace("      ", "Date  ", 1)
    padded = as_txt(FILE).replace("SMB ", "SMB")
    for text in (as_txt(FILE), named, padded, collapsed):
        same_tables(french(write(tmp_path, text)), expected)
    with zipfile.ZipFile(tmp_path / "french_TXT.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("F-F.txt", as_txt(FILE))
    same_tables(french(tmp_path / "french_TXT.zip"), expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_csv_file_and_its_txt_copy_hold_the_same(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    word = st.text("ABCxyz159-", min_size=1, max_size=6)
    name = st.lists(word, min_size=1, max_size=2).map(" ".join)
    value = st.one_of(st.floats(-60, 60).map("{:.2f}".format), st.sampled_from(["-99.99", "-999", "0.00"]))
    pieces = ['Made by hand, from "nothing".', ""]
    for number in range(data.draw(st.integers(1, 3))):
        names = data.draw(st.lists(name, min_size=1, max_size=7, unique=True))
        rows = data.draw(st.lists(st.lists(value, min_size=len(names), max_size=len(names)), min_size=1, max_size=9))
        annual = data.draw(st.booleans())
        dates = [f"{1930 + i}" if annual else f"1930{1 + i:02d}" for i in range(len(rows))]
        pieces += [f"  Average Firm Size {number}, in something", "," + ",".join(names)]
        pieces += [",".join([date, *row]) for date, row in zip(dates, rows, strict=True)] + ["", ""]
    folder = tmp_path_factory.mktemp("txt")
    text = "\n".join(pieces)
    (folder / "a.csv").write_text(text)
    (folder / "a.txt").write_text(as_txt(text))
    same_tables(french(folder / "a.txt"), french(folder / "a.csv"))


@pytest.mark.parametrize(
    "name",
    [
        "portfolios/25_Portfolios_ME_Prior_12_2.csv",
        "portfolios/30_Industry_Portfolios.CSV",
        "factors/F-F_Research_Data_5_Factors_2x3.csv",
        "factors/F-F_Momentum_Factor.CSV",
    ],
)
def test_real_files_rendered_as_txt(real: Path, tmp_path: Path, name: str) -> None:
    text = (real / name).read_text().replace("\r\n", "\n")
    (tmp_path / "french.txt").write_text(as_txt(text))
    same_tables(french(tmp_path / "french.txt"), french(real / name))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("        Mkt-RF", "Mkt-RF", "line of column names"),
        ("        Mkt-RF    SMB     RF\n", "", "line of column names"),
        ("  -1.17   0.25", "  -1.17", "2 values for 3 columns .*192608"),
        ("   2.96  -2.56   0.22", "   2.96  -2.56", "line of column names above it, one name a column"),
        ("  -2.56", "  x    ", "'SMB' must hold numbers; got 'x' in row 1926-07"),
        ("192608", "192607", "1926-07 more than once"),
        ("192607", "19260701", "mixes dates of"),
    ],
)
def test_broken_txt_files(tmp_path: Path, old: str, new: str, says: str) -> None:
    text = as_txt(FILE)
    header = next(line for line in text.split("\n") if "Mkt-RF" in line)
    text = text.replace(header, "        Mkt-RF    SMB     RF", 1)
    assert old in text
    with pytest.raises(InputError, match=says) as caught:
        french(write(tmp_path, text.replace(old, new, 1)))
    assert "french.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("192607", "19260701", "mixes dates of"),
        (",Mkt-RF,SMB ,RF\n192607", "192607", "line of column names"),
        (",Mkt-RF,SMB ,RF", ",Mkt-RF,SMB,SMB", "two columns named 'SMB'"),
        (",   -2.56,    0.22", ",   -2.56", "2 values for 3 columns .*192607"),
        ("-2.56", "2,56", "4 values for 3 columns"),
        ("-2.56", "x", "'SMB' must hold numbers; got 'x' in row 1926-07"),
        ("192608,  -99.99", "192607,  -99.99", "1926-07 more than once"),
        ("192608,  -99.99", "192613,  -99.99", "must hold months"),
    ],
)
def test_broken_files(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        french(write(tmp_path, FILE.replace(old, new, 1)))
    assert "french.csv" in str(caught.value)


def test_daily_data_and_prose_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="daily or weekly"):
        french(write(tmp_path, "prose\n\n,Mkt-RF\n19260701,0.1\n19260702,0.2\n"))
    with pytest.raises(InputError, match="no table in French's format"):
        french(write(tmp_path, "month;a\n1926-07;1\n"))


def test_decimals_under_a_title_of_returns_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{1930 + i // 12}{i % 12 + 1:02d},{(-1) ** i * 0.05},0.2\n" for i in range(24))
    with pytest.raises(InputError, match="looks like decimals"):
        french(write(tmp_path, f"prose\n\n,Mkt-RF,RF\n{rows}"))


def test_truncated_zip(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("F-F.CSV", FILE)
    path = tmp_path / "F-F.zip"
    path.write_bytes(memory.getvalue()[:-40])
    with pytest.raises(InputError, match=r"F-F\.zip is a damaged or truncated archive"):
        french(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", FILE)
        archive.writestr("b.csv", FILE)
    with pytest.raises(InputError, match="must hold one data file"):
        french(path)


@pytest.mark.parametrize(
    ("name", "tables", "months", "assets", "last"),
    [
        ("portfolios/25_Portfolios_5x5.csv", 10, 1196, 25, "2026-02"),
        ("portfolios/25_Portfolios_ME_Prior_12_2.csv", 8, 1190, 25, "2026-02"),
        ("portfolios/49_Industry_Portfolios.csv", 8, 1196, 49, "2026-02"),
        ("portfolios/30_Industry_Portfolios.CSV", 8, 1146, 30, "2021-12"),
    ],
)
def test_real_portfolios(real: Path, name: str, tables: int, months: int, assets: int, last: str) -> None:
    held = french(real / name)
    assert len(held) == tables
    returns = held["Average Value Weighted Returns -- Monthly"]
    assert returns.shape == (months, assets)
    assert str(returns.index[-1]) == last
    assert 0.01 < returns.to_numpy()[np.isfinite(returns)].std() < 0.15
    assert held["Number of Firms in Portfolios"].max(axis=None) > 300
    missing = {"49_Industry_Portfolios.csv": 516, "25_Portfolios_ME_Prior_12_2.csv": 4}.get(Path(name).name, 0)
    assert returns.isna().any(axis="columns").sum() == missing


def test_real_market_factor_agrees_with_another_file(real: Path) -> None:
    ours = french(real / "factors/F-F_Research_Data_5_Factors_2x3.csv")[UNTITLED]["Mkt-RF"] * 100.0
    theirs = monthly_table(real / "factors/All_factors_JFE.csv", columns=["MKT"])["MKT"]
    difference = (ours - theirs).dropna()
    assert len(difference) == 689
    assert difference.abs().max() < 0.02 + 1e-9


def test_real_momentum(real: Path) -> None:
    momentum = french(real / "factors/F-F_Momentum_Factor.CSV")[UNTITLED]
    assert momentum.shape == (1176, 1)
    assert momentum.loc["1927-01", "Mom"] == pytest.approx(0.0036)


def test_the_set_inside_linearmodels(real: Path) -> None:
    packaged = french_linearmodels()
    assert packaged.shape == (819, 35)
    assert (str(packaged.index[0]), str(packaged.index[-1])) == ("1949-01", "2017-03")
    pd.testing.assert_frame_equal(packaged, french(real / "portfolios/linearmodels_french.csv.bz2")[UNTITLED])
    both = french(real / "factors/F-F_Research_Data_5_Factors_2x3.csv")[UNTITLED].join(packaged["MktRF"], how="inner")
    assert both["Mkt-RF"].corr(both["MktRF"]) > 0.999

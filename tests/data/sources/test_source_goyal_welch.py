from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.sources.fred_md import fred_md
from factor_ray.data.sources.goyal_welch import CBAPM_PREDICTORS, goyal_welch
from factor_ray.errors import InputError

CLASSIC = (
    "yyyymm,Index,D12,E12,b/m,tbl,AAA,BAA,lty,ntis,Rfree,infl,ltr,corpr,svar\n"
    '202001,"3,225.52",58.69,138.74,0.23,0.0152,0.0294,0.0377,0.0176,-0.009,0.0013,0.0039,0.07,0.03,0.0011\n'
    '202002,"2,954.22",59.05,135.58,NaN,0.0152,0.0278,0.0361,0.0150,-0.010,0.0012,0.0027,0.06,0.02,0.0065\n'
)


def test_the_real_workbook(real: Path) -> None:
    frame = goyal_welch(real / "macro/PredictorData2022.xlsx")
    assert len(frame) == 1824
    assert (str(frame.index[0]), str(frame.index[-1])) == ("1871-01", "2022-12")
    assert set(CBAPM_PREDICTORS) <= set(frame.columns)
    last = frame.loc["2022-12"]
    assert last["dp"] == pytest.approx(np.log(66.922828) - np.log(3839.50), abs=1e-7)
    assert last["ep"] == pytest.approx(np.log(172.75) - np.log(3839.50), abs=1e-7)
    assert last["tms"] == pytest.approx(0.0362 - 0.0425)
    assert last["dfy"] == pytest.approx(0.0559 - 0.0443)
    assert last["svar"] == pytest.approx(0.002701, abs=1e-6)
    assert frame.attrs["unknown"] == ["UN", "INPRO", "UN_HP", "IP_HP"] == list(frame.columns[-4:])
    assert frame.loc["2022-12", "UN"] == pytest.approx(3.5)
    assert list(frame.attrs["ignored"]) == [
        f"sheet {title}" for title in ("Quarterly", "un", "Annual", "List1", "inflace", "inflace_yoy")
    ]


@pytest.mark.parametrize(("sheet", "date"), [("Quarterly", "yyyyq"), ("Annual", "yyyy")])
def test_quarterly_and_annual_sheets_are_refused_in_words(real: Path, tmp_path: Path, sheet: str, date: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what openpyxl drops from the workbook
        cells = pd.read_excel(real / "macro/PredictorData2022.xlsx", sheet_name=sheet)
    cells.to_csv(tmp_path / "one.csv", index=False)
    with pytest.raises(InputError, match=rf"one\.csv: the first column must be the month.*'{date}'.*are not read"):
        goyal_welch(tmp_path / "one.csv")
    cells.to_excel(tmp_path / "one.xlsx", sheet_name=sheet, index=False)
    with pytest.raises(InputError, match=rf"one\.xlsx must have one sheet named Monthly .*'{sheet}'"):
        goyal_welch(tmp_path / "one.xlsx")
    cells.to_excel(tmp_path / "one.xlsx", sheet_name="Monthly", index=False)
    with pytest.raises(InputError, match=rf"one\.xlsx: the first column must be the month.*'{date}'"):
        goyal_welch(tmp_path / "one.xlsx")


def test_the_sheet_as_csv_is_the_same_as_the_workbook(real: Path, tmp_path: Path) -> None:
    workbook = goyal_welch(real / "macro/PredictorData2022.xlsx")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cells = pd.read_excel(real / "macro/PredictorData2022.xlsx", sheet_name="Monthly", dtype=object)
    cells = cells.loc[:, [not str(name).startswith("Unnamed") for name in cells.columns]].dropna(subset="yyyymm")
    cells["Index"] = cells["Index"].map("{:,}".format)
    assert cells["Index"].str.contains(",").sum() > 250
    cells.to_csv(tmp_path / "one.csv", index=False, na_rep="NaN")
    pd.testing.assert_frame_equal(goyal_welch(tmp_path / "one.csv"), workbook, rtol=1e-12)


def test_dates_of_quarters_under_the_name_of_months(tmp_path: Path) -> None:
    rows = "".join(f"{2000 + i // 4}{3 * (i % 4) + 3:02d},0.01\n" for i in range(12))
    (tmp_path / "q.csv").write_text(f"yyyymm,tbl\n{rows}")
    with pytest.raises(InputError, match="is not monthly: 12 dates span 34 months"):
        goyal_welch(tmp_path / "q.csv")


def test_bill_rate_is_that_of_fred_md(real: Path) -> None:
    tbl = goyal_welch(real / "macro/PredictorData2022.xlsx")["tbl"] * 100.0
    for vintage in ("2021-08", "2023-09"):
        fred = fred_md(real / f"macro/fred_md_{vintage}.csv", transform=False)["TB3MS"]
        difference = (tbl - fred).dropna()
        assert len(difference) > 740
        assert difference.abs().max() < 1e-9


def test_classic_csv_with_commas_between_thousands(tmp_path: Path) -> None:
    path = tmp_path / "gw.csv"
    path.write_text(CLASSIC)
    frame = goyal_welch(path)
    assert frame["Index"].tolist() == [3225.52, 2954.22]
    assert np.isnan(frame["bm"].iloc[1])
    assert frame["dy"].iloc[1] == pytest.approx(np.log(59.05 / 3225.52))
    assert frame["dfr"].iloc[0] == pytest.approx(-0.04)


def test_newer_columns_by_their_names(tmp_path: Path) -> None:
    path = tmp_path / "gwz.csv"
    path.write_text(
        "yyyymm,price,d12,e12,ret,tbl,lty,AAA,BAA,b/m,ntis,svar,sntm,avgcor,wtexas,mine,words\n"
        "202001,3225.52,58.69,138.74,0.01,0.0152,0.0176,0.0294,0.0377,0.23,-0.009,0.0011,0.5,0.2,-1,3,up\n"
    )
    frame = goyal_welch(path)
    assert {*CBAPM_PREDICTORS, "Index", "sntm", "avgcor", "wtexas", "ret"} <= set(frame.columns)
    assert frame.attrs == {"ignored": {"column words": "it holds no numbers"}, "unknown": ["mine"]}
    assert frame["mine"].tolist() == [3.0]
    assert list(frame.columns)[-1] == "mine"


def test_workbook_with_one_dated_sheet_of_another_name(tmp_path: Path) -> None:
    path = tmp_path / "gw.xlsx"
    with pd.ExcelWriter(path) as book:
        pd.DataFrame({"note": ["mine"]}).to_excel(book, sheet_name="Notes", index=False)
        pd.DataFrame({"yyyymm": [202001, 202002], "tbl": ["0.01", 0.02]}).to_excel(book, sheet_name="Data", index=False)
    frame = goyal_welch(path)
    assert frame["tbl"].tolist() == [0.01, 0.02]
    assert "sheet Notes" in frame.attrs["ignored"]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("0.0152", "1.52", "'tbl' must be a decimal.*2020-01.*divide it by 100"),
        ("58.69", "0", "'D12' must be positive; it is 0.0 in 2020-01"),
        ("202002", "202001", "more than once"),
        ("202002", "20202", "must hold months"),
        ("202002", "202013", "must hold months"),
        ("yyyymm", "yyyyq", "quarterly and annual"),
        ("0.0065", "n.b.", "'svar' must hold numbers; got 'n.b.'.*2020-02"),
        ("AAA", "BAA", "two columns named 'BAA'"),
        ("ntis", "bm", "two columns that mean 'bm'"),
    ],
)
def test_broken_tables(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(CLASSIC.replace(old, new))
    with pytest.raises(InputError, match=says) as caught:
        goyal_welch(path)
    assert "broken.csv" in str(caught.value)


def test_broken_workbooks(tmp_path: Path) -> None:
    path = tmp_path / "gw.xlsx"
    pd.DataFrame().to_excel(path, sheet_name="Monthly")
    with pytest.raises(InputError, match=r"'Monthly'.*gw\.xlsx holds no rows"):
        goyal_welch(path)
    pd.DataFrame({"a": [1]}).to_excel(path, sheet_name="Daten", index=False)
    with pytest.raises(InputError, match=r"one sheet named Monthly.*'Daten'"):
        goyal_welch(path)
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(InputError, match="damaged or truncated"):
        goyal_welch(path)


def test_nothing_of_goyal_and_welch(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("date,x\n2020-01,1\n2020-02,2\n")
    with pytest.raises(InputError, match="no column of Goyal and Welch"):
        goyal_welch(path)
    path.write_text("date,dp\n2020-01,0.02\n2020-02,0.02\n")
    with pytest.raises(InputError, match="log ratio"):
        goyal_welch(path)

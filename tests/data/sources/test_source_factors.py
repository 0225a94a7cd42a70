from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.sources.factors import observed_factors
from factor_ray.data.sources.jkp import jkp_factors
from factor_ray.data.sources.monthly_table import monthly_table
from factor_ray.errors import InputError

PERCENT = [
    "MKT",
    "SMB",
    "HML",
    "RMW",
    "CMA",
    "RF",
    "R_ME",
    "R_IA",
    "R_ROE",
    "R_EG",
    "PEAD",
    "FIN",
    "SY_SMB",
    "MGMT",
    "PERF",
]


def returns(path: Path, *, scale: float, name: str = "F", months: int = 30) -> Path:
    values = scale * np.sin(np.arange(months) + 1.0)
    index = pd.period_range("2000-01", periods=months, freq="M")
    pd.DataFrame({"date": index.astype(str), name: values}).to_csv(path, index=False)
    return path


def test_real_factors_of_mixed_units(real: Path) -> None:
    stated = {
        real / "factors/All_factors_JFE.csv": {**dict.fromkeys(PERCENT, "percent"), "PS_VWF": "decimal"},
        real / "factors/F-F_Momentum_Factor.CSV": {"Mom": "percent"},
    }
    factors = observed_factors(stated)  # type: ignore[arg-type]
    assert list(factors.columns) == [*PERCENT, "PS_VWF", "Mom"]
    assert (str(factors.index[0]), str(factors.index[-1])) == ("1927-01", "2024-12")
    assert factors.loc["2020-12", "MKT"] == pytest.approx(0.0463)
    assert factors.loc["2011-11", "PS_VWF"] == pytest.approx(0.049328, abs=1e-6)
    span = {
        name: tuple(map(str, factors[name].dropna().index[[0, -1]])) for name in ("R_IA", "PEAD", "PS_VWF", "SY_SMB")
    }
    assert span == {
        "R_IA": ("1967-01", "2020-12"),
        "PEAD": ("1972-07", "2018-12"),
        "PS_VWF": ("1968-01", "2019-12"),
        "SY_SMB": ("1963-01", "2016-12"),
    }
    # The file writes 2012-01 twice and 2011-12 not at all.
    assert factors.loc["2011-12", PERCENT].isna().all()
    assert factors.attrs["notes"] == [
        "All_factors_JFE.csv: 2012-01 comes again with the same values and counts once",
        "All_factors_JFE.csv: no row for 2011-12",
    ]


def test_stated_units_that_cannot_be_are_refused(real: Path) -> None:
    path = real / "factors/All_factors_JFE.csv"
    with pytest.raises(
        InputError, match=r"'MKT', stated in decimal, is .*more than 100% in a month: state it in percent"
    ):
        observed_factors({path: {"MKT": "decimal"}})
    with pytest.raises(InputError, match=r"'PS_VWF', stated in percent, never moves.*state it in decimal"):
        observed_factors({path: {"PS_VWF": "percent"}})


def test_join_by_month_and_units(tmp_path: Path) -> None:
    a, b = returns(tmp_path / "a.csv", scale=3.0), returns(tmp_path / "b.csv", scale=0.03, name="G", months=40)
    factors = observed_factors({a: {"F": "percent"}, str(b): {"G": "decimal"}})
    np.testing.assert_allclose(factors["F"].dropna(), factors["G"].iloc[:30])
    assert factors.shape == (40, 2)
    assert factors["F"].isna().sum() == 10
    levels = observed_factors({a: {"F": "level"}})
    assert levels["F"].abs().max() > 2.0


def test_missing_markers(tmp_path: Path) -> None:
    path = tmp_path / "liq.txt"
    path.write_text(
        "% Month\tAgg Liq.\tTraded Liq (LIQ_V)\n196208\t-0.01\t-99\n196801\t0.02\t0.03\n", encoding="utf-16"
    )
    with pytest.raises(InputError, match="not monthly"):
        observed_factors({path: {"Traded Liq (LIQ_V)": "decimal"}})
    path.write_text(
        "% Month\tAgg Liq.\tTraded Liq (LIQ_V)\n196712\t-0.01\t-99\n196801\t0.02\t0.03\n", encoding="utf-16"
    )
    factors = observed_factors({path: {"Traded Liq (LIQ_V)": "decimal"}})
    np.testing.assert_array_equal(factors.iloc[:, 0], [np.nan, 0.03])


def test_wrong_statements(tmp_path: Path) -> None:
    a, b = returns(tmp_path / "a.csv", scale=3.0), returns(tmp_path / "b.csv", scale=3.0)
    with pytest.raises(InputError, match="must name at least one file"):
        observed_factors({})
    with pytest.raises(InputError, match="unit stated, one of percent, decimal, level; got F: bp"):
        observed_factors({a: {"F": "bp"}})  # type: ignore[dict-item]
    with pytest.raises(InputError, match="got no column"):
        observed_factors({a: {}})
    with pytest.raises(InputError, match="no column 'H'"):
        observed_factors({a: {"H": "percent"}})
    with pytest.raises(InputError, match="'F' is given by two of the files"):
        observed_factors({a: {"F": "percent"}, b: {"F": "percent"}})


def test_french_file_among_the_factors(tmp_path: Path) -> None:
    path = tmp_path / "ff.csv"
    path.write_text("prose\n\n,Mkt-RF\n192607,2.96\n192608,-99.99\n\n Annual\n,Mkt-RF\n1927,29.5\n")
    np.testing.assert_allclose(observed_factors({path: {"Mkt-RF": "percent"}})["Mkt-RF"], [0.0296, np.nan])
    with pytest.raises(InputError, match="in percent; 'Mkt-RF' is stated otherwise"):
        observed_factors({path: {"Mkt-RF": "decimal"}})
    with pytest.raises(InputError, match="no column 'HML'"):
        observed_factors({path: {"HML": "percent"}})


def test_monthly_tables_in_every_layout(tmp_path: Path, real: Path) -> None:
    recessions = monthly_table(real / "macro/USREC.csv")
    assert recessions.shape == (2027, 1)
    assert (str(recessions.index[0]), str(recessions.index[-1])) == ("1854-12", "2023-10")
    frame = pd.DataFrame({"YYYYMM": [202001, 202002], "x": [1.0, 2.0]})
    expected = monthly_table(_csv(tmp_path / "a.csv", frame))
    frame.to_excel(tmp_path / "a.xlsx", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    frame.assign(year=2020, month=[1, 2]).drop(columns="YYYYMM").to_csv(tmp_path / "b.csv", sep=";", index=False)
    frame.rename(columns={"YYYYMM": "unnamed"}).to_csv(tmp_path / "c.csv", sep="\t", index=False)
    for name in ("a.xlsx", "a.parquet", "b.csv", "c.csv"):
        pd.testing.assert_frame_equal(monthly_table(tmp_path / name), expected)


def test_months_that_contradict_each_other(tmp_path: Path, real: Path) -> None:
    with pytest.raises(InputError, match="2012-01 more than once, with different values of 'ZLp'"):
        monthly_table(real / "factors/All_factors_JFE.csv")
    path = _csv(tmp_path / "a.csv", pd.DataFrame({"year": [2020, 2020], "month": [1, 13], "x": [1.0, 2.0]}))
    with pytest.raises(InputError, match="'month' 1 to 12"):
        monthly_table(path)


def test_real_jkp(real: Path) -> None:
    factors = jkp_factors(real / "factors/jkp_US_factors_SAS.parquet")
    assert factors.shape == (1188, 153)
    assert (str(factors.index[0]), str(factors.index[-1])) == ("1926-01", "2024-12")
    assert factors.loc["1926-03", "age"] == pytest.approx(-0.086738, abs=1e-6)
    assert factors.count().sum() == 144_620


def test_jkp_choices(tmp_path: Path) -> None:
    long = pd.DataFrame(
        {
            "location": ["usa", "usa", "jpn"],
            "name": ["be_me"] * 3,
            "freq": ["monthly"] * 3,
            "date": ["2020-01-31", "2020-02-29", "2020-01-31"],
            "ret": [0.01, 0.02, 0.03],
        }
    )
    path = _csv(tmp_path / "jkp.csv", long)
    assert jkp_factors(path, location="usa")["be_me"].tolist() == [0.01, 0.02]
    with pytest.raises(InputError, match=r"\['jpn', 'usa'\]; got None: choose one by `location`"):
        jkp_factors(path)
    with pytest.raises(InputError, match="'be_me' twice in 2020-01"):
        jkp_factors(_csv(path, long.drop(columns="location")))
    with pytest.raises(InputError, match="must be decimals"):
        jkp_factors(_csv(path, long.assign(ret=[1.0, 12.0, 3.0])), location="usa")
    with pytest.raises(InputError, match="must be monthly"):
        jkp_factors(_csv(path, long.assign(freq="daily")), location="usa")
    with pytest.raises(InputError, match="no column 'ret'"):
        jkp_factors(_csv(path, long.drop(columns="ret")))


def _csv(path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(path, index=False)
    return path

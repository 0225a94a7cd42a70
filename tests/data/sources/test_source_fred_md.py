from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.sources.fred_md import fred_md
from factor_ray.data.sources.fred_md_series import CBAPM_SERIES, TRANSFORM_CODES
from factor_ray.errors import InputError

LEVELS = {"INDPRO": [100.0, 101.0, 103.0, 102.0, 104.0, 107.0], "TB3MS": [5.0, 5.1, 5.3, 5.2, 5.0, 4.9]}


def write(path: Path, *, codes: str | None = "Transform:,5,2", date: str = "sasdate", months: int = 6) -> Path:
    rows = [f"{1 + i}/1/2000,{LEVELS['INDPRO'][i]},{LEVELS['TB3MS'][i]}" for i in range(months)]
    path.write_text("\n".join([f"{date},INDPRO,TB3MS", *([codes] if codes else []), *rows, ",,", ""]))
    return path


@pytest.mark.parametrize(("vintage", "months", "last"), [("2021-08", 751, "2021-07"), ("2023-09", 776, "2023-08")])
def test_real_vintages(real: Path, vintage: str, months: int, last: str) -> None:
    frame = fred_md(real / f"macro/fred_md_{vintage}.csv", transform=False)
    assert frame.shape == (months, 127)
    assert isinstance(frame.index, pd.PeriodIndex)
    assert (str(frame.index[0]), str(frame.index[-1])) == ("1959-01", last)
    assert (frame.dtypes == np.float64).all()
    chosen = fred_md(real / f"macro/fred_md_{vintage}.csv", series="cbapm")
    assert tuple(chosen.columns) == CBAPM_SERIES
    assert len(CBAPM_SERIES) == 115
    expected = np.log(frame["INDPRO"]).diff()
    pd.testing.assert_series_equal(chosen["INDPRO"], expected, check_freq=False)


def test_each_transform_code(tmp_path: Path) -> None:
    x = np.array([100.0, 101.0, 103.0, 102.0, 104.0, 107.0])
    log, nan = np.log(x), np.nan
    expected = {
        1: x,
        2: [nan, *np.diff(x)],
        3: [nan, nan, *np.diff(x, 2)],
        4: log,
        5: [nan, *np.diff(log)],
        6: [nan, nan, *np.diff(log, 2)],
        7: [nan, nan, *np.diff(x[1:] / x[:-1])],
    }
    path = write(tmp_path / "md.csv")
    for code, values in expected.items():
        frame = fred_md(path, series=["INDPRO"], codes={"INDPRO": code})
        np.testing.assert_allclose(frame["INDPRO"], values, atol=1e-13)


@pytest.mark.parametrize("codes", ["Transform:,5,2", "transform,5.0,2", "TCODE,5,2", None])
@pytest.mark.parametrize("date", ["sasdate", "DATE", ""])
def test_any_layout_gives_the_same_frame(tmp_path: Path, codes: str | None, date: str) -> None:
    usual = fred_md(write(tmp_path / "usual.csv"))
    other = fred_md(write(tmp_path / "other.csv", codes=codes, date=date))
    pd.testing.assert_frame_equal(usual, other)
    assert len(usual) == 6


def test_rows_in_any_order_and_a_missing_month(tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    path.write_text("date,TB3MS\n2000-04-01,5.2\n2000-01-01,5.0\n2000-02-01,5.1\n2000-05-01,.\n")
    frame = fred_md(path)
    assert [str(month) for month in frame.index] == ["2000-01", "2000-02", "2000-03", "2000-04", "2000-05"]
    np.testing.assert_allclose(frame["TB3MS"], [np.nan, 0.1, np.nan, np.nan, np.nan], atol=1e-12)


def test_unknown_codes_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    path.write_text("sasdate,MYSERIES\n1/1/2000,1\n2/1/2000,2\n3/1/2000,4\n")
    with pytest.raises(
        InputError,
        match=r"md\.csv states no transform code for 'MYSERIES', and .*in a row Transform:.* source: monthly_table",
    ):
        fred_md(path)
    assert fred_md(path, codes={"MYSERIES": 2})["MYSERIES"].iloc[-1] == 2.0
    assert fred_md(path, transform=False)["MYSERIES"].iloc[-1] == 4.0


def test_a_file_transformed_already_is_told(tmp_path: Path) -> None:
    path = tmp_path / "md.csv"
    path.write_text("sasdate,INDPRO\n1/1/2000,0.01\n2/1/2000,-0.002\n3/1/2000,0.003\n")
    with pytest.raises(
        InputError, match="already transformed, read it with source: monthly_table; else give another code in the row"
    ):
        fred_md(path)


def test_a_series_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no series .*'INDPR'.*nearest .*INDPRO"):
        fred_md(write(tmp_path / "md.csv"), series=["INDPR"])
    with pytest.raises(InputError, match="list of names"):
        fred_md(write(tmp_path / "md.csv"), series="INDPRO")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("sasdate,A\nTransform:,9\n1/1/2000,1\n2/1/2000,2\n", "must be 1 to 7"),
        ("sasdate,A\nTransform:,1\nTransform:,1\n1/1/2000,1\n2/1/2000,2\n", "2 rows of transform codes"),
        ("sasdate,A\nfactors,1\n1/1/2000,1\n2/1/2000,2\n", "must hold months .* got 'factors'"),
        ("sasdate,A\n3/1/2000,1\n6/1/2000,2\n9/1/2000,1\n12/1/2000,3\n", "not monthly"),
        ("sasdate,A\n1/1/2000,1\n1/2/2000,2\n1/3/2000,2\n", "2000-01 more than once.*day first"),
        ("sasdate,A\n13/1/2000,1\n14/1/2000,2\n", "must hold months"),
        ("sasdate,A\n1/1/2000,1\n", "two or more"),
    ],
)
def test_broken_vintages(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        fred_md(path, transform=False)
    assert "broken.csv" in str(caught.value)


def test_a_folder_is_read_in_real_time(tmp_path: Path) -> None:
    (tmp_path / "2000-03.csv").write_text("sasdate,A,B\nTransform:,2,1\n1/1/2000,1,7\n2/1/2000,2,\n")
    (tmp_path / "2000-04.csv").write_text("sasdate,A,C\nTransform:,1,1\n1/1/2000,10,5\n2/1/2000,20,6\n3/1/2000,40,\n")
    (tmp_path / "2000-06.csv").write_text("sasdate,A,B\nTransform:,2,1\n4/1/2000,1,1\n5/1/2000,2,3\n")
    frame = fred_md(tmp_path)
    assert [str(month) for month in frame.index] == ["2000-01", "2000-02", "2000-03", "2000-04", "2000-05"]
    # A keeps the first vintage's code (a difference) and never mixes levels of two vintages.
    np.testing.assert_array_equal(frame["A"], [np.nan, 1.0, 20.0, 20.0, 1.0])
    # B is published late in the first vintage, absent from the second; C is in the second only, which stays in use.
    np.testing.assert_array_equal(frame["B"], [7.0, 7.0, np.nan, np.nan, 3.0])
    np.testing.assert_array_equal(frame["C"], [np.nan, np.nan, 6.0, 6.0, np.nan])
    assert frame.attrs["first_vintage"] == "2000-03"


def test_later_vintages_change_nothing_before_them(tmp_path: Path) -> None:
    for month in (3, 4, 5, 6):
        write(tmp_path / f"FRED-MD_2000m{month}.csv", months=month - 1)
    whole = fred_md(tmp_path)
    (tmp_path / "FRED-MD_2000m6.csv").unlink()
    pd.testing.assert_frame_equal(fred_md(tmp_path), whole.iloc[:-1], check_freq=False)


def test_broken_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no vintages"):
        fred_md(tmp_path)
    write(tmp_path / "2000-07.csv")
    write(tmp_path / "fred_2000-07.csv")
    with pytest.raises(InputError, match="both of vintage 2000-07"):
        fred_md(tmp_path)
    (tmp_path / "fred_2000-07.csv").rename(tmp_path / "current.csv")
    with pytest.raises(InputError, match=r"current\.csv must state its vintage"):
        fred_md(tmp_path)


def test_published_codes_are_complete(real: Path) -> None:
    header = pd.read_csv(real / "macro/fred_md_2023-09.csv", nrows=1).iloc[0, 1:]
    assert {name: int(code) for name, code in header.items()}.items() <= TRANSFORM_CODES.items()

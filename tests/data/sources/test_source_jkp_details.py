from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from factor_ray.data import jkp_factor_details
from factor_ray.errors import InputError

COLUMNS = "abr_hxz,name,name_new,abr_jkp,cite,group,in-sample period,direction,significance"
ROWS = "Bm,Book to market,Book-to-market,be_me,Rosenberg (1985),VALUE,1973 - 1984,1,1\nPin,Trading,Trading,,,NEW,,,\n"


def test_the_real_workbook(real: Path) -> None:
    details = jkp_factor_details(real / "meta/jkp_factor_details.xlsx")
    assert details.shape == (255, 10)
    assert details["name"].notna().sum() == 153
    named = details.dropna(subset="name").set_index("name")
    momentum = named.loc["ret_12_1"]
    assert (momentum["direction"], momentum["theme"]) == (1, "momentum")
    assert momentum["citation"] == "Jegadeesh and Titman (1993)"
    assert (momentum["sample_start"], momentum["sample_end"], momentum["acronym"]) == (1965, 1989, "R11")
    growth = named.loc["sale_gr1"]
    assert (growth["direction"], growth["theme"], growth["title"]) == (-1, "value", "Sales Growth (1 year)")
    assert not named.loc["ncol_gr1a", "significant"]
    assert named.loc["age", "direction"] == -1
    assert named.loc["corr_1260d", "theme"] == "new"
    assert details["direction"].value_counts(dropna=False).to_dict() == {1: 153, -1: 96, pd.NA: 6}
    assert sorted(details["theme"].unique()) == [
        "intangibles",
        "investment",
        "momentum",
        "new",
        "profitability",
        "trading frictions",
        "value",
    ]
    assert details["acronym"].eq("β").sum() == 1
    assert details["title"].str.contains("analysts’").sum() == 4
    assert details["citation"].str.contains("Krüger").sum() == 2
    assert not details["original_title"].str.contains("â").any()


def test_signs_are_those_of_the_factors_themselves(real: Path) -> None:
    factors = pd.read_parquet(real / "factors/jkp_US_factors_SAS.parquet", columns=["name", "direction"])
    signs = factors.drop_duplicates().set_index("name")["direction"]
    details = jkp_factor_details(real / "meta/jkp_factor_details.xlsx").dropna(subset="name").set_index("name")
    assert len(signs) == 153
    assert (details["direction"] == signs.astype(int).reindex(details.index)).all()


def test_a_csv_copy_is_the_same(real: Path, tmp_path: Path) -> None:
    workbook = real / "meta/jkp_factor_details.xlsx"
    pd.read_excel(workbook, dtype=object).to_csv(tmp_path / "details.csv", index=False)
    pd.testing.assert_frame_equal(jkp_factor_details(tmp_path / "details.csv"), jkp_factor_details(workbook))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("direction", "sign", "has no column 'direction'"),
        ("1984,1", "1984,2", "'direction' must be 1 or -1; it is 2 in row 1"),
        ("1984,1", "1984,up", "'direction' must hold numbers; got 'up'"),
        ("1973 - 1984", "the 1970s", "must be years, as 1963 - 1990; got 'the 1970s'"),
        ("Trading,,", "Trading,be_me,", "has the name 'be_me' twice"),
        (ROWS, "", "no rows below its column names"),
    ],
)
def test_broken_files(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "details.csv"
    text = f"{COLUMNS}\n{ROWS}"
    assert old in text
    path.write_text(text)
    assert jkp_factor_details(path)["direction"].tolist() == [1, pd.NA]
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=says) as caught:
        jkp_factor_details(path)
    assert "details.csv" in str(caught.value)


def test_a_workbook_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "details.xlsx"
    pd.DataFrame().to_excel(path)
    with pytest.raises(InputError, match=r"details\.xlsx must have one filled sheet"):
        jkp_factor_details(path)
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match="damaged or truncated"):
        jkp_factor_details(path)

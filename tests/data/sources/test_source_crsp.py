"""CRSP in its two formats, and delisting returns wherever they lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from factor_ray.data.load import load
from factor_ray.data.months import parse_month
from factor_ray.data.settings import OpenapData
from factor_ray.data.sources.crsp import read_crsp
from factor_ray.data.sources.delistings import read_delistings
from factor_ray.errors import InputError

CLASSIC = pd.DataFrame(
    [
        (10001, "2000-01-31", "C", -12.5, 200, 1, 11),
        (10001, "2000-02-29", "0.10", 13.75, 200, 1, 11),
        (10001, "2000-03-15", "0.20", 16.5, 200, 1, 11),
        (10002, "2000-01-31", "-0.05", 5.0, 1000, 3, 10),
        (10002, "2000-02-29", "B", 0.0, 1000, 3, 10),
        (10003, "2000-01-31", "0.01", 20.0, 50, 2, 31),
        (10003, "2000-03-31", "0.02", 21.0, 0, 2, 31),
    ],
    columns=["permno", "date", "ret", "prc", "shrout", "exchcd", "shrcd"],
)
DELISTED = pd.DataFrame(
    [
        (10001, "2000-03-20", "-0.5", 470),
        (10002, "2000-02-10", "-0.25", 552),
        (10003, "2000-02-15", "0.5", 233),
        (10003, "2000-03-31", "", 100),
        (99999, "2000-02-15", "0.7", 233),
    ],
    columns=["permno", "dlstdt", "dlret", "dlstcd"],
)


def write(folder: Path, returns: pd.DataFrame, delisted: pd.DataFrame | None = None) -> tuple[Path, Path]:
    paths = folder / "crsp.csv", folder / "delist.csv"
    returns.to_csv(paths[0], index=False)
    if delisted is not None:
        delisted.to_csv(paths[1], index=False)
    return paths


def returns_of(frame: pl.DataFrame) -> dict[tuple[int, str], float | None]:
    keys = ((row["permno"], f"2000-{row['month'] - parse_month('2000-01') + 1:02d}") for row in frame.to_dicts())
    return dict(zip(keys, frame["ret"].to_list(), strict=True))


def as_ciz(classic: pd.DataFrame) -> pd.DataFrame:
    """Write the same stocks in the newer format: prices positive or absent, capitalisations, letters for exchanges."""
    kinds = {11: "EQTY COM NS Y CORP", 10: "EQTY COM NS Y ACOR", 31: "EQTY COM AD N CORP"}
    kind = classic["shrcd"].map(kinds).str.split(expand=True)
    return pd.DataFrame(
        {
            "PERMNO": classic["permno"],
            "MthCalDt": classic["date"],
            "MthRet": classic["ret"].where(~classic["ret"].isin(["B", "C"]), ""),
            "MthRetFlg": "",
            "MthPrc": classic["prc"].abs().where(classic["prc"] != 0),
            "MthCap": (classic["prc"].abs() * classic["shrout"]).where(lambda cap: cap > 0),
            "PrimaryExch": classic["exchcd"].map({1: "N", 2: "A", 3: "Q"}),
            "SecurityType": kind[0],
            "SecuritySubType": kind[1],
            "ShareType": kind[2],
            "USIncFlg": kind[3],
            "IssuerType": kind[4],
        }
    )


def test_both_formats_of_the_same_stocks_give_the_same_frame(tmp_path: Path) -> None:
    classic, notes = read_crsp(write(tmp_path, CLASSIC)[0])
    assert notes == ["crsp.csv has no column dlret: delisting returns are not in the returns."]
    as_ciz(CLASSIC).to_csv(tmp_path / "ciz.csv", index=False)
    as_ciz(CLASSIC).rename(columns=str.lower).astype({"mthcaldt": "datetime64[s]"}).assign(
        mthret=lambda t: pd.to_numeric(t["mthret"])
    ).to_parquet(tmp_path / "ciz.parquet")
    for name in ("ciz.csv", "ciz.parquet"):
        ciz, said = read_crsp(tmp_path / name)
        assert said == [
            f"{name} is in CRSP's CIZ format: its mthret holds delisting returns already, so none were merged."
        ]
        same = ["permno", "month", "ret", "prc", "cap"]
        assert_frame_equal(ciz.select(same), classic.select(same))
        assert ciz["exchcd"].to_list() == ["N", "N", "N", "Q", "Q", "A", "A"]
        assert ciz["shrcd"].to_list() == ["11"] * 5 + ["EQTY/COM/AD/N/CORP"] * 2


def test_ciz_with_shares_instead_of_capitalisations(tmp_path: Path) -> None:
    ciz = as_ciz(CLASSIC).assign(ShrOut=CLASSIC["shrout"])
    whole, _ = read_crsp(write(tmp_path, ciz)[0])
    bare, _ = read_crsp(write(tmp_path, ciz.drop(columns=["MthCap", "SecurityType", "PrimaryExch"]))[0])
    assert bare.columns == ["permno", "month", "ret", "prc", "cap"]
    assert_frame_equal(bare, whole.select(bare.columns))
    with pytest.raises(InputError, match=r"crsp\.csv has no column 'mthcap'"):
        read_crsp(write(tmp_path, ciz.drop(columns=["MthCap", "ShrOut"]))[0])


def test_delistings_inside_ciz_do_not_count_twice(tmp_path: Path) -> None:
    plain, _ = read_crsp(write(tmp_path, as_ciz(CLASSIC))[0])
    again, _ = read_crsp(write(tmp_path, as_ciz(CLASSIC).assign(dlret=-0.5))[0])
    assert_frame_equal(again, plain)
    path, delistings = write(tmp_path, as_ciz(CLASSIC), DELISTED)
    with pytest.raises(InputError, match=r"CIZ format, .*leave data\.delistings out, or they count twice"):
        read_crsp(path, delistings=delistings)
    with pytest.raises(InputError, match=r"leave data\.missing_delisting_return out"):
        read_crsp(path, missing_delisting_return=-0.3)
    with pytest.raises(InputError, match="both ret and mthret"):
        read_crsp(write(tmp_path, as_ciz(CLASSIC).assign(ret=0.1))[0])


def test_a_file_of_delistings(tmp_path: Path) -> None:
    path, delistings = write(tmp_path, CLASSIC, DELISTED)
    frame, notes = read_crsp(path, delistings=delistings)
    found = returns_of(frame)
    assert found[10001, "2000-03"] == pytest.approx(1.2 * 0.5 - 1)
    assert found[10002, "2000-02"] == -0.25
    assert found[10003, "2000-02"] == 0.5  # a month without a row of its own
    assert found[10003, "2000-03"] == 0.02
    assert len(found) == 8
    made = frame.filter(permno=10003, month=parse_month("2000-02"))
    assert made.select("prc", "cap", "exchcd").row(0) == (None, None, None)
    assert notes == ["3 delisting returns of delist.csv were merged into the returns of crsp.csv."]


def test_delistings_in_columns_and_in_a_file_are_the_same(tmp_path: Path) -> None:
    listed = DELISTED.assign(month=DELISTED["dlstdt"].str.slice(0, 7))
    keyed = CLASSIC.assign(month=CLASSIC["date"].str.slice(0, 7))
    merged = keyed.merge(listed, on=["permno", "month"], how="left").drop(columns=["month", "dlstdt"])
    own, _ = read_crsp(write(tmp_path, merged)[0])
    path, delistings = write(tmp_path, CLASSIC, DELISTED[DELISTED["dlstdt"] != "2000-02-15"])
    apart, _ = read_crsp(path, delistings=delistings)
    assert_frame_equal(own, apart)


@pytest.mark.parametrize("apart", [True, False])
def test_unknown_returns_of_performance_related_delistings(tmp_path: Path, apart: bool) -> None:
    """Against a plain loop over firms, each with a code and a return that is known, a letter, -55 or blank."""
    random = np.random.default_rng(3)
    rows, expected, performance = [], {}, {500, *range(520, 585)}
    for firm in range(300):
        code = int(random.choice([231, 470, 499, 500, 501, 519, 520, 552, 584, 585, 600]))
        written = str(random.choice(["-0.4", "0.1", "S", "A", "", "-55.0", "-66"]))
        value = float(written) if written in ("-0.4", "0.1") else -0.3 if code in performance else 0.0
        rows.append((firm, "2000-02-29", "0.05", 10.0, 100, "2000-02-20", written, code))
        expected[firm, "2000-02"] = 1.05 * (1 + value) - 1
    names = ["permno", "date", "ret", "prc", "shrout", "dlstdt", "dlret", "dlstcd"]
    table = pd.DataFrame(rows, columns=names)
    if apart:
        path, file = write(tmp_path, table[names[:5]], table[["permno", *names[5:]]])
    else:
        (path, _), file = write(tmp_path, table), None
    found = returns_of(read_crsp(path, delistings=file, missing_delisting_return=-0.3)[0])
    assert found.keys() == expected.keys()
    assert all(math.isclose(float(str(found[key])), value) for key, value in expected.items())
    left, notes = read_crsp(path, delistings=file)
    unknown = sum(math.isclose(value, 1.05 * 0.7 - 1) for value in expected.values())
    assert f"{unknown} performance-related delistings have no known return" in notes[1]
    assert sum(value == 0.05 for value in returns_of(left).values()) > unknown
    told = read_crsp(path, delistings=file, missing_delisting_return=-0.3)[1][1]
    assert told == f"{unknown} of them, performance-related and without a known return, were taken as -30%."


def test_only_months_of_the_returns_are_read(tmp_path: Path) -> None:
    later = pd.DataFrame([(10001, "2005-03-20", "-0.5", 552)], columns=DELISTED.columns)
    path, delistings = write(tmp_path, CLASSIC, pd.concat([DELISTED, later]))
    assert read_crsp(path, delistings=delistings)[0]["month"].max() == parse_month("2000-03")
    span = (parse_month("2000-01"), parse_month("2000-02"))
    frame, _ = read_crsp(path, delistings=delistings, span=span)
    whole, _ = read_crsp(path, delistings=delistings)
    assert_frame_equal(frame, whole.filter(pl.col("month") <= span[1]))


def test_a_month_that_a_delisting_makes_has_the_rate_of_its_month(tmp_path: Path) -> None:
    rates = CLASSIC["date"].str.slice(5, 7).map({"01": 0.001, "02": 0.002, "03": 0.003})
    path, delistings = write(tmp_path, CLASSIC.assign(rf=rates), DELISTED)
    frame, _ = read_crsp(path, delistings=delistings)
    assert frame["rf"].null_count() == 0
    assert frame.filter(permno=10003)["rf"].to_list() == [0.001, 0.002, 0.003]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.drop(columns="dlret"), r"delist\.csv has no column 'dlret'"),
        (lambda d: d.drop(columns="dlstdt"), r"delist\.csv has no column 'dlstdt'"),
        (lambda d: d.drop(columns="dlstcd"), r"delist\.csv has no column dlstcd, by which"),
        (lambda d: d.assign(dlret="x1"), r"delist\.csv: column 'dlret' must hold numbers or CRSP's letter codes"),
        (lambda d: d.assign(dlstcd="gone"), r"delist\.csv: column 'dlstcd' must hold numbers"),
        (lambda d: d.assign(permno="IBM"), r"delist\.csv: column 'permno' must hold numbers; got 'IBM'"),
        (lambda d: d.assign(dlstdt="15.02.2000"), r"delist\.csv: column 'dlstdt' must hold months"),
        (
            lambda d: pd.concat([d, d.iloc[:1].assign(dlret="0.1")]),
            r"two different delistings of permno 10001 in 2000-03",
        ),
    ],
)
def test_broken_delistings_are_refused(
    tmp_path: Path, change: Callable[[pd.DataFrame], pd.DataFrame], says: str
) -> None:
    path, delistings = write(tmp_path, CLASSIC, change(DELISTED))
    with pytest.raises(InputError, match=says):
        read_crsp(path, delistings=delistings, missing_delisting_return=-0.3)


def test_what_contradicts_itself_is_refused(tmp_path: Path) -> None:
    path, delistings = write(tmp_path, CLASSIC.assign(dlret="", dlstcd=552), DELISTED)
    with pytest.raises(InputError, match=r"has a column dlret and data\.delistings names .*delist\.csv: leave one out"):
        read_crsp(path, delistings=delistings)
    with pytest.raises(InputError, match=r"crsp\.csv has the delisting code 552 in several months of permno 10001"):
        read_crsp(path, missing_delisting_return=-0.3)
    with pytest.raises(InputError, match=r"crsp\.csv has no column dlret, which data\.missing_delisting_return"):
        read_crsp(write(tmp_path, CLASSIC)[0], missing_delisting_return=-0.3)


def test_stocks_that_are_still_traded_are_no_delistings(tmp_path: Path) -> None:
    delistings = write(tmp_path, CLASSIC, pd.concat([DELISTED, DELISTED.iloc[:1]]))[1]
    assert read_delistings(delistings)["permno"].to_list() == [10001, 10002, 10003, 99999]


def test_a_configuration_names_the_file_and_lineage_holds_it(tmp_path: Path) -> None:
    path, delistings = write(tmp_path, CLASSIC.assign(rf=0.001), DELISTED)
    signals = CLASSIC.assign(yyyymm=CLASSIC["date"].str.replace("-", "").str.slice(0, 6), AM=np.arange(7.0))
    signals[["permno", "yyyymm", "AM"]].to_csv(tmp_path / "signals.csv", index=False)
    values = {"source": "openap", "signals": str(tmp_path / "signals.csv"), "returns": str(path)}
    chosen = {"characteristics": ["AM"], "consensus": [], "delistings": str(delistings)}
    loaded = load(OpenapData.model_validate(values | chosen))
    assert loaded.lineage["delistings"]["name"] == "delist.csv"
    assert any("3 delisting returns of delist.csv" in note for note in loaded.notes)
    frame = loaded.panel.to_frame().set_index(["asset", "month"])["return"]
    assert frame.xs(10001).iloc[-1] == pytest.approx(-0.4)
    assert frame.xs(10003).tolist() == pytest.approx([0.01, 0.5, 0.02])
    with pytest.raises(ValueError, match="less than or equal to 0"):
        OpenapData.model_validate(values | {"missing_delisting_return": 0.3})

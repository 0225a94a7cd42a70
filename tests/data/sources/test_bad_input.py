"""Every reader of text against each class of odd or broken input: the same values, or a sentence naming the file."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from factor_ray.data.sources.crsp import read_crsp
from factor_ray.data.sources.daily_prices import read_daily_prices
from factor_ray.data.sources.delistings import read_delistings
from factor_ray.data.sources.fred_md import fred_md
from factor_ray.data.sources.french import french
from factor_ray.data.sources.goyal_welch import goyal_welch
from factor_ray.data.sources.jkp import jkp_factors
from factor_ray.data.sources.jkp_details import jkp_factor_details
from factor_ray.data.sources.monthly_table import monthly_table
from factor_ray.data.sources.signals import Signals
from factor_ray.errors import InputError

MONTHS = [f"2000{month:02d}" for month in range(1, 13)]
DAYS = [(ticker, i, day) for ticker in "AB" for i, day in enumerate(pd.bdate_range("2000-01-03", periods=44))]
PAIRS = [(asset, month) for asset in (1, 2) for month in MONTHS]


def lines(header: str, rows: list[str]) -> str:
    return "\n".join([header, *rows]) + "\n"


Reader = Callable[[Path], Any]
FILES: dict[str, tuple[str, Reader]] = {
    "crsp": (
        lines("permno,date,ret,prc,shrout,exchcd", [f"{a},{m}28,0.01,-10.5,100,1" for a, m in PAIRS]),
        lambda path: read_crsp(path)[0],
    ),
    "ciz": (
        lines("PERMNO,MthCalDt,MthRet,MthPrc,MthCap", [f"{a},{m}28,0.01,10.5,1050.5" for a, m in PAIRS]),
        lambda path: read_crsp(path)[0],
    ),
    "delistings": (
        lines("permno,dlstdt,dlret,dlstcd", ["1,20001228,-0.5,552", "2,20001128,S,470"]),
        read_delistings,
    ),
    "signals": (
        lines("permno,yyyymm,AM", [f"{a},{m},{a / 4 + int(m[4:])}" for a, m in PAIRS]),
        lambda path: Signals(path).read(["AM"], (None, None)),
    ),
    "prices": (
        lines("date,ticker,close,volume", [f"{day:%Y-%m-%d},{t},{10 + i / 8},{100 + i}" for t, i, day in DAYS]),
        read_daily_prices,
    ),
    "jkp": (
        lines("location,name,freq,date,ret", [f"usa,{'ab'[a - 1]},monthly,{m[:4]}-{m[4:]}-28,0.25" for a, m in PAIRS]),
        jkp_factors,
    ),
    "details": (
        lines(
            "abr_hxz,name,name_new,abr_jkp,cite,group,in-sample period,direction,significance",
            ["Bm,Book,Book,be_me,Ros,VALUE,1973 - 1984,1,1", "Sg,Sales,Sales,sale_gr1,Lak,VALUE,1968 - 1989,-1,1"],
        ),
        jkp_factor_details,
    ),
    "fred_md": (
        lines("sasdate,RPI,TB3MS", ["Transform:,5,2", *(f"{int(m[4:])}/1/2000,{m},5.5" for m in MONTHS)]),
        fred_md,
    ),
    "goyal_welch": (lines("yyyymm,Index,D12,tbl", [f"{m},100.5,2.25,0.05" for m in MONTHS]), goyal_welch),
    "monthly_table": (lines("date,a,b", [f"{m},{m}.5,1.5" for m in MONTHS]), monthly_table),
    "french": (
        lines("prose\n\n,Mkt-RF,RF", [f"{m},{(-1) ** i * 1.5},0.3" for i, m in enumerate(MONTHS)]),
        lambda path: french(path)["Monthly"],
    ),
}
TABLES = [name for name in FILES if name != "french"]


def packed(content: bytes) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.csv", content)
    return memory.getvalue()


def quoted(text: str) -> str:
    return "\n".join(",".join(f'"{cell}"' for cell in line.split(",")) for line in text.splitlines()) + "\n"


def read(folder: Path, name: str, content: bytes) -> Any:
    path = folder / "given.csv"
    path.write_bytes(content)
    return FILES[name][1](path)


def refused(folder: Path, name: str, content: bytes, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read(folder, name, content)
    assert "given.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


SAME: dict[str, Callable[[str], bytes]] = {
    "byte-order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "Windows line ends": lambda text: text.replace("\n", "\r\n").encode(),
    "tabs": lambda text: text.replace(",", "\t").encode(),
    "no last line feed": lambda text: text.rstrip("\n").encode(),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zip with a mark": lambda text: packed(b"\xef\xbb\xbf" + text.encode()),
}


@pytest.mark.parametrize("way", SAME)
@pytest.mark.parametrize("name", FILES)
def test_the_same_in_other_clothes(tmp_path: Path, name: str, way: str) -> None:
    text = FILES[name][0]
    assert read(tmp_path, name, SAME[way](text)).equals(read(tmp_path, name, text.encode()))


@pytest.mark.parametrize("name", TABLES)
def test_tables_with_semicolons_quotes_and_blank_lines(tmp_path: Path, name: str) -> None:
    text = FILES[name][0]
    expected = read(tmp_path, name, text.encode())
    blank = "," * text.splitlines()[-1].count(",")
    for other in (text.replace(",", ";"), quoted(text), f"{text}\n{blank}\n{blank}\n"):
        assert read(tmp_path, name, other.encode()).equals(expected)


BROKEN: dict[str, tuple[Callable[[str], bytes], str]] = {
    "a zip that breaks off": (lambda text: packed(text.encode())[:-25], "damaged or truncated"),
    "a gzip that breaks off": (lambda text: gzip.compress(text.encode())[:-9], "damaged or truncated"),
    "UTF-16 without a mark": (lambda text: text.encode("utf-16-le"), "holds zero bytes"),
    "nothing": (lambda _: b"", "is empty"),
    "a web page": (lambda _: b"<!DOCTYPE html>\n<html>404</html>\n", "must be delimited|no table in French's"),
    "a row that breaks off": (
        lambda text: text.rstrip("\n").rsplit(",", 1)[0].encode(),
        "breaks off: its last line.* cells|1 values for 2 columns",
    ),
}


@pytest.mark.parametrize("way", BROKEN)
@pytest.mark.parametrize("name", FILES)
def test_what_is_broken_is_refused(tmp_path: Path, name: str, way: str) -> None:
    make, says = BROKEN[way]
    refused(tmp_path, name, make(FILES[name][0]), says)


@pytest.mark.parametrize("name", TABLES)
def test_latin_letters_are_not_guessed(tmp_path: Path, name: str) -> None:
    first, *rest = FILES[name][0].splitlines()
    in_header = "\n".join([f"{first},Größe", *(f"{line},1" for line in rest)])
    in_rows = "\n".join([f"{first},x", *(f"{line},é" for line in rest)])
    for text in (in_header, in_rows):
        refused(tmp_path, name, f"{text}\n".encode("latin-1"), "UTF-8")


@pytest.mark.parametrize("name", TABLES)
def test_names_without_rows_and_rows_that_are_too_long(tmp_path: Path, name: str) -> None:
    text = FILES[name][0]
    refused(tmp_path, name, text.splitlines()[0].encode(), "no rows|empty CSV")
    refused(tmp_path, name, f"{text.rstrip()},9,9\n".encode(), "not one table")


@pytest.mark.parametrize("name", ["crsp", "ciz", "delistings", "signals", "prices", "goyal_welch", "fred_md", "jkp"])
def test_commas_for_decimals_are_never_taken_for_thousands(tmp_path: Path, name: str) -> None:
    text = FILES[name][0].replace(",", ";").replace(".", ",")
    refused(tmp_path, name, text.encode(), "must hold numbers")


@pytest.mark.parametrize("name", ["crsp", "ciz", "signals", "jkp", "goyal_welch", "french", "fred_md"])
def test_a_key_that_comes_again_with_other_values(tmp_path: Path, name: str) -> None:
    text = FILES[name][0]
    *_, last = text.splitlines()
    head, value = last.rsplit(",", 1)
    refused(tmp_path, name, f"{text}{head},{float(value) + 1}\n".encode(), "twice|more than once|different rows")


@pytest.mark.parametrize("name", ["crsp", "ciz", "delistings", "signals"])
@pytest.mark.parametrize(
    ("permno", "says"), [("IBM", "must hold numbers; got 'IBM'"), ("2.5", "a whole number"), ("", "a whole number")]
)
def test_wrong_identifiers(tmp_path: Path, name: str, permno: str, says: str) -> None:
    refused(tmp_path, name, FILES[name][0].replace("\n2,", f"\n{permno},", 1).encode(), says)


@pytest.mark.parametrize("name", ["crsp", "ciz", "signals", "goyal_welch", "monthly_table"])
@pytest.mark.parametrize("date", ["2000Q1", "2000", "31.01.2000", "Jan 2000", ""])
def test_dates_that_are_no_months(tmp_path: Path, name: str, date: str) -> None:
    text = FILES[name][0].replace("20000128", date).replace("200001", date)
    refused(tmp_path, name, text.encode(), "must hold (a )?months?")


@pytest.mark.parametrize("name", ["goyal_welch", "fred_md", "monthly_table", "french"])
def test_quarterly_rows_are_not_monthly(tmp_path: Path, name: str) -> None:
    months = {month: f"{2000 + 3 * i // 12}{3 * i % 12 + 1:02d}" for i, month in enumerate(MONTHS)}
    text = FILES[name][0]
    for month, quarter in reversed(months.items()):
        text = text.replace(f"\n{month},", f"\n{quarter},").replace(
            f"\n{int(month[4:])}/1/2000,", f"\n{int(quarter[4:])}/1/{quarter[:4]},"
        )
    refused(tmp_path, name, text.encode(), "is not monthly")


def test_capitalisations_in_other_units(tmp_path: Path) -> None:
    first, *rows = FILES["ciz"][0].splitlines()
    dollars = lines(f"{first},ShrOut", [f"{row},100" for row in rows])
    assert read(tmp_path, "ciz", dollars.encode())["cap"][0] == 1050.5
    refused(tmp_path, "ciz", dollars.replace("1050.5,", "1050500,").encode(), "mthcap must be mthprc times shrout")


@pytest.mark.parametrize("name", ["details", "goyal_welch", "monthly_table", "jkp"])
def test_a_workbook_with_an_empty_sheet_or_cut(tmp_path: Path, name: str) -> None:
    empty, filled = io.BytesIO(), io.BytesIO()
    pd.DataFrame().to_excel(empty)
    refused(tmp_path, name, empty.getvalue(), r"must have one (filled )?sheet")
    pd.read_csv(io.StringIO(FILES[name][0])).to_excel(filled, index=False)
    assert read(tmp_path, name, filled.getvalue()).equals(read(tmp_path, name, FILES[name][0].encode()))
    refused(tmp_path, name, filled.getvalue()[:-300], "damaged or truncated")

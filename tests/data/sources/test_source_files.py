"""What every reader shares: broken files of each kind are named, with the remedy."""

from __future__ import annotations

import bz2
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from factor_ray.data.sources.daily_prices import read_daily_prices
from factor_ray.data.sources.fred_md import fred_md
from factor_ray.data.sources.french import french
from factor_ray.data.sources.goyal_welch import goyal_welch
from factor_ray.data.sources.monthly_table import monthly_table
from factor_ray.errors import InputError

READERS: list[Callable[[Path], object]] = [fred_md, goyal_welch, french, monthly_table, read_daily_prices]
TABLE = b"date,TB3MS\n2000-01-01,5\n2000-02-01,6\n2000-03-01,7\n"


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"PK\x03\x04 and then nothing", "damaged or truncated"),
        (gzip.compress(TABLE, mtime=0)[:-12], "damaged or truncated"),
        (bz2.compress(TABLE)[:-12], "damaged or truncated"),
        ("date,Größe\n2000-01-01,5\n".encode("latin-1"), "not UTF-8 text .*save it as CSV"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + b"\x00" * 512, "Excel"),
        (b"date,TB3MS\n\x00\x00\x00", "zero bytes"),
    ],
)
def test_broken_content(tmp_path: Path, reader: Callable[[Path], object], content: bytes, says: str) -> None:
    path = tmp_path / "broken.csv"
    path.write_bytes(content)
    with pytest.raises(InputError, match=says) as caught:
        reader(path)
    assert "broken.csv" in str(caught.value)


@pytest.mark.parametrize("reader", READERS[1:])
def test_no_file_or_a_folder(tmp_path: Path, reader: Callable[[Path], object]) -> None:
    with pytest.raises(InputError, match=r"must be a file; there is none: check the path \(it is taken from"):
        reader(tmp_path / "none.csv")
    with pytest.raises(InputError, match="holds no CSV" if reader is read_daily_prices else "is a folder"):
        reader(tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_packed_and_encoded_files_are_the_same(tmp_path: Path, pack: Callable[[bytes], bytes], encoding: str) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(pack(TABLE.replace(b"\n", b"\r\n").decode().encode(encoding)))
    assert monthly_table(path)["TB3MS"].tolist() == [5.0, 6.0, 7.0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("date|a\n2000-01|1\n", "must be delimited"),
        ("date,a,a\n2000-01,1,2\n", "two columns named 'a'"),
        ("date,a,\n2000-01,1,2\n", "no name for column 3"),
        ("date,a\n2000-01,1,2,3\n", "not one table"),
        ("date,a\n", "no rows"),
        ("date;a\n2000-01;1,5\n", "got '1,5' in row 2000-01.*point for decimals"),
        ("date,a\n2000-01,inf\n", "got 'inf'"),
        ("date,a\n2000-01,1\n2000Q2,2\n", "got '2000Q2'"),
        ("date,a\n2000-01-03,1\n2000-01-04,2\n", "2000-01 more than once"),
        ("date,a\n2000-01,1\n,2\n", "must hold months"),
    ],
)
def test_broken_tables_name_the_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says) as caught:
        monthly_table(path)
    assert "t.csv" in str(caught.value)


def test_cells(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(
        '\ndate, a ,b,,\n\n200001,"1,234.5",NA,,\n1/31/2000,,,,\n'.replace("1/31/2000", "2/29/2000") + ",,,,\n"
    )
    frame = monthly_table(path)
    assert list(frame.columns) == ["a", "b"]
    assert frame.loc["2000-01", "a"] == 1234.5
    assert np.isnan(frame["b"]).all()
    assert len(frame) == 2


def test_workbooks_must_have_one_filled_sheet(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    with pd.ExcelWriter(path) as book:
        for name in ("one", "two"):
            pd.DataFrame({"date": [200001], "a": [1]}).to_excel(book, sheet_name=name, index=False)
    with pytest.raises(InputError, match=r"one filled sheet; it has \['one', 'two'\]"):
        monthly_table(path)


def test_truncated_parquet(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pd.DataFrame({"date": ["2000-01"], "a": [1]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:-30])
    for reader in (monthly_table, read_daily_prices):
        with pytest.raises(InputError, match=r"t\.parquet is a damaged or truncated Parquet"):
            reader(path)

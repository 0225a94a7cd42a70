"""The SQL runs against small tables of CRSP's names, in SQLite behind a connection like that of the package wrds."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from polars.testing import assert_frame_equal

from factor_ray.data import crsp_from_wrds
from factor_ray.data.months import parse_month
from factor_ray.data.sources.crsp import read_crsp
from factor_ray.errors import InputError

TABLES = {
    "msf": [
        "permno,date,ret,prc,shrout,cusip",
        (10001, "1999-12-31", 0.5, 10.0, 100, "x"),
        (10001, "2000-01-31", 0.1, -11.0, 100, "x"),
        (10001, "2000-02-29", -0.2, 9.0, 100, "x"),
        (10001, "2000-03-31", None, None, 100, "x"),
        (10002, "2000-01-31", 0.01, 20.0, 50, "y"),
        (10002, "2000-04-28", 0.07, 20.0, 50, "y"),
    ],
    "msenames": [
        "permno,namedt,nameendt,exchcd,shrcd",
        (10001, "1990-01-01", "2000-02-10", 3, 11),
        (10001, "2000-02-11", "2000-03-10", 1, 11),
        (10002, "1990-01-01", "2010-12-31", 2, 31),
    ],
    "msedelist": [
        "permno,dlstdt,dlret,dlstcd",
        (10001, "2000-03-10", -0.6, 552),
        (10002, "2000-02-15", None, 570),
        (10003, "2000-02-15", 0.3, 231),
        (10002, "2000-12-29", None, 100),
    ],
    "msf_v2": [
        "permno,mthcaldt,mthret,mthprc,mthcap,shrout,primaryexch,securitytype,securitysubtype,sharetype,usincflg,"
        "issuertype,mthretx",
        (10001, "2000-01-31", 0.1, 11.0, 1100.0, 100, "Q", "EQTY", "COM", "NS", "Y", "CORP", 0.0),
        (10001, "2000-02-29", -0.2, 9.0, 900.0, 100, "N", "EQTY", "COM", "NS", "Y", "CORP", 0.0),
        (10001, "2000-03-31", -0.6, None, None, 100, "N", "EQTY", "COM", "NS", "Y", "CORP", 0.0),
        (10002, "2000-01-31", 0.01, 20.0, 1000.0, 50, "A", "EQTY", "COM", "AD", "N", "CORP", 0.0),
        (10002, "2000-04-28", 0.07, 20.0, 1000.0, 50, "A", "EQTY", "COM", "AD", "N", "CORP", 0.0),
    ],
}


class Connection:
    """What `wrds.Connection` does, on tables in memory."""

    def __init__(self) -> None:
        self.base = sqlite3.connect(":memory:")
        self.base.execute("ATTACH ':memory:' AS crsp")
        for table, (columns, *rows) in TABLES.items():
            self.base.execute(f"CREATE TABLE crsp.{table} ({columns})")
            marks = ", ".join("?" * len(rows[0]))
            self.base.executemany(f"INSERT INTO crsp.{table} VALUES ({marks})", rows)
        self.asked: list[str] = []

    def raw_sql(self, sql: str, *, params: Mapping[str, date], date_cols: Sequence[str]) -> pd.DataFrame:
        self.asked.append(sql)
        named = re.sub(r"%\((\w+)\)s", r":\1", sql)
        bound = {name: value.isoformat() for name, value in params.items()}
        return pd.read_sql_query(named, self.base, params=bound, parse_dates=list(date_cols))


@pytest.fixture
def connection() -> Iterator[Connection]:
    made = Connection()
    yield made
    made.base.close()


def test_the_frames_are_what_the_reader_takes(connection: Connection, tmp_path: Path) -> None:
    crsp_from_wrds(connection, "2000-01", "2000-04").to_parquet(tmp_path / "ciz.parquet")
    classic = crsp_from_wrds(connection, "2000-01", "2000-04", layout="classic")
    classic.to_parquet(tmp_path / "classic.parquet")
    classic.to_csv(tmp_path / "classic.csv", index=False)
    ciz, notes = read_crsp(tmp_path / "ciz.parquet")
    assert "holds delisting returns already" in notes[0]
    assert ciz["ret"].to_list() == [0.1, -0.2, -0.6, 0.01, 0.07]
    assert ciz["shrcd"].to_list() == ["11"] * 3 + ["EQTY/COM/AD/N/CORP"] * 2
    own, notes = read_crsp(tmp_path / "classic.parquet", missing_delisting_return=-0.3)
    assert own["ret"].to_list() == [0.1, -0.2, -0.6, 0.01, -0.3, 0.07]
    assert own["exchcd"].to_list() == ["3", "1", None, "2", None, "2"]
    same = ["permno", "month", "ret", "prc", "cap"]
    assert_frame_equal(own.filter(own["ret"] != -0.3).select(same), ciz.select(same))
    assert_frame_equal(read_crsp(tmp_path / "classic.csv", missing_delisting_return=-0.3)[0], own)


def test_months_are_bound_and_not_written_into_the_query(connection: Connection) -> None:
    classic = crsp_from_wrds(connection, "1999-12", "2000-02", layout="classic")
    assert classic["date"].dt.strftime("%Y-%m").tolist() == ["1999-12", "2000-01", "2000-02", "2000-01", "2000-02"]
    assert len(crsp_from_wrds(connection, "2000-02", "2000-02")) == 1
    assert len(connection.asked) == 3
    assert all("%(first)s AND %(last)s" in sql and "2000" not in sql for sql in connection.asked)
    with pytest.raises(InputError, match="must be written YYYY-MM"):
        crsp_from_wrds(connection, "2000-01", "2000-02'; DROP TABLE crsp.msf; --")


def test_what_cannot_be_asked_is_refused(connection: Connection) -> None:
    with pytest.raises(InputError, match="got 2000-02 to 2000-01"):
        crsp_from_wrds(connection, "2000-02", "2000-01")
    with pytest.raises(InputError, match="one of ciz, classic; got 'siz'"):
        crsp_from_wrds(connection, "2000-01", "2000-02", layout="siz")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no row of CRSP's monthly stocks from 2030-01-01 to 2030-12-31"):
        crsp_from_wrds(connection, "2030-01", "2030-12")
    with pytest.raises(InputError, match=r"must have raw_sql, as wrds\.Connection\(\) has; got Connection"):
        crsp_from_wrds(connection.base, "2000-01", "2000-02")  # type: ignore[arg-type]


def test_stocks_that_are_still_traded_get_no_row(connection: Connection) -> None:
    whole = crsp_from_wrds(connection, "2000-01", "2000-12", layout="classic")
    pd.testing.assert_frame_equal(whole, crsp_from_wrds(connection, "2000-01", "2000-04", layout="classic"))


def test_a_month_is_read_to_its_last_day(connection: Connection) -> None:
    frame = crsp_from_wrds(connection, "2000-02", "2000-02", layout="classic")
    assert parse_month("2000-02") == parse_month(str(frame["date"].iloc[0])[:7])
    assert frame["date"].max() == pd.Timestamp("2000-02-29")

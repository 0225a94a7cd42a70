"""CRSP's monthly stock file, classic or CIZ: returns with delisting returns, prices and market capitalisations."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from factor_ray.data.sources._large import LargeTable, MonthSpan
from factor_ray.data.sources.delistings import crsp_numbers, with_delistings
from factor_ray.errors import InputError

# CIZ has no share code. By CRSP's own mapping, codes 10 and 11 are these values of five columns.
_KIND = ("securitytype", "securitysubtype", "sharetype", "usincflg", "issuertype")
_COMMON = ("EQTY/COM/NS/Y/ACOR", "EQTY/COM/NS/Y/CORP")
_LABELS = ("exchcd", "shrcd", *_KIND)


def read_crsp(
    path: str | Path,
    *,
    delistings: str | Path | None = None,
    missing_delisting_return: float | None = None,
    span: MonthSpan = (None, None),
) -> tuple[pl.DataFrame, list[str]]:
    """Read monthly returns of CRSP.

    Parameters
    ----------
    path
        CSV (also archived) or Parquet, upper or lower case. Classic: ``permno, date, ret, prc, shrout`` and, where
        there are any, ``dlret``, ``dlstcd``, ``exchcd``, ``shrcd`` and ``rf``. CIZ (flat file format 2.0, known by
        ``mthret``): ``permno, mthcaldt, mthret, mthprc``, ``mthcap`` or ``shrout``, and, where there are any,
        ``primaryexch``, ``securitytype, securitysubtype, sharetype, usincflg, issuertype`` and ``rf``. The date may be
        any date within the month.
    delistings
        A file of delisting returns, where the classic file lacks them; see
        :func:`factor_ray.data.sources.delistings.read_delistings`. A delisting in a month without a row makes one.
    missing_delisting_return
        Return of performance-related delistings (codes 500 and 520 to 584) without a known one, as -0.3 (Shumway,
        1997); None: it stays missing.
    span
        First and last month to read, as months since 1970-01.

    Returns
    -------
    polars.DataFrame
        One row per stock and month, sorted: permno (int64), month (int32), ret (float64, decimals, gross of the
        risk-free rate), prc (float64, dollars, positive), cap (float64, thousand dollars: |prc| * shrout, or mthcap)
        and, where the file has them, exchcd and shrcd (text) and rf (float64). A missing value is null. Of CIZ, exchcd
        is primaryexch (N, A, Q, ...) and shrcd is 11 for common stock of US corporations (codes 10 and 11 of the
        classic file), else the five columns joined by a slash.
    list of str
        What was done, in sentences for the report.

    Raises
    ------
    InputError
        If the file cannot be read, lacks a column, a cell is neither number nor letter code, a stock has two
        different rows in a month, or delisting returns would count twice.

    Notes
    -----
    Letters in ``ret`` and ``dlret`` and CRSP's codes below -40 mean that a return is not known. In the month of a
    delisting the return is (1 + ret)(1 + dlret) - 1, or dlret alone where ret is missing; ``mthret`` of CIZ holds the
    delisting return already. A negative ``prc`` is the middle of bid and ask: its size is the price; 0 means that
    there is none.

    References
    ----------
    Shumway (1997), Journal of Finance 52(1).
    """
    path = Path(path)
    table = LargeTable.open(path)
    is_ciz = table.find("mthret") is not None
    names = _ciz_columns(table) if is_ciz else _classic_columns(table)
    month = table.require("mthcaldt", "date") if is_ciz else table.require("date")
    frame = table.read(table.require("permno"), month, (), tuple(names.values()), span=span)
    frame = frame.rename({found: name for name, found in names.items()})
    numeric = [name for name in names if name not in _LABELS]
    frame = frame.with_columns(crsp_numbers(path, frame[name], codes=name in ("ret", "dlret")) for name in numeric)
    codes = [pl.col(name).str.replace(r"^(\d+)\.0*$", "$1") for name in ("exchcd", "shrcd") if name in names]
    frame = frame.with_columns(codes).unique().sort("permno", "month")
    again = frame.filter(pl.struct("permno", "month").is_duplicated())
    if again.height:
        raise InputError(
            f"{path} has different rows for permno {again['permno'][0]} in one month ({again.height} such rows): keep "
            "one row per stock and month (is the file daily, or are events merged into it?)"
        )
    if is_ciz:
        _require_thousands(path, frame)
        notes = _with_delistings_inside(table, delistings, missing_delisting_return)
        frame = _with_kind(frame)
    else:
        own = None if delistings is None else Path(delistings)
        frame, notes = with_delistings(path, frame, own, missing_delisting_return)
    price = pl.col("prc").abs()
    frame = frame.with_columns(prc=pl.when(price > 0).then(price))
    cap = pl.col("cap") if "cap" in names else pl.col("prc") * pl.col("shrout")
    positive = pl.col("cap" if "cap" in names else "shrout") > 0
    return frame.with_columns(cap=pl.when(positive).then(cap)).drop("shrout", strict=False), notes


def _classic_columns(table: LargeTable) -> dict[str, str]:
    names = {name: table.require(name) for name in ("ret", "prc", "shrout")}
    optional = {name: table.find(name) for name in ("dlret", "dlstcd", "exchcd", "shrcd", "rf")}
    return names | {name: found for name, found in optional.items() if found is not None}


def _ciz_columns(table: LargeTable) -> dict[str, str]:
    if table.find("ret") is not None:
        raise InputError(f"{table.path} has both ret and mthret, of CRSP's two formats: keep the columns of one")
    names = {"ret": table.require("mthret"), "prc": table.require("mthprc")}
    cap = table.find("mthcap")
    names |= {"shrout": table.require("mthcap", "shrout")} if cap is None else {"cap": cap}
    optional = {"shrout": table.find("shrout"), "exchcd": table.find("primaryexch"), "rf": table.find("rf")}
    kind = {name: table.find(name) for name in _KIND}
    optional |= kind if all(kind.values()) else {}
    return names | {name: found for name, found in optional.items() if found is not None}


def _require_thousands(path: Path, frame: pl.DataFrame) -> None:
    if not {"cap", "shrout"} <= set(frame.columns):
        return
    made = pl.col("prc").abs() * pl.col("shrout")
    ratio = frame.filter(made > 0).select((pl.col("cap") / made).median()).item()
    if ratio is not None and not 0.1 < ratio < 10:
        raise InputError(
            f"{path}: mthcap must be mthprc times shrout, in thousand dollars; it typically is {ratio:g} times that: "
            "give both as downloaded, or leave one out"
        )


def _with_kind(frame: pl.DataFrame) -> pl.DataFrame:
    if _KIND[0] not in frame.columns:
        return frame
    kind = pl.concat_str(_KIND, separator="/")
    return frame.with_columns(shrcd=pl.when(kind.is_in(_COMMON)).then(pl.lit("11")).otherwise(kind)).drop(_KIND)


def _with_delistings_inside(table: LargeTable, delistings: str | Path | None, missing: float | None) -> list[str]:
    stated = {"delistings": delistings, "missing_delisting_return": missing}
    needless = next((key for key, value in stated.items() if value is not None), None)
    if needless is not None:
        raise InputError(
            f"{table.path} is in CRSP's CIZ format, whose mthret holds delisting returns already: leave "
            f"data.{needless} out, or they count twice"
        )
    return [
        f"{table.path.name} is in CRSP's CIZ format: its mthret holds delisting returns already, so none were merged."
    ]

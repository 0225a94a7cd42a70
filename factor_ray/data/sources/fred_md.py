"""FRED-MD: monthly macroeconomic series, one vintage or a folder of vintages in real time."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from factor_ray.data.sources._files import month_index, on_every_month, read_csv, to_numbers
from factor_ray.data.sources.fred_md_series import CBAPM_SERIES, TRANSFORM_CODES
from factor_ray.errors import InputError

Series = Sequence[str] | Literal["cbapm"] | None

_VINTAGE = re.compile(r"(?<!\d)(\d{4})[-_]?m?(\d{1,2})(?!\d)")
_DATA_FILES = (".csv", ".txt", ".gz", ".bz2", ".zip")


def fred_md(
    path: str | Path, *, transform: bool = True, series: Series = None, codes: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """Read FRED-MD: one vintage, or a folder of vintages in real time (`fred_md_vintages`).

    No publication lag is applied: row t is what the file dates t, and most of it is published during t+1. The caller
    shifts the frame by the lag it wants (1 month at least). One vintage holds revised data; a folder does not.

    Parameters
    ----------
    path
        A CSV of any vintage (also zip, gz or bz2), with or without the row of transform codes, or a folder of such.
    transform
        Apply the transform codes. Wrong for you if the file is already transformed, or if you want levels.
    series
        Names of the series to keep, in that order; ``"cbapm"``: the 115 of CB-APM's Table D.3; None: all.
    codes
        Transform codes by series name; they take precedence over the file's row, which takes precedence over
        FRED-MD's published codes. Needed for series that have neither.

    Returns
    -------
    DataFrame
        Months (PeriodIndex named ``month``, every month from first to last) x series, float64, missing as NaN, in the
        file's own units (FRED-MD states rates in percent a year; the transform codes are defined on these units).

    Raises
    ------
    InputError
        If the file cannot be read, is not monthly, lacks a chosen series, a series has no transform code, or a code
        that takes logarithms meets a value that is not positive (as in a file that is already transformed).

    Notes
    -----
    Codes (McCracken and Ng, 2016): 1 x, 2 first difference, 3 second difference, 4 log x, 5 first difference of log x,
    6 second difference of log x, 7 first difference of the growth rate x(t)/x(t-1) - 1.
    """
    path = Path(path)
    if path.is_dir():
        return fred_md_vintages(path, transform=transform, series=series, codes=codes)
    levels, own = _read_vintage(path)
    levels = _chosen(path, levels, series)
    if not transform:
        return levels
    return _transformed(path, levels, {**TRANSFORM_CODES, **own, **(codes or {})})


def fred_md_vintages(
    folder: str | Path, *, transform: bool = True, series: Series = None, codes: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """Read a folder of vintages in real time: row t is what the vintage of month t+1 says last of each series.

    Shifted by a publication lag of 1 or more months by the caller, the frame holds at month t only what vintages up
    to t said. A series published two months late is carried forward within its vintage; where the folder lacks a
    vintage, the latest one before it stays in use. Each vintage is transformed on its own, so changes of a base year
    make no jumps (with transform=False they do). Months before the first vintage's last come from the first vintage:
    that history is as known at its date, revised since it was first published. A series keeps the transform code of
    the first vintage that has it. A vintage's month is read from its file name (``2021-08.csv``,
    ``FRED-MD_2021m8.csv``); FRED-MD posts vintage v by the end of month v.

    Parameters and units are those of `fred_md`; a chosen series may be absent from some vintages (NaN there).

    Returns
    -------
    DataFrame
        Months (PeriodIndex ``month``) x series, float64; ``attrs["first_vintage"]`` is the first vintage's month.

    Raises
    ------
    InputError
        As `fred_md`, or if the folder has no vintage, two of one month, or a file whose name states no month.
    """
    folder = Path(folder)
    paths = _vintages(folder)
    vintages = list(paths)
    kept: dict[str, int] = {}
    pieces: list[pd.DataFrame] = []
    for vintage, following in zip(vintages, [*vintages[1:], vintages[-1] + 1], strict=True):
        levels, own = _read_vintage(paths[vintage])
        levels = levels.loc[levels.index < vintage]
        if levels.empty:
            raise InputError(f"{paths[vintage]} has no month before {vintage}, its vintage by its name: rename it")
        if series is not None:
            levels = levels[[name for name in _names(series) if name in levels.columns]]
        kept = {**own, **kept}
        if transform:
            levels = _transformed(paths[vintage], levels, {**TRANSFORM_CODES, **kept, **(codes or {})})
        if not pieces:
            pieces.append(levels.loc[levels.index < vintage - 1])
        in_use = pd.period_range(vintage - 1, following - 2, freq="M", name="month")
        pieces.append(pd.DataFrame([levels.ffill().iloc[-1]] * len(in_use), index=in_use))
    frame = _chosen(folder, pd.concat(pieces), series)
    frame.attrs["first_vintage"] = str(vintages[0])
    return frame


def _read_vintage(path: Path) -> tuple[pd.DataFrame, dict[str, int]]:
    table = read_csv(path)
    date = table.columns[0]
    labels = table[date].str.lower().str.rstrip(":").str.strip()
    is_code = labels.isin({"transform", "transformation", "tcode"})
    own = _codes_of_row(path, table.loc[is_code].drop(columns=date))
    table = table.loc[~is_code & table[date].ne("")]
    index = month_index(path, str(date), table[date])
    if len(index) < 2:
        raise InputError(f"{path} holds {len(index)} months, and two or more were expected: download it again")
    levels = to_numbers(path, table.drop(columns=date).set_axis(index, axis="index"))
    return on_every_month(path, levels), own


def _codes_of_row(path: Path, row: pd.DataFrame) -> dict[str, int]:
    if len(row) > 1:
        raise InputError(f"{path} has {len(row)} rows of transform codes, and one was expected: remove the others")
    stated = {str(name): str(cell.iloc[0]) for name, cell in row.items() if len(cell) and cell.iloc[0]}
    for name, code in stated.items():
        if not re.fullmatch(r"[1-7](\.0*)?", code):
            raise InputError(f"{path}: the transform code of {name!r} must be 1 to 7; got {code!r}: mend it")
    return {name: int(code[0]) for name, code in stated.items()}


def _names(series: Sequence[str] | Literal["cbapm"]) -> Sequence[str]:
    if isinstance(series, str) and series != "cbapm":
        raise InputError(f"`series` must be a list of names or 'cbapm'; got {series!r}: write [{series!r}]")
    return CBAPM_SERIES if series == "cbapm" else series


def _chosen(path: Path, frame: pd.DataFrame, series: Series) -> pd.DataFrame:
    if series is None:
        return frame
    names = list(_names(series))
    absent = [name for name in names if name not in frame.columns]
    if absent:
        near = difflib.get_close_matches(absent[0], [str(name) for name in frame.columns], n=3)
        raise InputError(
            f"{path} has no series {absent}"
            + (f"; nearest to {absent[0]!r}: {near}" if near else "")
            + ": choose by `series` among those it has"
        )
    return frame[names]


def _transformed(path: Path, levels: pd.DataFrame, codes: Mapping[str, int]) -> pd.DataFrame:
    uncoded = [name for name in levels.columns if name not in codes]
    if uncoded:
        some = ", ".join(map(repr, uncoded[:5])) + (", ..." if len(uncoded) > 5 else "")
        raise InputError(
            f"{path} states no transform code for {some}, and "
            "FRED-MD publishes none: is it a file of FRED-MD? Name such series a code (1 to 7) in a row Transform:, "
            "choose others by `series`, or read the file as it stands with source: monthly_table"
        )
    return pd.DataFrame({name: _transform(path, levels[name], codes[str(name)]) for name in levels.columns})


def _transform(path: Path, x: pd.Series, code: int) -> pd.Series:
    if code not in range(1, 8):
        raise InputError(f"{path}: the transform code of {x.name!r} must be 1 to 7; got {code!r}")
    if code in (4, 5, 6) and bool((x <= 0).any()):
        raise InputError(
            f"{path}: {x.name!r} has transform code {code}, a logarithm, but is {x[x <= 0].iloc[0]} in "
            f"{x.index[x <= 0][0]}: if the file is already transformed, read it with source: monthly_table; else give "
            "another code in the row Transform:"
        )
    if code in (4, 5, 6):
        x = np.log(x)
    if code == 7:
        x = x / x.shift() - 1.0
    for _ in range({1: 0, 2: 1, 3: 2, 4: 0, 5: 1, 6: 2, 7: 1}[code]):
        x = x.diff()
    return x


def _vintages(folder: Path) -> dict[pd.Period, Path]:
    found: dict[pd.Period, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in _DATA_FILES and not p.name.startswith(".")):
        match = _VINTAGE.search(path.name)
        if match is None or not 1 <= int(match[2]) <= 12:
            raise InputError(f"{path} must state its vintage in its name, as in 2021-08.csv: rename it or move it away")
        vintage = pd.Period(year=int(match[1]), month=int(match[2]), freq="M")
        if vintage in found:
            raise InputError(f"{found[vintage]} and {path} are both of vintage {vintage}: keep one")
        found[vintage] = path
    if not found:
        raise InputError(f"{folder} holds no vintages (files named as 2021-08.csv): give another folder")
    return dict(sorted(found.items()))

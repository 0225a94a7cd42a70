"""Observed factor returns from several files, joined by month, their units stated by the user."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import pandas as pd

from factor_ray.data.sources._files import read_bytes, read_text
from factor_ray.data.sources.french import french, is_french
from factor_ray.data.sources.monthly_table import monthly_table
from factor_ray.errors import InputError

Unit = Literal["percent", "decimal", "level"]
"""percent: 1.2 is 1.2%; decimal: 0.012 is 1.2%; level: no return (a state variable), left as it is and not checked."""

_MISSING = (-99.0, -99.99, -999.0)


def observed_factors(files: Mapping[str | Path, Mapping[str, Unit]]) -> pd.DataFrame:
    """Read observed factors (q5, Pastor-Stambaugh, DHS, momentum, French's, ...) from several files.

    Parameters
    ----------
    files
        Of each file, the columns to read and the unit of each: ``{"q5.csv": {"R_IA": "percent"}, "ps.csv": {"PS_VWF":
        "decimal"}}``. Units are stated, never guessed; a magnitude that contradicts them is an error. A file is a
        plain monthly table (see `monthly_table`) or one of French's files, of which the first monthly table is read.

    Returns
    -------
    DataFrame
        Months (PeriodIndex named ``month``, every month from the first of any file to the last) x factors in the
        order stated, float64, decimals; NaN where a file has no value (blank, -99, -99.99 or -999).
        ``attrs["notes"]`` says which months came twice or had no row.

    Raises
    ------
    InputError
        If a file cannot be read or lacks a column, two files give one factor, a unit is unknown, or a magnitude is
        implausible: more than 100% in a month, or never as much as 1% (for columns that go below zero, so that
        bill rates pass).
    """
    if not files:
        raise InputError("`files` must name at least one file of factors, with its columns and their units; got none")
    pieces = [_from_one(Path(path), units) for path, units in files.items()]
    joined = pd.concat(pieces, axis="columns", sort=True)
    twice = joined.columns[joined.columns.duplicated()]
    if len(twice):
        raise InputError(f"factor {twice[0]!r} is given by two of the files {[str(path) for path in files]}: keep one")
    joined = joined.reindex(pd.period_range(joined.index.min(), joined.index.max(), freq="M", name="month"))
    joined.attrs["notes"] = [note for piece in pieces for note in piece.attrs["notes"]]
    return joined


def _from_one(path: Path, units: Mapping[str, Unit]) -> pd.DataFrame:
    unknown = next((f"{name}: {unit}" for name, unit in units.items() if unit not in get_args(Unit)), None)
    if unknown is not None or not units:
        raise InputError(
            f"{path}: each column to read must have its unit stated, one of {', '.join(get_args(Unit))}; got "
            f"{unknown or 'no column'}"
        )
    values = _french(path, units) if _is_french(path) else monthly_table(path, columns=list(units))
    notes = values.attrs.get("notes", [])
    values = values.mask(values.isin(_MISSING))
    decimals = pd.DataFrame({name: _decimal(path, values[name], unit) for name, unit in units.items()})
    decimals.attrs["notes"] = notes
    return decimals


def _is_french(path: Path) -> bool:
    return not read_bytes(path).startswith((b"PAR1", b"PK")) and is_french(read_text(path))


def _french(path: Path, units: Mapping[str, Unit]) -> pd.DataFrame:
    monthly = [table for table in french(path).values() if table.index.name == "month"]
    if not monthly:
        raise InputError(f"{path} has no monthly table: download the monthly file")
    absent = [name for name in units if name not in monthly[0].columns]
    if absent:
        raise InputError(f"{path} has no column {absent[0]!r}; it has {list(monthly[0].columns)}: name one of them")
    wrong = [name for name, unit in units.items() if unit != "percent"]
    if wrong:
        raise InputError(f"{path} is a file of French's, which are in percent; {wrong[0]!r} is stated otherwise")
    return monthly[0][list(units)] * 100.0


def _decimal(path: Path, values: pd.Series, unit: Unit) -> pd.Series:
    if unit == "level":
        return values
    scaled = values / 100.0 if unit == "percent" else values
    if bool((scaled.abs() > 1.0).any()):
        month = scaled.index[scaled.abs() > 1.0][0]
        raise InputError(
            f"{path}: {values.name!r}, stated in {unit}, is {values[month]} in {month}, which is more than 100% in a "
            f"month: {'state it in percent' if unit == 'decimal' else 'mend the value'}, or as level if it is no return"
        )
    if len(values.dropna()) >= 24 and bool((values < 0).any()) and float(scaled.abs().max()) < 0.01:
        remedy = "state it in decimal" if unit == "percent" else "mend the values"
        raise InputError(
            f"{path}: {values.name!r}, stated in {unit}, never moves by as much as 1% in a month, which is "
            f"implausible: {remedy}, or state it as level if it is no return"
        )
    return scaled

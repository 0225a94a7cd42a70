"""The rules of a panel's columns: each is a function that returns what may be used, or a sentence that says why not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.months import MonthArray, format_month
from factor_ray.errors import InputError

FloatArray = npt.NDArray[np.float32]

Frequency = Literal["monthly", "quarterly", "half-yearly", "annual", "biennial"]
"""How often what a column reports is reported; decides its reporting delay."""

_PERCENT_SUSPECTED = 0.5  # median absolute monthly return above which returns cannot be decimals
_RATE_SUSPECTED = 0.1  # monthly risk-free rate that is seldom below it in percent and never above it in decimals
_RATE_ROUNDING = 1e-5  # rates of one month that differ by less are one rate, rounded
_WITH_COMMA = re.compile(r"[-+]?[\d.,]*,[\d.,]*")


@dataclass(frozen=True)
class Roles:
    """Which column plays which role; see :meth:`factor_ray.data.panel.Panel.from_frame`."""

    month: str
    asset: str
    returns: str
    characteristics: tuple[str, ...]
    consensus: tuple[str, ...] = ()
    risk_free: str | None = None
    market_cap: str | None = None
    price: str | None = None
    exchange: str | None = None
    share_code: str | None = None
    frequency: Mapping[str, str] = field(default_factory=dict)
    growth: tuple[str, ...] = ()

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> Roles:
        """Read the roles from keywords, leaving `macro` out."""
        given = {name: value for name, value in keywords.items() if name != "macro"}
        for name in ("characteristics", "consensus", "growth"):
            given[name] = several(given.get(name, ()), name)
        return cls(**given)

    def names(self) -> list[str]:
        """Names of all columns that have a role."""
        single = [self.month, self.asset, self.returns, *self.numbers().values(), *self.labels().values()]
        return [*single, *self.characteristics, *self.consensus]

    def numbers(self) -> dict[str, str]:
        """Return the optional plain columns of numbers that were named: role to column."""
        return self._named("risk_free", "market_cap", "price")

    def labels(self) -> dict[str, str]:
        """Return the optional plain columns of codes or names that were named: role to column."""
        return self._named("exchange", "share_code")

    def _named(self, *roles: str) -> dict[str, str]:
        return {role: name for role in roles if (name := getattr(self, role)) is not None}


def several(names: Sequence[str], role: str) -> tuple[str, ...]:
    """Return names of columns; one bare name would be taken for its letters."""
    if isinstance(names, str):
        raise InputError(f"{role} must be a list of columns' names; got the single text {names!r}: write [{names!r}]")
    return tuple(names)


def existing_file(path: str | Path) -> Path:
    """Return the path of a file that is there."""
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path} must be a file; there is none: check the path (it is taken from {Path.cwd()})")
    return file


def require_columns(roles: Roles, present: Sequence[str], source: str) -> None:
    """Every role has one column of its own, and it is there once."""
    if not roles.characteristics:
        raise InputError("a panel needs at least one characteristic: name its column in `characteristics`")
    if not present:
        raise InputError(f"{source} is empty: a panel needs at least one asset and month")
    wanted = roles.names()
    repeated = next((name for name in wanted if wanted.count(name) > 1), None)
    if repeated is not None:
        raise InputError(f"column {repeated!r} is named for two roles: a column may play only one")
    for name in wanted:
        if list(present).count(name) > 1:
            raise InputError(f"{source} has two columns {name!r}: rename or remove one")
        if name not in present:
            spelled = {column.lower(): column for column in reversed(present) if column not in wanted}
            near = difflib.get_close_matches(name.lower(), spelled, n=1)
            hint = (
                f"did you mean {spelled[near[0]]!r}?"
                if near
                else f"its columns are {', '.join(map(str, present[:12]))}"
            )
            raise InputError(f"{source} must have a column {name!r}; {hint}")


def require_marks(roles: Roles) -> None:
    """Frequencies and growth rates are stated of columns that are there."""
    variables = [*roles.characteristics, *roles.consensus]
    for name, frequency in roles.frequency.items():
        if name not in variables:
            raise InputError(f"frequency names {name!r}, which is no characteristic or consensus variable: remove it")
        if frequency not in get_args(Frequency):
            raise InputError(
                f"the frequency of {name!r} must be one of {', '.join(get_args(Frequency))}; got {frequency!r}"
            )
    unknown = next((name for name in roles.growth if name not in roles.characteristics), None)
    if unknown is not None:
        raise InputError(f"growth names {unknown!r}, which is no characteristic: remove it")


def identifiers(series: pd.Series, name: str) -> pd.Series:
    """Return identifiers as int64 where they are whole numbers, else as text."""
    empty = series.isna().to_numpy()
    if not pd.api.types.is_numeric_dtype(series.dtype):
        empty = empty | (series.astype(str).str.strip() == "").to_numpy()
    if empty.any():
        raise InputError(
            f"column {name!r} must identify an asset in every row; row {int(empty.argmax()) + 1} below the header is "
            "empty: fill it in or remove that row"
        )
    if pd.api.types.is_float_dtype(series.dtype) and bool((series % 1 == 0).all()):
        return series.astype("int64")
    if pd.api.types.is_integer_dtype(series.dtype):
        return series.astype("int64")
    return series.astype(str).astype(object)


def numbers(series: pd.Series, name: str, place: Callable[[int], str]) -> FloatArray:
    """Return a column as float32; missing is NaN. ``place`` says which asset and month a row is of."""
    if series.dtype.kind in "Mm":
        raise InputError(f"column {name!r} must hold numbers; it holds dates: is it the right column?")
    if not pd.api.types.is_numeric_dtype(series.dtype):
        numbers = pd.to_numeric(series, errors="coerce")
        bad = np.flatnonzero(numbers.isna() & series.notna())
        if len(bad):
            cell = series.iloc[bad[0]]
            raise InputError(f"column {name!r} must hold numbers; it is {cell!r} for {place(bad[0])}: {_mended(cell)}")
        series = numbers
    with np.errstate(over="ignore"):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float32)


def labels(series: pd.Series) -> npt.NDArray[np.object_]:
    """Return codes or names as text, whole numbers without decimals; missing is the empty text."""
    if pd.api.types.is_numeric_dtype(series.dtype):
        written = series.map(lambda value: f"{value:g}", na_action="ignore")
    else:
        written = series.astype(object).map(lambda value: str(value).strip(), na_action="ignore")
    return np.asarray(written.astype(object).where(series.notna(), ""), dtype=object)


def require_unique(months: MonthArray, codes: npt.NDArray[Any], labels: pd.Index, source: str) -> None:
    """An asset has one row a month; rows are sorted by month, then code."""
    repeated = np.flatnonzero((np.diff(months) == 0) & (np.diff(codes) == 0))
    if len(repeated):
        first = repeated[0]
        raise InputError(
            f"{source} must hold each asset once a month; asset {labels[codes[first]]} occurs twice in "
            f"{format_month(months[first])} ({len(repeated)} such rows): keep one of them"
        )


def require_every_month(months: MonthArray, source: str) -> None:
    """No month between the first and the last is without rows."""
    gaps = np.flatnonzero(np.diff(months) > 1)
    if len(gaps):
        raise InputError(
            f"{source} has no rows in {format_month(months[gaps[0]] + 1)}, between its first and last month: "
            "add that month or cut the panel there"
        )


def require_finite(values: FloatArray, name: str, months: MonthArray, source: str) -> None:
    """Numbers are finite or missing."""
    infinite = np.isinf(values)
    if infinite.any():
        month = format_month(months[int(infinite.argmax())])
        raise InputError(
            f"column {name!r} of {source} must be finite; it is infinite in {month} "
            f"({int(infinite.sum())} such values): leave the field empty where the value is unknown"
        )


def require_varying(values: FloatArray, name: str, source: str) -> None:
    """A variable that never varies says nothing."""
    known = values[~np.isnan(values)]
    if len(known) == 0 or known.min() == known.max():
        found = "empty" if len(known) == 0 else f"{known[0]:g} in every row"
        raise InputError(f"column {name!r} of {source} must vary; it is {found}: leave it out of the panel's columns")


def require_decimal_rates(rates: FloatArray, name: str, months: MonthArray, source: str) -> None:
    """Risk-free rates are monthly and in decimals, and there are some."""
    known = rates[~np.isnan(rates)]
    if len(known) == 0:
        raise InputError(
            f"column {name!r} of {source} must hold the month's risk-free rate; it is empty: fill it in, or name no "
            "risk_free and give returns in excess of it"
        )
    # Rates in percent are small in years of low interest: what most rows hold says nothing.
    if np.quantile(np.abs(known), 0.99) > _RATE_SUSPECTED:
        first = int((np.abs(rates) > _RATE_SUSPECTED).argmax())
        raise InputError(
            f"column {name!r} of {source} must hold a monthly rate in decimals; it is {rates[first]:g} in "
            f"{format_month(months[first])}, which looks like percent: divide it by 100"
        )


def differing_rates(rates: FloatArray, name: str, months: MonthArray) -> list[str]:
    """Tell of a risk-free rate that differs between the assets of a month; rows are sorted by month."""
    starts = np.flatnonzero(np.diff(months, prepend=months[0] - 1))
    lowest, highest = np.fmin.reduceat(rates, starts), np.fmax.reduceat(rates, starts)
    differs = np.flatnonzero(highest - lowest > _RATE_ROUNDING)
    if not len(differs):
        return []
    first = differs[0]
    return [
        f"Column {name!r} differs between the assets of {len(differs)} of {len(starts)} months (in "
        f"{format_month(months[starts[first]])} from {lowest[first]:g} to {highest[first]:g}): a month has one "
        "risk-free rate, so the mean of its rows is taken; is it the right column?"
    ]


def capitalisations(values: FloatArray, name: str, place: Callable[[int], str], source: str) -> FloatArray:
    """Return market capitalisations, none of them negative, and missing where they are 0, as CRSP writes them."""
    below = np.flatnonzero(values < 0)
    if len(below):
        raise InputError(
            f"column {name!r} of {source} must be positive; it is {values[below[0]]:g} for {place(below[0])} "
            f"({len(below)} such values): take the size of prices that CRSP writes below 0, or leave the field empty"
        )
    return np.where(values == 0, np.float32(np.nan), values)


def require_returns(returns: FloatArray, name: str, months: MonthArray, source: str) -> None:
    """Returns are simple, monthly, in decimals and not below -1."""
    known = returns[~np.isnan(returns)]
    if len(known) == 0:
        raise InputError(f"column {name!r} of {source} holds no return at all: is it the right column?")
    if np.median(np.abs(known)) > _PERCENT_SUSPECTED:
        raise InputError(
            f"column {name!r} of {source} must hold returns in decimals; its median size is "
            f"{np.median(np.abs(known)):.2f}, which looks like percent: divide it by 100"
        )
    below = np.flatnonzero(returns < -1)
    if len(below):
        raise InputError(
            f"column {name!r} of {source} must hold simple returns, at least -1; it is {returns[below[0]]:g} in "
            f"{format_month(months[below[0]])}: are these log returns or percent?"
        )


def _mended(cell: object) -> str:
    written = str(cell).strip()
    if _WITH_COMMA.fullmatch(written):
        return "write decimals with a point, and no commas between thousands"
    if written.endswith("%"):
        return "write decimals, as 0.2035 for 20.35%"
    return "remove such codes or leave the field empty"

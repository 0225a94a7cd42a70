"""The panel: unbalanced months x assets in one Arrow table, one fixed-size-list column per role."""

from __future__ import annotations

import csv
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from factor_ray.data.macro import Macro
from factor_ray.data.months import MonthArray, format_month, month_ends, to_months
from factor_ray.errors import InputError

FloatArray = npt.NDArray[np.float32]

_METADATA = b"factor_ray"
_PERCENT_SUSPECTED = 0.5  # median absolute monthly return above which returns cannot be decimals


@dataclass(frozen=True)
class Panel:
    """Firms (or bonds, or portfolios) by months: returns, characteristics, consensus and macro series.

    Rows are sorted by month, then asset; numbers are float32; missing is NaN, never an Arrow null. ``month`` is the
    formation month: characteristics are known at its end, ``return`` was earned during it.

    Build one with :meth:`from_frame`, :meth:`from_parquet` or :meth:`from_csv`, which apply these rules: rows may come
    in any order; a pair (month, asset) may occur once; numbers must be finite or missing; no month between the first
    and the last may be without rows; a characteristic or consensus variable that never varies is refused; returns are
    simple, monthly, in decimals and not below -1.

    Attributes
    ----------
    table : pyarrow.Table
        Columns ``month`` (int32, months since 1970-01), ``asset`` (int64 or string), ``return``, optional
        ``risk_free`` and ``market_cap`` (float32), ``characteristics`` and ``consensus`` (fixed-size lists of float32).
    macro : Macro or None
        Macro series as known at the end of each month of the panel.
    """

    table: pa.Table
    macro: Macro | None = None

    @classmethod
    def from_frame(
        cls,
        frame: pd.DataFrame,
        *,
        month: str,
        asset: str,
        returns: str,
        characteristics: Sequence[str],
        consensus: Sequence[str] = (),
        risk_free: str | None = None,
        market_cap: str | None = None,
        macro: Macro | None = None,
    ) -> Panel:
        """Build a panel from a pandas frame and the names of the columns that play each role.

        Parameters
        ----------
        frame : DataFrame
            One row per asset and month, in any order.
        month, asset, returns : str
            Columns of the month (a date within it), of the asset's identifier, and of the simple return of that month
            in decimals: gross of the risk-free rate where ``risk_free`` is given, else in excess of it.
        characteristics, consensus : sequence of str
            Columns known at the end of the month. Lag what was published later before you build the panel.
        risk_free, market_cap : str, optional
            Columns of the month's risk-free rate and of the market capitalisation at its end.
        macro : Macro, optional
            Macro series; see :class:`factor_ray.data.macro.Macro`.

        Raises
        ------
        InputError
            If a column is missing or a rule above is broken; the sentence names the column and the month.
        """
        roles = _Roles(month, asset, returns, tuple(characteristics), tuple(consensus), risk_free, market_cap)
        named = frame.set_axis(list(map(str, frame.columns)), axis=1)
        _require_columns(roles, list(named.columns), "the frame")
        return _assemble(roles, lambda name: named[name], "the frame", macro)

    @classmethod
    def from_parquet(cls, path: str | Path, **roles: Any) -> Panel:
        """Build a panel from a Parquet file; keywords as in :meth:`from_frame`. Only the named columns are read."""
        file, wanted, macro = _existing(path), _Roles.of(roles), roles.get("macro")
        try:
            _require_columns(wanted, pa_parquet.read_schema(file).names, str(path))
            table = pa_parquet.read_table(file, columns=wanted.names())
        except (pa.ArrowInvalid, OSError) as error:
            raise InputError(f"{path} must be a Parquet file; it cannot be read as one ({error})") from error
        return _assemble(wanted, lambda name: table.column(name).to_pandas(), str(path), macro)

    @classmethod
    def from_csv(cls, path: str | Path, **roles: Any) -> Panel:
        """Build a panel from a CSV file with one header line; keywords as in :meth:`from_frame`."""
        file, wanted, macro = _existing(path), _Roles.of(roles), roles.get("macro")
        try:
            with file.open(encoding="utf-8-sig", newline="") as lines:
                header = next(csv.reader(lines), [])
            _require_columns(wanted, header, str(path))
            options = pa_csv.ConvertOptions(include_columns=wanted.names(), strings_can_be_null=True)
            table = pa_csv.read_csv(file, convert_options=options)
        except (pa.ArrowInvalid, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} must be a comma-separated UTF-8 file with a header line; {error}") from error
        undecoded = next((field.name for field in table.schema if pa.types.is_binary(field.type)), None)
        if undecoded is not None:
            raise InputError(f"{path} must be UTF-8 text; its column {undecoded!r} is not: save the file as UTF-8")
        return _assemble(wanted, lambda name: table.column(name).to_pandas(), str(path), macro)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the table and the macro series, not the views that were taken of them."""
        return Panel, (self.table, self.macro)

    @cached_property
    def row_months(self) -> MonthArray:
        """Month of every row, int32 (N,)."""
        return self._flat("month")

    @cached_property
    def months(self) -> MonthArray:
        """The months of the panel, without gaps, int32 (T,)."""
        rows = self.row_months
        return np.arange(rows[0], rows[-1] + 1, dtype=np.int32)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Rows of the t-th month are ``offsets[t]:offsets[t + 1]``; int64 (T + 1,)."""
        bounds = np.append(self.months, self.months[-1] + 1)
        return np.searchsorted(self.row_months, bounds).astype(np.int64)

    @cached_property
    def assets(self) -> npt.NDArray[Any]:
        """Identifier of every row's asset, (N,): int64 or str."""
        return np.asarray(self.table.column("asset").combine_chunks().to_numpy(zero_copy_only=False))

    @property
    def characteristic_names(self) -> tuple[str, ...]:
        """Names of the P characteristics."""
        return tuple(self._metadata["characteristics"])

    @property
    def consensus_names(self) -> tuple[str, ...]:
        """Names of the C consensus variables."""
        return tuple(self._metadata["consensus"])

    @property
    def prepared(self) -> Mapping[str, Any] | None:
        """The preprocessing that was applied, or None for a panel as it came."""
        applied = self._metadata["prepared"]
        return None if applied is None else dict(applied)

    @property
    def has_risk_free(self) -> bool:
        """Whether returns are gross and a risk-free rate stands beside them."""
        return "risk_free" in self.table.column_names

    @property
    def has_market_cap(self) -> bool:
        """Whether market capitalisations are known (value weights need them)."""
        return "market_cap" in self.table.column_names

    @cached_property
    def characteristics(self) -> FloatArray:
        """Characteristics (N, P): a view of the table, not to be written to."""
        return self._matrix("characteristics", len(self.characteristic_names))

    @cached_property
    def consensus(self) -> FloatArray:
        """Consensus variables (N, C): a view of the table, not to be written to."""
        return self._matrix("consensus", len(self.consensus_names))

    def values(self, column: str) -> FloatArray:
        """Return one plain column (``return``, ``risk_free``, ``market_cap``) as a float32 view (N,)."""
        return self._flat(column)

    def rows(self, first: int, last: int) -> slice:
        """Rows of the months ``first`` to ``last``, both included."""
        low, high = np.searchsorted(self.row_months, [first, last + 1])
        return slice(int(low), int(high))

    def between(self, first: int, last: int) -> Panel:
        """Return the panel's months from ``first`` to ``last``, both included, without copying."""
        rows = self.rows(first, last)
        kept = self.months[(self.months >= first) & (self.months <= last)]
        macro = None if self.macro is None else self.macro.on(kept)
        return Panel(self.table.slice(rows.start, rows.stop - rows.start), macro)

    def with_columns(self, *, characteristics: FloatArray, consensus: FloatArray, prepared: Mapping[str, Any]) -> Panel:
        """Return the panel with other characteristics and consensus (same shapes), marked as prepared."""
        metadata = {**self._metadata, "prepared": dict(prepared)}
        table = self.table
        for name, values in (("characteristics", characteristics), ("consensus", consensus)):
            table = table.set_column(table.column_names.index(name), name, _fixed_size_list(values))
        return Panel(table.replace_schema_metadata({_METADATA: json.dumps(metadata)}), self.macro)

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas frame with one column per variable and ``month`` as the month's last day."""
        plain = {"month": month_ends(self.row_months), "asset": self.assets}
        for name in ("return", "risk_free", "market_cap"):
            if name in self.table.column_names:
                plain[name] = self.values(name)
        frame = pd.DataFrame(plain)
        blocks = [
            pd.DataFrame(self.characteristics, columns=list(self.characteristic_names)),
            pd.DataFrame(self.consensus, columns=list(self.consensus_names)),
        ]
        return pd.concat([frame, *blocks], axis=1)

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        return dict(json.loads(self.table.schema.metadata[_METADATA]))

    def _flat(self, column: str) -> npt.NDArray[Any]:
        return np.asarray(_one_chunk(self.table.column(column)).to_numpy(zero_copy_only=True))

    def _matrix(self, column: str, width: int) -> FloatArray:
        flat = _one_chunk(self.table.column(column)).flatten().to_numpy(zero_copy_only=True)
        return np.asarray(flat).reshape(len(self), width)


@dataclass(frozen=True)
class _Roles:
    month: str
    asset: str
    returns: str
    characteristics: tuple[str, ...]
    consensus: tuple[str, ...] = ()
    risk_free: str | None = None
    market_cap: str | None = None

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> _Roles:
        given = {name: value for name, value in keywords.items() if name != "macro"}
        for name in ("characteristics", "consensus"):
            given[name] = tuple(given.get(name, ()))
        return cls(**given)

    def names(self) -> list[str]:
        single = [self.month, self.asset, self.returns, self.risk_free, self.market_cap]
        return [name for name in single if name is not None] + [*self.characteristics, *self.consensus]


def _existing(path: str | Path) -> Path:
    file = Path(path)
    if not file.is_file():
        raise InputError(f"{path} must be a file; there is none: check the path (it is taken from {Path.cwd()})")
    return file


def _require_columns(roles: _Roles, present: Sequence[str], source: str) -> None:
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
            spelled = {column.lower(): column for column in reversed(present)}
            near = difflib.get_close_matches(name.lower(), spelled, n=1)
            hint = (
                f"did you mean {spelled[near[0]]!r}?"
                if near
                else f"its columns are {', '.join(map(str, present[:12]))}"
            )
            raise InputError(f"{source} must have a column {name!r}; {hint}")


def _assemble(roles: _Roles, read: Callable[[str], pd.Series], source: str, macro: Macro | None) -> Panel:
    months = to_months(read(roles.month), column=roles.month)
    if len(months) == 0:
        raise InputError(f"{source} has no rows: a panel needs at least one asset and month")
    assets = _identifiers(read(roles.asset), roles.asset)
    codes, labels = pd.factorize(assets, sort=True)
    order = np.lexsort((codes, months))
    months, codes = months[order], codes[order]
    _require_unique(months, codes, labels, source)
    _require_every_month(months, source)

    def column(name: str) -> FloatArray:
        return _numbers(read(name), name)[order]

    def stacked(names: tuple[str, ...]) -> FloatArray:
        block = np.empty((len(months), len(names)), dtype=np.float32)
        for position, name in enumerate(names):
            block[:, position] = column(name)
            _require_finite(block[:, position], name, months, source)
            _require_varying(block[:, position], name, source)
        return block

    plain = {"return": roles.returns, "risk_free": roles.risk_free, "market_cap": roles.market_cap}
    columns: dict[str, Any] = {"month": pa.array(months), "asset": pa.array(labels.take(codes))}
    for role, name in plain.items():
        if name is not None:
            values = column(name)
            _require_finite(values, name, months, source)
            columns[role] = pa.array(values, from_pandas=False)
    _require_returns(columns["return"].to_numpy(), roles.returns, months, source)
    columns["characteristics"] = _fixed_size_list(stacked(roles.characteristics))
    columns["consensus"] = _fixed_size_list(stacked(roles.consensus))
    described = {"characteristics": roles.characteristics, "consensus": roles.consensus, "prepared": None}
    table = pa.table(columns).replace_schema_metadata({_METADATA: json.dumps(described)})
    known = None if macro is None else macro.on(np.arange(months[0], months[-1] + 1, dtype=np.int32))
    return Panel(table, known)


def _identifiers(series: pd.Series, name: str) -> pd.Series:
    empty = series.isna().to_numpy()
    if not pd.api.types.is_numeric_dtype(series.dtype):
        empty = empty | (series.astype(str).str.strip() == "").to_numpy()
    if empty.any():
        raise InputError(
            f"column {name!r} must identify an asset in every row; row {int(empty.argmax())} is empty: "
            "fill it in or remove that row"
        )
    if pd.api.types.is_float_dtype(series.dtype) and bool((series % 1 == 0).all()):
        return series.astype("int64")
    if pd.api.types.is_integer_dtype(series.dtype):
        return series.astype("int64")
    return series.astype(str).astype(object)


def _numbers(series: pd.Series, name: str) -> FloatArray:
    if series.dtype.kind in "Mm":
        raise InputError(f"column {name!r} must hold numbers; it holds dates: is it the right column?")
    if not pd.api.types.is_numeric_dtype(series.dtype):
        numbers = pd.to_numeric(series, errors="coerce")
        bad = series[numbers.isna() & series.notna()]
        if len(bad):
            raise InputError(
                f"column {name!r} must hold numbers; row {bad.index[0]} holds {bad.iloc[0]!r}: "
                "remove such codes or leave the field empty"
            )
        series = numbers
    with np.errstate(over="ignore"):
        return np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan), dtype=np.float32)


def _require_unique(months: MonthArray, codes: npt.NDArray[Any], labels: pd.Index, source: str) -> None:
    repeated = np.flatnonzero((np.diff(months) == 0) & (np.diff(codes) == 0))
    if len(repeated):
        first = repeated[0]
        raise InputError(
            f"{source} must hold each asset once a month; asset {labels[codes[first]]} occurs twice in "
            f"{format_month(months[first])} ({len(repeated)} such rows): keep one of them"
        )


def _require_every_month(months: MonthArray, source: str) -> None:
    gaps = np.flatnonzero(np.diff(months) > 1)
    if len(gaps):
        raise InputError(
            f"{source} has no rows in {format_month(months[gaps[0]] + 1)}, between its first and last month: "
            "add that month or cut the panel there"
        )


def _require_finite(values: FloatArray, name: str, months: MonthArray, source: str) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        month = format_month(months[int(infinite.argmax())])
        raise InputError(
            f"column {name!r} of {source} must be finite; it is infinite in {month} "
            f"({int(infinite.sum())} such values): leave the field empty where the value is unknown"
        )


def _require_varying(values: FloatArray, name: str, source: str) -> None:
    known = values[~np.isnan(values)]
    if len(known) == 0 or known.min() == known.max():
        found = "empty" if len(known) == 0 else f"{known[0]:g} in every row"
        raise InputError(f"column {name!r} of {source} must vary; it is {found}: leave it out of the panel's columns")


def _require_returns(returns: FloatArray, name: str, months: MonthArray, source: str) -> None:
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


def _fixed_size_list(values: FloatArray) -> pa.FixedSizeListArray:
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    if values.shape[1]:
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])
    return pa.array([[]] * len(values), type=pa.list_(pa.float32(), 0))


def _one_chunk(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

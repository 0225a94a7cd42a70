"""The panel: unbalanced months x assets in one Arrow table, one fixed-size-list column per role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from factor_ray.data.macro import Macro
from factor_ray.data.months import MonthArray, month_ends
from factor_ray.data.panel_rules import Roles, require_columns, several
from factor_ray.data.panel_table import (
    assemble,
    block_array,
    csv_columns,
    described,
    description_of,
    one_chunk,
    parquet_columns,
)

FloatArray = npt.NDArray[np.float32]

_BLOCKS = ["characteristics", "consensus"]


@dataclass(frozen=True)
class Panel:
    """Firms (or bonds, or portfolios) by months: returns, characteristics, consensus and macro series.

    Rows are sorted by month, then asset; numbers are float32; missing is NaN, never an Arrow null. ``month`` is the
    formation month: characteristics are known at its end, ``return`` was earned during it.

    Build one with :meth:`from_frame`, :meth:`from_parquet` or :meth:`from_csv`, which apply these rules: rows may come
    in any order; a pair (month, asset) may occur once; numbers must be finite or missing; no month between the first
    and the last may be without rows; a characteristic or consensus variable that never varies is refused; returns are
    simple, monthly, in decimals and not below -1; risk-free rates are monthly and in decimals; no market
    capitalisation is negative, and one of 0 is missing.

    Attributes
    ----------
    table : pyarrow.Table
        Columns ``month`` (int32, months since 1970-01), ``asset`` (int64 or string), ``return``, optional
        ``risk_free``, ``market_cap`` and ``price`` (float32), optional ``exchange`` and ``share_code`` (string, empty
        where unknown), ``characteristics`` and ``consensus`` (fixed-size lists of float32).
    macro : Macro or None
        Macro series as known at the end of each month of the panel.
    factors : Macro or None
        Observed factor returns of each month of the panel, in decimals, known at its end.
    """

    table: pa.Table
    macro: Macro | None = None
    factors: Macro | None = None

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
        price: str | None = None,
        exchange: str | None = None,
        share_code: str | None = None,
        frequency: Mapping[str, str] | None = None,
        growth: Sequence[str] = (),
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
            Columns of the month's risk-free rate (the mean of a month's rows is taken; ``notes`` tell where they
            differ) and of the market capitalisation at its end.
        price, exchange, share_code : str, optional
            Columns by which a universe may be chosen (:class:`factor_ray.data.universe.Universe`): the price at the
            month's end (its size counts), and codes or names of the exchange and of the kind of share.
        frequency : mapping of str to str, optional
            How often a characteristic or consensus variable is reported: monthly, quarterly, half-yearly, annual or
            biennial. Preparation lags by it; columns without one are taken to be lagged already.
        growth : sequence of str
            Characteristics that are growth rates or changes: imputed by the firm's mean, not by the last value.
        macro : Macro, optional
            Macro series; see :class:`factor_ray.data.macro.Macro`.

        Raises
        ------
        InputError
            If a column is missing or a rule above is broken; the sentence names the column and the month.
        """
        inputs, concepts = several(characteristics, "characteristics"), several(consensus, "consensus")
        roles = Roles(
            month,
            asset,
            returns,
            inputs,
            concepts,
            risk_free=risk_free,
            market_cap=market_cap,
            price=price,
            exchange=exchange,
            share_code=share_code,
            frequency=dict(frequency or {}),
            growth=several(growth, "growth"),
        )
        named = frame.set_axis(list(map(str, frame.columns)), axis=1)
        require_columns(roles, list(named.columns), "the frame")
        return cls._of_table(assemble(roles, lambda name: named[name], "the frame"), macro)

    @classmethod
    def from_parquet(cls, path: str | Path, **roles: Any) -> Panel:
        """Build a panel from a Parquet file; keywords as in :meth:`from_frame`. Only the named columns are read."""
        wanted = Roles.of(roles)
        return cls._of_table(assemble(wanted, parquet_columns(path, wanted), str(path)), roles.get("macro"))

    @classmethod
    def from_csv(cls, path: str | Path, **roles: Any) -> Panel:
        """Build a panel from a CSV file with one header line; keywords as in :meth:`from_frame`."""
        wanted = Roles.of(roles)
        return cls._of_table(assemble(wanted, csv_columns(path, wanted), str(path)), roles.get("macro"))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the table and the macro series, not the views that were taken of them."""
        return Panel, (self.table, self.macro, self.factors)

    @cached_property
    def row_months(self) -> MonthArray:
        """Month of every row, int32 (N,)."""
        return self._flat("month")

    @cached_property
    def months(self) -> MonthArray:
        """The months of the panel, without gaps, int32 (T,)."""
        first, last = self._metadata.get("span") or (self.row_months[0], self.row_months[-1])
        return np.arange(first, last + 1, dtype=np.int32)

    @cached_property
    def offsets(self) -> npt.NDArray[np.int64]:
        """Rows of the t-th month are ``offsets[t]:offsets[t + 1]``; int64 (T + 1,)."""
        bounds = np.append(self.months, self.months[-1] + 1)
        return np.searchsorted(self.row_months, bounds).astype(np.int64)

    @cached_property
    def assets(self) -> npt.NDArray[Any]:
        """Identifier of every row's asset, (N,): int64 or str."""
        return np.asarray(self.table.column("asset").combine_chunks().to_numpy(zero_copy_only=False))

    @cached_property
    def asset_codes(self) -> npt.NDArray[np.int64]:
        """Assets counted from 0 in the order of their identifiers, (N,): numbers are told apart faster than names."""
        codes, _ = pd.factorize(self.assets, sort=True)
        return codes.astype(np.int64)

    @property
    def characteristic_names(self) -> tuple[str, ...]:
        """Names of the P characteristics."""
        return tuple(self._metadata["characteristics"])

    @property
    def consensus_names(self) -> tuple[str, ...]:
        """Names of the C consensus variables."""
        return tuple(self._metadata["consensus"])

    @property
    def frequency(self) -> Mapping[str, str]:
        """How often a variable is reported, by name; empty of those of which nothing was stated."""
        return dict(self._metadata["frequency"])

    @property
    def growth(self) -> tuple[str, ...]:
        """Names of the characteristics that are growth rates or changes."""
        return tuple(self._metadata["growth"])

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of results must know of how the panel was made, in sentences; see :meth:`with_notes`."""
        return tuple(self._metadata.get("notes", ()))

    @property
    def prepared(self) -> Mapping[str, Any] | None:
        """The preprocessing that was applied, or None for a panel as it came."""
        applied = self._metadata["prepared"]
        return None if applied is None else dict(applied)

    @property
    def preparation(self) -> Mapping[str, Any] | None:
        """What each step of the preparation did, or None for a panel as it came."""
        account = self._metadata.get("preparation")
        return None if account is None else dict(account)

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
        """Return one plain column (``return``, ``risk_free``, ``market_cap``, ``price``) as a float32 view (N,)."""
        return self._flat(column)

    def labels(self, column: str) -> npt.NDArray[np.object_]:
        """Return ``exchange`` or ``share_code`` as text (N,); empty where unknown."""
        return np.asarray(one_chunk(self.table.column(column)).to_numpy(zero_copy_only=False))

    def rows(self, first: int, last: int) -> slice:
        """Rows of the months ``first`` to ``last``, both included."""
        bounds = np.array([first, last + 1], dtype=np.int32)  # of another type, all months would be copied into it
        low, high = np.searchsorted(self.row_months, bounds)
        return slice(int(low), int(high))

    def between(self, first: int, last: int) -> Panel:
        """Return the panel's months from ``first`` to ``last``, both included, without copying."""
        rows = self.rows(first, last)
        kept = self.months[(self.months >= first) & (self.months <= last)]
        table = self.table.slice(rows.start, rows.stop - rows.start)
        return self._on(described(table, {**self._metadata, "span": [int(kept[0]), int(kept[-1])]}), kept)

    def with_notes(self, notes: Sequence[str]) -> Panel:
        """Return the panel with sentences about how it was made, which a report shows."""
        return replace(self, table=described(self.table, {**self._metadata, "notes": [*self.notes, *notes]}))

    def with_columns(self, *, characteristics: FloatArray, consensus: FloatArray) -> Panel:
        """Return the panel with other characteristics and consensus of the same shapes."""
        table = self.table
        for name, values in (("characteristics", characteristics), ("consensus", consensus)):
            table = table.set_column(table.column_names.index(name), name, block_array(values))
        return replace(self, table=table)

    def with_plain(self, columns: Mapping[str, FloatArray]) -> Panel:
        """Return the panel with other values in plain columns of numbers: role to float32 array (N,)."""
        table = self.table
        for name, values in columns.items():
            table = table.set_column(table.column_names.index(name), name, pa.array(values, from_pandas=False))
        return replace(self, table=table)

    def kept(
        self,
        rows_n: npt.NDArray[np.int64],
        months: tuple[int, int],
        names: Sequence[str],
        *,
        characteristics: FloatArray,
        consensus: FloatArray,
    ) -> Panel:
        """Return some rows of some months with other values, without losing months that lost all their rows.

        Parameters
        ----------
        rows_n : int64 array (n,)
            Increasing; within the first and last month of ``months``.
        months : (int, int)
            First and last month of the new panel.
        names : sequence of str
            The characteristics that are left.
        characteristics, consensus : float32 arrays (n, P), (n, C)
        """
        everything = len(rows_n) == len(self)
        table = self.table if everything else self.table.drop_columns(_BLOCKS).take(pa.array(rows_n)).combine_chunks()
        columns = dict(zip(table.column_names, table.columns, strict=True))
        columns |= {name: block_array(block) for name, block in zip(_BLOCKS, (characteristics, consensus), strict=True)}
        description = {**self._metadata, "characteristics": tuple(names), "span": list(months)}
        table = pa.table({name: columns[name] for name in self.table.column_names})
        span = np.arange(months[0], months[1] + 1, dtype=np.int32)
        return self._on(described(table, description), span)

    @classmethod
    def joined(cls, tables: Sequence[pa.Table], macro: Macro | None, factors: Macro | None = None) -> Panel:
        """Join the tables of panels whose months follow each other."""
        first, last = description_of(tables[0]), description_of(tables[-1])
        table = pa.concat_tables([table.replace_schema_metadata(None) for table in tables]).combine_chunks()
        return cls(described(table, {**first, "span": [first["span"][0], last["span"][1]]}), macro, factors)

    def with_preparation(self, settings: Mapping[str, Any], account: Mapping[str, Any]) -> Panel:
        """Return the panel marked as prepared, with what each step did."""
        description = {**self._metadata, "prepared": dict(settings), "preparation": dict(account)}
        return replace(self, table=described(self.table, description))

    def with_factors(self, factors: Macro | None) -> Panel:
        """Return the panel with observed factor returns; those of other months are left out."""
        return replace(self, factors=None if factors is None else factors.on(self.months))

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas frame with one column per variable and ``month`` as the month's last day."""
        plain = {"month": month_ends(self.row_months), "asset": self.assets}
        for name in ("return", "risk_free", "market_cap", "price"):
            if name in self.table.column_names:
                plain[name] = self.values(name)
        for name in ("exchange", "share_code"):
            if name in self.table.column_names:
                plain[name] = self.labels(name)
        frame = pd.DataFrame(plain)
        blocks = [
            pd.DataFrame(self.characteristics, columns=list(self.characteristic_names)),
            pd.DataFrame(self.consensus, columns=list(self.consensus_names)),
        ]
        return pd.concat([frame, *blocks], axis=1)

    @classmethod
    def _of_table(cls, table: pa.Table, macro: Macro | None) -> Panel:
        panel = cls(table)
        return panel if macro is None else replace(panel, macro=macro.on(panel.months))

    def _on(self, table: pa.Table, months: MonthArray) -> Panel:
        """A table of other months of the panel, with their macro series and factors."""
        macro, factors = (None if series is None else series.on(months) for series in (self.macro, self.factors))
        return Panel(table, macro, factors)

    @cached_property
    def _metadata(self) -> dict[str, Any]:
        return description_of(self.table)

    def _flat(self, column: str) -> npt.NDArray[Any]:
        return np.asarray(one_chunk(self.table.column(column)).to_numpy(zero_copy_only=True))

    def _matrix(self, column: str, width: int) -> FloatArray:
        flat = one_chunk(self.table.column(column)).flatten().to_numpy(zero_copy_only=True)
        return np.asarray(flat).reshape(len(self), width)

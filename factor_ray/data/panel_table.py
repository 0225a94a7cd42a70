"""The table of a panel: how it is made of columns, and what is written beside it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet

from factor_ray.data.months import format_month, to_months
from factor_ray.data.panel_rules import (
    Roles,
    capitalisations,
    differing_rates,
    existing_file,
    identifiers,
    labels,
    numbers,
    require_columns,
    require_decimal_rates,
    require_every_month,
    require_finite,
    require_marks,
    require_returns,
    require_unique,
    require_varying,
)
from factor_ray.errors import InputError

FloatArray = npt.NDArray[np.float32]

_METADATA = b"factor_ray"


def parquet_columns(path: str | Path, roles: Roles) -> Callable[[str], pd.Series]:
    """Read the columns of a Parquet file that have a role, and return what gives one by its name.

    Raises
    ------
    InputError
        If there is no such file, or it lacks a column.
    """
    file = existing_file(path)
    try:
        require_columns(roles, pa_parquet.read_schema(file).names, str(path))
        table = pa_parquet.read_table(file, columns=roles.names())
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path} must be a Parquet file; it cannot be read as one ({error})") from error
    return lambda name: table.column(name).to_pandas()


def csv_columns(path: str | Path, roles: Roles) -> Callable[[str], pd.Series]:
    """Read the columns of a CSV file that have a role, and return what gives one by its name.

    Raises
    ------
    InputError
        If there is no such file, it lacks a column, or it is not UTF-8 with commas.
    """
    file = existing_file(path)
    try:
        with pa.input_stream(str(file), compression="detect") as raw, io.TextIOWrapper(raw, "utf-8-sig") as lines:
            header = next(csv.reader(lines), [])
        require_columns(roles, header, str(path))
        options = pa_csv.ConvertOptions(include_columns=roles.names(), strings_can_be_null=True)
        table = pa_csv.read_csv(file, convert_options=options)
    except (pa.ArrowInvalid, OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} must be a comma-separated UTF-8 file with a header line; {error}") from error
    undecoded = next((field.name for field in table.schema if pa.types.is_binary(field.type)), None)
    if undecoded is not None:
        raise InputError(f"{path} must be UTF-8 text; its column {undecoded!r} is not: save the file as UTF-8")
    return lambda name: table.column(name).to_pandas()


def assemble(roles: Roles, read: Callable[[str], pd.Series], source: str) -> pa.Table:
    """Return the table of a panel from columns by name, after all rules of :mod:`factor_ray.data.panel_rules`.

    Parameters
    ----------
    roles : Roles
    read : callable
        Returns a column by its name, rows in any order; asked of the columns that have a role.
    source : str
        What the columns are of, as sentences name it.

    Raises
    ------
    InputError
        If a rule is broken; the sentence names the column and the month.
    """
    require_marks(roles)
    months = to_months(read(roles.month), column=roles.month)
    if len(months) == 0:
        raise InputError(f"{source} has no rows: a panel needs at least one asset and month")
    assets = identifiers(read(roles.asset), roles.asset)
    codes, names = pd.factorize(assets, sort=True)
    order = np.lexsort((codes, months))
    months, codes = months[order], codes[order]
    require_unique(months, codes, names, source)
    require_every_month(months, source)

    def place(row: int) -> str:
        return f"asset {names[codes[row]]} in {format_month(months[row])}"

    def column(name: str) -> FloatArray:
        return numbers(read(name).iloc[order], name, place)

    def stacked(wanted: tuple[str, ...]) -> FloatArray:
        block = np.empty((len(months), len(wanted)), dtype=np.float32)
        for position, name in enumerate(wanted):
            block[:, position] = column(name)
            require_finite(block[:, position], name, months, source)
            require_varying(block[:, position], name, source)
        return block

    columns: dict[str, Any] = {"month": pa.array(months), "asset": pa.array(names.take(codes))}
    notes: list[str] = []
    for role, name in {"return": roles.returns, **roles.numbers()}.items():
        values = column(name)
        require_finite(values, name, months, source)
        if role == "risk_free":
            require_decimal_rates(values, name, months, source)
            notes = differing_rates(values, name, months)
        if role == "market_cap":
            values = capitalisations(values, name, place, source)
        columns[role] = pa.array(values, from_pandas=False)
    for role, name in roles.labels().items():
        columns[role] = pa.array(labels(read(name))[order], type=pa.string())
    require_returns(columns["return"].to_numpy(), roles.returns, months, source)
    columns["characteristics"] = block_array(stacked(roles.characteristics))
    columns["consensus"] = block_array(stacked(roles.consensus))
    description = {
        "characteristics": roles.characteristics,
        "consensus": roles.consensus,
        "frequency": dict(roles.frequency),
        "growth": roles.growth,
        "prepared": None,
    }
    return described(pa.table(columns), {**description, "notes": notes} if notes else description)


def described(table: pa.Table, description: Mapping[str, Any]) -> pa.Table:
    """Return the table with what its columns do not say: names of the variables, months, how it was made."""
    return table.replace_schema_metadata({_METADATA: json.dumps(description)})


def description_of(table: pa.Table) -> dict[str, Any]:
    """Read what :func:`described` has written."""
    return dict(json.loads(table.schema.metadata[_METADATA]))


def block_array(values: FloatArray) -> pa.FixedSizeListArray:
    """Return a block (N, P) as one column of fixed-size lists."""
    flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
    if values.shape[1]:
        return pa.FixedSizeListArray.from_arrays(pa.array(flat), values.shape[1])
    return pa.array([[]] * len(values), type=pa.list_(pa.float32(), 0))


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece, which is a view where it is in one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()

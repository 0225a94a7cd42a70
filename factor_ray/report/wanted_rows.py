"""The rows of a Parquet file of which something is true, read without the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow.parquet import ParquetFile, RowGroupMetaData

Wanted = tuple[str, str, Any]
"""A column, an operator (``==``, ``<=`` or ``in``) and what rows are to hold there."""

_ANSWERS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": pc.equal,
    "<=": pc.less_equal,
    "in": lambda column, values: pc.is_in(column, value_set=pa.array(list(values))),
}


def wanted_rows(
    file: Path, wanted: Sequence[Wanted], columns: Sequence[str] | None, *, categories: Sequence[str]
) -> pa.Table | None:
    """Return the rows of which all that is wanted is true; None where there is no such.

    Parameters
    ----------
    file : Path
    wanted : sequence of (column, operator, value)
    columns : sequence of str or None
        None for all.
    categories : sequence of str
        Columns to be read as categories where they are text.
    """
    found = []
    with ParquetFile(file, read_dictionary=list(categories)) as parquet:
        for at in range(parquet.num_row_groups):
            asked = _asked_of_rows(parquet.metadata.row_group(at), wanted)
            if asked is None:
                continue
            read = None if columns is None else list({*columns, *(name for name, *_ in asked)})
            # Several threads would wait for each other for memory, longer than any of them reads.
            rows = parquet.read_row_group(at, read, use_threads=False)
            for name, operator, value in asked:
                rows = rows.filter(_ANSWERS[operator](rows[name], value))
            found.append(rows if columns is None else rows.select(columns))
    return pa.concat_tables(found) if any(rows.num_rows for rows in found) else None


def _asked_of_rows(group: RowGroupMetaData, wanted: Sequence[Wanted]) -> list[Wanted] | None:
    """Return what a group's rows must be asked, since the ends of its columns do not tell; None if none can do."""
    columns = [group.column(at) for at in range(group.num_columns)]
    ends = {column.path_in_schema: column.statistics for column in columns}
    asked = []
    for name, operator, value in wanted:
        least, most = ends[name].min, ends[name].max
        if operator == "<=":
            some, every = least <= value, most <= value
        else:
            some = any(least <= one <= most for one in (value if operator == "in" else [value]))
            every = some and least == most
        if not some:
            return None
        if not every or ends[name].null_count:
            asked.append((name, operator, value))
    return asked

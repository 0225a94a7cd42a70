"""What the statistics ask of a table before they read it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.months import format_month, month_ends, to_months
from factor_ray.errors import InputError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def require_columns(table: pd.DataFrame, columns: Sequence[str], name: str) -> None:
    """Raise an InputError unless ``table`` has every one of ``columns``."""
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise InputError(
            f"the {name} table must have the columns {', '.join(columns)}; it lacks {', '.join(missing)} "
            f"(it has {', '.join(map(str, table.columns))}): add or rename columns"
        )


def require_unique(codes: pd.DataFrame, keys: pd.DataFrame, name: str, remedy: str) -> None:
    """Raise an InputError unless each row of ``codes`` occurs once; ``keys`` holds the rows as the user wrote them."""
    repeated = codes.duplicated().to_numpy()
    if repeated.any():
        found = ", ".join(f"{key} {_written(value)}" for key, value in keys[repeated].iloc[0].items())
        raise InputError(
            f"the {name} table must have one row for each ({', '.join(map(str, keys.columns))}); "
            f"{int(repeated.sum())} rows repeat another, the first at {found}: {remedy}"
        )


def numbers(table: pd.DataFrame, column: str, name: str) -> FloatArray:
    """Return a column as float64, with NaN for whatever is missing.

    Raises
    ------
    InputError
        If a value is not a number, or is infinite.
    """
    try:
        values: FloatArray = table[column].to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"column {column!r} of the {name} table must hold numbers; "
            f"got {table[column].dtype}: convert it before evaluation"
        ) from error
    infinite = np.isinf(values)
    if infinite.any():
        raise InputError(
            f"column {column!r} of the {name} table must be finite, or missing where unknown; "
            f"{int(infinite.sum())} values are infinite: set them to NaN or mend their source"
        )
    return values


def month_codes(table: pd.DataFrame) -> IntArray:
    """Return the ``month`` column as months since 1970-01."""
    return to_months(table["month"]).astype(np.int64)


def asset_codes(table: pd.DataFrame) -> IntArray:
    """Number the assets 0, 1, ... in their own order, so that the order of rows has no say."""
    codes, _ = pd.factorize(table["asset"], sort=True)
    if bool((codes < 0).any()):
        raise InputError("column 'asset' must name an asset in every row; some are missing: remove those rows")
    return codes.astype(np.int64)


def month_column(codes: npt.ArrayLike) -> pd.DatetimeIndex:
    """Return months as the month-end dates that tables hold."""
    return pd.DatetimeIndex(month_ends(np.asarray(codes, dtype=np.int64)))


def count_distinct(group: IntArray, codes: IntArray, groups: int) -> IntArray:
    """Count the distinct ``codes`` (non-negative) in each of ``groups`` groups."""
    span = int(codes.max()) + 1 if len(codes) else 1
    return np.bincount(np.unique(group * span + codes) // span, minlength=groups)


def ratio(numerator: npt.ArrayLike, denominator: npt.ArrayLike) -> FloatArray:
    """Divide element by element; NaN where the denominator is zero."""
    top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    quotient = np.full(top.shape, np.nan)
    np.divide(top, bottom, out=quotient, where=bottom != 0)
    return quotient


def _written(value: object) -> str:
    if isinstance(value, pd.Timestamp):
        return format_month(int(to_months([value])[0]))
    return repr(value)

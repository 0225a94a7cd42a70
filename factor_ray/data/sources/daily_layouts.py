"""One file of daily prices and volumes, long or wide, of one asset or many, as a long table."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import polars as pl

from factor_ray.data.sources._files import is_workbook, read_bytes, read_text, require_whole
from factor_ray.errors import InputError

_FIELDS = ("open", "high", "low", "close", "volume", "adjusted")
_FIELD = r"(?P<field>adj(?:usted)?[ _.]*close|open|high|low|close|vol(?:ume)?)"
_APART = r"[\s_.:,'\"()-]+"
_FIELD_ALONE = re.compile(rf"^{_FIELD}$", re.IGNORECASE)
_FIELD_LAST = re.compile(rf"^[('\"]*(?P<asset>.+?){_APART}{_FIELD}['\")]*$", re.IGNORECASE)
_FIELD_FIRST = re.compile(rf"^[('\"]*{_FIELD}{_APART}(?P<asset>.+?)['\")]*$", re.IGNORECASE)
_ASSETS = ("ticker", "symbol", "asset", "permno", "tic", "isin", "cusip", "id", "name", "stock")
_DATES = ("date", "datetime", "timestamp", "day", "time", "dates")
_THOUSANDS = r"^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$"
_DATE_FORMATS = ("%Y-%m-%d", "%Y%m%d", "%m/%d/%Y", "%Y/%m/%d")


def read_layout(path: Path, ticker: str | None = None) -> pl.DataFrame:
    """Read one file, whatever its layout, its values as they stand.

    Parameters
    ----------
    path
    ticker
        Name of the asset where no column names one.

    Returns
    -------
    polars.DataFrame
        Columns asset (text), date, open, high, low, close, volume, adjusted (float64; null where the file has none),
        in the file's order.

    Raises
    ------
    InputError
        If the file cannot be read, has no date, asset or close, or a cell is no number.
    """
    return _long(path, _read(path), ticker)


def _read(path: Path) -> pl.DataFrame:
    content = read_bytes(path)
    if content.startswith(b"PAR1"):
        try:
            return pl.read_parquet(io.BytesIO(content))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path} is a damaged or truncated Parquet file ({error}): download it again") from error
    if is_workbook(content):
        raise InputError(f"{path} is an Excel workbook; daily prices are read from CSV or Parquet: save it as CSV")
    text = read_text(path).lstrip("\n")
    first, _, rest = text.partition("\n")
    delimiter = max(",;\t", key=first.count)
    names, body = [_name(name) for name in next(csv.reader([first], delimiter=delimiter))], rest
    if len(names) < 2:
        raise InputError(f"{path} must be delimited by commas, semicolons or tabs; its first line is {first[:60]!r}")
    require_whole(path, first, text, delimiter)
    if len(set(names[1:])) < len(names[1:]):
        names, body = _two_headers(path, names, rest, delimiter)
    if len(set(names)) < len(names):
        raise InputError(f"{path} has two columns named {next(n for n in names if names.count(n) > 1)!r}: remove one")
    try:
        table = pl.read_csv(
            io.BytesIO(body.encode()),
            separator=delimiter,
            has_header=False,
            new_columns=names,
            infer_schema_length=None,
            null_values=["", "NA", "NaN", "nan", "null"],
        )
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(
            f"{path} is not one table ({str(error).splitlines()[0]}): mend it or download it again"
        ) from error
    return table.filter(~pl.all_horizontal(pl.all().is_null()))


def _two_headers(path: Path, first: list[str], rest: str, delimiter: str) -> tuple[list[str], str]:
    line, _, body = rest.partition("\n")
    second = [name.strip() for name in next(csv.reader([line], delimiter=delimiter))]
    of_fields = [all(_FIELD_ALONE.match(name) for name in names[1:]) for names in (first, second)]
    if len(second) != len(first) or not any(of_fields):
        repeated = next(name for name in first if first.count(name) > 1)
        raise InputError(f"{path} has two columns named {repeated!r}: rename or remove one")
    third, _, below = body.partition("\n")
    if third.split(delimiter)[0].strip().lower() in _DATES:
        body = below
    return ["date", *(f"{a} {b}" for a, b in zip(first[1:], second[1:], strict=True))], body


def _name(written: str) -> str:
    return written.strip().removeprefix("<").removesuffix(">")  # as stooq writes them


def _long(path: Path, table: pl.DataFrame, ticker: str | None) -> pl.DataFrame:
    lower = {name.lower().strip(): name for name in table.columns}
    date = next((lower[name] for name in _DATES if name in lower), table.columns[0])
    dates = _dates(path, table[date])
    fields = {_field(match): name for name in table.columns if (match := _FIELD_ALONE.match(name.strip()))}
    if "close" not in fields and "adjusted" in fields:
        fields["close"] = fields.pop("adjusted")
    asset = next((lower[name] for name in _ASSETS if name in lower), None)
    names_assets = asset is not None and not table[asset].dtype.is_numeric()
    # One column named Low may be Lowe's; several of so few are fields.
    names_fields = len(fields) > max(1, (table.width - 1) // 2)
    if "close" not in fields and not (names_assets or names_fields or dates.is_duplicated().any()):
        return _of_wide(path, table.drop(date), dates)
    if (asset is None and ticker is None) or "close" not in fields:
        raise InputError(
            f"{path} must have a column of assets (named {', '.join(_ASSETS[:4])}) and one named close; it has "
            f"{table.columns}: rename them"
        )
    columns = [_numbers(path, table[original]).alias(name) for name, original in fields.items()]
    named = pl.lit(ticker).alias("asset") if asset is None else table[asset].cast(pl.String).alias("asset")
    return _completed(pl.DataFrame([dates, *columns]).with_columns(named))


def _of_wide(path: Path, table: pl.DataFrame, dates: pl.Series) -> pl.DataFrame:
    patterns = (_FIELD_LAST, _FIELD_FIRST)
    # One order for all columns: with Lowe's ticker, "Open LOW" alone could be read both ways.
    named = next((one for one in patterns if all(one.match(name) for name in table.columns)), None)
    odd = next((name for name in table.columns if not any(one.match(name) for one in patterns)), None)
    if named is None and any(one.match(name) for one in patterns for name in table.columns):
        raise InputError(
            f"{path} must name all columns but the date by asset and field in one order, as AAPL_Close or Close_AAPL; "
            f"got {odd or table.columns[0]!r}: rename or remove it"
        )
    pieces: dict[str, list[pl.Series]] = {}
    for name in table.columns:
        match = named.match(name) if named else None
        asset, field = (match["asset"], _field(match)) if match else (name, "close")
        pieces.setdefault(asset, []).append(_numbers(path, table[name]).alias(field))
    without = next((asset for asset, columns in pieces.items() if "close" not in {c.name for c in columns}), None)
    if without is not None or not pieces:
        raise InputError(f"{path} has no close for {without!r}: name columns as in AAPL_Close")
    return pl.concat(
        _completed(pl.DataFrame([dates, *columns]).with_columns(asset=pl.lit(asset)))
        for asset, columns in pieces.items()
    )


def _field(match: re.Match[str]) -> str:
    field = match["field"].lower()
    return "adjusted" if field.startswith("adj") else "volume" if field == "vol" else field


def _dates(path: Path, column: pl.Series) -> pl.Series:
    if column.dtype in (pl.Date, pl.Datetime):
        dates = column.cast(pl.Date)
    else:
        text = column.cast(pl.String).str.strip_chars().str.replace(r"^(\d{4}-\d{2}-\d{2})[ T].*$", "${1}")
        parsed = (text.str.to_date(form, strict=False) for form in _DATE_FORMATS)
        dates = min(parsed, key=pl.Series.null_count)
    if dates.null_count():
        odd = column.filter(dates.is_null())[0]
        raise InputError(
            f"{path}: column {column.name!r} must hold dates YYYY-MM-DD, yyyymmdd or month/day/year, the same in all "
            f"rows; it begins with {column[0]!r} and has {odd!r}: mend it"
        )
    return dates.alias("date")


def _numbers(path: Path, column: pl.Series) -> pl.Series:
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        return column.cast(pl.Float64).fill_nan(None)
    text = column.cast(pl.String).str.strip_chars()
    plain = pl.when(pl.col("text").str.contains(_THOUSANDS)).then(pl.col("text").str.replace_all(",", ""))
    numbers = pl.DataFrame({"text": text}).select(plain.otherwise("text").cast(pl.Float64, strict=False)).to_series()
    wrong = column.filter(numbers.is_null() & column.is_not_null())
    if len(wrong):
        raise InputError(
            f"{path}: column {column.name!r} must hold numbers; got {wrong[0]!r}: mend it (a point for decimals; a "
            "comma only between thousands)"
        )
    return numbers.rename(column.name)


def _completed(table: pl.DataFrame) -> pl.DataFrame:
    absent = [pl.lit(None, pl.Float64).alias(name) for name in _FIELDS if name not in table.columns]
    return table.with_columns(absent).select("asset", "date", *_FIELDS)

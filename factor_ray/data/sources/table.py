"""Any Parquet or CSV file with one row per asset and month, its columns mapped to roles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from factor_ray.data.panel import Panel
from factor_ray.errors import InputError


def table(path: str | Path, **roles: Any) -> Panel:
    """Build a panel from a Parquet or CSV file.

    Parameters
    ----------
    path : path
        A .parquet, .csv or .csv.gz file.
    **roles
        Which column plays which role: the keywords of :meth:`factor_ray.data.panel.Panel.from_frame`.

    Raises
    ------
    InputError
        If the file has another ending, cannot be read, is separated by anything but commas, lacks a column or breaks a
        rule of the panel.
    """
    ending = str(path).lower()
    if not ending.endswith((".parquet", ".pq", ".csv", ".csv.gz")):
        raise InputError(f"data.path must end in .parquet or .csv; got {str(path)!r}: convert the file or rename it")
    try:
        if ending.endswith((".parquet", ".pq")):
            return Panel.from_parquet(path, **roles)
        if ending.endswith(".csv"):
            _require_commas(Path(path))
        return Panel.from_csv(path, **roles)
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


def _require_commas(path: Path) -> None:
    if not path.is_file():
        return  # which is told with the remedy by what reads it
    with path.open("rb") as file:
        head = file.read(1 << 16)
    first = head.split(b"\n", 1)[0]
    if head.startswith((b"PK", b"\x1f\x8b", b"BZh")):
        raise InputError(f"{path} is an archive or a workbook: unpack it, or save it as CSV (UTF-8)")
    if b"\x00" in head:
        raise InputError(f"{path} is not UTF-8 text (it holds zero bytes, as UTF-16 does): save it as CSV (UTF-8)")
    if b"," not in first and (b";" in first or b"\t" in first):
        shown = first[:60].decode(errors="replace")
        raise InputError(f"{path} must be separated by commas; its first line is {shown!r}: save it so")

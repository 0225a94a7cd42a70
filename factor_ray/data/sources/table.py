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
        If the file has another ending, cannot be read, lacks a column or breaks a rule of the panel.
    """
    ending = str(path).lower()
    if ending.endswith((".parquet", ".pq")):
        return Panel.from_parquet(path, **roles)
    if ending.endswith((".csv", ".csv.gz")):
        return Panel.from_csv(path, **roles)
    raise InputError(f"data.path must end in .parquet or .csv; got {str(path)!r}: convert the file or rename it")

"""Macro series from one or several files, each with its publication lag, joined by month."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from factor_ray.data.lineage import describe_files, describe_months
from factor_ray.data.macro import Macro
from factor_ray.data.settings import FredMd, GoyalWelch, MonthlyTable
from factor_ray.data.sources.fred_md import fred_md
from factor_ray.data.sources.goyal_welch import CBAPM_PREDICTORS, goyal_welch
from factor_ray.data.sources.monthly_table import monthly_table
from factor_ray.errors import InputError

AnyMacro = FredMd | GoyalWelch | MonthlyTable


def read_macro(sources: Sequence[AnyMacro]) -> tuple[Macro | None, list[dict[str, Any]], list[str]]:
    """Read macro series, dated by the month in which they are known.

    Returns
    -------
    Macro or None
        All series of all sources, in their order; None where there is no source.
    list of dict
        Of each source: its files, number of series, lag and range of months.
    list of str
        Sentences that a report must show.

    Raises
    ------
    InputError
        If a file cannot be read or lacks a series, or two sources have a series of one name.
    """
    pieces, lineage, notes = [], [], []
    for source in sources:
        frame = _frame(source)
        piece = Macro.from_frame(frame, lag=source.lag)
        pieces.append(piece)
        months = describe_months(int(piece.months[0]) - source.lag, int(piece.months[-1]) - source.lag)
        lineage.append({"files": describe_files(source.path), "series": len(piece.names), "lag": source.lag} | months)
        notes += _notes(source, frame)
    if not pieces:
        return None, [], []
    return _joined(pieces, sources), lineage, notes


def _frame(source: AnyMacro) -> pd.DataFrame:
    path = Path(source.path)
    if not path.exists():
        raise InputError(
            f"data.macro path {path} must be a file (or a folder of FRED-MD vintages); there is none: check the path "
            f"(it is taken from {Path.cwd()})"
        )
    if isinstance(source, FredMd):
        return fred_md(path, series=None if source.series == "all" else source.series)
    if isinstance(source, MonthlyTable):
        return monthly_table(path, columns=None if source.series == "all" else source.series)
    frame = goyal_welch(path)
    if source.series == "all":
        return frame
    names = list(CBAPM_PREDICTORS if source.series == "cbapm" else source.series)
    absent = next((name for name in names if name not in frame.columns), None)
    if absent is not None:
        raise InputError(f"{path} has no series {absent!r}; it has {', '.join(frame.columns)}: choose by `series`")
    return frame[names]


def _notes(source: AnyMacro, frame: pd.DataFrame) -> list[str]:
    name = Path(source.path).name
    if isinstance(source, FredMd) and Path(source.path).is_file():
        return [f"Macro series come from one vintage ({name}): data revised after the months they describe."]
    if isinstance(source, MonthlyTable):
        return [f"Macro series of {name} are used in the file's own units.", *frame.attrs.get("notes", [])]
    if not isinstance(source, GoyalWelch):
        return []
    ignored = frame.attrs.get("ignored", {})
    taken = [column for column in frame.attrs.get("unknown", []) if column in frame.columns]
    notes = (
        [f"{name}: columns that are not Goyal and Welch's are used as they stand: {', '.join(taken)}."] if taken else []
    )
    left_out = f"{name}: {len(ignored)} columns and sheets were left out: only monthly numbers are read."
    return [*notes, left_out] if ignored else notes


def _joined(pieces: Sequence[Macro], sources: Sequence[AnyMacro]) -> Macro:
    names = [name for piece in pieces for name in piece.names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        paths = ", ".join(source.path for source in sources)
        raise InputError(f"macro series {twice!r} is in two of {paths}: choose by `series` so that it comes once")
    first, last = min(int(p.months[0]) for p in pieces), max(int(p.months[-1]) for p in pieces)
    months = np.arange(first, last + 1, dtype=np.int32)
    return Macro(months, tuple(names), np.hstack([piece.on(months).values for piece in pieces]))

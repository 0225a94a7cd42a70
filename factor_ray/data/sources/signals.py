"""Firm-level signals of Open Source Asset Pricing: one wide table, or a folder of one file per predictor."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from factor_ray.data.months import format_month
from factor_ray.data.sources._large import LargeTable, MonthSpan
from factor_ray.data.sources.cbapm_variables import other_name
from factor_ray.errors import InputError

FROM_CRSP: tuple[str, ...] = ("Price", "Size", "STreversal")
"""Signals that Open Source Asset Pricing may not distribute; they are made from CRSP's file where they are absent."""

_SUFFIXES = (".csv", ".parquet", ".pq", ".zip", ".gz")
_KEYS = ("permno", "yyyymm")
_SPAN = 1 << 16  # more months than there can be


class Signals:
    """Where signals are, and which; nothing but names is read before `read`.

    Parameters
    ----------
    path : str or Path
        A wide table (CSV, also archived, or Parquet) with ``permno, yyyymm`` and one column per acronym, or a folder
        with one such file per predictor, named by its acronym.

    Raises
    ------
    InputError
        If there is no such file or folder, or it has no signals.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.is_folder = self.path.is_dir()
        if self.is_folder:
            files = [file for file in sorted(self.path.iterdir()) if file.suffix.lower() in _SUFFIXES]
            self._files = {file.name.split(".")[0]: file for file in files}
            self.names = list(self._files)
        else:
            self._wide = LargeTable.open(self.path)
            keys = [self._wide.require(name) for name in _KEYS]
            self.names = [name for name in self._wide.columns if name and name not in keys]
        if not self.names:
            raise InputError(f"{path} holds no signals: give the wide file of signals or a folder of one file for each")

    def held_as(self, name: str) -> str | None:
        """Return the name by which a signal is in the file: its own, or its other one; None if it is absent."""
        return next((one for one in (name, other_name(name)) if one in self.names), None)

    def absence(self, name: str) -> InputError:
        """Return the sentence for a signal that is not there."""
        near = difflib.get_close_matches(name, self.names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else "choose among those it has by data.characteristics"
        return InputError(f"{self.path} has no signal {name!r}; {hint}")

    def read(self, names: Sequence[str], span: MonthSpan) -> pl.DataFrame:
        """Read signals by the names that are asked for.

        Returns
        -------
        polars.DataFrame
            permno (int64), month (int32), then the signals (float32; missing is null), sorted by permno and month.

        Raises
        ------
        InputError
            If a signal is absent, a file cannot be read, or a firm has two rows in a month.
        """
        held = {name: self.held_as(name) for name in names}
        absent = next((name for name, column in held.items() if column is None), None)
        if absent is not None:
            raise self.absence(absent)
        if self.is_folder:
            return self._from_folder({name: self._files[str(column)] for name, column in held.items()}, span)
        columns = [str(column) for column in held.values()]
        keys = [self._wide.require(name) for name in _KEYS]
        frame = self._wide.read(keys[0], keys[1], columns, span=span).rename(dict(zip(columns, held, strict=True)))
        return _once(self.path, frame)

    def _from_folder(self, files: dict[str, Path], span: MonthSpan) -> pl.DataFrame:
        pieces = {name: _of_one_file(file, name, span) for name, file in files.items()}
        keys_N = np.empty(0, dtype=np.int64)
        for keys, _ in pieces.values():
            # Files hold nearly the same rows: only what is new is added, once.
            keys_N = np.sort(np.concatenate([keys_N, keys[~_among(keys, keys_N)]]), kind="stable")
        signals = []
        for name, (keys, values) in pieces.items():
            values_N = np.full(len(keys_N), np.nan, dtype=np.float32)
            values_N[np.searchsorted(keys_N, keys)] = values
            signals.append(pl.Series(name, values_N, nan_to_null=True))
        return pl.DataFrame([*_unpacked(keys_N), *signals])


def _of_one_file(file: Path, name: str, span: MonthSpan) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    table = LargeTable.open(file)
    permno, month = (table.require(key) for key in _KEYS)
    others = [column for column in table.columns if column and column not in (permno, month)]
    column = next((one for one in (name, other_name(name)) if one in others), others[0] if len(others) == 1 else None)
    if column is None:
        raise InputError(f"{file} must have the columns permno, yyyymm and {name}; it has {', '.join(table.columns)}")
    frame = _once(file, table.read(permno, month, [column], span=span))
    return _packed(frame), frame[column].fill_null(np.nan).to_numpy()


def _once(path: Path, frame: pl.DataFrame) -> pl.DataFrame:
    """Sort by firm and month, of which each pair may come once."""
    keys = _packed(frame)
    if bool((keys[1:] < keys[:-1]).any()):
        order = np.argsort(keys, kind="stable")
        frame, keys = frame[order], keys[order]
    again = np.flatnonzero(keys[1:] == keys[:-1])
    if len(again):
        permno, month = frame["permno"][int(again[0])], frame["month"][int(again[0])]
        raise InputError(
            f"{path} has permno {permno} more than once in {format_month(month)} ({len(again)} such rows): keep one "
            "row per firm and month"
        )
    return frame


def _packed(frame: pl.DataFrame) -> npt.NDArray[np.int64]:
    """One whole number for each firm and month, ordered as they are."""
    return np.asarray(frame["permno"].to_numpy() * _SPAN + frame["month"].to_numpy() + _SPAN // 2, dtype=np.int64)


def _among(keys: npt.NDArray[np.int64], known: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which keys are among sorted known ones."""
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    position = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    return np.asarray(known[position] == keys)


def _unpacked(keys: npt.NDArray[np.int64]) -> tuple[pl.Series, pl.Series]:
    months = (keys % _SPAN - _SPAN // 2).astype(np.int32)
    return pl.Series("permno", keys // _SPAN), pl.Series("month", months)

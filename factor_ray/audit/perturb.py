"""Perturbed copies of the data: what is dated after a month becomes noise, or is deleted.

Files are perturbed before they are loaded, so that the loaders are audited too. What is in no file of the user's (the
simulated market, the portfolios inside a package) or is dated by its file's name (a folder of FRED-MD vintages) is
perturbed as it was loaded.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from factor_ray.audit.copies import Change, perturbed_copy, perturbed_daily_copy
from factor_ray.data.load import Loaded, load
from factor_ray.data.macro import Macro
from factor_ray.data.months import format_month, to_months
from factor_ray.data.settings import (
    AnyFileData,
    AnySimulatedData,
    DailyPricesData,
    FredMd,
    GoyalWelch,
    MonthlyTable,
    OpenapData,
    TableData,
)
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment

MacroSource = FredMd | GoyalWelch | MonthlyTable

_SPREAD = 0.5  # of the logarithm of what a permuted value is multiplied by: signs and zeros stay
_LOWEST_RETURN, _HIGHEST_RETURN = -0.9, 3.0
_NUMBERS = ("returns", "risk_free", "market_cap", "price")
_LABELS = ("exchange", "share_code")
_UNDATED = ("signal_doc",)


def perturbed(experiment: Experiment, loaded: Loaded, month: int, change: Change, scratch: Path) -> tuple[Loaded, str]:
    """Return the data as they would have come had everything dated after ``month`` been noise, or not there.

    Parameters
    ----------
    experiment : Experiment
    loaded : Loaded
        The unperturbed data.
    month : int
        Months since 1970-01; what is dated in it or before stays as it is.
    change : "noise" or "deletion"
        Noise keeps the rows and what is missing.
    scratch : Path
        Where perturbed files are written.

    Returns
    -------
    Loaded, str
        And what was perturbed, for the verdict.
    """
    data = experiment.data
    if not isinstance(data, AnySimulatedData) and any(getattr(data, key) is not None for key in data.path_keys):
        folder = scratch / f"{change}-{format_month(month)}"
        try:
            return _from_files(data, loaded, month, change, folder)
        except InputError as error:
            # A variable that starts later is empty in the files as they were then, which loaders refuse.
            told = f"the data as they were loaded, since a copy cannot be ({error})".replace(f"{folder}/", "")
            return _after_loading(loaded, month, change), told
    return _after_loading(loaded, month, change), "the data as they were loaded"


def noise(values: npt.NDArray[Any], seed: list[int], *, returns: bool = False) -> npt.NDArray[np.float64]:
    """Permute the known values and multiply each by a lognormal; missing stays missing, in its place."""
    stream = np.random.default_rng(seed)
    known = ~np.isnan(values)
    drawn = stream.permutation(values[known].astype(np.float64)) * np.exp(stream.normal(0, _SPREAD, int(known.sum())))
    made = np.full(len(values), np.nan)
    made[known] = np.clip(drawn, _LOWEST_RETURN, _HIGHEST_RETURN) if returns else drawn
    return made


def _from_files(data: AnyFileData, loaded: Loaded, month: int, change: Change, folder: Path) -> tuple[Loaded, str]:
    folder.mkdir(parents=True, exist_ok=True)
    # What "all" gives is settled by the whole file: the copy is asked for the same.
    updates: dict[str, Any] = {"characteristics": loaded.panel.characteristic_names} if _takes_all(data) else {}
    told: list[str] = []
    for key in data.path_keys:
        if (written := getattr(data, key)) is not None and key not in _UNDATED:
            updates[key] = str(_copy(data, key, Path(written), month, change, folder))
            told.append(f"a copy of {Path(written).name}")
    in_files = not any(isinstance(source, FredMd) and Path(source.path).is_dir() for source in data.macro_sources)
    if in_files and data.macro is not None:
        copies = []
        for number, source in enumerate(data.macro_sources):
            copies.append(_copied_macro(source, month, change, folder / f"macro-{number}"))
            told.append(f"a copy of {Path(source.path).name}")
        updates["macro"] = tuple(copies) if isinstance(data.macro, tuple) else copies[0]
    if data.factors:
        updates["factors"] = tuple(
            file.model_copy(
                update={"path": str(perturbed_copy(Path(file.path), month, change, folder / f"factors-{n}"))}
            )
            for n, file in enumerate(data.factors)
        )
        told += [f"a copy of {Path(file.path).name}" for file in data.factors]
    found = load(data.model_copy(update=updates))
    if not in_files and loaded.panel.macro is not None:
        macro = _perturb_macro(loaded.panel.macro, month, change).on(found.panel.months)
        found = dataclasses.replace(found, panel=dataclasses.replace(found.panel, macro=macro))
        told.append("the macro series as they were loaded")
    return found, " and ".join(told)


def _takes_all(data: AnyFileData) -> bool:
    return isinstance(data, DailyPricesData | OpenapData) and data.characteristics == "all"


def _copy(data: AnyFileData, key: str, path: Path, month: int, change: Change, folder: Path) -> Path:
    if isinstance(data, TableData):
        copy = folder / f"panel{'.parquet' if _is_parquet(data.path) else '.csv'}"
        _perturb_table(data, month, change, copy)
        return copy
    if isinstance(data, DailyPricesData) and key == "path":
        return perturbed_daily_copy(path, month, change, folder / key)
    return perturbed_copy(path, month, change, folder / key)


def _copied_macro(source: MacroSource, month: int, change: Change, folder: Path) -> MacroSource:
    path = Path(source.path)
    if not isinstance(source, FredMd):
        return source.model_copy(update={"path": str(perturbed_copy(path, month, change, folder))})
    folder.mkdir(parents=True, exist_ok=True)
    copy = folder / path.name
    _perturb_fred_md(path, month, change, copy)
    return source.model_copy(update={"path": str(copy)})


def _is_parquet(path: str) -> bool:
    return path.lower().endswith((".parquet", ".pq"))


def _perturb_table(data: TableData, month: int, change: Change, copy: Path) -> None:
    columns = data.columns
    parquet = _is_parquet(data.path)
    frame = pl.read_parquet(data.path) if parquet else pl.read_csv(data.path, infer_schema=False)
    later = to_months(frame[columns.month].to_pandas(), column=columns.month) > month
    if change == "deletion":
        frame = frame.filter(~later)
    else:
        numbers = [name for role in _NUMBERS if (name := getattr(columns, role)) is not None]
        for position, name in enumerate([*numbers, *columns.characteristics, *columns.consensus]):
            series = frame[name]
            values = pd.to_numeric(series.to_pandas(), errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
            made = values.copy()
            made[later] = noise(values[later], [month, position], returns=name == columns.returns)
            frame = frame.with_columns(_like(series, made, later).alias(name))
        for position, role in enumerate(_LABELS):
            if (name := getattr(columns, role)) is not None:
                values = frame[name].to_numpy().copy()
                values[later] = np.random.default_rng([month, position, 1]).permutation(values[later])
                frame = frame.with_columns(pl.Series(name, values, dtype=frame[name].dtype))
    if parquet:
        frame.write_parquet(copy)
    else:
        frame.write_csv(copy)


def _like(series: pl.Series, made: npt.NDArray[np.float64], later: npt.NDArray[np.bool_]) -> pl.Series:
    """Earlier fields stay as they were written; missing ones stay missing."""
    drawn = pl.Series(series.name, made, nan_to_null=True)
    if series.dtype == pl.String:
        drawn = drawn.cast(pl.String)
    elif series.dtype.is_float():
        drawn = drawn.cast(series.dtype)
    else:
        series = series.cast(pl.Float64)
    changed = pl.Series(later) & drawn.is_not_null()
    return pl.select(pl.when(changed).then(drawn).otherwise(series)).to_series()


def _perturb_fred_md(file: Path, month: int, change: Change, copy: Path) -> None:
    """Fields of later lines become noise that keeps its sign, as logarithms ask for; other lines stay as they are."""
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    dated = [(position, _month_of(line)) for position, line in enumerate(lines)]
    later = [position for position, at in dated if at is not None and at > month]
    if change == "deletion":
        kept = set(range(len(lines))) - set(later)
        lines = [lines[position] for position in sorted(kept)]
    elif later:
        fields = [lines[position].split(",") for position in later]
        width = max(map(len, fields))
        table = np.array([[_number(field) for field in row] + [np.nan] * (width - len(row)) for row in fields])
        for column in range(1, width):
            table[:, column] = noise(table[:, column], [month, column, 2])
        for position, row, made in zip(later, fields, table, strict=True):
            drawn = [field if np.isnan(x) else repr(float(x)) for field, x in zip(row, made, strict=False)]
            lines[position] = ",".join([row[0], *drawn[1:]])
    copy.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _month_of(line: str) -> int | None:
    """Month of a line's first field; None for headings and blank lines."""
    first = line.split(",", 1)[0].strip().strip('"')
    try:
        return int(to_months([first])[0]) if first else None
    except InputError:
        return None


def _number(field: str) -> float:
    try:
        return float(field)
    except ValueError:
        return float("nan")


def _after_loading(loaded: Loaded, month: int, change: Change) -> Loaded:
    panel = loaded.panel
    if change == "deletion":
        return dataclasses.replace(loaded, panel=panel.between(int(panel.months[0]), month))
    later = panel.row_months > month
    replaced = {}
    for position, name in enumerate(("return", "risk_free", "market_cap", "price")):
        if name in panel.table.column_names:
            replaced[name] = _later(panel.values(name), later, [month, position], returns=name == "return")
    blocks = []
    for number, block in enumerate((panel.characteristics, panel.consensus)):
        columns = [_later(block[:, column], later, [month, column, number]) for column in range(block.shape[1])]
        blocks.append(np.stack(columns, axis=1) if columns else block)
    made = panel.with_columns(characteristics=blocks[0], consensus=blocks[1]).with_plain(replaced)
    macro, factors = (
        None if series is None else _perturb_macro(series, month, change) for series in (panel.macro, panel.factors)
    )
    return dataclasses.replace(loaded, panel=dataclasses.replace(made, macro=macro, factors=factors))


def _later(
    values: npt.NDArray[np.float32], later: npt.NDArray[np.bool_], seed: list[int], *, returns: bool = False
) -> npt.NDArray[np.float32]:
    made = values.copy()
    made[later] = noise(values[later], seed, returns=returns)
    return made


def _perturb_macro(macro: Macro, month: int, change: Change) -> Macro:
    later = macro.months > month
    if change == "deletion":
        return Macro(macro.months[~later], macro.names, macro.values[~later])
    values = macro.values.copy()
    for column in range(values.shape[1]):
        values[later, column] = noise(values[later, column], [month, column, 3])
    return Macro(macro.months, macro.names, values)

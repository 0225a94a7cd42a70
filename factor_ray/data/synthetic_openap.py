"""A simulated market written as the files that CB-APM is fitted on: signals, CRSP returns, French's rates, macro."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl

from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.data.panel_rules import Frequency
from factor_ray.data.simulation import simulate
from factor_ray.data.sources.cbapm_variables import cbapm_names, cbapm_variables
from factor_ray.data.synthetic_macro import SERIES, write_fred_md, write_goyal_welch
from factor_ray.errors import WorkError

Size = Literal["small", "paper"]

PAPER_ROWS = 605_722
"""Rows of the paper's sample, 1994-01 to 2023-12."""

_SLOTS: dict[Size, int] = {"small": 40, "paper": 1_830}  # about 94% of them are taken in any month
_MONTHS = 360
_FREQUENCIES: tuple[Frequency, ...] = ("monthly", "quarterly", "half-yearly", "annual", "biennial")
_ENTRY_PRICE = 20.0  # dollars


def write_openap(folder: Path, *, size: Size = "small", seed: int = 0) -> list[Path]:
    """Write a simulated market, 1994-01 to 2023-12, in the formats of the CB-APM paper's sources.

    Parameters
    ----------
    folder : Path
        Is made where it is not there.
    size : str
        small: about 13,000 rows; paper: 605,722 rows, as many as the paper has.
    seed : int
        The same seed gives the same values.

    Returns
    -------
    list of Path
        ``signals.parquet`` (permno, yyyymm, the 114 characteristics and 9 consensus variables by their acronyms),
        ``crsp.parquet`` (permno, date, ret, dlret, prc, shrout, exchcd, shrcd; with letter codes, midpoints below 0
        and delisting returns), ``french.csv`` (Mkt-RF and RF), ``fred_md.csv`` (115 series with transform codes) and
        ``goyal_welch.csv`` (the parts of the eight predictors). Read with a macro lag of 1 month, they are the
        simulated market; what is priced is reported monthly, so that reporting lags do not hide it.

    Raises
    ------
    WorkError
        If the disk is full or not writable.
    """
    market = simulate(
        seed=seed, slots=_SLOTS[size], months=_MONTHS, start="1994-01", characteristics=114, macro_series=len(SERIES)
    )
    panel = market.panel
    rows = _firms_of(panel, PAPER_ROWS) if size == "paper" else np.arange(len(panel))
    assert panel.macro is not None
    rate_T = _rates(len(panel.months))
    signals, returns, rates = _signals(panel, rows), _crsp(panel, rows, rate_T, seed), _french(panel, rate_T)
    files = [folder / name for name in ("signals.parquet", "crsp.parquet", "french.csv")]
    macro = folder / "fred_md.csv", folder / "goyal_welch.csv"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        signals.write_parquet(files[0])
        returns.write_parquet(files[1])
        files[2].write_text(rates, encoding="utf-8")
        write_fred_md(macro[0], panel.macro, lag=1)
        write_goyal_welch(macro[1], panel.macro, lag=1)
    except (OSError, pl.exceptions.ComputeError) as error:  # polars wraps what the system refuses it
        raise WorkError(
            f"the files in {folder} cannot be written ({error}): free space or mend its permissions, then start again"
        ) from error
    return [*files, *macro]


def _firms_of(panel: Panel, wanted: int) -> npt.NDArray[np.int64]:
    """Rows of whole firms, the last of them cut at its start, that are as many as wanted."""
    by_firm = np.lexsort((-panel.row_months, panel.assets))
    return np.asarray(np.sort(by_firm[:wanted]), dtype=np.int64)


def _rates(months: int) -> npt.NDArray[np.float64]:
    """Risk-free rates in decimals a month, to the two digits of percent that French writes."""
    return np.round(0.20 + 0.18 * np.sin(np.arange(months) / 30.0), 2) / 100.0


def _signals(panel: Panel, rows: npt.NDArray[np.int64]) -> pl.DataFrame:
    known = cbapm_variables()
    names = sorted(cbapm_names("characteristic"), key=lambda name: _FREQUENCIES.index(known[name].frequency))
    columns: dict[str, npt.NDArray[np.float32]] = dict(zip(names, panel.characteristics[rows].T, strict=True))
    columns |= dict(zip(cbapm_names("consensus"), panel.consensus[rows].T, strict=True))
    month_N = panel.row_months[rows]
    keys = [
        pl.Series("permno", panel.assets[rows].astype(np.int32)),
        pl.Series("yyyymm", (month_N // 12 + 1970) * 100 + month_N % 12 + 1),
    ]
    return pl.DataFrame([*keys, *(pl.Series(name, columns[name], nan_to_null=True) for name in known)])


def _crsp(panel: Panel, rows: npt.NDArray[np.int64], rate_T: npt.NDArray[np.float64], seed: int) -> pl.DataFrame:
    random = np.random.default_rng([seed, *b"crsp"])
    month_N, permno_N = panel.row_months[rows], panel.assets[rows].astype(np.int32)
    gross_N = panel.values("return")[rows].astype(np.float64) + rate_T[month_N - panel.months[0]]
    cap_N = panel.values("market_cap")[rows].astype(np.float64) * 1000.0
    firms, first_N, firm_N = np.unique(permno_N, return_index=True, return_inverse=True)
    shares_N = np.maximum(np.round(cap_N[first_N] / _ENTRY_PRICE), 1.0)[firm_N]
    sign_N = np.where(random.random(len(rows)) < 0.05, -1.0, 1.0)
    last_N = np.zeros(len(rows), dtype=bool)
    last_N[len(rows) - 1 - np.unique(permno_N[::-1], return_index=True)[1]] = True
    delisted_N = last_N & (month_N < panel.months[-1]) & np.isfinite(gross_N)
    # Half of the delisting returns stand alone, the other half beside the return of a part of the month.
    alone_N = delisted_N & (permno_N % 2 == 0)
    part_N = np.where(delisted_N & ~alone_N, 0.01, gross_N)
    ret = pl.Series("ret", part_N).map_elements(repr, return_dtype=pl.String)
    unknown = np.where(alone_N, "B", "C")
    known = pl.Series("known", np.isfinite(gross_N) & ~alone_N)
    dlret = np.where(alone_N, gross_N, (1.0 + gross_N) / 1.01 - 1.0)
    days = (month_N + 1).astype("datetime64[M]").astype("datetime64[D]") - np.timedelta64(1, "D")
    frame = pl.DataFrame({"permno": permno_N, "date": days.astype("datetime64[ms]"), "ret": ret, "known": known})
    return frame.with_columns(
        pl.col("date").cast(pl.Date),
        pl.when("known").then("ret").otherwise(pl.Series("unknown", unknown)).alias("ret"),
        pl.Series("dlret", np.where(delisted_N, dlret, np.nan), nan_to_null=True),
        pl.Series("prc", sign_N * cap_N / shares_N),
        pl.Series("shrout", shares_N),
        pl.Series("exchcd", random.integers(1, 4, len(firms))[firm_N].astype(np.int32)),
        pl.Series("shrcd", random.integers(10, 12, len(firms))[firm_N].astype(np.int32)),
    ).drop("known")


def _french(panel: Panel, rate_T: npt.NDArray[np.float64]) -> str:
    frame = pd.DataFrame({"month": panel.row_months, "excess": panel.values("return")})
    market = frame.groupby("month")["excess"].mean().fillna(0.0).to_numpy() * 100.0
    lines = [
        f"{format_month(month).replace('-', '')},{excess:8.2f},{rate * 100:8.2f}"
        for month, excess, rate in zip(panel.months, market, rate_T, strict=True)
    ]
    return "\n".join(["Simulated, in the format of Kenneth French's Data Library.", "", ",Mkt-RF,RF", *lines, ""])

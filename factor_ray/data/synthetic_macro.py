"""Simulated macro series in the formats of FRED-MD and of Goyal and Welch, such that reading them gives them back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.macro import Macro
from factor_ray.data.months import format_month
from factor_ray.data.sources.fred_md_series import CBAPM_SERIES, TRANSFORM_CODES
from factor_ray.data.sources.goyal_welch import CBAPM_PREDICTORS

FloatArray = npt.NDArray[np.float64]

SERIES: tuple[str, ...] = (*CBAPM_SERIES, *CBAPM_PREDICTORS)
"""Names of the 123 macro series of CB-APM, in the order in which the simulated ones are taken."""

# One unit of a simulated series after the transform of each code: small where differences are summed and exponentiated.
_UNIT = {1: 1.0, 2: 1.0, 4: 0.05, 5: 0.01, 6: 1e-4, 7: 1e-4}
_BEFORE = 2  # months that second differences use up


def write_fred_md(path: Path, macro: Macro, *, lag: int) -> None:
    """Write the first 115 series as a FRED-MD vintage with transform codes, dated ``lag`` months before it is known.

    Parameters
    ----------
    path : Path
    macro : Macro
        At least 115 series without missing values, as known at each month.
    lag : int
        Publication lag in months.
    """
    first = int(macro.months[0]) - lag - _BEFORE
    dates = [_first_of(month) for month in range(first, int(macro.months[-1]) - lag + 1)]
    levels = {
        name: _levels(macro.values[:, position].astype(np.float64), TRANSFORM_CODES[name])
        for position, name in enumerate(CBAPM_SERIES)
    }
    frame = pd.DataFrame(levels, index=pd.Index(dates, name="sasdate"))
    header, *rows = frame.to_csv(float_format="%.14g", lineterminator="\n").splitlines()
    codes = ",".join(["Transform:", *(str(TRANSFORM_CODES[name]) for name in CBAPM_SERIES)])
    path.write_text("\n".join([header, codes, *rows, ""]), encoding="utf-8")


def write_goyal_welch(path: Path, macro: Macro, *, lag: int) -> None:
    """Write series 116 to 123 as the parts from which Goyal and Welch's eight predictors are made."""
    x = dict(zip(CBAPM_PREDICTORS, macro.values[:, len(CBAPM_SERIES) : len(SERIES)].T.astype(np.float64), strict=True))
    index = 1000.0 * np.exp(0.006 * np.arange(len(macro.months)))
    tbl = 0.03 + 0.003 * x["tbl"]
    lty, aaa = tbl + 0.015 + 0.003 * x["tms"], np.full(len(index), 0.055)
    columns = {
        "yyyymm": [format_month(month - lag).replace("-", "") for month in macro.months],
        "Index": index,
        "D12": index * np.exp(-4.0 + 0.1 * x["dp"]),
        "E12": index * np.exp(-3.0 + 0.1 * x["ep"]),
        "b/m": 0.3 + 0.03 * x["bm"],
        "tbl": tbl,
        "AAA": aaa,
        "BAA": aaa + 0.01 + 0.001 * x["dfy"],
        "lty": lty,
        "ntis": 0.01 * x["ntis"],
        "svar": 0.003 + 0.0005 * x["svar"],
    }
    pd.DataFrame(columns).to_csv(path, index=False, float_format="%.14g", lineterminator="\n")


def _levels(x: FloatArray, code: int) -> FloatArray:
    """Return levels that a transform code turns back into the series, with two months before its first."""
    stationary = np.concatenate([np.zeros(_BEFORE), x * _UNIT[code]])
    return np.asarray(_UNDO[code](stationary), dtype=np.float64)


_UNDO: dict[int, Callable[[FloatArray], npt.NDArray[np.floating]]] = {
    1: lambda x: x,
    2: np.cumsum,
    4: np.exp,
    5: lambda x: 100.0 * np.exp(np.cumsum(x)),
    6: lambda x: 100.0 * np.exp(np.cumsum(np.cumsum(x))),
    7: lambda x: 100.0 * np.cumprod(1.0 + np.cumsum(x)),
}


def _first_of(month: int) -> str:
    year, number = format_month(month).split("-")
    return f"{int(number)}/1/{year}"

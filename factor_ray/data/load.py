"""From the `data` section of a configuration to a panel, and the lineage of every file that was read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from factor_ray.data.macro import Macro
from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.data.panel_rules import Frequency
from factor_ray.data.simulation import simulate
from factor_ray.data.simulation_settings import SimulationSettings
from factor_ray.data.simulation_truth import Truth
from factor_ray.errors import InputError


class SimulatedData(SimulationSettings):
    """The simulated market: no file, and a known truth."""

    source: Literal["simulated"]


class Columns(BaseModel):
    """Which column of the file plays which role."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    month: str = Field("month", description="Any date within the month at whose end characteristics are known.")
    asset: str = Field("asset", description="Identifier of the asset.")
    returns: str = Field(
        "return", alias="return", description="Simple return of the month, in decimals: gross where risk_free is named."
    )
    risk_free: str | None = Field(None, description="Risk-free rate of the month, in decimals.")
    market_cap: str | None = Field(None, description="Market capitalisation at the month's end, for value weights.")
    price: str | None = Field(None, description="Price at the month's end; its size counts (CRSP writes some below 0).")
    exchange: str | None = Field(None, description="Code or name of the exchange.")
    share_code: str | None = Field(None, description="Code or name of the kind of share.")
    frequency: dict[str, Frequency] = Field(
        {}, description="How often a variable is reported, by column; preprocess.lag delays by it."
    )
    growth: tuple[str, ...] = Field((), description="Characteristics that are growth rates or changes.")
    characteristics: tuple[str, ...] = Field(min_length=1, description="Inputs, known at the month's end.")
    consensus: tuple[str, ...] = Field((), description="What analysts say: targets of the bottleneck, never inputs.")


class FredMd(BaseModel):
    """Macro series from a FRED-MD file, transformed by its codes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["fred_md"]
    path: str = Field(description="A vintage (CSV), or a folder of vintages, used in real time.")
    lag: int = Field(
        1, ge=0, description="Publication lag in months. A single vintage holds revised data: the report says so."
    )
    series: tuple[str, ...] | Literal["cbapm", "all"] = Field(
        "all", description="Series by name; cbapm: the 115 of the CB-APM paper; all."
    )


class TableData(BaseModel):
    """A Parquet or CSV file with one row per asset and month."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["table"]
    path: str = Field(description="A .parquet or .csv file.")
    columns: Columns
    macro: FredMd | None = Field(None, description="Macro series by month, from another file.")


DataSettings = Annotated[SimulatedData | TableData, Field(discriminator="source")]


@dataclass(frozen=True)
class Loaded:
    """A panel as it came, the truth where there is one, and what was read."""

    panel: Panel
    lineage: Mapping[str, Any]
    truth: Truth | None = None
    notes: tuple[str, ...] = field(default=())


def load(settings: SimulatedData | TableData) -> Loaded:
    """Read (or simulate) a panel.

    Returns
    -------
    Loaded
        ``lineage`` holds each file's name, size, SHA-256 and range of months; ``notes`` are sentences that the report
        must show.

    Raises
    ------
    InputError
        If a file is missing or breaks a rule of :class:`Panel`.
    """
    if isinstance(settings, SimulatedData):
        market = simulate(**settings.model_dump(exclude={"source"}))
        return Loaded(market.panel, {"simulated": settings.model_dump(mode="json")}, market.truth)
    macro, notes = None, []
    lineage: dict[str, Any] = {}
    if settings.macro is not None:
        macro, lineage["macro"] = _fred_md(settings.macro)
        if Path(settings.macro.path).is_file():
            notes.append(
                f"Macro series come from one vintage ({Path(settings.macro.path).name}): data revised after "
                "the months they describe."
            )
    panel = read_table(settings.path, settings.columns, macro)
    lineage["panel"] = {**_file(Path(settings.path)), **_range(panel.months[0], panel.months[-1]), "rows": len(panel)}
    if not panel.has_risk_free:
        notes.append("No risk-free rate was given: returns are taken as excess returns and compounded as they are.")
    if not panel.has_market_cap:
        notes.append("No market capitalisations were given: portfolios are equally weighted.")
    return Loaded(panel, lineage, None, tuple(notes))


def read_table(path: str, columns: Columns, macro: Macro | None) -> Panel:
    """Read a panel from a Parquet or CSV file."""
    roles: dict[str, Any] = {**columns.model_dump(), "macro": macro}
    if path.lower().endswith((".parquet", ".pq")):
        return Panel.from_parquet(path, **roles)
    if path.lower().endswith((".csv", ".csv.gz")):
        return Panel.from_csv(path, **roles)
    raise InputError(f"data.path must end in .parquet or .csv; got {path!r}: convert the file or rename it")


def read_macro(settings: FredMd) -> Macro:
    """Read macro series, dated by the month in which they are known."""
    return _fred_md(settings)[0]


def _fred_md(settings: FredMd) -> tuple[Macro, dict[str, Any]]:
    from factor_ray.data.sources.fred_md import fred_md

    path = Path(settings.path)
    if not path.exists():
        raise InputError(f"data.macro.path {settings.path} must be a FRED-MD file or a folder of them; there is none")
    frame = fred_md(path, series=None if settings.series == "all" else settings.series)
    macro = Macro.from_frame(frame, lag=settings.lag)
    files = [_file(path)] if path.is_file() else [_file(file) for file in sorted(path.iterdir()) if file.is_file()]
    described = {"files": files, "series": len(macro.names), "lag": settings.lag}
    return macro, {**described, **_range(macro.months[0] - settings.lag, macro.months[-1] - settings.lag)}


def _file(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": sha256}


def _range(first: int, last: int) -> dict[str, str]:
    return {"first_month": format_month(first), "last_month": format_month(last)}

"""The `data` section of a configuration: where the panel comes from, and its macro series."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator

from factor_ray.data.months import parse_month
from factor_ray.data.panel_rules import Frequency
from factor_ray.data.simulation_settings import SimulationSettings
from factor_ray.data.sources.factors import Unit

Names = tuple[str, ...]


class FredMd(BaseModel):
    """Macro series from a FRED-MD file, transformed by its codes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["fred_md"]
    path: str = Field(description="A vintage (CSV), or a folder of vintages, used in real time.")
    lag: int = Field(
        1, ge=0, description="Publication lag in months. A single vintage holds revised data: the report says so."
    )
    series: Names | Literal["cbapm", "all"] = Field(
        "all", description="Series by name; cbapm: the 115 of the CB-APM paper; all."
    )


class GoyalWelch(BaseModel):
    """Macro series from the file of Goyal and Welch, rates in decimals."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["goyal_welch"]
    path: str = Field(description="Their workbook (xlsx), or its monthly sheet as CSV.")
    lag: int = Field(1, ge=0, description="Publication lag in months; 0 suits prices and yields only.")
    series: Names | Literal["cbapm", "all"] = Field(
        "cbapm", description="Columns by name; cbapm: the eight predictors of the CB-APM paper; all."
    )


class MonthlyTable(BaseModel):
    """Macro series from any plain table of one row a month, as they stand there."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["monthly_table"]
    path: str = Field(description="CSV, xlsx with one sheet, or Parquet.")
    lag: int = Field(1, ge=0, description="Publication lag in months.")
    series: Names | Literal["all"] = Field("all", description="Columns by name, or all but the month.")


MacroSettings = Annotated[FredMd | GoyalWelch | MonthlyTable, Field(discriminator="source")]
OneOrMoreMacro = Annotated[
    Annotated[MacroSettings, Tag("one")] | Annotated[tuple[MacroSettings, ...], Tag("several")],
    Discriminator(lambda value: "several" if isinstance(value, list | tuple) else "one"),
]


class FactorFile(BaseModel):
    """Observed factor returns from one file, dated by the month in which they were earned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="One of French's files, or a plain monthly table: CSV, xlsx with one sheet, Parquet.")
    columns: dict[str, Unit] = Field(
        min_length=1,
        description="Unit of each column to read: percent, decimal, or level for what is no return.",
    )


class SimulatedData(SimulationSettings):
    """The simulated market: no file, and a known truth."""

    source: Literal["simulated"]


class SimulatedQuantilesData(BaseModel):
    """The simulated design of the QCF paper's Section 4; returns are a twentieth of its outcomes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["simulated_quantiles"]
    assets: int = Field(200, ge=1, description="N.")
    months: int = Field(50, ge=3, description="Months whose outcomes are known.")
    seed: int = Field(0, ge=0, description="What the random numbers start from.")


class FileData(BaseModel):
    """What all sources that read files share."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path_keys: ClassVar[tuple[str, ...]] = ("path",)

    macro: OneOrMoreMacro | None = Field(
        None, description="Macro series by month from other files: one source, or a list that is joined by month."
    )
    factors: tuple[FactorFile, ...] = Field(
        (),
        description="Observed factor returns (observed_factors and qr_observed fit assets to them): files, each with "
        "its columns' units.",
    )

    @property
    def macro_sources(self) -> tuple[FredMd | GoyalWelch | MonthlyTable, ...]:
        """The macro sources, however they were written."""
        if self.macro is None:
            return ()
        return self.macro if isinstance(self.macro, tuple) else (self.macro,)

    def paths(self) -> dict[str, str]:
        """Return every path that is read, by its key as ``--set`` takes it."""
        own = {f"data.{key}": path for key in self.path_keys if (path := getattr(self, key)) is not None}
        factors = {f"data.factors.{position}.path": file.path for position, file in enumerate(self.factors)}
        return own | {f"data.{key}": source.path for key, source in self._macro_by_key().items()} | factors

    def with_paths(self, changed: Callable[[str], str]) -> dict[str, Any]:
        """Return the section as plain values, its paths changed."""
        values = self.model_dump(mode="json", by_alias=True)
        for key in self.path_keys:
            values[key] = None if values[key] is None else changed(values[key])
        for written in values["macro"] if isinstance(values["macro"], list) else [values["macro"] or {}]:
            written |= {"path": changed(written["path"])} if written else {}
        for written in values["factors"]:
            written["path"] = changed(written["path"])
        return values

    def _macro_by_key(self) -> dict[str, FredMd | GoyalWelch | MonthlyTable]:
        if isinstance(self.macro, tuple):
            return {f"macro.{position}.path": source for position, source in enumerate(self.macro)}
        return {} if self.macro is None else {"macro.path": self.macro}


class _Dated(FileData):
    start: str | None = Field(None, description="First month to keep, YYYY-MM; all by default.")
    end: str | None = Field(None, description="Last month to keep, YYYY-MM; all by default.")

    @field_validator("start", "end")
    @classmethod
    def _is_month(cls, value: str | None) -> str | None:
        if value is not None:
            parse_month(value)
        return value


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


class TableData(FileData):
    """A Parquet or CSV file with one row per asset and month."""

    source: Literal["table"]
    path: str = Field(description="A .parquet or .csv file.")
    columns: Columns


class OpenapData(_Dated):
    """Open Source Asset Pricing signals and CRSP monthly returns, as downloaded."""

    path_keys: ClassVar[tuple[str, ...]] = ("signals", "returns", "delistings", "risk_free", "signal_doc")

    source: Literal["openap"]
    signals: str = Field(description="The wide table of signals (CSV, zip or Parquet), or a folder of one file each.")
    returns: str = Field(
        description="CRSP's monthly file: permno, date, ret, prc, shrout; dlret, exchcd, shrcd, rf; or those of CIZ."
    )
    delistings: str | None = Field(
        None, description="CRSP's delisting returns where the returns lack them: permno, dlstdt, dlret, dlstcd."
    )
    missing_delisting_return: float | None = Field(
        None,
        ge=-1,
        le=0,
        description="Return of performance-related delistings (codes 500, 520 to 584) without a known one, as -0.3 "
        "(Shumway, 1997); by default it stays missing.",
    )
    risk_free: str | None = Field(None, description="A factor file of French's; else the returns need a column rf.")
    signal_doc: str | None = Field(
        None, description="SignalDoc.csv: how often signals beyond the paper's are reported."
    )
    characteristics: Names | Literal["cbapm", "all"] = Field(
        "cbapm", description="Inputs: the 114 of the CB-APM paper, all that are no consensus, or acronyms."
    )
    consensus: Names | Literal["cbapm"] = Field(
        "cbapm", description="What analysts say: the 9 of the CB-APM paper, or acronyms; targets, never inputs."
    )


class FrenchData(_Dated):
    """Portfolios of Kenneth French's as assets; without a file, those inside the package linearmodels."""

    path_keys: ClassVar[tuple[str, ...]] = ("path", "market")

    source: Literal["french"]
    path: str | None = Field(None, description="A portfolio file (zip, CSV or TXT); none: the set inside linearmodels.")
    market: str | None = Field(None, description="A factor file of French's: the market (betas) and risk-free rate.")
    weights: Literal["value", "equal"] = Field("value", description="Which of the file's returns to take.")


class DailyPricesData(_Dated):
    """Daily prices and volumes: monthly returns and up to 22 characteristics."""

    path_keys: ClassVar[tuple[str, ...]] = ("path", "market")

    source: Literal["daily_prices"]
    path: str = Field(
        description="Open, high, low, close, volume by day and asset, long or wide, CSV or Parquet; or a folder of one "
        "file per asset."
    )
    market: str | None = Field(None, description="A factor file of French's: the market (betas) and risk-free rate.")
    characteristics: Names | Literal["all"] = Field("all", description="Inputs, among the 22; all that the data give.")
    consensus: Names = Field((), description="Those of the 22 that the bottleneck predicts; never inputs.")


AnySimulatedData = SimulatedData | SimulatedQuantilesData
AnyFileData = TableData | OpenapData | FrenchData | DailyPricesData
DataSettings = Annotated[
    SimulatedData | SimulatedQuantilesData | TableData | OpenapData | FrenchData | DailyPricesData,
    Field(discriminator="source"),
]

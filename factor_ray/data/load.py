"""From the `data` section of a configuration to a panel, and the lineage of every file that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from factor_ray.data.lineage import describe_files, describe_months
from factor_ray.data.macro import Macro
from factor_ray.data.macro_sources import read_macro
from factor_ray.data.months import MonthArray, format_month, parse_month, to_months
from factor_ray.data.panel import Panel
from factor_ray.data.quantile_simulation import quantile_panel
from factor_ray.data.settings import (
    AnyFileData,
    AnySimulatedData,
    DailyPricesData,
    FactorFile,
    OpenapData,
    SimulatedData,
    SimulatedQuantilesData,
    TableData,
)
from factor_ray.data.simulation import simulate
from factor_ray.data.simulation_truth import Truth
from factor_ray.data.sources.daily_panel import daily_prices
from factor_ray.data.sources.factors import observed_factors
from factor_ray.data.sources.openap import openap
from factor_ray.data.sources.portfolio_panel import french_portfolios
from factor_ray.data.sources.table import table
from factor_ray.errors import InputError

_FEWEST_MONTHS = 12
"""Months that all factors and the panel must share; a shorter panel must have them throughout."""


@dataclass(frozen=True)
class Loaded:
    """A panel as it came, the truth where there is one, and what was read."""

    panel: Panel
    lineage: Mapping[str, Any]
    truth: Truth | None = None
    notes: tuple[str, ...] = field(default=())


def load(settings: AnySimulatedData | AnyFileData) -> Loaded:
    """Read (or simulate) a panel.

    Returns
    -------
    Loaded
        ``lineage`` holds each file's name, size, SHA-256 and range of months; ``notes`` are sentences that the report
        must show.

    Raises
    ------
    InputError
        If a file is missing or breaks a rule of its format or of :class:`Panel`.
    """
    if isinstance(settings, SimulatedData):
        market = simulate(**settings.model_dump(exclude={"source"}))
        return Loaded(market.panel, {"simulated": settings.model_dump(mode="json")}, market.truth)
    if isinstance(settings, SimulatedQuantilesData):
        panel = quantile_panel(settings.assets, settings.months, settings.seed)
        return Loaded(panel, {"simulated": settings.model_dump(mode="json")})
    macro, macro_lineage, notes = read_macro(settings.macro_sources)
    panel = read_panel(settings, macro)
    lineage = _lineage(settings, panel)
    if macro is not None:
        lineage["macro"] = macro_lineage
    for source, read in zip(settings.macro_sources, macro_lineage, strict=True):
        notes += _end_noted(source.path, parse_month(read["last_month"]), source.lag, panel)
    notes += panel.notes
    if settings.factors:
        panel, own_notes = join_factors(panel, settings.factors)
        lineage["factors"] = {"files": [found for file in settings.factors for found in describe_files(file.path)]}
        notes += own_notes
    if not panel.has_risk_free:
        notes.append("No risk-free rate was given: returns are taken as excess returns and compounded as they are.")
    if not panel.has_market_cap:
        notes.append("No market capitalisations were given: portfolios are equally weighted.")
    return Loaded(panel, lineage, None, tuple(notes))


def read_panel(settings: AnyFileData, macro: Macro | None) -> Panel:
    """Read a panel from the files that a `data` section names."""
    if isinstance(settings, TableData):
        return table(settings.path, **settings.columns.model_dump(), macro=macro)
    chosen = settings.model_dump(exclude={"source", "macro", "factors"})
    if isinstance(settings, OpenapData):
        return openap(**chosen, macro=macro)
    if isinstance(settings, DailyPricesData):
        return daily_prices(**chosen, macro=macro)
    return french_portfolios(**chosen, macro=macro)


def join_factors(panel: Panel, files: Sequence[FactorFile]) -> tuple[Panel, list[str]]:
    """Join observed factors by month; return the panel with them, and what is to be known of their files.

    Raises
    ------
    InputError
        If a file cannot be read, or if the factors cover too few of the panel's months.
    """
    frame = observed_factors({file.path: file.columns for file in files})
    shared = np.isin(panel.months, to_months(frame.dropna().index))
    known = {file.path: to_months(frame[list(file.columns)].dropna(how="all").index) for file in files}
    if shared.sum() < min(_FEWEST_MONTHS, len(panel.months)):
        spans = ", ".join(f"{path} {_span(months)}" for path, months in known.items())
        raise InputError(
            f"data.factors must cover the panel's months, {_span(panel.months)}; {shared.sum()} of these "
            f"{len(shared)} have all factors ({spans}): give files that reach as far, or leave out factors that do not"
        )
    notes = [note for path, months in known.items() if len(months) for note in _end_noted(path, months[-1], 0, panel)]
    return panel.with_factors(Macro.from_frame(frame, lag=0)), [*frame.attrs["notes"], *notes]


def _span(months: MonthArray) -> str:
    return f"{format_month(months[0])} to {format_month(months[-1])}" if len(months) else "no month"


def _end_noted(path: str, last: int, lag: int, panel: Panel) -> list[str]:
    """Note a file that ends before what it holds would reach the panel's last month."""
    end = int(panel.months[-1])
    if last + lag >= end:
        return []
    return [f"{Path(path).name} ends in {format_month(last)}; the panel ends in {format_month(end)}."]


def _lineage(settings: AnyFileData, panel: Panel) -> dict[str, Any]:
    """Describe the files of each path that was given; the first is the panel's own."""
    found: dict[str, Any] = {}
    for key in settings.path_keys:
        path = getattr(settings, key)
        if path is not None:
            files = describe_files(path)
            found["panel" if key == "path" else key] = files[0] if len(files) == 1 else {"files": files}
    if not found:
        found["panel"] = {"package": "linearmodels", "version": version("linearmodels")}
    first = next(iter(found))
    months = describe_months(int(panel.months[0]), int(panel.months[-1]))
    return {**found, first: {**found[first], **months, "rows": len(panel)}}

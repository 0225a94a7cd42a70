"""From the `data` section of a configuration to a panel, and the lineage of every file that was read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

from factor_ray.data.lineage import describe_files, describe_months
from factor_ray.data.macro import Macro
from factor_ray.data.macro_sources import read_macro
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
    notes += panel.notes
    if settings.factors:
        panel, own_notes = _with_factors(panel, settings.factors)
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


def _with_factors(panel: Panel, files: Sequence[FactorFile]) -> tuple[Panel, list[str]]:
    """Join observed factors by month; return the panel with them, and what is to be known of their files."""
    frame = observed_factors({file.path: file.columns for file in files})
    return panel.with_factors(Macro.from_frame(frame, lag=0)), list(frame.attrs["notes"])


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

"""Data: the panel, its preparation, windows, sources and the simulated market. No torch, no Ray."""

from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.sample import Sample
from factor_ray.data.sources.crsp_wrds import crsp_from_wrds
from factor_ray.data.sources.daily_panel import daily_prices
from factor_ray.data.sources.fred_md import fred_md
from factor_ray.data.sources.french import french
from factor_ray.data.sources.goyal_welch import goyal_welch
from factor_ray.data.sources.jkp_details import jkp_factor_details
from factor_ray.data.sources.openap import openap
from factor_ray.data.sources.portfolio_panel import french_portfolios
from factor_ray.data.sources.table import table
from factor_ray.data.targets import excess_returns
from factor_ray.data.universe import Universe
from factor_ray.data.windows import Window, Windows

__all__ = [
    "Macro",
    "Panel",
    "Preprocess",
    "Sample",
    "Universe",
    "Window",
    "Windows",
    "crsp_from_wrds",
    "daily_prices",
    "excess_returns",
    "fred_md",
    "french",
    "french_portfolios",
    "goyal_welch",
    "jkp_factor_details",
    "openap",
    "prepare",
    "table",
]

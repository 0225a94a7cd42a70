"""Data: the panel, its preparation, windows, sources and the simulated market. No torch, no Ray."""

from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.sample import Sample
from factor_ray.data.targets import excess_returns
from factor_ray.data.universe import Universe
from factor_ray.data.windows import Window, Windows

__all__ = ["Macro", "Panel", "Preprocess", "Sample", "Universe", "Window", "Windows", "excess_returns", "prepare"]

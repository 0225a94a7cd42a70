"""Data: the panel, its preparation, windows, sources and the simulated market. No torch, no Ray."""

from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import Preprocess, prepare
from factor_ray.data.sample import Sample
from factor_ray.data.targets import excess_returns
from factor_ray.data.windows import Window, Windows

__all__ = ["Macro", "Panel", "Preprocess", "Sample", "Window", "Windows", "excess_returns", "prepare"]

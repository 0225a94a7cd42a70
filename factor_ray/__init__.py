"""Distributed hyperparameter and ensemble runs of conditional asset-pricing models, honestly out of sample.

The public names are loaded when they are first used: ``import factor_ray`` loads neither torch nor Ray.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from factor_ray.data.panel import Panel
    from factor_ray.data.simulation import simulate
    from factor_ray.data.windows import Windows
    from factor_ray.experiment import Experiment
    from factor_ray.models.quantile import quantile_regression
    from factor_ray.pipeline import run_experiment as run
    from factor_ray.run_directory import Run

_HOME = {
    "Experiment": ("factor_ray.experiment", "Experiment"),
    "Panel": ("factor_ray.data.panel", "Panel"),
    "Run": ("factor_ray.run_directory", "Run"),
    "Windows": ("factor_ray.data.windows", "Windows"),
    "quantile_regression": ("factor_ray.models.quantile", "quantile_regression"),
    "run": ("factor_ray.pipeline", "run_experiment"),
    "simulate": ("factor_ray.data.simulation", "simulate"),
}

# Intel's MKL, which torch multiplies with, otherwise rounds by where in memory an operand begins (seen on AMD's Zen 4):
# the same fit would differ from process to process. It reads this at its first product; the speed is the same.
os.environ.setdefault("MKL_CBWR", "AUTO,STRICT")

__all__ = ["Experiment", "Panel", "Run", "Windows", "quantile_regression", "run", "simulate"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'factor_ray' has no attribute {name!r}")
    module, attribute = _HOME[name]
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted(__all__)

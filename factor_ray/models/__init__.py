"""Models: CB-APM, the macro state and the quantile solver. No Ray; torch is loaded when something is fitted."""

from factor_ray.models.base import Fit, Hyperparameters, Model, Prediction
from factor_ray.models.cbapm import CBAPM, CBAPMSettings
from factor_ray.models.ipca import IPCA, IPCASettings
from factor_ray.models.macro_state import MacroState, MacroStateSettings, fit_macro_states
from factor_ray.models.registry import model, model_names

__all__ = [
    "CBAPM",
    "IPCA",
    "CBAPMSettings",
    "Fit",
    "Hyperparameters",
    "IPCASettings",
    "MacroState",
    "MacroStateSettings",
    "Model",
    "Prediction",
    "fit_macro_states",
    "model",
    "model_names",
]

"""Which models there are. Adding one is a file and a line here; third parties register an entry point."""

from __future__ import annotations

import difflib
import importlib
from importlib.metadata import entry_points

from factor_ray.errors import InputError
from factor_ray.models.base import Model

ENTRY_POINTS = "factor_ray.models"

_OURS = {
    "cbapm": "factor_ray.models.cbapm:CBAPM",
    "ipca": "factor_ray.models.ipca:IPCA",
    "neurif": "factor_ray.models.neurif:NeurIF",
    "mlp": "factor_ray.models.forecasters.mlp:MLP",
    "transformer": "factor_ray.models.forecasters.transformer:Transformer",
    "dlinear": "factor_ray.models.forecasters.dlinear:DLinear",
    "patchtst": "factor_ray.models.forecasters.patchtst:PatchTST",
    "crossformer": "factor_ray.models.forecasters.crossformer:Crossformer",
    "itransformer": "factor_ray.models.forecasters.itransformer:ITransformer",
    "sthd": "factor_ray.models.forecasters.sthd:STHD",
    "dy_gap": "factor_ray.models.forecasters.dy_gap:DYGAP",
    "qcf": "factor_ray.models.quantile.model_qcf:QCF",
    "qfm": "factor_ray.models.quantile.model_qfm:QFM",
    "qr_observed": "factor_ray.models.quantile.model_observed:ObservedFactors",
    "conditional_autoencoder": "factor_ray.models.conditional_autoencoder:ConditionalAutoencoder",
    "pca": "factor_ray.models.pca:PCA",
    "observed_factors": "factor_ray.models.observed_factors:ObservedFactorModel",
}


def model_names() -> tuple[str, ...]:
    """Names of all models that a configuration may use, ours first."""
    return (*_OURS, *sorted(point.name for point in entry_points(group=ENTRY_POINTS) if point.name not in _OURS))


def model(name: str) -> type[Model]:
    """Return the model of that name, importing it now.

    Raises
    ------
    InputError
        If no such model is registered.
    """
    if name in _OURS:
        module, attribute = _OURS[name].split(":")
        found: type[Model] = getattr(importlib.import_module(module), attribute)
        return found
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            loaded: type[Model] = point.load()
            return loaded
    near = difflib.get_close_matches(name, model_names(), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(model_names())}"
    raise InputError(f"models: there is no model {name!r}; {hint}")


def one_member(name: str) -> bool:
    """Whether an ensemble of the model has one member, because further ones could only repeat it."""
    return bool(getattr(model(name), "one_member", False))

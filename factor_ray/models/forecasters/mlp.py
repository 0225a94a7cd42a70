"""MLP: the last months laid side by side, and layers over them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import PositiveInt

from factor_ray.models.base import Hyperparameters, checked, shape
from factor_ray.models.forecasters.base import Forecaster, ForecasterSettings

if TYPE_CHECKING:
    from torch import nn


class MLPSettings(ForecasterSettings):
    """Hyperparameters of the MLP; with a lookback of 1 it sees what CB-APM's network sees."""

    hidden: tuple[PositiveInt, ...] = shape(
        (64, 32), "units of each hidden layer: Linear, LayerNorm, GELU, dropout", min_length=1
    )


class MLP(Forecaster):
    """Hidden layers over all characteristics of all months and the flags of the months that are observed."""

    name: ClassVar[str] = "mlp"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = MLPSettings

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network of a point for a number of inputs a month."""
        from factor_ray.models.forecasters.mlp_network import MLPNetwork

        point = checked(point, MLPSettings)
        return MLPNetwork(inputs, point.lookback, point.hidden, point.dropout)

"""Transformer encoder (Vaswani et al. 2017): months are tokens, and the last one forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from factor_ray.models.base import Hyperparameters, checked
from factor_ray.models.forecasters.base import AttentionSettings, Forecaster

if TYPE_CHECKING:
    from torch import nn


class TransformerSettings(AttentionSettings):
    """Hyperparameters of the Transformer."""


class Transformer(Forecaster):
    """A month's characteristics are a token with a learned position; the encoded last token forecasts."""

    name: ClassVar[str] = "transformer"
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Hyperparameters]] = TransformerSettings

    @classmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network of a point for a number of inputs a month."""
        from factor_ray.models.forecasters.transformer_network import TransformerNetwork

        point = checked(point, TransformerSettings)
        return TransformerNetwork(
            inputs, point.lookback, point.width, point.heads, point.layers, point.feedforward, point.dropout
        )

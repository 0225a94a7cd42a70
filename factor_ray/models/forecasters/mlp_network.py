"""The MLP's network. Axes: B rows of a batch, L months, I inputs of a month."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from factor_ray.models.forecasters.blocks import Drop, Network, head


class MLPNetwork(Network):
    """Linear, LayerNorm, GELU and dropout, layer after layer, over L I inputs and the flags of the earlier months."""

    def __init__(self, inputs: int, lookback: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        layers, width = [], lookback * inputs + lookback - 1
        for units in hidden:
            layers += [nn.Linear(width, units), nn.LayerNorm(units), nn.GELU(), Drop(dropout)]
            width = units
        self.layers, self.head = nn.Sequential(*layers), head(width)

    def forecast(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,)."""
        flat = torch.cat([x_BLI.flatten(1), observed_BL[:, :-1].to(x_BLI.dtype)], 1)
        forecast_B1: Tensor = self.head(self.layers(flat))
        return forecast_B1[:, 0]

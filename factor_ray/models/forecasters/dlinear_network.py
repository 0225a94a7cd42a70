"""DLinear's network. Axes: B rows of a batch, L months, I inputs of a month."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from factor_ray.models.forecasters.blocks import Drop, Network, head


class DLinearNetwork(Network):
    """Trend and remainder of every input's history, a linear map of each to one number, and a map I to 1."""

    def __init__(self, inputs: int, lookback: int, average: int, dropout: float) -> None:
        super().__init__()
        self.average = average
        self.trend, self.remainder = nn.Linear(lookback, 1), nn.Linear(lookback, 1)
        for along_time in (self.trend, self.remainder):
            nn.init.constant_(along_time.weight, 1 / lookback)
        self.drop, self.head = Drop(dropout), head(inputs)

    def forecast(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,)."""
        x_BIL = x_BLI.transpose(1, 2)
        trend_BIL, remainder_BIL = decompose(x_BIL, observed_BL[:, None, :].to(x_BIL.dtype), self.average)
        value_BI = (self.trend(trend_BIL) + self.remainder(remainder_BIL))[:, :, 0]
        forecast_B1: Tensor = self.head(self.drop(value_BI))
        return forecast_B1[:, 0]


def decompose(x_BIL: Tensor, observed_B1L: Tensor, average: int) -> tuple[Tensor, Tensor]:
    """Return trend and remainder (B, I, L): the moving average of observed months, edges repeated, and the rest.

    Both are zero in months that are not observed.
    """
    side = average // 2
    summed_BIL, count_B1L = (_moving_sum(values, side) for values in (x_BIL, observed_B1L))
    trend_BIL = summed_BIL / count_B1L.clamp_min(1.0) * observed_B1L
    return trend_BIL, x_BIL - trend_BIL


def _moving_sum(values_BIL: Tensor, side: int) -> Tensor:
    padded = functional.pad(values_BIL, (side, side), mode="replicate")
    months, total = values_BIL.shape[2], torch.zeros_like(values_BIL)
    for first in range(2 * side + 1):
        total = total + padded[:, :, first : first + months]
    return total

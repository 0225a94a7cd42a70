"""iTransformer's network. Axes: B rows of a batch, L months, I inputs of a month, J = I + 1 tokens, D of a token."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from factor_ray.models.forecasters.blocks import Drop, Encoder, Network, head, positions


class ITransformerNetwork(Network):
    """Every input's history as a token, and that of being observed; an encoder across them; a map of all of them."""

    def __init__(
        self, inputs: int, lookback: int, width: int, heads: int, layers: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.embed, self.mark_JD = nn.Linear(lookback, width), positions(inputs + 1, width)
        self.drop = Drop(dropout)
        self.encoder = Encoder(width, heads, layers, feedforward, dropout)
        self.head_drop, self.head = Drop(dropout), head((inputs + 1) * width)

    def forecast(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,)."""
        history_BJL = torch.cat([x_BLI, observed_BL[:, :, None].to(x_BLI.dtype)], 2).transpose(1, 2)
        code_BJD = self.encoder(self.drop(self.embed(history_BJL) + self.mark_JD))
        forecast_B1: Tensor = self.head(self.head_drop(code_BJD.flatten(1)))
        return forecast_B1[:, 0]

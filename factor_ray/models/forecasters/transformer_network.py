"""The Transformer's network. Axes: B rows of a batch, L months, I inputs of a month, D numbers of a token."""

from __future__ import annotations

from torch import Tensor, nn

from factor_ray.models.forecasters.blocks import Drop, Encoder, Network, head, positions


class TransformerNetwork(Network):
    """Months as tokens, an encoder that sees the observed ones, a linear map of the last token."""

    def __init__(
        self, inputs: int, lookback: int, width: int, heads: int, layers: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.embed, self.position_LD = nn.Linear(inputs, width), positions(lookback, width)
        self.drop = Drop(dropout)
        self.encoder = Encoder(width, heads, layers, feedforward, dropout)
        self.head = head(width)

    def forecast(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,)."""
        token_BLD = self.encoder(self.drop(self.embed(x_BLI) + self.position_LD), observed_BL)
        forecast_B1: Tensor = self.head(token_BLD[:, -1])
        return forecast_B1[:, 0]

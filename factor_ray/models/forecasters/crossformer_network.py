"""Crossformer's network.

Axes: B rows of a batch, L months, I inputs of a month, K segments of S months, R routers, D numbers of a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from factor_ray.models.forecasters.blocks import Attention, Drop, Encoder, FeedForward, Network, head, positions


class CrossformerNetwork(Network):
    """Embedded segments, scale after scale of two-stage attention, and a linear map of every scale's last segments."""

    def __init__(
        self,
        inputs: int,
        segment: int,
        scales: Sequence[int],
        *,
        routers: int,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.segment, self.months = segment, scales[0] * segment
        self.embed, self.position_IKD = nn.Linear(segment, width), positions(inputs, scales[0], width)
        self.norm, self.drop = nn.LayerNorm(width), Drop(dropout)
        self.merge = nn.ModuleList(Merge(width) for _ in scales[1:])
        self.attention = nn.ModuleList(
            TwoStageAttention(segments, routers, width, heads, feedforward, dropout) for segments in scales
        )
        self.head_drop = Drop(dropout)
        self.head = nn.ModuleList(head(inputs * width) for _ in scales)

    def forecast(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,)."""
        before = self.months - x_BLI.shape[1]
        x_BIKS = functional.pad(x_BLI.transpose(1, 2), (before, 0)).unfold(2, self.segment, self.segment)
        known_BK = functional.pad(observed_BL, (before, 0)).unfold(1, self.segment, self.segment).any(2)
        token_BIKD = self.drop(self.norm(self.embed(x_BIKS) + self.position_IKD))
        forecast_B1 = x_BLI.new_zeros(len(x_BLI), 1)
        for scale, (attention, last) in enumerate(zip(self.attention, self.head, strict=True)):
            if scale > 0:
                token_BIKD, known_BK = self.merge[scale - 1](token_BIKD, known_BK)
            token_BIKD = attention(token_BIKD, known_BK)
            forecast_B1 = forecast_B1 + last(self.head_drop(token_BIKD[:, :, -1].flatten(1)))
        return forecast_B1[:, 0]


class TwoStageAttention(nn.Module):
    """Attention along time in every input, then across inputs in every segment, through routers.

    Routers gather from all inputs and every input asks the routers: R I instead of I I pairs. Source: section 3.2.
    """

    def __init__(self, segments: int, routers: int, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.along_time = Encoder(width, heads, 1, feedforward, dropout)
        self.router_KRD = positions(segments, routers, width)
        self.gather, self.ask = Attention(width, heads), Attention(width, heads)
        self.norm, self.drop = nn.LayerNorm(width), Drop(dropout)
        self.feedforward = FeedForward(width, feedforward, dropout)

    def forward(self, token_BIKD: Tensor, known_BK: Tensor) -> Tensor:
        """Return (B, I, K, D); segments that are not known reach no other one."""
        rows, inputs, segments, _ = token_BIKD.shape
        in_time = self.along_time(token_BIKD.flatten(0, 1), known_BK.repeat_interleave(inputs, 0))  # (B I, K, D)
        across = in_time.unflatten(0, (rows, inputs)).transpose(1, 2).flatten(0, 1)  # (B K, I, D)
        routers = self.router_KRD.repeat(rows, 1, 1)  # (B K, R, D)
        asked = self.ask(across, self.gather(routers, across))
        across = self.feedforward(self.norm(across + self.drop(asked)))
        new_BIKD: Tensor = across.unflatten(0, (rows, segments)).transpose(1, 2)
        return new_BIKD


class Merge(nn.Module):
    """Two neighbouring segments become one; an odd first one is merged with nothing. Source: section 3.3."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(2 * width), nn.Linear(2 * width, width)

    def forward(self, token_BIKD: Tensor, known_BK: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens and which of them are known, with half of the segments."""
        odd = token_BIKD.shape[2] % 2
        token_BIKD = token_BIKD * known_BK[:, None, :, None]
        token_BIKD, known_BK = functional.pad(token_BIKD, (0, 0, odd, 0)), functional.pad(known_BK, (odd, 0))
        pair = torch.cat([token_BIKD[:, :, 0::2], token_BIKD[:, :, 1::2]], 3)
        return self.linear(self.norm(pair)), known_BK[:, 0::2] | known_BK[:, 1::2]

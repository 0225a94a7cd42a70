"""The network of STHD.

Axes: N assets of a month, L months of the lookback, I inputs of a month, T patches of an asset, K neighbours, A = 1 + K
assets of a sequence, D numbers of a token.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from factor_ray.models.forecasters.blocks import Attention, Drop, FeedForward, head, positions
from factor_ray.models.forecasters.sthd import STHDSettings


class STHDNetwork(nn.Module):
    """Patches of the target and its neighbours as one sequence; see `STHD`.

    Parameters
    ----------
    point : STHDSettings
    inputs : int
        I, characteristics and macro states; the own return is one more.
    """

    def __init__(self, point: STHDSettings, inputs: int) -> None:
        super().__init__()
        self._patch, width = point.patch, point.width
        patches = -(-point.lookback // point.patch)
        self._padding = patches * point.patch - point.lookback
        self.embed = nn.Linear(point.patch * (inputs + 1), width)
        self.time, self.place = positions(patches, width), positions(1 + point.neighbours, width)
        self.attention = nn.ModuleList(Attention(width, point.heads) for _ in range(point.layers))
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(point.layers))
        self.feedforward = nn.ModuleList(
            FeedForward(width, point.feedforward, point.dropout) for _ in range(point.layers)
        )
        self.drop = Drop(point.dropout)
        self.head = head(patches * width)

    def forward(self, x_NLI: Tensor, observed_NL: Tensor, r_NM: Tensor, links: tuple[Tensor]) -> Tensor:
        """Return standardised forecasts (N,)."""
        own_NTD, seen_NT = self._tokens(x_NLI, observed_NL, r_NM)
        (link_NK,) = links
        token_NSD, known_NS = self._sequences(own_NTD, seen_NT, link_NK)
        patches = seen_NT.shape[1]
        for layer, (attention, norm, feedforward) in enumerate(
            zip(self.attention, self.norm, self.feedforward, strict=True), start=1
        ):
            # Of the last layer the head reads the target's tokens alone.
            asking_NSD = token_NSD[:, :patches] if layer == len(self.attention) else token_NSD
            token_NSD = feedforward(norm(asking_NSD + self.drop(attention(asking_NSD, token_NSD, known_NS))))
        forecast_N1: Tensor = self.head(token_NSD.masked_fill(~seen_NT[:, :, None], 0.0).flatten(1))
        return forecast_N1[:, 0]

    def _tokens(self, x_NLI: Tensor, observed_NL: Tensor, r_NM: Tensor) -> tuple[Tensor, Tensor]:
        """One token a patch of every asset (N, T, D), and whether a month of it was observed (N, T)."""
        assets, months, _ = x_NLI.shape
        r_NL = r_NM[:, r_NM.shape[1] - months :].masked_fill(~observed_NL, 0.0)
        series_NLI = functional.pad(torch.cat([x_NLI, r_NL[:, :, None]], 2), (0, 0, self._padding, 0))
        seen_NL = functional.pad(observed_NL, (self._padding, 0))
        token_NTD = self.embed(series_NLI.reshape(assets, -1, self._patch * series_NLI.shape[2])) + self.time
        return token_NTD, seen_NL.view(assets, -1, self._patch).any(2)

    def _sequences(self, own_NTD: Tensor, seen_NT: Tensor, link_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of every asset and its neighbours (N, A T, D), and which are there (N, A T)."""
        assets, patches, width = own_NTD.shape
        self_N1 = torch.arange(assets, device=link_NK.device)[:, None]
        member_NA = torch.cat([self_N1, link_NK], 1)
        there_NA = member_NA >= 0
        row_B = member_NA.clamp_min(0).flatten()
        token_NATD = own_NTD.index_select(0, row_B).view(assets, -1, patches, width) + self.place[:, None, :]
        known_NAT = seen_NT.index_select(0, row_B).view(assets, -1, patches) & there_NA[:, :, None]
        return self.drop(token_NATD.flatten(1, 2)), known_NAT.flatten(1)

"""The attention blocks of NeurIF: along months, along embedded channels and across a month's assets.

Axes: T months, N rows of some whole months, n rows of one month, d width, h heads, m inducing points, K factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

Bounds = Sequence[tuple[int, int]]
"""First row and row after the last of each month."""

INDUCING_POINTS = 64
_LONGEST_WAVE = 10_000.0
_KERNEL = 5  # embedded channels that a channel's gate sees
_EXPANSION = 2  # of the feed-forward layers


def sinusoids(position_N: Tensor, width: int) -> Tensor:
    """Return the sinusoidal encoding (N, d) of whole numbers, taken modulo 2^31: angles of larger ones lose digits.

    Source: Vaswani et al. 2017, section 3.5.
    """
    even_D = torch.arange(0, width, 2, dtype=torch.float64, device=position_N.device)
    angle_ND = (position_N % 2**31).double()[:, None] / _LONGEST_WAVE ** (even_D / width)
    return torch.stack([angle_ND.sin(), angle_ND.cos()], 2).flatten(1)[:, :width].float()


class CausalAttention(nn.Module):
    """Multi-head self-attention along months; month t sees months up to t. Its output starts at zero."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, z_Td: Tensor) -> Tensor:
        """Return what is added to the embedding (T, d)."""
        query, key, value = (_split(part, self._heads) for part in self.inward(z_Td).chunk(3, 1))
        seen = scaled_dot_product_attention(query, key, value, is_causal=True)
        found: Tensor = self.outward(_join(seen))
        return found


class ChannelAttention(nn.Module):
    """Gates of the embedded channels: a convolution along the channels of a month's mean and maximum over assets."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv1d(2, 1, _KERNEL, padding=_KERNEL // 2)

    def forward(self, h_Nd: Tensor, bounds: Bounds) -> Tensor:
        """Return 1 + g for the rows of every month (N, d)."""
        months = [h_Nd[first:last] for first, last in bounds]
        pooled = [torch.stack([h_nd.mean(0), h_nd.amax(0)]) for h_nd in months]
        gate_Md = 1 + torch.sigmoid(self.convolution(torch.stack(pooled))[:, 0])
        if len(bounds) == 1:
            return gate_Md
        counts = torch.tensor([last - first for first, last in bounds], device=h_Nd.device)
        return torch.repeat_interleave(gate_Md, counts, 0, output_size=len(h_Nd))


class SpatialAttention(nn.Module):
    """Multi-head attention across the assets of each month.

    ``exact`` lets every asset see every other, at a cost of n^2. ``induced`` lets inducing points see all assets and
    every asset see these points (Lee et al. 2019, set transformer, equation 10), at a cost of n m.
    """

    def __init__(self, width: int, heads: int, kind: Literal["exact", "induced"]) -> None:
        super().__init__()
        self._heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)
        self.induced = kind == "induced"
        if self.induced:
            self.points_md = nn.Parameter(torch.randn(INDUCING_POINTS, width))
            self.norm = nn.LayerNorm(width)
            self.summary = nn.Linear(width, 2 * width)

    def forward(self, a_Nd: Tensor, bounds: Bounds) -> Tensor:
        """Return what is added to the rows (N, d)."""
        inward = self.inward(a_Nd)
        parts = [self._month(inward[first:last]) for first, last in bounds]
        found: Tensor = self.outward(parts[0] if len(parts) == 1 else torch.cat(parts))
        return found

    def _month(self, inward: Tensor) -> Tensor:
        query, key, value = (_split(part, self._heads) for part in inward.chunk(3, 1))
        if self.induced:
            points = _split(self.points_md, self._heads)
            seen_md = _join(scaled_dot_product_attention(points, key, value))
            summary = self.summary(self.norm(self.points_md + seen_md))
            key, value = (_split(part, self._heads) for part in summary.chunk(2, 1))
        return _join(scaled_dot_product_attention(query, key, value))


class Block(nn.Module):
    """One residual block of the loadings: channel attention, spatial attention, feed-forward layers."""

    def __init__(
        self, width: int, heads: int, *, channel: bool, spatial: Literal["exact", "induced"] | None, dropout: float
    ) -> None:
        super().__init__()
        self.channel = ChannelAttention() if channel else None
        self.spatial = SpatialAttention(width, heads, spatial) if spatial else None
        if spatial:
            self.norm_spatial = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, _EXPANSION * width)
        self.narrow = nn.Linear(_EXPANSION * width, width)
        self.drop = nn.Dropout(dropout)

    def forward(self, h_Nd: Tensor, position_Nd: Tensor, bounds: Bounds) -> Tensor:
        """Return the block's output (N, d)."""
        u_Nd = h_Nd if self.channel is None else h_Nd * self.channel(h_Nd, bounds)
        if self.spatial is not None:
            u_Nd = u_Nd + self.drop(self.spatial(self.norm_spatial(u_Nd + position_Nd), bounds))
        found: Tensor = u_Nd + self.drop(self.narrow(gelu(self.widen(self.norm(u_Nd)))))
        return found


def _split(rows_nd: Tensor, heads: int) -> Tensor:
    """Rows by head: (1, h, n, d / h)."""
    return rows_nd.view(1, len(rows_nd), heads, -1).transpose(1, 2)


def _join(heads: Tensor) -> Tensor:
    """Undo `_split`."""
    return heads.transpose(1, 2).flatten(2)[0]

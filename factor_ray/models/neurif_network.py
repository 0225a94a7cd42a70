"""The network of NeurIF: a global factor embedding refined along time, and loadings refined across assets.

Axes: T training months, N rows of some whole months, P characteristics, I instruments (characteristics and, where the
model has it, a constant, last), d width, K factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from factor_ray.models.neurif import NeurIFSettings
from factor_ray.models.neurif_attention import Block, Bounds, CausalAttention, sinusoids

Spatial = Literal["exact", "induced"]

_WIDEST_EXACT = {"cpu": 512, "cuda": 16_384}
"""Assets of a month up to which attention is exact where the setting is auto. On a processor induced points take less
time above about 250 assets, two thirds at 480 and a sixth at 2,400; on a GPU exact attention is fused."""


class Factors(nn.Module):
    """F' = (Z + CausalSelfAttention(Z)) W_F with Z = F_init + PE(t)."""

    def __init__(self, point: NeurIFSettings, month_T: Tensor) -> None:
        super().__init__()
        self.position_Td: Tensor
        self.register_buffer("position_Td", sinusoids(month_T - month_T[0], point.width))
        self.initial = nn.Parameter(torch.randn(len(month_T), point.width) / point.width**0.5)
        self.attention = CausalAttention(point.width, point.heads) if point.temporal else None
        self.outward = nn.Parameter(torch.empty(point.width, point.factors))
        nn.init.orthogonal_(self.outward)

    def forward(self) -> Tensor:
        """Return F' (T, K)."""
        z_Td = self.initial + self.position_Td
        return (z_Td if self.attention is None else z_Td + self.attention(z_Td)) @ self.outward

    @torch.no_grad()
    def start_at(self, factor_TK: Tensor) -> None:
        """Move the embedding, along the orthonormal columns of W_F, to where F' is as given."""
        self.initial.add_((factor_TK - self()) @ self.outward.T)


class Loadings(nn.Module):
    """Lambda = X Gamma + H W_out; H is the embedded characteristics after the attention blocks."""

    def __init__(self, point: NeurIFSettings, characteristics: int, spatial: Spatial | None) -> None:
        super().__init__()
        instruments = characteristics + point.constant
        self.gamma = nn.Parameter(torch.randn(instruments, point.factors) / instruments**0.5)
        self.inward = nn.Linear(characteristics, point.width) if point.blocks else None
        self.blocks = nn.ModuleList(
            Block(point.width, point.heads, channel=point.channel, spatial=spatial, dropout=point.dropout)
            for _ in range(point.blocks)
        )
        self.outward = nn.Parameter(torch.zeros(point.width, point.factors)) if point.blocks else None

    def forward(self, x_NP: Tensor, position_Nd: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor | None]:
        """Return X Gamma and H W_out (N, K); the second is None without blocks."""
        characteristics = x_NP.shape[1]
        linear_NK = x_NP @ self.gamma[:characteristics]
        if len(self.gamma) > characteristics:
            linear_NK = linear_NK + self.gamma[characteristics]
        if self.inward is None or self.outward is None:
            return linear_NK, None
        h_Nd = self.inward(x_NP)
        for block in self.blocks:
            h_Nd = block(h_Nd, position_Nd, bounds)
        return linear_NK, h_Nd @ self.outward


class Network(nn.Module):
    """Both parts, for their weights: each is run by itself."""

    def __init__(self, factors: Factors, loadings: Loadings) -> None:
        super().__init__()
        self.factors, self.loadings = factors, loadings


def part_of(weights: Mapping[str, Tensor], part: Literal["factors", "loadings"]) -> dict[str, Tensor]:
    """Return the weights of one part of the network, under that part's own names."""
    prefix = f"{part}."
    return {name.removeprefix(prefix): weight for name, weight in weights.items() if name.startswith(prefix)}


def spatial_kind(point: NeurIFSettings, widest: int, device: str) -> Spatial | None:
    """Return which attention a fit has whose widest month has so many assets; None without."""
    if not point.spatial or not point.blocks:
        return None
    if point.attention != "auto":
        return point.attention
    return "exact" if widest <= _WIDEST_EXACT["cuda" if torch.device(device).type == "cuda" else "cpu"] else "induced"


def orthogonality(factor_TK: Tensor) -> Tensor:
    """Return the mean squared cosine between different columns of the factors; 0 for one factor."""
    factors = factor_TK.shape[1]
    unit_TK = factor_TK / factor_TK.norm(dim=0).clamp_min(torch.finfo(factor_TK.dtype).tiny)
    cosine_KK = unit_TK.T @ unit_TK
    apart: Tensor = cosine_KK.square().sum() - cosine_KK.diagonal().square().sum()
    return apart / max(factors * (factors - 1), 1)

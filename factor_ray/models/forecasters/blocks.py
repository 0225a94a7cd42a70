"""What the forecasters' networks are built of.

Axes: B rows of a batch, L months, I inputs of a month, Q queries, K keys, A heads, D numbers of a token (a head's:
D / A). Networks hold no buffers, so that a member is its parameters.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from factor_ray.training.layers import Dropout

_BITS_A_WORD = 4  # 16-bit numbers in an int64


class Network(nn.Module):
    """A forecaster's network: months that are not observed are zero before anything looks at them.

    The mask is one flag a month, not one a characteristic: prepared panels have no gaps within an observed month.
    """

    def forward(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,)."""
        return self.forecast(x_BLI.masked_fill(~observed_BL[:, :, None], 0.0), observed_BL)

    def forecast(self, x_BLI: Tensor, observed_BL: Tensor) -> Tensor:
        """Return standardised forecasts (B,) from inputs that are zero where not observed."""
        raise NotImplementedError


class Drop(nn.Module):
    """Dropout from 16-bit random numbers of torch's generator, a fraction of the time of ``nn.Dropout`` on a CPU."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Return the input, in training with some of its numbers dropped and the others scaled up."""
        if not self.training or self.probability == 0:
            return x
        words = torch.empty(-(-x.numel() // _BITS_A_WORD), dtype=torch.int64, device=x.device).random_(-(2**63), None)
        bits = words.view(torch.int16)[: x.numel()].view(1, 1, -1)
        return x * Dropout(torch.tensor([self.probability], device=x.device)).mask(bits).view(x.shape)


class Attention(nn.Module):
    """Multi-head attention (Vaswani et al. 2017) of some tokens to others; its weights are not dropped."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.output = nn.Linear(width, width)

    def forward(self, query_BQD: Tensor, memory_BKD: Tensor, known_BK: Tensor | None = None) -> Tensor:
        """Return (B, Q, D); keys that are not known get no weight, and every row must know one."""
        mixed_BAQD = functional.scaled_dot_product_attention(
            self._split(self.query(query_BQD)),
            self._split(self.key(memory_BKD)),
            self._split(self.value(memory_BKD)),
            attn_mask=None if known_BK is None else known_BK[:, None, None, :],
        )
        mixed: Tensor = self.output(mixed_BAQD.transpose(1, 2).flatten(2))
        return mixed

    def _split(self, x_BKD: Tensor) -> Tensor:
        return x_BKD.view(*x_BKD.shape[:2], self.heads, -1).transpose(1, 2)


class FeedForward(nn.Module):
    """Sublayer around tokens: LN(x + FFN(x))."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.inner, self.outer, self.norm = nn.Linear(width, hidden), nn.Linear(hidden, width), nn.LayerNorm(width)
        self.drop = Drop(dropout)

    def forward(self, x_BKD: Tensor) -> Tensor:
        """Return (B, K, D)."""
        hidden_BKH = self.drop(functional.gelu(self.inner(x_BKD)))
        new_BKD: Tensor = self.norm(x_BKD + self.drop(self.outer(hidden_BKH)))
        return new_BKD


class Encoder(nn.Module):
    """Layers of self-attention and feed-forward, each followed by addition and LayerNorm (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int, layers: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.ModuleList(Attention(width, heads) for _ in range(layers))
        self.norm = nn.ModuleList(nn.LayerNorm(width) for _ in range(layers))
        self.feedforward = nn.ModuleList(FeedForward(width, feedforward, dropout) for _ in range(layers))
        self.drop = Drop(dropout)

    def forward(self, x_BKD: Tensor, known_BK: Tensor | None = None) -> Tensor:
        """Return (B, K, D)."""
        for attention, norm, feedforward in zip(self.attention, self.norm, self.feedforward, strict=True):
            x_BKD = feedforward(norm(x_BKD + self.drop(attention(x_BKD, x_BKD, known_BK))))
        return x_BKD


def positions(*size: int) -> nn.Parameter:
    """Return learned positions, drawn from N(0, 0.02^2) as in BERT and PatchTST."""
    place = nn.Parameter(torch.empty(*size))
    nn.init.normal_(place, std=0.02)
    return place


def head(width: int) -> nn.Linear:
    """Return the last linear map; it starts at zero, so that training starts at the zero forecast."""
    last = nn.Linear(width, 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return last

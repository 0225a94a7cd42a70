"""The network of DY-GAP, and its layers on graphs.

Axes: N assets of a month, L = 1 months of characteristics, I inputs, M months of returns, K neighbours (-1: nobody),
A heads, U units of a head, D = A U units of a layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from factor_ray.models.forecasters.blocks import Drop, head
from factor_ray.models.forecasters.dy_gap import DYGAPSettings

_SLOPE = 0.2  # of the leaky ReLU in the scores, as in the paper of graph attention
_NEVER = -1e9


class DYGAPNetwork(nn.Module):
    """Diffusion by attention on returns, and attention on characteristics, along two graphs; see `DYGAP`.

    Parameters
    ----------
    point : DYGAPSettings
    inputs : int
        I, characteristics and macro states.
    """

    def __init__(self, point: DYGAPSettings, inputs: int) -> None:
        super().__init__()
        width, heads = point.width, point.heads
        self._months = point.correlation_months
        self.own = nn.Linear(inputs, width)
        self.graphs = nn.ModuleList(
            GraphLayers(inputs, self._months, width, heads, point.steps) for _ in ("positive", "negative")
        )
        self.dense = nn.Linear(3 * width, point.hidden)
        self.drop = Drop(point.dropout)
        self.head = head(point.hidden)

    def forward(self, x_NLI: Tensor, observed_NL: Tensor, r_NM: Tensor, links: tuple[Tensor, Tensor]) -> Tensor:  # noqa: ARG002
        """Return standardised forecasts (N,)."""
        x_NI, r_NM = self.drop(x_NLI[:, -1]), r_NM[:, r_NM.shape[1] - self._months :]
        diffused_ND, attended = self.own(x_NI), []
        for layers, link_NK in zip(self.graphs, links, strict=True):
            travelled_ND, attended_ND = layers(x_NI, r_NM, link_NK)
            diffused_ND = diffused_ND + travelled_ND
            attended.append(attended_ND)
        layer_NH = functional.elu(torch.cat([diffused_ND, *attended], 1))
        hidden_NH = self.drop(functional.elu(self.dense(self.drop(layer_NH))))
        forecast_N1: Tensor = self.head(hidden_NH)
        return forecast_N1[:, 0]


class GraphLayers(nn.Module):
    """The layers along one graph."""

    def __init__(self, inputs: int, months: int, width: int, heads: int, steps: int) -> None:
        super().__init__()
        self.returns = GraphAttention(months, width, heads)
        self.diffusion = Diffusion(inputs, width, steps)
        self.features = GraphAttention(inputs, width, heads)

    def forward(self, x_NI: Tensor, r_NM: Tensor, link_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the characteristics that have diffused to every asset, and attention on them (N, D) each."""
        _, share_NKA = self.returns.attend(r_NM, link_NK)
        return self.diffusion(x_NI, link_NK, share_NKA), self.features(x_NI, with_self(link_NK))


class GraphAttention(nn.Module):
    """Graph attention (Velickovic et al. 2018, equations 1 to 4): each asset attends to its neighbours.

    Parameters
    ----------
    inputs, width, heads : int
        Inputs of an asset, D and A.
    """

    def __init__(self, inputs: int, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.value = nn.Linear(inputs, width, bias=False)
        self.asking = nn.Parameter(_small(heads, width // heads))
        self.asked = nn.Parameter(_small(heads, width // heads))

    def forward(self, x_NI: Tensor, link_NK: Tensor) -> Tensor:
        """Return the mean of the neighbours' values by their weights (N, D); zero for an asset without neighbours."""
        value_ND, share_NKA = self.attend(x_NI, link_NK)
        return spread(value_ND, link_NK, share_NKA)

    def attend(self, x_NI: Tensor, link_NK: Tensor) -> tuple[Tensor, Tensor]:
        """Return the values (N, D) and the neighbours' weights (N, K, A), which are zero where nobody is."""
        value_NAU = self.value(x_NI).view(len(x_NI), self._heads, -1)
        asking_NA, asked_NA = (value_NAU * self.asking).sum(2), (value_NAU * self.asked).sum(2)
        there_NK1 = (link_NK >= 0)[:, :, None]
        score_NKA = functional.leaky_relu(asking_NA[:, None] + _of(asked_NA, link_NK), _SLOPE)
        share_NKA = score_NKA.masked_fill(~there_NK1, _NEVER).softmax(1) * there_NK1
        return value_NAU.flatten(1), share_NKA


class Diffusion(nn.Module):
    """Diffusion convolution (Li et al. 2018, equation 2) of one graph: sum over k = 1, ..., steps of P^k X Theta_k.

    Every head's weights make a P of their own, for its share of the units.
    """

    def __init__(self, inputs: int, width: int, steps: int) -> None:
        super().__init__()
        self.theta = nn.ModuleList(nn.Linear(inputs, width, bias=False) for _ in range(steps))

    def forward(self, x_NI: Tensor, link_NK: Tensor, share_NKA: Tensor) -> Tensor:
        """Return (N, D); zero for an asset without neighbours."""
        # P (X Theta_1 + P (X Theta_2 + ...)): what travels is as wide as the layer, not as the inputs.
        diffused_ND = torch.zeros((), device=x_NI.device)
        for theta in reversed(self.theta):
            diffused_ND = spread(theta(x_NI) + diffused_ND, link_NK, share_NKA)
        return diffused_ND


def spread(value_ND: Tensor, link_NK: Tensor, share_NKA: Tensor) -> Tensor:
    """Return every asset's sum of its neighbours' values by their weights (N, D)."""
    value_NKAU = _of(value_ND, link_NK).view(*share_NKA.shape, -1)
    return (share_NKA[:, :, :, None] * value_NKAU).sum(1).flatten(1)


def with_self(link_NK: Tensor) -> Tensor:
    """Return the neighbours with the asset itself after them (N, K + 1)."""
    return torch.cat([link_NK, torch.arange(len(link_NK), device=link_NK.device)[:, None]], 1)


def _of(value_ND: Tensor, link_NK: Tensor) -> Tensor:
    """The neighbours' values (N, K, D); anyone's where nobody is."""
    return value_ND.index_select(0, link_NK.clamp_min(0).flatten()).view(*link_NK.shape, -1)


def _small(heads: int, units: int) -> Tensor:
    """Initial weights of scores (A, U), Glorot's as in the paper of graph attention."""
    return nn.init.xavier_uniform_(torch.empty(heads, units))

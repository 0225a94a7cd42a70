"""The next factors by temporal attention, trained strictly causally on the factors that training months realise.

NeurIF's own temporal attention reads an embedding that months after training do not have. This one reads realised
factors: f^_{t+1} = mean of f_1..f_t + s W_out gelu(z_t + CausalAttention(z)_t), z = (f / s) W_in + PE(t), with s the
factors' standard deviations and W_out zero at the start, so that it begins as the expanding mean. The last fifth of the
training months decide when to stop, and whether it departs from the mean at all. Axes: T month, K factor.
"""

from __future__ import annotations

import copy

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from factor_ray.models.base import Weights
from factor_ray.models.latent import FactorForecast
from factor_ray.models.neurif_attention import CausalAttention, sinusoids
from factor_ray.training.cpu import one_thread

Array = npt.NDArray[np.float64]

WIDTH, HEADS = 16, 2
EPOCHS, PATIENCE = 300, 30
LEARNING_RATE, WEIGHT_DECAY = 1e-2, 1e-2
_FIRST = 12  # months that a mean rests on before it is judged
_JUDGED = 0.2  # of the months
_PREFIX = "next_factor."


def fit_next_factor(factors_TK: Array, seed: int) -> dict[str, npt.NDArray[np.float32]]:
    """Train on realised factors.

    Parameters
    ----------
    factors_TK : array (T, K)
        One row for every month of training, in order; NaN rows are left out. Fewer than 36 known months train nothing:
        the forecast is their mean.
    seed : int
        Of the initial weights.

    Returns
    -------
    dict of str to float32 array
        Weights of :func:`next_factor`, their names beginning with ``next_factor.``.
    """
    known_T = np.isfinite(factors_TK).all(axis=1)
    known_tK = factors_TK[known_T]
    scale_K = known_tK.std(axis=0) if len(known_tK) else np.ones(factors_TK.shape[1])
    scale_K = np.where(scale_K > 0.0, scale_K, 1.0)
    with one_thread(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _NextFactor(factors_TK.shape[1])
        if len(known_tK) >= 3 * _FIRST:
            f_tK = torch.from_numpy(known_tK / scale_K).float()
            _train(network, f_tK, torch.from_numpy(np.flatnonzero(known_T)))
    weights = {f"{_PREFIX}{name}": value.detach().numpy().copy() for name, value in network.state_dict().items()}
    return {**weights, f"{_PREFIX}scale_K": scale_K.astype(np.float32)}


def next_factor(weights: Weights) -> FactorForecast:
    """Return what forecasts a later month's factors from those realised so far, month after month where it is farther.

    Parameters
    ----------
    weights : mapping of str to array
        Of a fit, those of :func:`fit_next_factor` among them.
    """
    own = {name.removeprefix(_PREFIX): weights[name] for name in weights if name.startswith(_PREFIX)}
    scale_K = np.asarray(own.pop("scale_K"), dtype=np.float64)
    network = _NextFactor(len(scale_K))
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in own.items()})

    def forecast(factors_TK: Array, steps: int) -> Array:
        known_T = np.isfinite(factors_TK).all(axis=1)
        if not known_T.any():
            return np.full(len(scale_K), np.nan)
        f_tK = torch.from_numpy(factors_TK[known_T] / scale_K).float()
        position_t = torch.from_numpy(np.flatnonzero(known_T))
        with torch.no_grad(), one_thread():
            for _ in range(steps):
                after_1K = network(f_tK, position_t)[-1:]
                f_tK, position_t = torch.cat([f_tK, after_1K]), torch.cat([position_t, position_t[-1:] + 1])
        return np.asarray(f_tK[-1].double().numpy() * scale_K)

    return forecast


class _NextFactor(nn.Module):
    """The month after each, (T, K), from factors in standard deviations up to it."""

    def __init__(self, factors: int) -> None:
        super().__init__()
        self.inward = nn.Linear(factors, WIDTH)
        self.attention = CausalAttention(WIDTH, HEADS)
        self.outward = nn.Linear(WIDTH, factors)
        nn.init.zeros_(self.outward.weight)
        nn.init.zeros_(self.outward.bias)

    def forward(self, f_TK: Tensor, position_T: Tensor) -> Tensor:
        z_Td = self.inward(f_TK) + sinusoids(position_T, WIDTH)
        z_Td = z_Td + self.attention(z_Td)
        mean_TK = f_TK.cumsum(0) / torch.arange(1, len(f_TK) + 1)[:, None]
        found: Tensor = mean_TK + self.outward(gelu(z_Td))
        return found


def _train(network: _NextFactor, f_TK: Tensor, position_T: Tensor) -> None:
    """Descend on the earlier months, and keep the weights that are best on the last ones; the first are the mean's."""
    pair_T = (position_T[1:] == position_T[:-1] + 1) & (torch.arange(len(f_TK) - 1) >= _FIRST)
    judged_T = pair_T & (torch.arange(len(pair_T)) >= round((1.0 - _JUDGED) * len(pair_T)))
    learned_T = pair_T & ~judged_T
    if not judged_T.any() or not learned_T.any():
        return
    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    best, kept, waited = np.inf, copy.deepcopy(network.state_dict()), 0
    for _ in range(EPOCHS):
        error_TK = (network(f_TK, position_T)[:-1] - f_TK[1:]) ** 2
        judged = error_TK.detach()[judged_T].mean().item()
        if judged < best:
            best, kept, waited = judged, copy.deepcopy(network.state_dict()), 0
        else:
            waited += 1
            if waited >= PATIENCE:
                break
        optimiser.zero_grad()
        error_TK[learned_T].mean().backward()
        optimiser.step()
    network.load_state_dict(kept)

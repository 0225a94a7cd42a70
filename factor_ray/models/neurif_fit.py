"""Fitting NeurIF: its side of the training loop, and what is kept of a fit.

Axes: T training months, N rows, P characteristics, I instruments, d width, K factors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call

from factor_ray.data.sample import History, Sample
from factor_ray.models.base import Fit, Weights
from factor_ray.models.latent import (
    OfRows,
    history_of,
    identification,
    realised_factors,
    realised_months,
    rotate_loadings,
)
from factor_ray.models.neurif import NeurIFSettings
from factor_ray.models.neurif_attention import sinusoids
from factor_ray.models.neurif_months import Months, ipca_of
from factor_ray.models.neurif_network import Factors, Loadings, Network, orthogonality, part_of, spatial_kind
from factor_ray.models.neurif_step import rank_of, return_loss, summed_over_ranks
from factor_ray.training.adam import StepSettings
from factor_ray.training.batches import shared_tensor
from factor_ray.training.cpu import one_thread
from factor_ray.training.loop import train as train_stack
from factor_ray.training.modules import initial_weights
from factor_ray.training.randomness import order_generator
from factor_ray.training.schedule import Schedule
from factor_ray.training.weights import Pass


def fit_members(
    points: Sequence[NeurIFSettings],
    seeds: Sequence[int],
    train: Sample,
    validation: Sample,
    *,
    order_seed: int,
    device: str,
) -> list[Fit]:
    """Fit points of one shape; see `NeurIF.fit_pack`."""
    task = NeurIFTask(points, seeds, train, validation, order_seed=order_seed, device=device)
    first = points[0]
    schedule = Schedule(first.epochs, first.patience, first.warm_up, first.plateau_patience, first.plateau_factor)
    settings = [
        StepSettings(point.learning_rate, point.weight_decay, point.gradient_clip, decoupled=True) for point in points
    ]
    return [
        Fit(
            weights={} if trained.diverged else identified(point, task.completed(member, trained.weights), train),
            scores={"selection": math.inf if trained.diverged else trained.best["validation_loss"]},
            history=trained.history,
            status="diverged" if trained.diverged else "ok",
            seconds=trained.seconds,
        )
        for member, (point, trained) in enumerate(
            zip(points, train_stack(task, settings, schedule, device=device), strict=True)
        )
    ]


def identified(point: NeurIFSettings, weights: Weights, train: Sample) -> Weights:
    """Return the weights of a fit under IPCA's identification, with the factors that training months realise.

    Gamma, F' and W_out turn together, so that no fit and no forecast changes.
    """
    months, realised_TK = realised_months(frozen_loadings(point, weights), history_of(train))
    rotation_KK = identification(weights["loadings.gamma"].astype(np.float64), realised_TK)
    turned = {
        name: rotate_loadings(weights[name].astype(np.float64), rotation_KK).astype(np.float32)
        for name in ("loadings.gamma", "loadings.outward")
        if name in weights
    }
    return {
        **weights,
        **turned,
        "embedded_factors": weights["embedded_factors"] @ rotation_KK,
        "factors": realised_TK @ rotation_KK,
        "months": months.astype(np.float64),
    }


def frozen_loadings(point: NeurIFSettings, weights: Weights) -> OfRows:
    """Return what gives the loadings (N, K) of one month's rows, with the weights of a fit."""
    tensors = part_of({name: torch.from_numpy(np.array(weight)) for name, weight in weights.items()}, "loadings")
    characteristics = len(tensors["gamma"]) - point.constant
    induced = "blocks.0.spatial.points_md" in tensors
    network = Loadings(point, characteristics, ("induced" if induced else "exact") if point.spatial else None).eval()

    def loadings(history: History, rows: slice) -> npt.NDArray[np.float32]:
        x_NP = torch.from_numpy(np.ascontiguousarray(history.x_HP[rows]))
        position_Nd = sinusoids(torch.from_numpy(history.asset_H[rows]), point.width)
        with torch.no_grad(), one_thread():
            linear_NK, beyond_NK = functional_call(network, tensors, (x_NP, position_Nd, [(0, len(x_NP))]))
        return np.asarray(linear_NK if beyond_NK is None else linear_NK + beyond_NK)

    return loadings


@dataclass(frozen=True)
class _Step:
    """Training months of one step, by number."""

    epoch: int
    months: tuple[int, ...]


class NeurIFTask:
    """Weights, steps, loss and validation of members of NeurIF, one member a pass.

    Targets are divided by their root mean square over the training rows, which the factors then carry.

    Parameters
    ----------
    points, seeds, train, validation, order_seed, device
        As in `NeurIF.fit_pack`.
    """

    members_per_pass = 1
    smallest_stack = 1

    def __init__(
        self,
        points: Sequence[NeurIFSettings],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,
        device: str,
    ) -> None:
        self._points, self._seeds, self._device = points, seeds, device
        self.scale = float(np.sqrt(np.nanmean(np.square(train.y_N, dtype=np.float64)))) or 1.0
        width = points[0].width
        self.months = Months(train, self.scale, width, device)
        self._validation = Months(validation, self.scale, width, device)
        self._order = order_generator(order_seed)
        self._start: tuple[Tensor, Tensor] | None = None
        self.networks = [self._built(member).to(device) for member in range(len(points))]

    def initialise(self, member: int) -> Mapping[str, Tensor]:
        """Draw a member's initial weights; Gamma and the factors start at IPCA's where the point says so."""
        weights = initial_weights(lambda: self._started(member), self._seeds[member])
        return {name: weight.cpu() for name, weight in weights.items()}

    def batches(self, epoch: int, members: Sequence[int]) -> Iterator[_Step]:  # noqa: ARG002
        """Yield an epoch's steps, which all members share: months with a known target, in a new order."""
        shuffled = self._order.permutation(self.months.learned)
        steps = -(-len(shuffled) // self._points[0].months_per_step)
        for months in np.array_split(shuffled, steps):
            yield _Step(epoch, tuple(months.tolist()))

    def present(self, batch: _Step, members: Sequence[int]) -> None:
        """All members take part in every step."""

    def loss(self, batch: _Step, through: Pass) -> Tensor:
        """Return the member's loss (1,)."""
        (member,) = through.members
        point, network = self._points[member], self.networks[member]
        value, factor_TK = return_loss(
            network.train(),
            {name: stack[0] for name, stack in through.weights.items()},
            self.months,
            batch.months,
            instrumentation=point.instrumentation,
            workers=point.workers,
            dropout_seed=(self._seeds[member], batch.epoch) if point.dropout else None,
        )
        return (value + point.orthogonality * orthogonality(factor_TK))[None]

    def validate(self, through: Pass) -> dict[str, Tensor]:
        """Return the loss of the validation months' total fit over that of zero (1,)."""
        (member,) = through.members
        network, workers = self.networks[member].eval(), self._points[member].workers
        weights = part_of({name: stack[0] for name, stack in through.weights.items()}, "loadings")
        sums = np.zeros(2)
        for chunk in self._validation.chunks(self._validation.learned[rank_of(workers) :: workers]):
            inputs = (chunk.x_nP, chunk.position_nd, chunk.bounds)
            linear_nK, beyond_nK = functional_call(network.loadings, weights, inputs)
            loading_nK = (linear_nK if beyond_nK is None else linear_nK + beyond_nK).double().cpu().numpy()
            y_n = np.where(chunk.known_n.cpu(), chunk.y_n.double().cpu(), np.nan)
            for first, last in chunk.bounds:
                sums += _errors_and_squares(loading_nK[first:last], y_n[first:last])
        total = torch.from_numpy(sums).to(self._device)
        if workers > 1:
            (total,) = summed_over_ranks([total])
        return {"validation_loss": (total[0] / total[1])[None]}

    def completed(self, member: int, weights: Weights) -> Weights:
        """Return a member's loadings and, in place of the embedding, the factors F' in decimals (T, K)."""
        tensors = {name: shared_tensor(weight) for name, weight in weights.items()}
        network = self.networks[member].cpu()
        with torch.no_grad(), one_thread():
            factor_TK = functional_call(network.factors, part_of(tensors, "factors"), ())
        loadings = {name: weight for name, weight in weights.items() if name.startswith("loadings.")}
        return {**loadings, "embedded_factors": factor_TK.double().numpy() * self.scale}

    def _built(self, member: int) -> Network:
        point = self._points[member]
        spatial = spatial_kind(point, self.months.widest, self._device)
        return Network(Factors(point, self.months.month_T), Loadings(point, self.months.characteristics, spatial))

    def _started(self, member: int) -> Network:
        network, point = self._built(member), self._points[member]
        if point.start == "ipca":
            if self._start is None:
                found = ipca_of(self.months, point.factors, constant=point.constant)
                self._start = (found[0].float().cpu(), found[1].float().cpu())
            gamma_IK, factor_TK = self._start
            size_K = factor_TK.square().mean(0).sqrt().sqrt().clamp_min(1e-3)
            network.loadings.gamma.data.copy_(gamma_IK * size_K)
            network.factors.start_at(factor_TK / size_K)
        return network


def _errors_and_squares(loading_nK: npt.NDArray[np.float64], y_n: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Sums over one month's known returns: squared errors of the total fit (of zero without factors), and squares."""
    fit_n = loading_nK @ np.nan_to_num(realised_factors(loading_nK, y_n))
    return float(np.nansum(np.square(y_n - fit_n))), float(np.nansum(np.square(y_n)))

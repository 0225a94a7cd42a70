"""NeurIF's side of the training loop.

Axes: T training months, N rows, n rows of a chunk, I instruments, K factors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.func import functional_call

from factor_ray.data.sample import Sample
from factor_ray.models.base import Weights
from factor_ray.models.ipca import IPCA, IPCASettings
from factor_ray.models.latent import left_out_residuals, realised_factors
from factor_ray.models.neurif import NeurIFSettings
from factor_ray.models.neurif_months import Months
from factor_ray.models.neurif_network import Factors, Loadings, Network, orthogonality, part_of, spatial_kind
from factor_ray.models.neurif_step import rank_of, return_loss, summed_over_ranks
from factor_ray.training.batches import shared_tensor
from factor_ray.training.cpu import one_thread
from factor_ray.training.modules import initial_weights
from factor_ray.training.randomness import order_generator
from factor_ray.training.weights import Pass

_ALTERNATIONS = 50
_SMALLEST = 1e-3  # size of a factor, in units of the returns', from which it can still grow


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
        self._start = _ipca_of(train, validation, points[0]) if points[0].start == "ipca" else None
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
        """Return the losses of the validation months' total fits over that of zero (1,).

        ``total_loss`` is plain. ``validation_loss``, which stops a fit, realises an asset's factors without its own
        return: large loadings of volatile assets lower the plain one by fitting their noise.
        """
        (member,) = through.members
        network, workers = self.networks[member].eval(), self._points[member].workers
        weights = part_of({name: stack[0] for name, stack in through.weights.items()}, "loadings")
        sums = np.zeros(3)
        for chunk in self._validation.chunks(self._validation.learned[rank_of(workers) :: workers]):
            inputs = (chunk.x_nP, chunk.position_nd, chunk.bounds)
            linear_nK, beyond_nK = functional_call(network.loadings, weights, inputs)
            loading_nK = (linear_nK if beyond_nK is None else linear_nK + beyond_nK).double().cpu().numpy()
            y_n = np.where(chunk.known_n.cpu(), chunk.y_n.double().cpu(), np.nan)
            for first, last in chunk.bounds:
                sums += _squares(loading_nK[first:last], y_n[first:last])
        total = torch.from_numpy(sums).to(self._device)
        if workers > 1:
            (total,) = summed_over_ranks([total])
        return {"validation_loss": (total[0] / total[2])[None], "total_loss": (total[1] / total[2])[None]}

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
        network = self._built(member)
        if self._start is not None:
            gamma_IK, factor_TK = self._start
            size_K = (factor_TK.square().mean(0).sqrt() / self.scale).sqrt().clamp_min(_SMALLEST)  # shared by both
            network.loadings.gamma.data.copy_(gamma_IK * size_K)
            network.factors.start_at(factor_TK / self.scale / size_K)
        return network


def _ipca_of(train: Sample, validation: Sample, point: NeurIFSettings) -> tuple[Tensor, Tensor]:
    """Gamma (I, K) and factors (T, K) of IPCA; months with fewer known targets than factors have factors of zero."""
    settings = IPCASettings(factors=point.factors, constant=point.constant, iterations=_ALTERNATIONS)
    (fit,) = IPCA.fit_pack([settings], [0], train, validation, order_seed=0)
    gamma_IK, factor_TK = fit.weights["gamma"], np.nan_to_num(fit.weights["factors"])
    return torch.from_numpy(gamma_IK).float(), torch.from_numpy(factor_TK).float()


def _squares(loading_nK: npt.NDArray[np.float64], y_n: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Sums over one month's known returns of squares: left-out residuals, plain residuals, returns.

    Where there are no factors the return is left.
    """
    left_out_n = left_out_residuals(loading_nK, y_n)
    plain_n = y_n - loading_nK @ np.nan_to_num(realised_factors(loading_nK, y_n))
    parts = (np.where(np.isnan(left_out_n), y_n, left_out_n), plain_n, y_n)
    return tuple(float(np.nansum(np.square(part_n))) for part_n in parts)  # type: ignore[return-value]

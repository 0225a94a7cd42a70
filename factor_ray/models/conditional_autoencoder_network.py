"""The conditional autoencoder's network, its training, and its rotation to identified factors.

Axes: S members of one pass (one), B rows of a batch, N rows of a month, M months of a batch, I instruments
(characteristics and a constant), P characteristics, H hidden units, K factors, T months.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from factor_ray.data.sample import History, Sample
from factor_ray.models.base import Fit, Weights
from factor_ray.models.conditional_autoencoder import ConditionalAutoencoderSettings
from factor_ray.models.instruments import Moments, month_moments, projection
from factor_ray.models.latent import (
    Array,
    OfRows,
    history_of,
    identification,
    left_out_loss_ratio,
    months_of,
    realised_months,
    rotate_loadings,
    total_loss_ratio,
    trained_months,
)
from factor_ray.training.adam import StepSettings
from factor_ray.training.batches import RowArray, SharedOrder, shared_tensor
from factor_ray.training.cpu import one_thread
from factor_ray.training.layers import he_normal, hidden_layer, linear
from factor_ray.training.loop import TrainedMember
from factor_ray.training.loop import train as train_stack
from factor_ray.training.randomness import initial_generator
from factor_ray.training.schedule import Schedule
from factor_ray.training.weights import Pass

_RIDGE = 1e-6  # over the mean diagonal of Z'Z, which is singular in a month with fewer assets than instruments
_FADED = 1e-6  # of the loadings' second moment: a factor without loadings has no length to normalise


def fit_stack(
    points: Sequence[ConditionalAutoencoderSettings],
    seeds: Sequence[int],
    train: Sample,
    validation: Sample,
    *,
    order_seed: int,
    device: str,
) -> list[Fit]:
    """Fit points of one shape as one stack; see `ConditionalAutoencoder.fit_pack`."""
    moments = month_moments(train, constant=True)
    task = AutoencoderTask(points, seeds, train, validation, moments, order_seed=order_seed, device=device)
    first = points[0]
    schedule = Schedule(first.epochs, first.patience, first.warm_up, first.plateau_patience, first.plateau_factor)
    settings = [StepSettings(point.learning_rate, clip=point.gradient_clip) for point in points]
    return [_fit(member, train, validation) for member in train_stack(task, settings, schedule, device=device)]


def loadings(weights: Mapping[str, npt.NDArray[np.floating]]) -> OfRows:
    """Return the function that computes a month's loadings with a member's weights."""
    names = [name for name in weights if name.startswith(("hidden", "head"))]
    return _of_rows({name: torch.from_numpy(np.array(weights[name]))[None] for name in names})


def betas(weights: Mapping[str, Tensor], x_SBP: Tensor) -> Tensor:
    """Map characteristics to loadings: (S, B, K)."""
    h_SBH, layer = x_SBP, 0
    while f"hidden{layer}.weight" in weights:
        weight, bias, gain, shift = (weights[f"hidden{layer}.{name}"] for name in ("weight", "bias", "gain", "shift"))
        h_SBH = hidden_layer(h_SBH, weight, bias, gain, shift, None)
        layer += 1
    return linear(h_SBH, weights["head.weight"], weights["head.bias"])


@dataclass(frozen=True)
class _Batch:
    """The known rows of some months, and the months' portfolios."""

    x_BP: Tensor
    y_B: Tensor
    month_B: Tensor
    portfolio_MI: Tensor


class AutoencoderTask:
    """Weights, batches of months, loss and validation of a stack of conditional autoencoders.

    The loss is computed on returns, and on portfolios, divided by their root mean squares over the training months, so
    that a fit of zero has loss 1.

    Parameters
    ----------
    points, seeds, train, validation, order_seed, device
        As in `ConditionalAutoencoder.fit_pack`.
    moments : Moments
        Of the training sample, with a constant.
    """

    members_per_pass = 1
    smallest_stack = 1

    def __init__(
        self,
        points: Sequence[ConditionalAutoencoderSettings],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        moments: Moments,
        *,
        order_seed: int,
        device: str,
    ) -> None:
        self._points, self._seeds, self._validation = points, seeds, validation
        self._device, self._characteristics = device, train.x_NP.shape[1]
        self._x_NP, self._y_N = shared_tensor(train.x_NP), shared_tensor(train.y_N)
        spans = [rows for _, rows in months_of(train.month_N)]
        self._rows = [(rows.start + np.flatnonzero(np.isfinite(train.y_N[rows]))).astype(np.int32) for rows in spans]
        with_targets = np.flatnonzero(moments.count_T).astype(np.int32)
        self._order = SharedOrder(with_targets, points[0].months_per_batch, order_seed)
        self._y_scale = float(np.sqrt(moments.square_T.sum() / moments.count_T.sum())) or 1.0
        portfolio_TI = _portfolios(moments)
        scale = float(np.sqrt(np.mean(np.square(portfolio_TI[with_targets])))) or 1.0
        self._portfolio_TI = torch.from_numpy(np.asarray(portfolio_TI / scale, dtype=np.float32))

    def initialise(self, member: int) -> dict[str, Tensor]:
        """Draw a member's initial weights: He's."""
        generator, point = initial_generator(self._seeds[member]), self._points[member]
        weights, inputs = {}, self._characteristics
        for layer, units in enumerate(point.hidden):
            weights[f"hidden{layer}.weight"] = he_normal(generator, inputs, units)
            weights[f"hidden{layer}.bias"] = torch.zeros(units)
            weights[f"hidden{layer}.gain"] = torch.ones(units)
            weights[f"hidden{layer}.shift"] = torch.zeros(units)
            inputs = units
        weights["head.weight"] = he_normal(generator, inputs, point.factors)
        weights["head.bias"] = torch.zeros(point.factors)
        weights["factors.weight"] = he_normal(generator, self._portfolio_TI.shape[1], point.factors)
        return weights

    def batches(self, epoch: int, members: Sequence[int]) -> Iterator[_Batch]:  # noqa: ARG002
        """Yield an epoch's batches of months, which all members share."""
        for months in self._order.epoch():
            rows: RowArray = np.concatenate([self._rows[month] for month in months])
            month_B = np.repeat(np.arange(len(months)), [len(self._rows[month]) for month in months])
            row_B = torch.from_numpy(rows)
            yield _Batch(
                x_BP=self._x_NP.index_select(0, row_B).to(self._device),
                y_B=(self._y_N.index_select(0, row_B) / self._y_scale).to(self._device),
                month_B=torch.from_numpy(month_B).to(self._device),
                portfolio_MI=self._portfolio_TI[torch.from_numpy(months.astype(np.int64))].to(self._device),
            )

    def present(self, batch: _Batch, members: Sequence[int]) -> None:
        """All members take part in every batch."""

    def loss(self, batch: _Batch, through: Pass) -> Tensor:
        """Return the mean squared error, as a share of that of zero, and the penalty: (1,)."""
        beta_BK = betas(through.weights, batch.x_BP[None])[0]
        factor_MK = batch.portfolio_MI @ through.weights["factors.weight"][0]
        fit_B = (beta_BK * factor_MK.index_select(0, batch.month_B)).sum(1)
        size = torch.stack([w.abs().sum() for name, w in through.weights.items() if name.endswith("weight")]).sum()
        loss = (batch.y_B - fit_B).square().mean() + self._points[through.members[0]].l1 * size
        return loss[None]

    def validate(self, through: Pass) -> dict[str, Tensor]:
        """Return the validation loss of the fit without an asset's own return over that of zero: (1,)."""
        ratio = left_out_loss_ratio(_of_rows(through.weights), self._validation)
        return {"validation_loss": torch.tensor([ratio], dtype=torch.float64)}


def _fit(trained: TrainedMember, train: Sample, validation: Sample) -> Fit:
    if trained.diverged:
        scores = {"selection": float("inf"), "total_r2": float("-inf")}
        return Fit(trained.weights, scores, trained.history, "diverged", trained.seconds)
    weights = _identified(trained.weights, train)
    scores = {
        "selection": trained.best["validation_loss"],
        "total_r2": 1 - total_loss_ratio(loadings(weights), validation),
    }
    return Fit(weights, scores, trained.history, seconds=trained.seconds)


def _identified(weights: Weights, train: Sample) -> Weights:
    """Rotate the last layer, realise the training months' factors and describe the loadings by a linear projection."""
    network = {name: array for name, array in weights.items() if name != "factors.weight"}
    of_rows, history = loadings(network), history_of(train)
    months, factors_TK = realised_months(of_rows, history)
    factors = factors_TK.shape[1]
    square_KK = np.zeros((factors, factors))
    for _, rows in months_of(history.month_H):
        beta_NK = of_rows(history, rows).astype(np.float64)
        square_KK += beta_NK.T @ beta_NK / len(history)
    square_KK += _FADED * np.trace(square_KK) / factors * np.eye(factors)
    rotation_KK = identification(np.asarray(np.linalg.cholesky(square_KK).T), factors_TK)
    for name in ("head.weight", "head.bias"):
        network[name] = rotate_loadings(weights[name].astype(np.float64), rotation_KK).astype(np.float32)
    return {
        **network,
        **trained_months(months, train),
        "factors": factors_TK @ rotation_KK,
        "gamma": projection(loadings(network), history),
    }


def _of_rows(weights: Mapping[str, Tensor]) -> OfRows:
    device = weights["head.weight"].device

    def of_rows(history: History, rows: slice) -> npt.NDArray[np.float32]:
        with torch.no_grad(), one_thread():
            found: npt.NDArray[np.float32] = (
                betas(weights, shared_tensor(history.x_HP[rows]).to(device)[None])[0].cpu().numpy()
            )
        return found

    return of_rows


def _portfolios(moments: Moments) -> Array:
    """Return x_t = (Z'Z)^-1 Z'r of every month (T, I)."""
    instruments = moments.cross_TI.shape[1]
    scale_T = np.maximum(np.trace(moments.gram_TII, axis1=1, axis2=2) / instruments, np.finfo(np.float64).tiny)
    gram_TII = moments.gram_TII + _RIDGE * scale_T[:, None, None] * np.eye(instruments)
    return np.asarray(np.linalg.solve(gram_TII, moments.cross_TI[..., None])[..., 0])

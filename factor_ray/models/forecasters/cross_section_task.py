"""The side of the training loop of forecasters that look across assets, and their forecasts.

Axes: N rows of a month, P characteristics, d macro states, I = P + d inputs, L months of the lookback, M months of
returns, K neighbours, S = 1 member of a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from factor_ray.data.sample import FloatArray, Sample
from factor_ray.models.base import Prediction, Weights
from factor_ray.models.forecasters.cross_section import (
    CrossSection,
    CrossSectionSettings,
    LatestMonths,
    Month,
    Months,
    history_of,
)
from factor_ray.models.forecasters.members import bare, network_weights
from factor_ray.training.cpu import one_thread
from factor_ray.training.modules import initial_weights, run_member, run_weights, seeded
from factor_ray.training.randomness import order_generator
from factor_ray.training.weights import Pass

_LARGEST_RETURN = 5.0  # root mean squares
_BLOCK_ROWS = 65_536
_SCALES = ("input_mean", "input_scale", "own_return_scale", "return_scale")

Tensors = tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...]]
"""What a network is called with: x (N, L, I), observed (N, L), r (N, M) and links (N, K) each."""

_latest = LatestMonths()


class Member:
    """One fitted member: maps the rows of a month, with their history, to forecasts."""

    def __init__(self, model: type[CrossSection], point: CrossSectionSettings, weights: Weights) -> None:
        self._model, self._point = model, point
        self._scales = {name: np.array(weights[name]) for name in _SCALES}
        self._weights = network_weights(weights, _SCALES)
        self._module = bare(model.network, point, len(weights["input_mean"])).eval()

    def __call__(self, sample: Sample) -> Prediction:
        """Forecast the rows, month by month."""
        months = _latest.of(self._model, self._point, sample)
        return_N = np.empty(len(sample), np.float32)
        with torch.no_grad(), one_thread():
            for rows in months.rows:
                inputs = _tensors(months.month(rows), self._scales, "cpu")
                standard_N = run_weights(self._module, self._weights, *inputs)
                return_N[rows] = standard_N.numpy() * self._scales["return_scale"][0]
        return Prediction(return_N)


@dataclass(frozen=True)
class _Batch:
    """One month, shared by all members; ``share_N`` are the rows' weights in the loss, 0 without a target."""

    inputs: Tensors
    y_N: Tensor
    share_N: Tensor
    epoch: int
    step: int


class CrossSectionTask:
    """Weights, months, loss and validation of some members of one forecaster across assets.

    Parameters
    ----------
    model : type of CrossSection
    points, seeds, train, validation, order_seed, device
        As in `CrossSection.fit_pack`.

    Attributes
    ----------
    scales : mapping of name to float32 array
        By which inputs and targets are standardised; from training rows alone.
    return_loss_of_zero : float
        Mean square of the known validation targets.
    """

    members_per_pass = 1
    smallest_stack = 1

    def __init__(
        self,
        model: type[CrossSection],
        points: Sequence[CrossSectionSettings],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,
        device: str,
    ) -> None:
        self._model, self._points, self._seeds, self._device = model, points, seeds, device
        self._train, self._validation = Months(model, points[0], train), Months(model, points[0], validation)
        self._modules = [bare(model.network, point, self._train.width) for point in points]
        self._y_N, self._validation_y_N = train.y_N, validation.y_N
        self._rows = _with_target(self._train, train.y_N)
        self._validation_rows = _with_target(self._validation, validation.y_N)
        self._known_a_month = np.isfinite(train.y_N).sum() / len(self._rows)
        self._known = int(np.isfinite(validation.y_N).sum())
        self._generator = order_generator(order_seed)
        self.scales = _scales(train)
        self.return_loss_of_zero = _root_mean_square(validation.y_N) ** 2

    def initialise(self, member: int) -> dict[str, Tensor]:
        """Draw a member's initial weights as its network draws them."""
        return initial_weights(
            lambda: self._model.network(self._points[member], self._train.width), self._seeds[member]
        )

    def batches(self, epoch: int, members: Sequence[int]) -> Iterable[_Batch]:  # noqa: ARG002
        """Yield the training months in an order of this epoch's, which all members share."""
        for step, number in enumerate(self._generator.permutation(len(self._rows))):
            rows = self._rows[number]
            y_N, known_N = self._targets(self._y_N, rows)
            inputs = _tensors(self._train.month(rows), self.scales, self._device)
            yield _Batch(inputs, y_N, known_N / self._known_a_month, epoch, step)

    def present(self, batch: _Batch, members: Sequence[int]) -> None:
        """All members take part in every month."""

    def loss(self, batch: _Batch, through: Pass) -> Tensor:
        """Return the squared error of a month (S,), whose mean over months is that over all known targets."""
        (member,) = through.members
        with seeded("dropout", self._seeds[member], batch.epoch, batch.step, device=self._device):
            forecast_N = run_member(self._modules[member].train(), through, *batch.inputs)
        return ((forecast_N - batch.y_N).square() * batch.share_N).sum()[None]

    def validate(self, through: Pass) -> dict[str, Tensor]:
        """Return the validation losses (S,): standardised, and in squared decimals."""
        (member,) = through.members
        module, total = self._modules[member].eval(), torch.zeros(1, dtype=torch.float64, device=self._device)
        for rows in self._validation_rows:
            inputs = _tensors(self._validation.month(rows), self.scales, self._device)
            y_N, known_N = self._targets(self._validation_y_N, rows)
            total += ((run_member(module, through, *inputs) - y_N).square() * known_N).sum(dtype=torch.float64)
        loss = total / self._known
        return {"validation_loss": loss, "return_loss": loss * float(self.scales["return_scale"][0]) ** 2}

    def _targets(self, y_N: FloatArray, rows: slice) -> tuple[Tensor, Tensor]:
        """Standardised targets of a month, zero where not known, and 1 where they are known."""
        known_N = np.isfinite(y_N[rows])
        standard_N = np.where(known_N, y_N[rows] / self.scales["return_scale"], 0).astype(np.float32)
        return torch.from_numpy(standard_N).to(self._device), torch.from_numpy(known_N).float().to(self._device)


def _tensors(month: Month, scales: Weights, device: str) -> Tensors:
    """Standardise a month, in torch's own, aligned memory."""
    observed_NL, known_NM = torch.from_numpy(month.observed_NL), torch.from_numpy(np.isfinite(month.r_NM))
    mean_I, scale_I = (torch.from_numpy(scales[name]) for name in ("input_mean", "input_scale"))
    x_NLI = ((torch.from_numpy(month.x_NLI) - mean_I) / scale_I).masked_fill_(~observed_NL[:, :, None], 0.0)
    r_NM = torch.from_numpy(month.r_NM) / float(scales["own_return_scale"][0])
    r_NM = r_NM.clamp_(-_LARGEST_RETURN, _LARGEST_RETURN).masked_fill_(~known_NM, 0.0)
    links = tuple(torch.from_numpy(link_NK.astype(np.int64)).to(device) for link_NK in month.links)
    return x_NLI.to(device), observed_NL.to(device), r_NM.to(device), links


def _scales(train: Sample) -> dict[str, FloatArray]:
    """Means and deviations of the inputs, and root mean squares of own returns and targets, over training rows."""
    r_H = history_of(train).r_H
    own_N = r_H[len(r_H) - len(train) :]
    z_Td = train.z_Td[np.unique(train.month_N)]
    moments = [_moments(values) for values in (train.x_NP, z_Td)]
    mean_I, scale_I = (np.concatenate(parts) for parts in zip(*moments, strict=True))
    return {
        "input_mean": mean_I.astype(np.float32),
        "input_scale": np.where(scale_I > 1e-6, scale_I, 1).astype(np.float32),
        "own_return_scale": np.array([_root_mean_square(own_N)], np.float32),
        "return_scale": np.array([_root_mean_square(train.y_N)], np.float32),
    }


def _moments(values: FloatArray) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean and standard deviation of every column, without a copy of the whole."""
    blocks = [values[start : start + _BLOCK_ROWS] for start in range(0, len(values), _BLOCK_ROWS)]
    mean = sum(block.sum(axis=0, dtype=np.float64) for block in blocks) / len(values)
    square = sum(np.square(block - mean).sum(axis=0) for block in blocks) / len(values)
    return mean, np.sqrt(square)


def _root_mean_square(values: FloatArray) -> float:
    """Root mean square of the known values; 1 where none is known, or all are zero."""
    known = values[np.isfinite(values)].astype(np.float64)
    return float(np.sqrt(np.mean(np.square(known)))) or 1.0 if len(known) else 1.0


def _with_target(months: Months, y_N: FloatArray) -> list[slice]:
    return [rows for rows in months.rows if np.isfinite(y_N[rows]).any()]

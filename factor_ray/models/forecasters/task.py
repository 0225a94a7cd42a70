"""The forecasters' side of the training loop, and their forecasts.

Axes: N rows of a sample, B rows of a batch or block, L months of the lookback, I inputs of a month, S = 1 member of a
pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from factor_ray.data.sample import IntArray, Sample
from factor_ray.models.base import Prediction, Weights
from factor_ray.models.forecasters.base import ForecasterSettings
from factor_ray.models.forecasters.lookback import Lookback
from factor_ray.models.forecasters.members import Build, bare, network_weights
from factor_ray.training.batches import SharedOrder
from factor_ray.training.cpu import one_thread
from factor_ray.training.modules import initial_weights, run_member, run_weights, seeded
from factor_ray.training.weights import Pass

_FORECAST_ROWS = 1024
_SCALE = "return_scale"


class Member:
    """One fitted member: maps the rows of a month, with their history, to forecasts."""

    def __init__(self, build: Build, point: ForecasterSettings, weights: Weights) -> None:
        self._build, self._point = build, point
        self._scale = float(weights[_SCALE][0])
        self._weights = network_weights(weights, (_SCALE,))
        self._module: nn.Module | None = None

    def __call__(self, month: Sample) -> Prediction:
        """Forecast the rows."""
        inputs = _Inputs(month, self._point.lookback, "cpu")
        if self._module is None:
            self._module = bare(self._build, self._point, inputs.width).eval()
        return_N = np.empty(len(month), np.float32)
        with torch.no_grad(), one_thread():
            for start in range(0, len(month), _FORECAST_ROWS):
                rows = slice(start, start + _FORECAST_ROWS)
                return_N[rows] = run_weights(self._module, self._weights, *inputs.gather(rows)).numpy() * self._scale
        return Prediction(return_N)


@dataclass(frozen=True)
class _Batch:
    """Gathered rows of one step, shared by all members."""

    x_BLI: Tensor
    observed_BL: Tensor
    y_B: Tensor
    epoch: int
    step: int


class ForecasterTask:
    """Weights, batches, loss and validation of some members of one forecaster.

    Parameters
    ----------
    build : callable
        Makes the network of a point for a number of inputs a month.
    points, seeds, train, validation, order_seed, device
        As in `Forecaster.fit_pack`.

    Attributes
    ----------
    scales : mapping of name to float32 array
        ``return_scale``: root mean square of the known training targets, by which targets are divided.
    return_loss_of_zero : float
        Mean square of the known validation targets.
    """

    members_per_pass = 1
    smallest_stack = 1

    def __init__(
        self,
        build: Build,
        points: Sequence[ForecasterSettings],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,
        device: str,
    ) -> None:
        self._build, self._points, self._seeds, self._device = build, points, seeds, device
        self._inputs = _Inputs(train, points[0].lookback, device)
        self._validation_inputs = _Inputs(validation, points[0].lookback, device)
        self._modules = [bare(build, point, self._inputs.width) for point in points]
        known_N, self._validation_row_N = _rows_with_target(train), _rows_with_target(validation)
        self._order = SharedOrder(known_N, points[0].rows_per_batch(len(known_N)), order_seed)
        self._scale = _mean_square(train.y_N[known_N]) ** 0.5 or 1.0
        self.scales = {_SCALE: np.array([self._scale], np.float32)}
        self._y_N = torch.from_numpy(train.y_N / self.scales[_SCALE]).to(device)
        validation_y_N = validation.y_N[self._validation_row_N]
        self._validation_y_N = torch.from_numpy(validation_y_N).to(device)
        self.return_loss_of_zero = _mean_square(validation_y_N) or 1.0

    def initialise(self, member: int) -> dict[str, Tensor]:
        """Draw a member's initial weights as its network draws them."""
        return initial_weights(lambda: self._build(self._points[member], self._inputs.width), self._seeds[member])

    def batches(self, epoch: int, members: Sequence[int]) -> Iterable[_Batch]:  # noqa: ARG002
        """Yield an epoch's batches, which all members share."""
        for step, row_B in enumerate(self._order.epoch()):
            x_BLI, observed_BL = self._inputs.gather(row_B)
            y_B = self._y_N.index_select(0, torch.from_numpy(row_B).to(self._device))
            yield _Batch(x_BLI, observed_BL, y_B, epoch, step)

    def present(self, batch: _Batch, members: Sequence[int]) -> None:
        """All members take part in every batch."""

    def loss(self, batch: _Batch, through: Pass) -> Tensor:
        """Return the standardised mean squared error (S,)."""
        (member,) = through.members
        with seeded("dropout", self._seeds[member], batch.epoch, batch.step, device=self._device):
            forecast_B = run_member(self._modules[member].train(), through, batch.x_BLI, batch.observed_BL)
        return (forecast_B - batch.y_B).square().mean()[None]

    def validate(self, through: Pass) -> dict[str, Tensor]:
        """Return the validation losses (S,): standardised, and in squared decimals."""
        (member,) = through.members
        module, total = self._modules[member].eval(), torch.zeros(1, dtype=torch.float64, device=self._device)
        for start in range(0, len(self._validation_row_N), _FORECAST_ROWS):
            block = slice(start, start + _FORECAST_ROWS)
            forecast_B = run_member(module, through, *self._validation_inputs.gather(self._validation_row_N[block]))
            total += (forecast_B * self._scale - self._validation_y_N[block]).square().sum(dtype=torch.float64)
        loss = total / len(self._validation_row_N)
        return {"validation_loss": loss / self._scale**2, "return_loss": loss}


class _Inputs:
    """A sample's windows as tensors, gathered by row."""

    def __init__(self, sample: Sample, months: int, device: str) -> None:
        self._lookback, self._device = Lookback(sample, months), device
        self.width = self._lookback.width

    def gather(self, rows: IntArray | slice) -> tuple[Tensor, Tensor]:
        """Return inputs (B, L, I) and which months are observed (B, L), in torch's own, aligned memory."""
        size = self._lookback.row_NL[rows].shape
        x_BLI = torch.empty(*size, self.width)
        _, observed_BL = self._lookback.gather(rows, x_BLI.numpy())
        return x_BLI.to(self._device), torch.from_numpy(observed_BL).to(self._device)


def _rows_with_target(sample: Sample) -> IntArray:
    return np.flatnonzero(~np.isnan(sample.y_N)).astype(np.int32)


def _mean_square(values: npt.NDArray[np.float32]) -> float:
    return float(np.mean(np.square(values, dtype=np.float64)))

"""The network of CB-APM and its side of the training loop.

Axes: S members of one pass, B rows of a batch or block, N rows of a sample, P characteristics, d macro states,
I = P + d inputs, K random numbers, H hidden units, C consensus variables, T months, M all members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from factor_ray.data.sample import Sample
from factor_ray.models.base import Fit, Weights
from factor_ray.models.cbapm import CBAPMSettings, selection_scores
from factor_ray.training.adam import StepSettings
from factor_ray.training.batches import RowArray, SharedOrder, shared_tensor
from factor_ray.training.cpu import one_thread, without_onednn
from factor_ray.training.layers import Dropout, he_normal, hidden_layer, linear, square_loss
from factor_ray.training.loop import train as train_stack
from factor_ray.training.randomness import BatchBits, BitStream, initial_generator
from factor_ray.training.schedule import Schedule
from factor_ray.training.weights import Pass

_HEAD_SCALE = 0.2  # of He's: members whose return head starts at full scale were unstable
_FORECAST_ROWS = 8192
_BLOCK_ROWS = 65_536  # of masks and squares of all targets: small beside a panel that workers share
_TOGETHER_ROWS = 1024
"""Batches up to this size go through the network with all members at once: calls cost more than arithmetic. Above it
one member a pass stays in the cache: at 400 rows half the time together, at 5,000 two thirds of it one by one."""
_SCALES = ("return_scale", "consensus_scale")


def fit_stack(
    points: Sequence[CBAPMSettings],
    seeds: Sequence[int],
    train: Sample,
    validation: Sample,
    *,
    order_seed: int,
    device: str,
) -> list[Fit]:
    """Fit points of one shape as one stack; see `CBAPM.fit_pack`."""
    task = CBAPMTask(points, seeds, train, validation, order_seed=order_seed, device=device)
    first = points[0]
    schedule = Schedule(first.epochs, first.patience, first.warm_up, first.plateau_patience, first.plateau_factor)
    settings = [StepSettings(point.learning_rate, point.weight_decay, point.gradient_clip) for point in points]
    zero = task.return_loss_of_zero
    with without_onednn() if task.smallest_stack > 1 else nullcontext():
        members = train_stack(task, settings, schedule, device=device)
    return [
        Fit(
            weights={**trained.weights, **task.scales},
            scores=selection_scores(point, {} if trained.diverged else trained.best, zero),
            history=trained.history,
            status="diverged" if trained.diverged else "ok",
            seconds=trained.seconds,
        )
        for point, trained in zip(points, members, strict=True)
    ]


def forecast(weights: Weights, sample: Sample) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32] | None]:
    """Return one member's forecasts for all rows of a sample: returns (N,) and consensus (N, C) or None."""
    return_scale, consensus_scale = (weights[name][0] for name in _SCALES)
    tensors = {name: torch.from_numpy(np.array(w))[None] for name, w in weights.items() if name not in _SCALES}
    inputs, blocks = _Inputs(sample, "cpu"), range(0, len(sample), _FORECAST_ROWS)
    return_N = np.empty(len(sample), np.float32)
    consensus_NC = np.empty_like(sample.c_NC, shape=(len(sample), tensors["head.weight"].shape[1]))
    with torch.no_grad(), one_thread():
        for start in blocks:
            rows = np.arange(start, min(start + _FORECAST_ROWS, len(sample)), dtype=np.int32)
            return_SB1, consensus_SBC = network(tensors, inputs.gather(rows)[None])
            return_N[rows] = return_SB1[0, :, 0].numpy() * return_scale
            if consensus_SBC is not None:
                consensus_NC[rows] = consensus_SBC[0].numpy() * consensus_scale
    return return_N, consensus_NC if "consensus.weight" in weights else None


def network(
    weights: Mapping[str, Tensor], x_SBI: Tensor, mask: Callable[[int], Tensor] | None = None
) -> tuple[Tensor, Tensor | None]:
    """Map inputs to standardised forecasts: returns (S, B, 1) and consensus (S, B, C), None without consensus layer.

    ``mask(layer)`` makes a hidden layer's dropout mask. Source: equations 2 and 3 of the paper.
    """
    h_SBH, layer = x_SBI, 0
    while f"hidden{layer}.weight" in weights:
        weight, bias, gain, shift = (weights[f"hidden{layer}.{name}"] for name in ("weight", "bias", "gain", "shift"))
        h_SBH = hidden_layer(h_SBH, weight, bias, gain, shift, mask(layer) if mask else None)
        layer += 1
    consensus_SBC = None
    if "consensus.weight" in weights:
        h_SBH = consensus_SBC = linear(h_SBH, weights["consensus.weight"], weights["consensus.bias"])
    return linear(h_SBH, weights["head.weight"], weights["head.bias"]), consensus_SBC


@dataclass(frozen=True)
class _Batch:
    """Gathered rows of one step, shared by all passes; ``*_share`` are the rows' weights in the mean losses."""

    x_BI: Tensor
    y_B1: Tensor
    y_share_B1: Tensor
    c_BC: Tensor
    c_share_BC: Tensor
    bits: BatchBits


@dataclass(frozen=True)
class _Constants:
    """What does not change from step to step for the members of a pass."""

    return_weight_S: Tensor
    consensus_weight_S: Tensor
    dropout: Dropout | None


class CBAPMTask:
    """Weights, batches, loss and validation of a stack of CB-APMs.

    The loss is computed on targets standardised by their root mean squares over the training rows, s_R and s_C (one for
    all consensus variables), because weight decay and the gradient clip would otherwise shrink the network of a target
    as small as a monthly return to nothing. With l_R = L_R / s_R^2 and l_C = L_C / s_C^2 the standardised losses,

        (L_R + lambda L_C) / (s_R^2 + lambda s_C^2) = (1 - w) l_R + w l_C,   w = lambda s_C^2 / (s_R^2 + lambda s_C^2),

    so that lambda keeps the paper's meaning, and a forecast of zero has loss 1. Consensus-only is w = 1.

    Parameters
    ----------
    points, seeds, train, validation, order_seed, device
        As in `CBAPM.fit_pack`.
    """

    def __init__(
        self,
        points: Sequence[CBAPMSettings],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,
        device: str,
    ) -> None:
        self._points, self._seeds = points, seeds
        self._train, self._validation = _Rows(train, device), _Rows(validation, device)
        self._train_row_N, self._validation_row_N = _rows_with_target(train), _rows_with_target(validation)
        batch_size = points[0].rows_per_batch(len(self._train_row_N))
        self._order = SharedOrder(self._train_row_N, batch_size, order_seed)
        on_cpu, together = torch.device(device).type == "cpu", batch_size <= _TOGETHER_ROWS
        self.members_per_pass = 1 if on_cpu and not together else None
        self.smallest_stack = 2 if on_cpu and together else 1
        self._streams = {seed: BitStream(seed, device) for seed in seeds}

        y_square, c_square = _mean_square(train.y_N), _mean_square(train.c_NC)
        self._y_scale, self._c_scale = y_square**0.5, c_square**0.5
        self.scales = {
            "return_scale": np.array([self._y_scale], np.float32),
            "consensus_scale": np.array([self._c_scale], np.float32),
        }
        self.return_loss_of_zero = _mean_square(validation.y_N, if_unknown=float("nan"))
        pull_M = [point.consensus_weight * c_square for point in points]
        weight_M = [
            1.0 if point.consensus_only else pull / (y_square + pull)
            for point, pull in zip(points, pull_M, strict=True)
        ]
        self._weight_M = torch.tensor(weight_M, dtype=torch.float32, device=device)
        self._constants_of: dict[tuple[int, ...], _Constants] = {}
        self._validation_counts = _known(validation.y_N), _known(validation.c_NC)

    def initialise(self, member: int) -> dict[str, Tensor]:
        """Draw a member's initial weights: He's, the return head at a fifth of his scale."""
        generator = initial_generator(self._seeds[member])
        weights, inputs = {}, self._train.inputs.width
        for layer, units in enumerate(self._points[member].hidden):
            weights[f"hidden{layer}.weight"] = he_normal(generator, inputs, units)
            weights[f"hidden{layer}.bias"] = torch.zeros(units)
            weights[f"hidden{layer}.gain"] = torch.ones(units)
            weights[f"hidden{layer}.shift"] = torch.zeros(units)
            inputs = units
        variables = self._train.c_NC.shape[1]
        if variables:
            weights["consensus.weight"] = he_normal(generator, inputs, variables)
            weights["consensus.bias"] = torch.zeros(variables)
            inputs = variables
        weights["head.weight"] = he_normal(generator, inputs, 1, scale=_HEAD_SCALE)
        weights["head.bias"] = torch.zeros(1)
        return weights

    def batches(self, epoch: int, members: Sequence[int]) -> Iterable[_Batch]:  # noqa: ARG002
        """Yield an epoch's batches, which all members share."""
        units = sum(self._points[0].hidden)
        for rows in self._order.epoch():
            y_B1, c_BC = self._train.targets(rows)
            y_known_B1, c_known_BC = ~torch.isnan(y_B1), ~torch.isnan(c_BC)
            yield _Batch(
                x_BI=self._train.inputs.gather(rows),
                y_B1=torch.where(y_known_B1, y_B1 / self._y_scale, 0.0),
                y_share_B1=y_known_B1 / y_known_B1.sum().clamp_min(1),
                c_BC=torch.where(c_known_BC, c_BC / self._c_scale, 0.0),
                c_share_BC=c_known_BC / c_known_BC.sum().clamp_min(1),
                bits=BatchBits(self._streams, self._seeds, len(rows) * units),
            )

    def present(self, batch: _Batch, members: Sequence[int]) -> None:
        """All members take part in every batch."""

    def loss(self, batch: _Batch, through: Pass) -> Tensor:
        """Return the standardised joint loss (S,)."""
        constants = self._constants(through)
        x_SBI = batch.x_BI.expand(len(through.members), -1, -1)
        return_SB1, consensus_SBC = network(through.weights, x_SBI, self._masks(batch, through))
        loss_S = constants.return_weight_S * square_loss(return_SB1, batch.y_B1, batch.y_share_B1)
        if consensus_SBC is None:
            return loss_S
        return loss_S + constants.consensus_weight_S * square_loss(consensus_SBC, batch.c_BC, batch.c_share_BC)

    def validate(self, through: Pass) -> dict[str, Tensor]:
        """Return the validation losses (S,): joint (standardised), of the return and of the consensus (raw)."""
        y_sum_S = torch.zeros(len(through.members), dtype=torch.float64, device=through.member_S.device)
        c_sum_S = torch.zeros_like(y_sum_S)
        for start in range(0, len(self._validation_row_N), _FORECAST_ROWS):
            rows = self._validation_row_N[start : start + _FORECAST_ROWS]
            y_B1, c_BC = self._validation.targets(rows)
            x_SBI = self._validation.inputs.gather(rows).expand(len(through.members), -1, -1)
            return_SB1, consensus_SBC = network(through.weights, x_SBI)
            y_sum_S += _sum_of_known((return_SB1 * self._y_scale - y_B1).square(), y_B1)
            if consensus_SBC is not None:
                c_sum_S += _sum_of_known((consensus_SBC * self._c_scale - c_BC).square(), c_BC)
        y_count, c_count = self._validation_counts
        y_loss_S, c_loss_S = y_sum_S / max(y_count, 1), c_sum_S / max(c_count, 1)
        weight_S = self._weight_M[through.member_S].double()
        joint_S = (1 - weight_S) * y_loss_S / self._y_scale**2 + weight_S * c_loss_S / self._c_scale**2
        missing = float("nan")
        return {
            "validation_loss": joint_S,
            "return_loss": y_loss_S if y_count else y_loss_S + missing,
            "consensus_loss": c_loss_S if c_count else c_loss_S + missing,
        }

    def _masks(self, batch: _Batch, through: Pass) -> Callable[[int], Tensor] | None:
        constants = self._constants(through)
        if constants.dropout is None:
            return None
        hidden, rows = self._points[0].hidden, len(batch.y_B1)
        bits_SK, layer_dropout = batch.bits.of(through.members), constants.dropout

        def mask(layer: int) -> Tensor:
            first = rows * sum(hidden[:layer])
            return layer_dropout.mask(bits_SK[:, first : first + rows * hidden[layer]].view(-1, rows, hidden[layer]))

        return mask

    def _constants(self, through: Pass) -> _Constants:
        if through.members not in self._constants_of:
            points = [self._points[member] for member in through.members]
            weight_S = self._weight_M[through.member_S]
            drop = Dropout(torch.tensor([point.dropout for point in points], device=weight_S.device))
            self._constants_of[through.members] = _Constants(
                1 - weight_S, weight_S, drop if any(point.dropout > 0 for point in points) else None
            )
        return self._constants_of[through.members]


class _Inputs:
    """The network's inputs of a sample, gathered by row: on a CPU from the sample's own memory."""

    def __init__(self, sample: Sample, device: str) -> None:
        self._x_NP = shared_tensor(sample.x_NP).to(device)
        self._z_Td = shared_tensor(sample.z_Td).to(device)
        self._month_N = shared_tensor(sample.month_N).to(device)
        self.width = sample.x_NP.shape[1] + sample.z_Td.shape[1]

    def gather(self, rows: RowArray) -> Tensor:
        """Return characteristics and macro states of the rows: (B, I), a new tensor."""
        row_B = torch.from_numpy(rows).to(self._x_NP.device)
        x_BP = self._x_NP.index_select(0, row_B)
        if self._z_Td.shape[1] == 0:
            return x_BP
        return torch.cat([x_BP, self._z_Td.index_select(0, self._month_N.index_select(0, row_B))], 1)


class _Rows:
    """A sample's inputs and targets, gathered by row."""

    def __init__(self, sample: Sample, device: str) -> None:
        self.inputs = _Inputs(sample, device)
        self.y_N = shared_tensor(sample.y_N).to(device)
        self.c_NC = shared_tensor(sample.c_NC).to(device)

    def targets(self, rows: RowArray) -> tuple[Tensor, Tensor]:
        row_B = torch.from_numpy(rows).to(self.y_N.device)
        return self.y_N.index_select(0, row_B)[:, None], self.c_NC.index_select(0, row_B)


def _rows_with_target(sample: Sample) -> RowArray:
    blocks = enumerate(zip(_blocks(sample.y_N), _blocks(sample.c_NC), strict=True))
    return np.concatenate(
        [
            (np.flatnonzero(~np.isnan(y_B) | (~np.isnan(c_BC)).any(axis=1)) + number * _BLOCK_ROWS).astype(np.int32)
            for number, (y_B, c_BC) in blocks
        ]
    )


def _mean_square(values: npt.NDArray[np.float32], if_unknown: float = 1.0) -> float:
    """Mean square of the known values; where none is known, or all are zero, what keeps divisions harmless."""
    known = _known(values)
    total = sum(float(np.nansum(np.square(block, dtype=np.float64))) for block in _blocks(values))
    square = total / known if known else if_unknown
    return square if square != 0 else if_unknown


def _known(values: npt.NDArray[np.float32]) -> int:
    return sum(int(np.count_nonzero(~np.isnan(block))) for block in _blocks(values))


def _blocks(values: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Cut an array into views of some rows."""
    return [values[start : start + _BLOCK_ROWS] for start in range(0, max(len(values), 1), _BLOCK_ROWS)]


def _sum_of_known(square_SBX: Tensor, target_BX: Tensor) -> Tensor:
    """Sum over the rows (and variables) whose target is known: float64 (S,)."""
    return torch.where(torch.isnan(target_BX), 0.0, square_SBX).flatten(1).sum(1, dtype=torch.float64)

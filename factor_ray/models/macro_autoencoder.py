"""Autoencoders of the macro state: one a window, batch 1, trained as one stack.

Axes: S windows of one pass (all of them), M all windows, T months, B steps of an epoch, D series, U hidden units of all
layers, d states, I inputs, O outputs. Members whose months are through wait for the end of the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from factor_ray.errors import InputError
from factor_ray.models.macro_state import MacroStateSettings, Window
from factor_ray.training.adam import StepSettings
from factor_ray.training.cpu import without_onednn
from factor_ray.training.layers import Dropout, gelu, he_normal, linear, square_loss
from factor_ray.training.loop import train
from factor_ray.training.randomness import BitStream, initial_generator, order_generator
from factor_ray.training.schedule import Schedule
from factor_ray.training.task import WATCHED
from factor_ray.training.weights import Pass

FloatArray = npt.NDArray[np.float32]
Encoder = dict[str, FloatArray]


def train_autoencoders(
    settings: MacroStateSettings,
    inputs: Sequence[FloatArray],
    kept: Sequence[npt.NDArray[np.bool_]],
    windows: Sequence[Window],
    seeds: Sequence[int],
    *,
    device: str,
) -> list[tuple[Encoder, Mapping[str, Sequence[float]]]]:
    """Train one autoencoder a window; return the encoders (for the series kept) and the histories of their losses.

    Parameters
    ----------
    inputs : sequence of float32 array (T, D)
        The series as each window scales them, zero for those that it drops.
    kept : sequence of bool array (D,)
        The series that a window does not drop.
    """
    task = AutoencoderTask(settings, inputs, kept, windows, seeds, device=device)
    steps = [StepSettings(settings.learning_rate, settings.weight_decay)] * len(windows)
    with without_onednn():
        members = train(task, steps, Schedule(settings.epochs, settings.patience), device=device)
    encoders: list[tuple[Encoder, Mapping[str, Sequence[float]]]] = []
    for member, kept_D in zip(members, kept, strict=True):
        if member.diverged:
            raise InputError(
                f"macro_state: the autoencoder diverged at learning_rate {settings.learning_rate}: lower it, or set "
                "macro_state.kind to pca"
            )
        encoder = {name: array for name, array in member.weights.items() if name.startswith("encoder")}
        encoder["encoder0.weight"] = encoder["encoder0.weight"][kept_D]
        encoders.append((encoder, member.history))
    return encoders


@dataclass(frozen=True)
class _Step:
    """One month of every member: inputs, shares of the series in the loss (0 for members that wait) and masks."""

    x_S1D: Tensor
    share_S1D: Tensor
    mask_S1U: Tensor | None
    present: list[bool] | None


class AutoencoderTask:
    """Weights, steps, loss and validation of a stack of autoencoders.

    The loss is the mean squared error of a month's kept series. Hidden layers are Linear, GELU, dropout; the code and
    the reconstruction are linear. The decoder mirrors the encoder. Parameters are as in `train_autoencoders`.
    """

    members_per_pass = None
    smallest_stack = 1

    def __init__(
        self,
        settings: MacroStateSettings,
        inputs: Sequence[FloatArray],
        kept: Sequence[npt.NDArray[np.bool_]],
        windows: Sequence[Window],
        seeds: Sequence[int],
        *,
        device: str,
    ) -> None:
        for train_rows, validation_rows in windows:
            if len(train_rows) == 0 or len(validation_rows) == 0:
                raise InputError(
                    "macro_state: an autoencoder needs training and validation months in every window, got "
                    f"{len(train_rows)} and {len(validation_rows)}: set windows.validation, or macro_state.kind to pca"
                )
        self._seeds, self._device = list(seeds), device
        self._train_rows = [train_rows for train_rows, _ in windows]
        series = inputs[0].shape[1]
        widths = [series, *settings.hidden, settings.dimension, *settings.hidden[::-1], series]
        names = [f"{half}{layer}" for half in ("encoder", "decoder") for layer in range(len(settings.hidden) + 1)]
        self._layers = dict(zip(names, pairwise(widths), strict=True))
        self._hidden = [*settings.hidden, *settings.hidden[::-1]]
        self._code = names[len(settings.hidden)]

        self._x_MTD = torch.from_numpy(np.stack(inputs)).to(device)
        share_MD = np.stack(kept) / np.sum(kept, axis=1, keepdims=True)
        self._share_MD = torch.from_numpy(share_MD.astype(np.float32)).to(device)
        self._validation = [
            self._x_MTD[member, torch.from_numpy(rows).to(device)] for member, (_, rows) in enumerate(windows)
        ]
        self._orders = [order_generator(seed) for seed in seeds]
        self._streams = [BitStream(seed, device) for seed in seeds]
        self._dropout_probability = settings.dropout

    def initialise(self, member: int) -> dict[str, Tensor]:
        """Draw a member's initial weights, at He's scale."""
        generator, weights = initial_generator(self._seeds[member]), {}
        for name, (inputs, outputs) in self._layers.items():
            weights[f"{name}.weight"] = he_normal(generator, inputs, outputs)
            weights[f"{name}.bias"] = torch.zeros(outputs)
        return weights

    def batches(self, epoch: int, members: Sequence[int]) -> Iterator[_Step]:  # noqa: ARG002
        """Yield the steps of an epoch: the i-th one holds the i-th month of every member's own shuffled months."""
        orders = [self._orders[member].permutation(self._train_rows[member]) for member in members]
        lengths = [len(order) for order in orders]
        steps = max(lengths)
        row_SB = torch.from_numpy(np.stack([np.pad(order, (0, steps - len(order))) for order in orders]))
        member_S1 = torch.tensor(members)[:, None]
        x_BSD = self._x_MTD[member_S1.to(self._device), row_SB.to(self._device)].transpose(0, 1).contiguous()
        here_BS = torch.tensor([[step < length for length in lengths] for step in range(steps)], device=self._device)
        share_BSD = here_BS[:, :, None] * self._share_MD[list(members)]
        mask_BSU = self._masks(members, lengths)
        for step, (x_SD, share_SD) in enumerate(zip(x_BSD.unbind(), share_BSD.unbind(), strict=True)):
            yield _Step(
                x_SD[:, None],
                share_SD[:, None],
                None if mask_BSU is None else mask_BSU[step][:, None],
                None if step < min(lengths) else [step < length for length in lengths],
            )

    def present(self, batch: _Step, members: Sequence[int]) -> Sequence[bool] | None:  # noqa: ARG002
        """Say which members have a month in this step."""
        return batch.present

    def loss(self, batch: _Step, through: Pass) -> Tensor:
        """Return the mean squared reconstruction error of the month (S,)."""
        forecast_S1D = self._reconstruct(through.weights, batch.x_S1D, batch.mask_S1U)
        return square_loss(forecast_S1D, batch.x_S1D, batch.share_S1D)

    def validate(self, through: Pass) -> dict[str, Tensor]:
        """Return the mean squared reconstruction error over the validation months (S,), member by member."""
        losses = []
        for place, member in enumerate(through.members):
            weights = {name: tensor[place : place + 1] for name, tensor in through.weights.items()}
            x_1TD = self._validation[member][None]
            error_1TD = self._reconstruct(weights, x_1TD, None) - x_1TD
            losses.append((error_1TD.square() * self._share_MD[member]).sum(dtype=torch.float64) / x_1TD.shape[1])
        return {WATCHED: torch.stack(losses)}

    def _reconstruct(self, weights: Mapping[str, Tensor], x_SBD: Tensor, mask_SBU: Tensor | None) -> Tensor:
        masks = iter(torch.split(mask_SBU, self._hidden, dim=2)) if mask_SBU is not None else None
        h_SBO, last = x_SBD, next(reversed(self._layers))
        for name in self._layers:
            h_SBO = linear(h_SBO, weights[f"{name}.weight"], weights[f"{name}.bias"])
            if name in (self._code, last):
                continue
            h_SBO = gelu(h_SBO)
            if masks is not None:
                h_SBO = h_SBO * next(masks)
        return h_SBO

    def _masks(self, members: Sequence[int], lengths: Sequence[int]) -> Tensor | None:
        """Return an epoch's dropout masks (B, S, U): a member draws for its own months only."""
        if self._dropout_probability == 0:
            return None
        units, steps = sum(self._hidden), max(lengths)
        bits_SBU = torch.zeros((len(members), steps, units), dtype=torch.int16, device=self._device)
        for place, (member, length) in enumerate(zip(members, lengths, strict=True)):
            bits_SBU[place, :length] = self._streams[member].draw(length * units).view(length, units)
        dropout = Dropout(torch.full((len(members),), self._dropout_probability, device=self._device))
        return dropout.mask(bits_SBU).transpose(0, 1).contiguous()

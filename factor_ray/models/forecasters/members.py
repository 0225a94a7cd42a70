"""What all forecasters do alike with a task and with weights, whether they look across assets or not; needs torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from factor_ray.models.base import Fit, Hyperparameters, Weights
from factor_ray.models.forecasters.base import ForecasterSettings
from factor_ray.models.forecasters.cross_section import CrossSectionSettings
from factor_ray.training.adam import StepSettings
from factor_ray.training.loop import train
from factor_ray.training.schedule import Schedule
from factor_ray.training.task import BatchT, Task

Build = Callable[[Hyperparameters, int], nn.Module]
"""Makes the network of a point for a number of inputs a month."""


class ForecastTask(Task[BatchT], Protocol[BatchT]):
    """A side of the training loop that says what a fit is kept and compared with."""

    @property
    def scales(self) -> Weights:
        """By which inputs and targets are standardised: kept with every member's weights."""
        ...

    @property
    def return_loss_of_zero(self) -> float:
        """Mean square of the known validation targets."""
        ...


def fit_members(
    task: ForecastTask[BatchT], points: Sequence[ForecasterSettings | CrossSectionSettings], device: str
) -> list[Fit]:
    """Fit points of one shape; see `Forecaster.fit_pack` for the scores."""
    first = points[0]
    settings = [StepSettings(p.learning_rate, p.weight_decay, p.gradient_clip, decoupled=True) for p in points]
    members = train(task, settings, Schedule(first.epochs, first.patience, first.warm_up), device=device)
    fits = []
    for trained in members:
        measures = {} if trained.diverged else trained.best
        return_loss = measures.get("return_loss", float("inf"))
        fits.append(
            Fit(
                weights={**trained.weights, **task.scales},
                scores={
                    "selection": return_loss / task.return_loss_of_zero,
                    "return_loss": return_loss,
                    "return_loss_of_zero": task.return_loss_of_zero,
                    "validation_loss": measures.get("validation_loss", float("inf")),
                },
                history=trained.history,
                status="diverged" if trained.diverged else "ok",
                seconds=trained.seconds,
            )
        )
    return fits


def bare(build: Build, point: Hyperparameters, inputs: int) -> nn.Module:
    """Return a network without weights of its own: they are handed to every call."""
    with torch.device("meta"):
        return build(point, inputs)


def network_weights(weights: Weights, scales: Collection[str]) -> dict[str, Tensor]:
    """Return the weights of a fit that are its network's: all but its scales."""
    # Cloned: torch's memory is aligned alike in every process, and sums may depend on the alignment.
    return {name: torch.from_numpy(np.array(w)).clone() for name, w in weights.items() if name not in scales}

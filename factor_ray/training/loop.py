"""The one training loop of all neural models, for a stack of members at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from factor_ray.training.adam import StackedAdam, StepSettings
from factor_ray.training.cpu import one_thread
from factor_ray.training.schedule import Progress, Schedule
from factor_ray.training.task import WATCHED, BatchT, Task
from factor_ray.training.weights import WeightStack

# Axes: M members alive, S members of one pass, n parameters of a member.


@dataclass
class TrainedMember:
    """What training made of one member.

    Attributes
    ----------
    weights : mapping of name to float32 array
        Weights of the epoch with the best validation loss; the initial ones if no epoch had a finite loss.
    best : mapping of name to float
        The task's validation measures at that epoch; empty if there was none.
    best_epoch : int
        That epoch (1, 2, ...), or 0.
    history : mapping of name to list of float
        One value an epoch: ``train_loss``, ``learning_rate`` and the task's validation measures.
    diverged : bool
        Whether a loss was not finite, upon which the member left the stack.
    seconds : float
        Its share of the stack's wall time.
    """

    weights: Mapping[str, npt.NDArray[np.float32]] = field(default_factory=dict)
    best: Mapping[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    history: dict[str, list[float]] = field(default_factory=dict)
    diverged: bool = False
    seconds: float = 0.0


def train(
    task: Task[BatchT], settings: Sequence[StepSettings], schedule: Schedule, *, device: str = "cpu"
) -> list[TrainedMember]:
    """Train a stack of members, each with its own settings, until every one has stopped.

    On a CPU one thread is used, and a member's result is the same bits whatever its companions.

    Parameters
    ----------
    task : Task
        The model's weights, batches, losses and validation.
    settings : sequence of StepSettings
        One a member.
    schedule : Schedule
        Epochs, patience and the fall of the learning rate.
    device : str
        "cpu", "cuda", ...

    Returns
    -------
    list of TrainedMember
        One a member, in the order of ``settings``. A member whose loss is not finite is reported as diverged.
    """
    with _quiet_processor(device):
        initial = [task.initialise(member) for member in range(len(settings))]
        stack = WeightStack(initial, task.members_per_pass, device, smallest=task.smallest_stack)
        adam = StackedAdam(stack, [settings[member] for member in stack.members])
        progress = [Progress(schedule) for _ in settings]
        best_weights = list(stack.value_Mn[: len(settings)].clone())
        trained = [TrainedMember() for _ in settings]

        epoch = 0
        while stack.members:
            epoch, started = epoch + 1, time.perf_counter()
            train_losses = _train_one_epoch(task, stack, adam, epoch)
            measures = _validate(task, stack)
            share = (time.perf_counter() - started) / len(set(stack.members))
            for row, member in _distinct(stack.members):
                measured = {name: values[row] for name, values in measures.items()}
                progress[member].note(train_losses[row], measured[WATCHED])
                losses = {"train_loss": train_losses[row], "learning_rate": adam.learning_rates[row], **measured}
                _record(trained[member], losses, share)
                if progress[member].improved:
                    best_weights[member] = stack.value_Mn[row].clone()
                    trained[member].best, trained[member].best_epoch = measured, epoch
                trained[member].diverged = progress[member].diverged
            rates = zip(stack.members, adam.learning_rates, strict=True)
            adam.set_learning_rates([progress[member].next_learning_rate(rate) for member, rate in rates])
            staying = [row for row, member in _distinct(stack.members) if not progress[member].finished]
            if len(staying) < len(set(stack.members)):
                adam.keep(stack.keep(staying))

        for result, row_n in zip(trained, best_weights, strict=True):
            result.weights = stack.unpack(row_n)
        return trained


def _distinct(members: Sequence[int]) -> list[tuple[int, int]]:
    """Rows and members, without the rows in which the last member stands again."""
    return [(members.index(member), member) for member in dict.fromkeys(members)]


def _train_one_epoch(task: Task[BatchT], stack: WeightStack, adam: StackedAdam, epoch: int) -> list[float]:
    """Make one step a batch; return each row's mean training loss over the batches in which it took part."""
    total_M = torch.zeros(len(stack.members), device=stack.value_Mn.device)
    steps = np.zeros(len(stack.members))
    for batch in task.batches(epoch, stack.members):
        total_M += _differentiate(task, stack, batch)
        present = task.present(batch, stack.members)
        adam.step(present)
        steps += 1 if present is None else present
    return [total / max(count, 1.0) for total, count in zip(total_M.tolist(), steps, strict=True)]


def _differentiate(task: Task[BatchT], stack: WeightStack, batch: BatchT) -> Tensor:
    """Replace the stack's gradients by those of a batch's loss; return the losses (M,)."""
    losses = []
    for through in stack.passes:
        loss_S = task.loss(batch, through)
        gradients = torch.autograd.grad(loss_S.sum(), through.leaves)
        torch._foreach_copy_(through.gradients, gradients)
        losses.append(loss_S.detach())
    return torch.cat(losses)


@torch.no_grad()
def _validate(task: Task[BatchT], stack: WeightStack) -> dict[str, list[float]]:
    """Return the validation measures by name, one value a row."""
    parts = [task.validate(through) for through in stack.passes]
    return {name: torch.cat([part[name] for part in parts]).tolist() for name in parts[0]}


def _record(result: TrainedMember, losses: Mapping[str, float], seconds: float) -> None:
    result.seconds += seconds
    for name, value in losses.items():
        result.history.setdefault(name, []).append(value)


def _quiet_processor(device: str) -> AbstractContextManager[None]:
    return one_thread() if torch.device(device).type == "cpu" else nullcontext()

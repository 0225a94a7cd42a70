"""What a model tells the training loop: its weights, its batches, its loss and its validation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from torch import Tensor

from factor_ray.training.weights import Pass

# Axes: S members of one pass.

BatchT = TypeVar("BatchT")
WATCHED = "validation_loss"


class Task(Protocol[BatchT]):
    """A model's side of the training loop. Members are known by their numbers, 0, 1, ...

    A batch is the task's own affair: the loop hands it back pass by pass and looks at nothing inside.
    """

    @property
    def members_per_pass(self) -> int | None:
        """How many members go through the network together; None for all.

        One member a pass keeps large activations in a CPU's cache, and makes a member's bits independent of its
        companions by construction; all together saves calls where activations are small, and on a GPU.
        """
        ...

    @property
    def smallest_stack(self) -> int:
        """Rows below which a stack never falls: a lone member is doubled, where one row alone would have other bits."""
        ...

    def initialise(self, member: int) -> Mapping[str, Tensor]:
        """Return a member's initial weights, drawn from its own seed."""
        ...

    def batches(self, epoch: int, members: Sequence[int]) -> Iterable[BatchT]:
        """Yield the batches of an epoch (1, 2, ...) for the members alive."""
        ...

    def present(self, batch: BatchT, members: Sequence[int]) -> Sequence[bool] | None:
        """Say which of the members have rows in the batch; None for all. The others wait unchanged."""
        ...

    def loss(self, batch: BatchT, through: Pass) -> Tensor:
        """Return the members' mean training loss over the batch (S,); every weight must take part in it."""
        ...

    def validate(self, through: Pass) -> Mapping[str, Tensor]:
        """Return validation measures (S,), among them `WATCHED`, which decides about stopping and the best epoch.

        Called without gradients.
        """
        ...

"""The weights of a stack of members: one row of one buffer each, with named views for the forward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# Axes: M members alive, S members of one pass, n parameters of a member (padded).

_TENSOR_ALIGNMENT = 16  # floats: every tensor starts on a cache line, whatever member it belongs to
_ROW_ALIGNMENT = 64  # floats: rows are whole vectors, so that no element is ever computed by a loop's scalar tail


@dataclass(frozen=True)
class Pass:
    """Members that go through the network together.

    Attributes
    ----------
    members : tuple of int
        The members' numbers, as the task knows them.
    member_S : int64 tensor (S,)
        The same on the weights' device, to index per-member constants with.
    weights : mapping of name to tensor (S, ...)
        Leaves of the graph, on the memory of the stack's weights.
    gradients : list of tensor (S, ...)
        Their places, in the same order, in the stack's flat gradient.
    """

    members: tuple[int, ...]
    member_S: Tensor
    weights: Mapping[str, Tensor]
    gradients: list[Tensor]

    @cached_property
    def leaves(self) -> list[Tensor]:
        """The tensors of ``weights``, in order."""
        return list(self.weights.values())


class WeightStack:
    """Weights and gradients of all members alive, each in one flat buffer.

    Parameters
    ----------
    initial : sequence of mappings of name to tensor
        Each member's initial weights, of equal names and shapes.
    members_per_pass : int or None
        How many members share a forward pass; None for all of them.
    device : str
        Where the buffers live.
    smallest : int
        Rows below which the stack does not fall: the last member then stands in several rows.

    Attributes
    ----------
    value_Mn, grad_Mn : float32 tensors (M, n)
        Weights and gradients; ``n`` is padded, and the padding stays zero.
    members : list of int
        The numbers of the members alive, in the order of the rows; the last one may repeat.
    passes : list of Pass
        The forward passes that cover the members alive.
    """

    def __init__(
        self,
        initial: Sequence[Mapping[str, Tensor]],
        members_per_pass: int | None,
        device: str,
        *,
        smallest: int = 1,
    ) -> None:
        self._layout = _lay_out(initial[0])
        self._members_per_pass, self._smallest = members_per_pass, smallest
        self.members = self._filled(list(range(len(initial))))
        initial = [initial[member] for member in self.members]
        end = max((start + math.prod(shape) for start, shape in self._layout.values()), default=0)
        host_Mn = torch.zeros(len(initial), _round_up(end, _ROW_ALIGNMENT))
        for row_n, weights in zip(host_Mn, initial, strict=True):
            for name, (start, shape) in self._layout.items():
                row_n[start : start + math.prod(shape)] = weights[name].reshape(-1)
        self.value_Mn = host_Mn.to(device)
        self.grad_Mn = torch.zeros_like(self.value_Mn)
        self.passes = self._make_passes()

    def keep(self, rows: Sequence[int]) -> list[int]:
        """Let the members of all other rows leave; return the rows kept, the last one repeated where they are few."""
        rows = self._filled(rows)
        self.members = [self.members[row] for row in rows]
        self.value_Mn = self.value_Mn[list(rows)]
        self.grad_Mn = torch.zeros_like(self.value_Mn)
        self.passes = self._make_passes()
        return rows

    def unpack(self, row_n: Tensor) -> dict[str, npt.NDArray[np.float32]]:
        """Named copies, on the host, of one row of ``value_Mn``."""
        host_n = row_n.cpu().numpy()
        return {
            name: host_n[start : start + math.prod(shape)].reshape(shape).copy()
            for name, (start, shape) in self._layout.items()
        }

    def _filled(self, rows: Sequence[int]) -> list[int]:
        return [*rows, *list(rows[-1:]) * (self._smallest - len(rows))]

    def _make_passes(self) -> list[Pass]:
        alive = len(self.members)
        width = self._members_per_pass or max(alive, 1)
        return [self._make_pass(first, min(first + width, alive)) for first in range(0, alive, width)]

    def _make_pass(self, first: int, last: int) -> Pass:
        members = tuple(self.members[first:last])
        weights, gradients = {}, []
        for name, (start, shape) in self._layout.items():
            block = (slice(first, last), slice(start, start + math.prod(shape)))
            weights[name] = self.value_Mn[block].view(last - first, *shape).detach().requires_grad_()
            gradients.append(self.grad_Mn[block].view(last - first, *shape))
        return Pass(members, torch.tensor(members, device=self.value_Mn.device), weights, gradients)


def _lay_out(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Where each tensor starts in a member's row, and its shape."""
    layout, start = {}, 0
    for name, tensor in weights.items():
        layout[name] = (start, tuple(tensor.shape))
        start = _round_up(start + tensor.numel(), _TENSOR_ALIGNMENT)
    return layout


def _round_up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple

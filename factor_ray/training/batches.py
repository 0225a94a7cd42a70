"""Mini-batches by row number, from arrays that every worker of a machine may share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from factor_ray.training.randomness import order_generator

# Axes: N rows of a sample, B rows of a batch.

RowArray = npt.NDArray[np.int32]  # half of int64: they are the one thing that grows with the panel in every worker


class SharedOrder:
    """Shuffles rows into mini-batches, anew for every epoch, in an order that all members of a stack share.

    Parameters
    ----------
    row_N : int32 array
        Numbers of the rows that take part.
    batch_size : int
        Largest number of rows of a batch; an epoch is cut into batches of equal size (give or take one row), so that
        no step rests on a small remainder.
    order_seed : int
        Decides the order.
    """

    def __init__(self, row_N: RowArray, batch_size: int, order_seed: int) -> None:
        self._row_N = row_N
        self._steps = max(1, -(-len(row_N) // batch_size))
        self._generator = order_generator(order_seed)

    def epoch(self) -> Iterator[RowArray]:
        """Yield the batches of the next epoch: int32 arrays (B,)."""
        yield from np.array_split(self._generator.permutation(self._row_N), self._steps)


def shared_tensor(array: npt.NDArray[np.generic]) -> Tensor:
    """Return a tensor on the memory of an array, which may be read-only and shared between processes.

    Nothing may ever write to the tensor in place: the write would succeed and reach every other reader.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(array)

"""Random numbers of a member: they come from its own seed and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

# Axes: S members of one pass, K bits.

_INITIAL, _DROPOUT, _ORDER = range(3)


def initial_generator(seed: int) -> np.random.Generator:
    """Return the stream from which a member's initial weights are drawn."""
    return np.random.Generator(_stream(seed, _INITIAL))


def order_generator(seed: int) -> np.random.Generator:
    """Return the stream that shuffles rows into mini-batches."""
    return np.random.Generator(_stream(seed, _ORDER))


class BitStream:
    """Random 16-bit numbers for one seed's dropout.

    Parameters
    ----------
    seed : int
        Decides the numbers; those of a CPU and of another device differ.
    device : str
        Where the numbers are wanted.
    """

    def __init__(self, seed: int, device: str) -> None:
        self._device = device
        if torch.device(device).type == "cpu":
            self._host: np.random.SFC64 | None = _stream(seed, _DROPOUT)
        else:
            self._host = None
            state = np.random.SeedSequence([seed, _DROPOUT]).generate_state(1, np.uint64)[0]
            self._remote = torch.Generator(device).manual_seed(int(state) >> 1)

    def draw(self, count: int) -> Tensor:
        """Draw the next numbers: int16 (count,), uniform over all values."""
        words = -(-count // 4)
        if self._host is not None:
            word_K = torch.from_numpy(self._host.random_raw(words).view(np.int64))
        else:
            word_K = torch.empty(words, dtype=torch.int64, device=self._device)
            word_K.random_(-(2**63), None, generator=self._remote)
        return word_K.view(torch.int16)[:count]


class BatchBits:
    """One batch's random numbers: members of equal seed are handed the same ones.

    They are drawn once a seed, when they are first asked for, so that what a member is handed depends on its seed
    and on the batches before, never on its companions.

    Parameters
    ----------
    streams : mapping of seed to BitStream
    seeds : sequence of int
        Every member's seed.
    count : int
        How many numbers a member needs for the batch.
    """

    def __init__(self, streams: Mapping[int, BitStream], seeds: Sequence[int], count: int) -> None:
        self._streams, self._seeds, self._count = streams, seeds, count
        self._drawn: dict[int, Tensor] = {}

    def of(self, members: Sequence[int]) -> Tensor:
        """Return the members' numbers: int16 (S, K)."""
        bits = [self._of_seed(self._seeds[member]) for member in members]
        return bits[0][None] if len(bits) == 1 else torch.stack(bits)

    def _of_seed(self, seed: int) -> Tensor:
        if seed not in self._drawn:
            self._drawn[seed] = self._streams[seed].draw(self._count)
        return self._drawn[seed]


def _stream(seed: int, purpose: int) -> np.random.SFC64:
    return np.random.SFC64(np.random.SeedSequence([seed, purpose]))

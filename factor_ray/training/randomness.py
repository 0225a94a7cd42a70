"""Random numbers of a member: they come from its own seed and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

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


class DropoutBits:
    """Random 16-bit numbers for dropout: one stream a distinct seed, so that equal seeds share their masks.

    A member's numbers depend on its seed and on how much was drawn for it before, never on its companions.

    Parameters
    ----------
    seeds : sequence of int
        Every member's seed.
    device : str
        Where the numbers are wanted. The streams of a CPU and of another device differ.
    """

    def __init__(self, seeds: Sequence[int], device: str) -> None:
        self._seeds = list(seeds)
        self._device = device
        self._on_cpu = torch.device(device).type == "cpu"
        if self._on_cpu:
            self._host = {seed: _stream(seed, _DROPOUT) for seed in set(seeds)}
        else:
            self._remote = {seed: _device_generator(seed, device) for seed in set(seeds)}

    def draw(self, count: int) -> BatchBits:
        """Open the next batch, of ``count`` numbers a member; they are drawn when they are first asked for."""
        return BatchBits(self, count)

    def draw_for_seed(self, seed: int, count: int) -> Tensor:
        """Draw the next ``count`` numbers of a seed's stream: int16 (count,), uniform over all values."""
        words = -(-count // 4)
        if self._on_cpu:
            word_K = torch.from_numpy(self._host[seed].random_raw(words).view(np.int64))
        else:
            word_K = torch.empty(words, dtype=torch.int64, device=self._device)
            word_K.random_(-(2**63), None, generator=self._remote[seed])
        return word_K.view(torch.int16)[:count]

    def seed_of(self, member: int) -> int:
        """Return a member's seed."""
        return self._seeds[member]


class BatchBits:
    """One batch's random numbers; members of equal seed are handed the same ones."""

    def __init__(self, source: DropoutBits, count: int) -> None:
        self._source = source
        self._count = count
        self._drawn: dict[int, Tensor] = {}

    def of(self, members: Sequence[int]) -> Tensor:
        """Return the members' numbers: int16 (S, K)."""
        bits = [self._of_seed(self._source.seed_of(member)) for member in members]
        return bits[0][None] if len(bits) == 1 else torch.stack(bits)

    def _of_seed(self, seed: int) -> Tensor:
        if seed not in self._drawn:
            self._drawn[seed] = self._source.draw_for_seed(seed, self._count)
        return self._drawn[seed]


def _stream(seed: int, purpose: int) -> np.random.SFC64:
    return np.random.SFC64(np.random.SeedSequence([seed, purpose]))


def _device_generator(seed: int, device: str) -> torch.Generator:
    state = int(np.random.SeedSequence([seed, _DROPOUT]).generate_state(1, np.uint64)[0]) >> 1
    return torch.Generator(device).manual_seed(state)

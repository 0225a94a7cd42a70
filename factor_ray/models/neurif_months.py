"""A sample's months on a device, cut by month without padding.

Axes: N rows of a sample, n rows of some of its months, T months, P characteristics, A assets, d width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from factor_ray.data.sample import Sample
from factor_ray.models.latent import history_of, months_of
from factor_ray.models.neurif_attention import Bounds, sinusoids
from factor_ray.training.batches import shared_tensor

_ROWS_TOGETHER = 4096  # small months go through the rows' layers together: calls cost more than arithmetic


@dataclass(frozen=True)
class Chunk:
    """Some whole months: ``number`` says which; their rows stand one month after another, between the bounds."""

    number: tuple[int, ...]
    bounds: Bounds
    x_nP: Tensor
    position_nd: Tensor
    y_n: Tensor
    known_n: Tensor

    def months_of_rows(self) -> Tensor:
        """Return every row's month, counted within the chunk (n,)."""
        counts = torch.tensor([last - first for first, last in self.bounds])
        months = torch.repeat_interleave(torch.arange(len(counts)), counts)
        return months.to(self.x_nP.device)


class Months:
    """The months of a sample, numbered 0, 1, ... as they come.

    Parameters
    ----------
    sample : Sample
        With a history, for its assets. Characteristics stay in its memory where the device is a processor.
    scale : float
        What targets are divided by.
    width : int
        Of the position encodings of assets.
    device : str

    Attributes
    ----------
    month_T : int64 tensor (T,)
        The sample's months.
    learned : list of int
        Numbers of the months with a known target.
    """

    def __init__(self, sample: Sample, scale: float, width: int, device: str) -> None:
        history, spans = history_of(sample), dict(months_of(sample.month_N))
        self.month_T = torch.tensor(list(spans))
        self._spans = [(rows.start, rows.stop) for rows in spans.values()]
        self.widest = max(last - first for first, last in self._spans)
        self._x_NP = shared_tensor(sample.x_NP).to(device)
        known_N = np.isfinite(sample.y_N)
        self._known_N = torch.from_numpy(known_N).to(device)
        self._y_N = torch.from_numpy(np.where(known_N, sample.y_N / np.float32(scale), np.float32(0))).to(device)
        asset_A, code_N = np.unique(history.asset_H[len(history) - len(sample) :], return_inverse=True)
        self._code_N = torch.from_numpy(code_N.astype(np.int32)).to(device)
        self._position_Ad = sinusoids(torch.from_numpy(asset_A), width).to(device)
        self.learned = [number for number, (first, last) in enumerate(self._spans) if known_N[first:last].any()]
        self.known_a_month = float(known_N.sum() / len(self.learned)) if self.learned else 0.0
        self.characteristics = sample.x_NP.shape[1]

    def chunks(self, numbers: Sequence[int]) -> Iterator[Chunk]:
        """Yield months by number, small ones together."""
        waiting: list[int] = []
        for number in numbers:
            if waiting and sum(map(self._rows, [*waiting, number])) > _ROWS_TOGETHER:
                yield self._chunk(waiting)
                waiting = []
            waiting.append(number)
        if waiting:
            yield self._chunk(waiting)

    def _rows(self, number: int) -> int:
        first, last = self._spans[number]
        return int(last - first)

    def _chunk(self, numbers: Sequence[int]) -> Chunk:
        ends = np.cumsum([0, *map(self._rows, numbers)]).tolist()
        return Chunk(
            number=tuple(numbers),
            bounds=list(pairwise(ends)),
            x_nP=self._gather(self._x_NP, numbers),
            position_nd=self._position_Ad.index_select(0, self._gather(self._code_N, numbers)),
            y_n=self._gather(self._y_N, numbers),
            known_n=self._gather(self._known_N, numbers),
        )

    def _gather(self, values: Tensor, numbers: Sequence[int]) -> Tensor:
        parts = [values[slice(*self._spans[number])] for number in numbers]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

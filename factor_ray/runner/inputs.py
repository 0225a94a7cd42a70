"""What fits read, and what names it: prepared months, targets and macro states, with their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.data.digests import digest
from factor_ray.data.panel import Panel
from factor_ray.data.sample import FloatArray, Sample
from factor_ray.data.windows import MonthRange, Window


@dataclass(frozen=True)
class Inputs:
    """One run's inputs: a single object in the object store, mapped read-only by every worker of a node.

    Attributes
    ----------
    panel : Panel
        Prepared.
    targets : mapping of horizon to float32 array (N,)
    windows : mapping of horizon to tuple of Window
    states : mapping of horizon to tuple of float32 array (T, d)
        The macro state of every month of the panel, as each window computes it.
    """

    panel: Panel
    targets: Mapping[int, FloatArray]
    windows: Mapping[int, tuple[Window, ...]]
    states: Mapping[int, tuple[FloatArray, ...]]

    def sample(self, horizon: int, window: int, months: MonthRange) -> Sample:
        """Return the rows of some months, as that window sees them: views, no copies."""
        rows = self.panel.rows(*months)
        return Sample(
            x_NP=self.panel.characteristics[rows],
            month_N=self.panel.row_months[rows] - self.panel.months[0],
            z_Td=self.states[horizon][window],
            y_N=self.targets[horizon][rows],
            c_NC=self.panel.consensus[rows],
        )


@dataclass(frozen=True)
class Digests:
    """Hashes of what fits read, month by month, so that new months leave the names of old cells as they are.

    Attributes
    ----------
    first : int
        The panel's first month.
    prepared : sequence of str
        One digest per month of assets, characteristics and consensus.
    targets : mapping of horizon to sequence of str
        One digest per month.
    names : str
        Digest of the names and order of characteristics and consensus variables.
    """

    first: int
    prepared: Sequence[str]
    targets: Mapping[int, Sequence[str]]
    names: str

    def data(self, horizon: int, window: Window) -> str:
        """Return the digest of all that a fit on this window reads of the panel."""
        read = []
        for pair in (window.train, window.validation):
            if pair is not None:
                months = slice(pair[0] - self.first, pair[1] - self.first + 1)
                read.append([self.prepared[months], self.targets[horizon][months]])
        return digest([self.names, read])

    def state(self, state_Td: npt.NDArray[np.float32], window: Window) -> str:
        """Return the digest of the macro states that a fit on this window reads."""
        last = window.train[1] if window.validation is None else window.validation[1]
        read = state_Td[window.train[0] - self.first : last - self.first + 1]
        return digest(np.ascontiguousarray(read).tobytes() + str(read.shape).encode())


def month_digests(panel: Panel) -> list[str]:
    """Return one digest per month of a prepared panel: what the month's rows say, but for returns."""
    found = []
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        rows = slice(int(start), int(stop))
        content = [
            "\x1f".join(map(str, panel.assets[rows])).encode(),
            panel.characteristics[rows].tobytes(),
            panel.consensus[rows].tobytes(),
        ]
        found.append(digest(b"\x1e".join(content)))
    return found


def target_digests(panel: Panel, target_N: npt.NDArray[np.float32]) -> list[str]:
    """Return one digest per month of a target."""
    bounds = zip(panel.offsets[:-1], panel.offsets[1:], strict=True)
    return [digest(np.ascontiguousarray(target_N[int(start) : int(stop)]).tobytes()) for start, stop in bounds]

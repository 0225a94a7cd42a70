"""What fits read, and what names it: prepared months, targets and macro states, with their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.data.digests import digest
from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.data.sample import AssetArray, FloatArray, WindowView, asset_numbers, observed_factors_of
from factor_ray.data.targets import own_excess_returns
from factor_ray.data.windows import Window
from factor_ray.models.by_month import CrossSection, cross_section


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
    excess_N, asset_N, factors_TF
        As in :class:`factor_ray.data.sample.WindowView`.
    """

    panel: Panel
    targets: Mapping[int, FloatArray]
    windows: Mapping[int, tuple[Window, ...]]
    states: Mapping[int, tuple[FloatArray, ...]]
    excess_N: FloatArray
    asset_N: AssetArray
    factors_TF: FloatArray

    @classmethod
    def of(
        cls,
        panel: Panel,
        targets: Mapping[int, FloatArray],
        windows: Mapping[int, tuple[Window, ...]],
        states: Mapping[int, tuple[FloatArray, ...]],
    ) -> Inputs:
        """Gather the inputs, reading the rest from the prepared panel."""
        return cls(
            panel, targets, windows, states, own_excess_returns(panel), asset_numbers(panel), observed_factors_of(panel)
        )

    def cross_section(self, horizon: int, month: int) -> CrossSection | None:
        """Return the assets of a month whose targets are known, whatever the window; None where there are none."""
        rows = self.panel.rows(month, month)
        return cross_section(format_month(month), self.panel.characteristics[rows], self.targets[horizon][rows])

    def tested_rows(self, horizon: int) -> npt.NDArray[np.int64]:
        """Return the rows of all test months of a horizon, in order."""
        spans = [self.panel.rows(*window.test) for window in self.windows[horizon]]
        return np.concatenate([np.arange(span.start, span.stop) for span in spans])

    def view(self, horizon: int, window: int) -> WindowView:
        """Return the panel as a window sees it."""
        return WindowView(
            panel=self.panel,
            horizon=horizon,
            target_N=self.targets[horizon],
            excess_N=self.excess_N,
            asset_N=self.asset_N,
            state_Td=self.states[horizon][window],
            factors_TF=self.factors_TF,
            first=self.windows[horizon][window].train[0],
        )


@dataclass(frozen=True)
class Digests:
    """Hashes of what fits read, month by month, so that new months leave the names of old cells as they are.

    Attributes
    ----------
    first : int
        The panel's first month.
    prepared : sequence of str
        One digest per month of assets, characteristics, consensus and returns.
    targets : mapping of horizon to sequence of str
        One digest per month.
    factors : sequence of str
        One digest per month of observed factor returns.
    names : str
        Digest of the names and order of characteristics, consensus variables and observed factors.
    """

    first: int
    prepared: Sequence[str]
    targets: Mapping[int, Sequence[str]]
    factors: Sequence[str]
    names: str

    def data(self, horizon: int, window: Window) -> str:
        """Return the digest of all that a fit on this window reads of the panel."""
        spans = [span for span in (window.train, window.validation) if span is not None]
        begin, last = window.train[0] - self.first, spans[-1][1] - self.first
        known = [self.targets[horizon][low - self.first : high - self.first + 1] for low, high in spans]
        rows = self.prepared[begin : last + 1]
        return digest([self.names, rows, known, self.factors[begin : last + 1 + horizon]])

    def month(self, horizon: int, month: int) -> str:
        """Return the digest of all that the fit of a single month reads."""
        at = month - self.first
        return digest([self.names, self.prepared[at], self.targets[horizon][at]])

    def state(self, state_Td: npt.NDArray[np.float32], window: Window) -> str:
        """Return the digest of the macro states that a fit on this window reads."""
        last = window.train[1] if window.validation is None else window.validation[1]
        read = state_Td[window.train[0] - self.first : last - self.first + 1]
        return digest(np.ascontiguousarray(read).tobytes() + str(read.shape).encode())


def month_digests(panel: Panel) -> list[str]:
    """Return one digest per month of a prepared panel: what the month's rows say."""
    plain = [panel.values(name) for name in ("return", "risk_free") if name in panel.table.column_names]
    found = []
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        rows = slice(int(start), int(stop))
        content = [
            "\x1f".join(map(str, panel.assets[rows])).encode(),
            panel.characteristics[rows].tobytes(),
            panel.consensus[rows].tobytes(),
            *(values[rows].tobytes() for values in plain),
        ]
        found.append(digest(b"\x1e".join(content)))
    return found


def target_digests(panel: Panel, target_N: npt.NDArray[np.float32]) -> list[str]:
    """Return one digest per month of a target."""
    bounds = zip(panel.offsets[:-1], panel.offsets[1:], strict=True)
    return [digest(np.ascontiguousarray(target_N[int(start) : int(stop)]).tobytes()) for start, stop in bounds]


def factor_digests(factors_TF: npt.NDArray[np.float32]) -> list[str]:
    """Return one digest per month of observed factor returns."""
    return [digest(np.ascontiguousarray(row).tobytes()) for row in factors_TF]

"""What follows once the search of a quantile has selected, and what it is held to: made while searches go on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

import pandas as pd

from factor_ray.descriptions import Described
from factor_ray.experiment import Experiment
from factor_ray.levels import trivial_levels
from factor_ray.measures import measure_quantiles
from factor_ray.models.base import Fit
from factor_ray.runner.campaign import Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs
from factor_ray.tables import Forecast, forecasts_of
from factor_ray.whole_sample import whole_sample
from factor_ray.window_loadings import window_loading_frame


class Measured(NamedTuple):
    """A forecast of one level with its measures, or None where these are still to be taken."""

    forecast: Forecast
    measures: dict[str, Any] | None


class MeasuredWhole(NamedTuple):
    """A whole sample: its quantiles, and what its estimate is made of, where it says."""

    fitted: Measured
    described: Described | None


@dataclass
class SelectedLevels(AbstractContextManager["SelectedLevels"]):
    """Forecasts, their measures, coefficients by window and whole samples of quantile models, and trivial quantiles.

    A context: who leaves it early, since the run fails, does not wait for what has not begun.

    Parameters
    ----------
    experiment, inputs, store
        Of the run.
    warn : callable
        As in :func:`whole_sample`.
    """

    experiment: Experiment
    inputs: Inputs
    store: CellStore
    warn: Callable[[str], None]
    _by_window: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    _of_all_months: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(os.cpu_count()))
    _forecasts: dict[tuple[str, str], Future[list[Measured]]] = field(default_factory=dict)
    _trivial: dict[int, Future[list[list[Measured]]]] = field(default_factory=dict)
    _loadings: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict)
    _wholes: dict[tuple[str, str], Future[MeasuredWhole | None]] = field(default_factory=dict)

    def begin_trivial(self, quests: Iterable[Quest]) -> None:
        """Begin with the trivial quantiles of the searches' horizons, which wait for no search."""
        for horizon in dict.fromkeys(quest.horizon for quest in quests if quest.tau is not None):
            self._trivial[horizon] = self._of_all_months.submit(self._trivial_of, horizon)

    def begin(self, quest: Quest, stored: Future[None]) -> None:
        """Begin with a finished search, unless it is of means; ``stored`` is done when what it selected can be read."""
        if quest.tau is None:
            return
        key = quest.model, quest.key

        def by_window() -> list[Measured]:
            stored.result()
            store = _ReadOnce(self.store.root)
            self._loadings[key] = window_loading_frame(quest, self.inputs.panel, store)
            found = list(forecasts_of(quest, self.inputs, store, self.experiment.ensemble))
            return self._measured_unless_rearranged(found)

        def of_all_months() -> MeasuredWhole | None:
            found = whole_sample(quest, self.inputs, self.store, self.warn)
            return None if found is None else MeasuredWhole(self._measured(found.fitted), found.described)

        self._wholes[key] = self._of_all_months.submit(of_all_months)
        self._forecasts[key] = self._by_window.submit(by_window)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Wait for what has begun."""
        self._by_window.shutdown(cancel_futures=True)
        self._of_all_months.shutdown(cancel_futures=True)

    def forecasts(self, quest: Quest) -> list[Measured]:
        """Wait for the forecasts of a search that was begun with, and hand them over: they are kept no longer."""
        return self._forecasts.pop((quest.model, quest.key)).result()

    def trivial(self, horizon: int) -> list[list[Measured]]:
        """Wait for :func:`trivial_levels` of a horizon that was begun with."""
        return self._trivial[horizon].result()

    def window_loadings(self, quest: Quest) -> pd.DataFrame:
        """Return :func:`window_loading_frame` of a search whose forecasts were handed over."""
        return self._loadings[quest.model, quest.key]

    def whole_sample(self, quest: Quest) -> MeasuredWhole | None:
        """Wait for :func:`whole_sample` of a search that was begun with."""
        return self._wholes[quest.model, quest.key].result()

    def _trivial_of(self, horizon: int) -> list[list[Measured]]:
        rows, taus = self.inputs.tested_rows(horizon), self.experiment.target.quantiles
        levels = trivial_levels(self.inputs, horizon, rows, taus)
        return [self._measured_unless_rearranged(forecasts) for forecasts in levels]

    def _measured_unless_rearranged(self, forecasts: Sequence[Forecast]) -> list[Measured]:
        if self.experiment.target.rearrange:  # the levels are still to be sorted
            return [Measured(forecast, None) for forecast in forecasts]
        return [self._measured(forecast) for forecast in forecasts]

    def _measured(self, forecast: Forecast) -> Measured:
        target_N = self.inputs.targets[forecast.horizon]
        return Measured(forecast, measure_quantiles(self.inputs.panel, forecast, target_N))


@dataclass(frozen=True)
class _ReadOnce(CellStore):
    """Remembers what was read: a quantile model's selected cells are small, and each is asked for twice."""

    fits: dict[str, Fit] = field(default_factory=dict)

    def read(self, name: str) -> Fit:
        if name not in self.fits:
            self.fits[name] = super().read(name)
        return self.fits[name]

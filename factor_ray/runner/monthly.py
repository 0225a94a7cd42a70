"""Searches of models that are fitted month by month: which months they need, and what follows from the months' cells.

The cells are the months. Scores and weights of windows are small computations on them, made in the driver for all
windows at once; of these only the weights that a search has selected are stored, for forecasts read them there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from factor_ray.data.digests import digest
from factor_ray.models.base import Description, Fit, Hyperparameters
from factor_ray.models.by_month import ByMonth, CrossSection, Span
from factor_ray.models.registry import model
from factor_ray.runner.inputs import Digests, Inputs
from factor_ray.runner.search import Request

Floats = npt.NDArray[np.float64]
Month = tuple[int, Hyperparameters]
"""A month and what its fit depends on."""


class MonthlyFits:
    """The months of one model at one horizon, and what they make of its windows.

    Parameters
    ----------
    name : str
        Of the model.
    horizon : int
    inputs : Inputs
    digests : Digests
    """

    def __init__(self, name: str, horizon: int, inputs: Inputs, digests: Digests) -> None:
        family = model(name)
        assert issubclass(family, ByMonth)
        self._family, self._windows = family, inputs.windows[horizon]
        spans = [span for window in self._windows for span in (window.train, window.validation) if span is not None]
        self._sections: dict[int, CrossSection] = {}
        for month in range(min(first for first, _ in spans), max(last for _, last in spans) + 1):
            if (section := inputs.cross_section(horizon, month)) is not None:
                self._sections[month] = section
        self._data = {month: digests.month(horizon, month) for month in self._sections}
        self._spans = [Span(self._known(window.train), self._known(window.validation)) for window in self._windows]
        self._written: dict[Hyperparameters, dict[str, Any]] = {}
        self._coefficients: defaultdict[Hyperparameters, dict[int, Floats]] = defaultdict(dict)
        self._losses: defaultdict[Hyperparameters, dict[int, float]] = defaultdict(dict)

    @property
    def months(self) -> list[int]:
        """All months that any window learns or is judged by, and that hold targets."""
        return list(self._sections)

    def needed(self, requests: Sequence[Request]) -> list[Month]:
        """Return the months whose coefficients are still to be looked up for some scores.

        On the first window its own months; for any later one all months, since what reached it will need them.
        """
        wanted: dict[Month, None] = {}
        asked = dict.fromkeys((r.window == 0, r.point) for r in requests)
        months = dict.fromkeys((first, self._family.month_settings(point.settings)) for first, point in asked)
        for first, settings in months:
            wanted |= dict.fromkeys((at, settings) for at in (self._spans[0].months if first else self._sections))
        return [(at, settings) for at, settings in wanted if at not in self._coefficients[settings]]

    def name(self, month: Month) -> str:
        """Return the name of a month's cell."""
        return digest(self.identity(month))

    def identity(self, month: Month) -> dict[str, Any]:
        """Return everything that a month's fit depends on: no window, no search and no run."""
        at, settings = month
        if settings not in self._written:
            self._written[settings] = settings.model_dump(mode="json")
        return {
            "model": self._family.name,
            "version": self._family.version,
            "month": self._data[at],
            "settings": self._written[settings],
        }

    def take(self, month: Month, cell: Fit) -> None:
        """Take a month's coefficients from its cell."""
        at, settings = month
        self._coefficients[settings][at] = np.asarray(cell.weights["coefficients"], dtype=np.float64)

    def scores(self, requests: Sequence[Request]) -> dict[Request, float]:
        """Return validation losses; nothing that they need is missing.

        The first request of a point beyond the first window computes all of its windows.

        Raises
        ------
        InputError
            If a window has too few months, or a month too few assets.
        """
        known = {point: self._losses[point.settings] for point in dict.fromkeys(r.point for r in requests)}
        todo: dict[bool, dict[Hyperparameters, None]] = {}
        for window, point, _ in requests:
            if window not in known[point]:
                todo.setdefault(window == 0, {})[point.settings] = None
        for first, points in todo.items():
            windows = range(1) if first else range(len(self._spans))
            coefficients = {
                settings: self._coefficients[settings]
                for settings in dict.fromkeys(map(self._family.month_settings, points))
            }
            losses = self._family.window_losses(
                list(points), coefficients, self._sections, [self._spans[w] for w in windows]
            )
            for settings, loss_W in zip(points, losses.tolist(), strict=True):
                self._losses[settings] |= zip(windows, loss_W, strict=True)
        return {request: known[request.point][request.window] for request in requests}

    def fits(self, points: Mapping[int, Hyperparameters]) -> dict[int, Fit]:
        """Return the fits of points that were selected, by window; nothing that they need is missing."""
        found: dict[int, Fit] = {}
        for point in dict.fromkeys(points.values()):
            windows = [w for w, chosen in points.items() if chosen == point]
            coefficients = self._coefficients[self._family.month_settings(point)]
            months = [self._spans[w].months for w in windows]
            weights = self._family.window_weights(point, coefficients, self._sections, months)
            for w, each in zip(windows, weights, strict=True):
                found[w] = Fit(each, {"selection": self._losses[point][w]})
        return found

    def describe(self, point: Hyperparameters) -> tuple[Description, dict[int, Floats]]:
        """Return what a selected point's estimate from all months is made of, and its fitted values by month."""
        coefficients = self._coefficients[self._family.month_settings(point)]
        return self._family.describe_months(point, coefficients, self._sections)

    def _known(self, months: tuple[int, int] | None) -> list[int]:
        return [] if months is None else [at for at in range(months[0], months[1] + 1) if at in self._sections]

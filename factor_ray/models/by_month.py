"""Models whose fit begins with fits of single months, which no window, no search and no run changes.

What such a model makes of a month is a cell of its own. Any window, and any hyperparameter that only matters
afterwards, is then a matter of small computations on the months' coefficients. Axes: N assets, P characteristics.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import Sample
from factor_ray.models.base import Description, Fit, Hyperparameters, Weights
from factor_ray.models.estimator import Estimator

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CrossSection:
    """The assets of one month whose targets are known, at least one.

    Attributes
    ----------
    label : str
        The month, for messages.
    x_NP : float64 array (N, P)
        Prepared characteristics.
    y_N : float64 array (N,)
        Targets, without missing values.
    """

    label: str
    x_NP: Floats
    y_N: Floats


@dataclass(frozen=True)
class Span:
    """One window's months that hold known targets, in order."""

    train: Sequence[int]
    validation: Sequence[int]

    @property
    def months(self) -> list[int]:
        """All of them: what the final estimate is made of."""
        return [*self.train, *self.validation]


class ByMonth(Estimator):
    """Base of such models.

    A window's score is the loss of its validation months under the estimate of its training months. What forecasts is
    then estimated again from training and validation months together: with 35 training months and one for validation,
    moving by a month, each month is scored by the 35 months before it and forecast from the last 36.
    """

    one_member: ClassVar[bool] = True
    MonthSettings: ClassVar[type[Hyperparameters]]

    @classmethod
    @abstractmethod
    def month_settings(cls, point: Hyperparameters) -> Hyperparameters:
        """Return the hyperparameters on which the fits of single months depend."""

    @classmethod
    @abstractmethod
    def fit_month(cls, settings: Sequence[Hyperparameters], month: CrossSection) -> list[Floats]:
        """Return the coefficients of one month under each of several settings; none depends on its companions.

        Raises
        ------
        InputError
            If the month cannot be fitted, naming it.
        """

    @classmethod
    @abstractmethod
    def window_losses(
        cls,
        points: Sequence[Hyperparameters],
        coefficients: Mapping[Hyperparameters, Mapping[int, Floats]],
        months: Mapping[int, CrossSection],
        windows: Sequence[Span],
    ) -> Floats:
        """Return the validation loss of every point in every window, (points, windows).

        Parameters
        ----------
        points : sequence of Hyperparameters
        coefficients : mapping of month settings to mapping of month to array
            Under the month settings of every point.
        months : mapping of month to CrossSection
        windows : sequence of Span

        Raises
        ------
        InputError
            If a window has too few months, or a validation month too few assets.
        """

    @classmethod
    @abstractmethod
    def window_weights(
        cls,
        point: Hyperparameters,
        coefficients: Mapping[int, Floats],
        months: Mapping[int, CrossSection],
        windows: Sequence[Sequence[int]],
    ) -> list[Weights]:
        """Return a point's weights, estimated from all of each window's months."""

    @classmethod
    @abstractmethod
    def describe_months(
        cls,
        point: Hyperparameters,
        coefficients: Mapping[int, Floats],
        months: Mapping[int, CrossSection],
    ) -> tuple[Description, dict[int, Floats]]:
        """Return what the estimate from all given months is made of, and its fitted values (N,) in each of them."""

    @classmethod
    def fit_pack(
        cls,
        points: Sequence[Hyperparameters],
        seeds: Sequence[int],  # noqa: ARG003 - nothing is random
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,  # noqa: ARG003
        device: str = "cpu",  # noqa: ARG003
    ) -> list[Fit]:
        """Fit a window's months and what follows from them; a run takes the months from their cells instead."""
        started = perf_counter()
        learned, judged = cross_sections(train), cross_sections(validation)
        months, span = learned | judged, Span(list(learned), list(judged))
        fits = []
        for point in points:
            settings = cls.month_settings(point)
            coefficients = {at: cls.fit_month([settings], month)[0] for at, month in months.items()}
            loss = float(cls.window_losses([point], {settings: coefficients}, months, [span])[0, 0])
            weights = cls.window_weights(point, coefficients, months, [span.months])[0]
            fits.append(Fit(weights, {"selection": loss}))
        seconds = (perf_counter() - started) / len(points)
        return [Fit(fit.weights, fit.scores, seconds=seconds) for fit in fits]


def cross_sections(sample: Sample) -> dict[int, CrossSection]:
    """Return the months of a sample that hold known targets, in order; months are counted as in the sample."""
    bounds = np.flatnonzero(np.diff(sample.month_N, prepend=-1, append=-1))
    found = {}
    for start, stop in pairwise(bounds):
        month = int(sample.month_N[start])
        section = cross_section(f"month {month}", sample.x_NP[start:stop], sample.y_N[start:stop])
        if section is not None:
            found[month] = section
    return found


def cross_section(label: str, x_NP: npt.NDArray[np.float32], y_N: npt.NDArray[np.float32]) -> CrossSection | None:
    """Return the assets of a month whose target is known; None where there are none."""
    known_N = np.isfinite(y_N)
    if not known_N.any():
        return None
    return CrossSection(label, x_NP[known_N].astype(np.float64), y_N[known_N].astype(np.float64))

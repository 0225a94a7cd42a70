"""What the forecasters that look across assets share: hyperparameters, months and their links, fits and forecasts.

Axes: N rows of a month, L months of the lookback, M months of returns, I inputs of a month, K neighbours.
"""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from pydantic import model_validator

from factor_ray.data.sample import AssetArray, FloatArray, History, Sample
from factor_ray.errors import InputError
from factor_ray.models.base import Fit, Hyperparameters, RowWise, Weights, checked, free, require_known_targets, shape
from factor_ray.models.estimator import Estimator
from factor_ray.models.forecasters.lookback import BoolArray, Lookback, lookback_rows
from factor_ray.models.forecasters.neighbours import LinkArray

if TYPE_CHECKING:
    from torch import nn


class CrossSectionSettings(Hyperparameters):
    """Hyperparameters that every forecaster across assets has."""

    correlation_months: int = shape(36, "months of returns, up to the forecast's own, that link assets", ge=4)
    overlap: int = shape(24, "months that two assets must have in common to be linked", ge=3)
    epochs: int = shape(50, "largest number of epochs", ge=1)
    patience: int = shape(5, "epochs in a row without a new best validation loss before a member stops", ge=1)
    warm_up: int = shape(5, "epochs before patience counts; too few is wrong where there are few training months", ge=0)
    learning_rate: float = free(1e-3, "AdamW's step size", gt=0)
    weight_decay: float = free(1e-4, "decoupled decay (AdamW): the weights shrink by it times the step size", ge=0)
    dropout: float = free(0.1, "probability of dropping a hidden unit", ge=0, lt=1)
    gradient_clip: float = free(1.0, "largest Euclidean norm of a member's gradient", gt=0)

    @property
    def seen_months(self) -> int:
        """Months of characteristics that are seen, up to and including the forecast's own."""
        return 1

    @model_validator(mode="after")
    def _overlap_fits(self) -> Self:
        if self.overlap > self.correlation_months:
            raise ValueError(
                f"overlap must be at most correlation_months; got {self.overlap} and {self.correlation_months}: "
                "lower overlap"
            )
        return self


class CrossSection(Estimator):
    """A network that forecasts all assets of a month at once, each also from the assets that move with it.

    Inputs are characteristics (and the macro state), standardised by their means and deviations over the training rows,
    and own-month excess returns over their root mean square there, cut at five; what is missing is zero. A month is a
    batch. The loss is the squared error over targets standardised likewise, so that a forecast of zero, from which
    training starts, has loss 1. Links of every month are found once a fit, and kept: 2 K bytes a row and graph, and
    4 M for the rows of M months.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    Settings: ClassVar[type[Hyperparameters]] = CrossSectionSettings

    @classmethod
    @abstractmethod
    def links(cls, point: Hyperparameters, r_NM: FloatArray, asset_N: AssetArray) -> tuple[LinkArray, ...]:
        """Return one or several graphs of a month (N, K) from the returns up to it; -1 where nobody is."""

    @classmethod
    @abstractmethod
    def network(cls, point: Hyperparameters, inputs: int) -> nn.Module:
        """Return the network: forward(x[N, L, inputs], observed[N, L], r[N, M], links) -> [N], without buffers."""

    @classmethod
    def fit_pack(
        cls,
        points: Sequence[Hyperparameters],
        seeds: Sequence[int],
        train: Sample,
        validation: Sample,
        *,
        order_seed: int,
        device: str = "cpu",
    ) -> list[Fit]:
        """Fit points of one shape on the same months, one member a pass; point k with seed k.

        Parameters
        ----------
        points : sequence of CrossSectionSettings
            Equal in all shape hyperparameters.
        seeds : sequence of int
            Non-negative; decide initial weights and dropout. Points of equal seed share both.
        train, validation : Sample
            With their histories. Rows without a known target are neighbours of others, and are not learned from.
        order_seed : int
            Decides the order of the months, which the members share.
        device : str
            On "cpu" a member's bits do not depend on its companions or on the number of threads.

        Returns
        -------
        list of Fit
            ``scores`` holds ``selection`` (the validation loss over that of the zero forecast), ``return_loss`` and
            ``return_loss_of_zero`` (squared decimals) and ``validation_loss`` (standardised; it stops the fit).

        Raises
        ------
        InputError
            If a sample has no target to learn from or to be judged by, or no history.
        """
        from factor_ray.models.forecasters.cross_section_task import CrossSectionTask
        from factor_ray.models.forecasters.members import fit_members

        settings = [checked(point, CrossSectionSettings) for point in points]
        require_known_targets(train, validation)
        task = CrossSectionTask(cls, settings, seeds, train, validation, order_seed=order_seed, device=device)
        return fit_members(task, settings, device)

    @classmethod
    def fitted(cls, point: Hyperparameters, weights: Weights) -> RowWise:
        """Return one member, ready to forecast one month after another."""
        from factor_ray.models.forecasters.cross_section_task import Member

        return RowWise(Member(cls, checked(point, CrossSectionSettings), weights))


@dataclass(frozen=True)
class Month:
    """One month of a sample as a network is to see it, not scaled yet.

    Attributes
    ----------
    x_NLI : float32 array (N, L, I)
        Characteristics and macro states, zero in months without observation.
    observed_NL : bool array (N, L)
    r_NM : float32 array (N, M)
        Own-month excess returns up to the month; NaN where missing.
    links : tuple of int arrays (N, K)
        Positions in the month; -1 where nobody is.
    """

    x_NLI: FloatArray
    observed_NL: BoolArray
    r_NM: FloatArray
    links: tuple[LinkArray, ...]


class Months:
    """A sample month by month; a month's links are remembered.

    Parameters
    ----------
    model : type of CrossSection
    point : CrossSectionSettings
        Of which shape hyperparameters alone are looked at.
    sample : Sample
        With its history.

    Attributes
    ----------
    rows : list of slice
        The rows of every month of the sample, in order of time.
    width : int
        I.
    """

    def __init__(self, model: type[CrossSection], point: CrossSectionSettings, sample: Sample) -> None:
        self._model, self._point = model, point
        history = history_of(sample)
        self._lookback = Lookback(sample, point.seen_months)
        reach = max(point.seen_months, point.correlation_months)
        self._row_NM = lookback_rows(history.asset_H, history.month_H, len(sample), reach)
        self._r_H, self._asset_N = history.r_H, history.asset_H[len(history) - len(sample) :]
        starts = [*np.flatnonzero(np.diff(sample.month_N, prepend=-1)).tolist(), len(sample)]
        self.rows = [slice(start, end) for start, end in pairwise(starts)]
        self.width = self._lookback.width
        self._links: dict[int, tuple[LinkArray, ...]] = {}

    def month(self, rows: slice) -> Month:
        """Return the month of these rows."""
        row_NM = self._row_NM[rows]
        r_NM = np.where(row_NM >= 0, self._r_H[row_NM], np.float32(np.nan))
        if rows.start not in self._links:
            known_NM = r_NM[:, r_NM.shape[1] - self._point.correlation_months :]
            self._links[rows.start] = self._model.links(self._point, known_NM, self._asset_N[rows])
        return Month(*self._lookback.gather(rows), r_NM, self._links[rows.start])


class LatestMonths:
    """Remembers the months of the sample that was last asked for: members of an ensemble are asked one after another.

    Nothing is kept once the sample is gone.
    """

    def __init__(self) -> None:
        self._sample: weakref.ref[Sample] | None = None
        self._key: object = None
        self._months: Months | None = None

    def of(self, model: type[CrossSection], point: CrossSectionSettings, sample: Sample) -> Months:
        """Return the months of a sample."""
        key = (model.name, tuple(getattr(point, name) for name in type(point).shape_names()))
        if self._months is None or self._sample is None or self._sample() is not sample or self._key != key:
            self._months, self._key = Months(model, point, sample), key
            self._sample = weakref.ref(sample, self._forget)
        return self._months

    def _forget(self, gone: weakref.ref[Sample]) -> None:
        if gone is self._sample:
            self._sample = self._months = None


def history_of(sample: Sample) -> History:
    """Return a sample's history.

    Raises
    ------
    InputError
        If it has none.
    """
    if sample.history is None:
        raise InputError(
            "a forecaster across assets needs a sample with its history, and this one has none: cut samples with "
            "WindowView"
        )
    return sample.history

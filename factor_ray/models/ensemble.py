"""The mean of an ensemble's members."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import Sample
from factor_ray.models.base import Hyperparameters, Model, Prediction, Weights

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FittedMember:
    """One member of an ensemble: its point, its weights and its share in the mean (up to a common factor)."""

    settings: Hyperparameters
    weights: Weights
    share: float = 1.0


def ensemble_forecast(model: type[Model], members: Sequence[FittedMember], months: Iterable[Sample]) -> Prediction:
    """Return the weighted mean of the members' forecasts.

    Each month is computed by itself, so that its forecasts do not depend, to the bit, on which other months are asked
    for.

    Parameters
    ----------
    model : type of Model
    members : sequence of FittedMember
        At least one, none of them diverged.
    months : iterable of Sample
        The rows of one month each, in order of time, as known at its end.
    """
    returns: list[FloatArray] = []
    consensus: list[FloatArray] = []
    fitted = [(model.fitted(member.settings, member.weights), member.share) for member in members]
    for month in months:
        parts = [(member.forecast(month), share) for member, share in fitted]
        returns += _mean([(part.returns, share) for part, share in parts])
        consensus += _mean([(part.consensus, share) for part, share in parts])
    return Prediction(np.concatenate(returns) if returns else None, np.concatenate(consensus) if consensus else None)


def ensemble_total(model: type[Model], members: Sequence[FittedMember], months: Iterable[Sample]) -> FloatArray | None:
    """Return the weighted mean of what the members make of months whose targets are known; None where none does.

    Parameters
    ----------
    model, members
        As in :func:`ensemble_forecast`.
    months : iterable of Sample
        The rows of one month each, in order of time, with their targets.
    """
    found: list[FloatArray] = []
    fitted = [(model.fitted(member.settings, member.weights), member.share) for member in members]
    for month in months:
        found += _mean([(member.total(month), share) for member, share in fitted])
    return np.concatenate(found) if found else None


def _mean(parts: Sequence[tuple[FloatArray | None, float]]) -> list[FloatArray]:
    """The mean over members that forecast, in a list; an empty one where none does."""
    known = [(part, share) for part, share in parts if part is not None]
    if not known:
        return []
    total = sum(share for _, share in known)
    mean = np.zeros(known[0][0].shape, dtype=np.float64)
    for part, share in known:
        mean += part.astype(np.float64) * (share / total)
    return [mean.astype(np.float32)]

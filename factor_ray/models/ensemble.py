"""The mean of an ensemble's members."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
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


def ensemble_forecast(model: type[Model], members: Sequence[FittedMember], sample: Sample) -> Prediction:
    """Return the weighted mean of the members' forecasts.

    Each month is computed by itself, so that its forecasts do not depend, to the bit, on which other months are asked
    for.

    Parameters
    ----------
    model : type of Model
    members : sequence of FittedMember
        At least one, none of them diverged.
    sample : Sample
        Rows to forecast, sorted by month.
    """
    edges = np.flatnonzero(np.diff(sample.month_N, prepend=-1, append=-1))
    returns: list[FloatArray] = []
    consensus: list[FloatArray] = []
    for start, stop in itertools.pairwise(edges):
        month = _rows(sample, slice(int(start), int(stop)))
        parts = [(model.forecast(member.settings, member.weights, month), member.share) for member in members]
        returns += _mean([(part.returns, share) for part, share in parts])
        consensus += _mean([(part.consensus, share) for part, share in parts])
    return Prediction(np.concatenate(returns) if returns else None, np.concatenate(consensus) if consensus else None)


def _rows(sample: Sample, rows: slice) -> Sample:
    return dataclasses.replace(
        sample, x_NP=sample.x_NP[rows], month_N=sample.month_N[rows], y_N=sample.y_N[rows], c_NC=sample.c_NC[rows]
    )


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

"""From selected cells to forecasts: weights are read from the store, members are averaged, month by month."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import Sample
from factor_ray.models.base import Fit, Hyperparameters, Prediction
from factor_ray.models.registry import model
from factor_ray.runner.cells import CellStore

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Member:
    """One fitted member of an ensemble: its cell, its hyperparameters and its weight in the mean."""

    cell: str
    settings: Hyperparameters
    weight: float = 1.0


def ensemble_forecast(name: str, members: Sequence[Member], fits: Mapping[str, Fit], sample: Sample) -> Prediction:
    """Return the weighted mean of the members' forecasts.

    Each month is computed by itself, so that its forecasts do not depend, to the bit, on which other months are asked
    for. Members whose fit diverged are left out.

    Parameters
    ----------
    name : str
        The model.
    members : sequence of Member
    fits : mapping of cell to Fit
    sample : Sample
        Rows to forecast, sorted by month.
    """
    sound = [member for member in members if fits[member.cell].status == "ok"]
    total = sum(member.weight for member in sound)
    edges = np.flatnonzero(np.diff(sample.month_N, prepend=-1, append=-1))
    family = model(name)
    months = []
    for start, stop in itertools.pairwise(edges):
        month = _rows(sample, slice(int(start), int(stop)))
        parts = [family.predict(member.settings, fits[member.cell].weights, month) for member in sound]
        shares = [member.weight / total for member in sound]
        months.append(
            (_mean([part.returns for part in parts], shares), _mean([part.consensus for part in parts], shares))
        )
    returns = [part for part, _ in months if part is not None]
    consensus = [part for _, part in months if part is not None]
    return Prediction(np.concatenate(returns) if returns else None, np.concatenate(consensus) if consensus else None)


def greedy_weights(
    name: str, members: Sequence[Member], fits: Mapping[str, Fit], validation: Sample, picks: int
) -> list[Member]:
    """Weigh members by greedy selection with replacement on the validation rows (Caruana et al., 2004).

    Starting from nothing, the member that lowers the mean's squared error most is added, ``picks`` times; ties go to
    the first. The weights are shares of picks. Only validation rows of the window are seen.
    """
    sound = [member for member in members if fits[member.cell].status == "ok"]
    known_N = ~np.isnan(validation.y_N)
    target_N = validation.y_N[known_N].astype(np.float64)
    family = model(name)
    found = [family.predict(member.settings, fits[member.cell].weights, validation).returns for member in sound]
    if any(returns is None for returns in found):
        return list(members)
    forecasts_MN = np.stack([np.asarray(returns)[known_N] for returns in found]).astype(np.float64)
    total_N, counts_M = np.zeros(len(target_N)), np.zeros(len(sound), dtype=int)
    for pick in range(1, picks + 1):
        errors_MN = (total_N + forecasts_MN) / pick - target_N
        best = int(np.argmin(np.mean(errors_MN**2, axis=1)))
        counts_M[best] += 1
        total_N += forecasts_MN[best]
    return [
        Member(member.cell, member.settings, float(count))
        for member, count in zip(sound, counts_M, strict=True)
        if count
    ]


def read_fits(store: CellStore, members: Sequence[Member]) -> dict[str, Fit]:
    """Read the cells of some members."""
    return {member.cell: store.read(member.cell) for member in members}


def _rows(sample: Sample, rows: slice) -> Sample:
    return Sample(
        x_NP=sample.x_NP[rows],
        month_N=sample.month_N[rows],
        z_Td=sample.z_Td,
        y_N=sample.y_N[rows],
        c_NC=sample.c_NC[rows],
    )


def _mean(parts: Sequence[FloatArray | None], shares: Sequence[float]) -> FloatArray | None:
    """Members without a forecast have none to average; they agree, being of one variant or all with one."""
    known = [(part, share) for part, share in zip(parts, shares, strict=True) if part is not None]
    if not known:
        return None
    total = sum(share for _, share in known)
    mean = np.zeros(known[0][0].shape, dtype=np.float64)
    for part, share in known:
        mean += part.astype(np.float64) * (share / total)
    return mean.astype(np.float32)

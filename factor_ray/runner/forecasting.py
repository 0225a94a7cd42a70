"""From selected cells to forecasts: weights are read from the store and members are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from factor_ray.data.sample import Sample
from factor_ray.errors import WorkError
from factor_ray.models.base import Fit, Hyperparameters, Prediction
from factor_ray.models.ensemble import FittedMember, ensemble_forecast
from factor_ray.models.registry import model
from factor_ray.runner.cells import CellStore


@dataclass(frozen=True)
class Member:
    """One fitted member of an ensemble: its cell, its hyperparameters and its weight in the mean."""

    cell: str
    settings: Hyperparameters
    weight: float = 1.0


def forecast_members(name: str, members: Sequence[Member], fits: Mapping[str, Fit], sample: Sample) -> Prediction:
    """Return the mean forecast of an ensemble's members; those whose fit diverged are left out.

    Raises
    ------
    WorkError
        If all diverged, as a point may in a window that ``selection: global`` did not select it for.
    """
    sound = [member for member in members if fits[member.cell].status == "ok"]
    if not sound:
        raise WorkError(
            f"every member of an ensemble of {name} diverged ({members[0].settings}): nothing is left to forecast "
            "with; take such values out of the search, or set search.selection to per_window"
        )
    fitted = [FittedMember(member.settings, fits[member.cell].weights, member.weight) for member in sound]
    return ensemble_forecast(model(name), fitted, sample)


def greedy_weights(
    name: str, members: Sequence[Member], fits: Mapping[str, Fit], validation: Sample, picks: int
) -> list[Member]:
    """Weigh members by greedy selection with replacement on the validation rows (Caruana et al., 2004).

    Starting from nothing, the member that lowers the mean's squared error most is added, ``picks`` times; ties go to
    the first. The weights are shares of picks. Only validation rows of the window are seen. Members that forecast no
    returns have no weight: where none does, the answer is empty.
    """
    sound = [member for member in members if fits[member.cell].status == "ok"]
    known_N = ~np.isnan(validation.y_N)
    target_N = validation.y_N[known_N].astype(np.float64)
    family = model(name)
    forecasts = [family.forecast(member.settings, fits[member.cell].weights, validation).returns for member in sound]
    sound = [member for member, returns in zip(sound, forecasts, strict=True) if returns is not None]
    if not sound:
        return []
    forecasts_MN = np.stack([returns[known_N] for returns in forecasts if returns is not None]).astype(np.float64)
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

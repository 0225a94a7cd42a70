"""From selected cells to forecasts: weights are read from the store and members are averaged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.data.sample import FloatArray, Sample
from factor_ray.errors import WorkError
from factor_ray.models.base import Fit, Hyperparameters
from factor_ray.models.ensemble import FittedMember, ensemble_forecast
from factor_ray.models.registry import model
from factor_ray.runner.cells import CellStore


@dataclass(frozen=True)
class Member:
    """One fitted member of an ensemble: its cell, its hyperparameters and its weight in the mean."""

    cell: str
    settings: Hyperparameters
    weight: float = 1.0


def fitted_members(name: str, members: Sequence[Member], fits: Mapping[str, Fit]) -> list[FittedMember]:
    """Return an ensemble's members with their weights; those whose fit diverged are left out.

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
    return [FittedMember(member.settings, fits[member.cell].weights, member.weight) for member in sound]


def greedy_weights(
    name: str,
    members: Sequence[Member],
    fits: Mapping[str, Fit],
    months: Sequence[Sample],
    target_N: FloatArray,
    picks: int,
) -> list[Member]:
    """Weigh members by greedy selection with replacement on the validation months (Caruana et al., 2004).

    Starting from nothing, the member that lowers the mean's loss most is added, ``picks`` times; ties go to the first.
    The weights are shares of picks. The loss is the squared error, a quantile model's its pinball loss. Only validation
    rows of the window are seen. Members that forecast no returns have no weight: where none does, the answer is empty.

    Parameters
    ----------
    name, members, fits
        The ensemble's model, its members and their fits.
    months : sequence of Sample
        The validation rows of one month each, as known at its end.
    target_N : float32 array (N,)
        Their targets.
    picks : int
    """
    sound = [member for member in members if fits[member.cell].status == "ok"]
    family = model(name)
    forecasts: list[npt.NDArray[np.float64]] = []
    chosen: list[Member] = []
    for member in sound:
        single = [FittedMember(member.settings, fits[member.cell].weights)]
        returns = ensemble_forecast(family, single, months).returns
        if returns is not None:
            forecasts.append(returns.astype(np.float64))
            chosen.append(member)
    if not chosen:
        return []
    forecasts_MN = np.stack(forecasts)
    known_N = np.isfinite(target_N) & np.isfinite(forecasts_MN).all(axis=0)
    forecasts_Mn, target_n = forecasts_MN[:, known_N], target_N[known_N].astype(np.float64)
    level = getattr(chosen[0].settings, "tau", None)
    total_n, counts_M = np.zeros(len(target_n)), np.zeros(len(chosen), dtype=int)
    for pick in range(1, picks + 1):
        errors_Mn = target_n - (total_n + forecasts_Mn) / pick
        loss_Mn = errors_Mn**2 if level is None else np.maximum(level * errors_Mn, (level - 1.0) * errors_Mn)
        best = int(np.argmin(np.mean(loss_Mn, axis=1)))
        counts_M[best] += 1
        total_n += forecasts_Mn[best]
    return [
        Member(member.cell, member.settings, float(count))
        for member, count in zip(chosen, counts_M, strict=True)
        if count
    ]


def read_fits(store: CellStore, members: Sequence[Member]) -> dict[str, Fit]:
    """Read the cells of some members."""
    return {member.cell: store.read(member.cell) for member in members}

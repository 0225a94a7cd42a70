"""What factor models are made of, as tables: factors by month, coefficients on characteristics, loading functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.models.base import Description, Fit, Fitted
from factor_ray.models.quantile.hermite import basis_size, term_names
from factor_ray.models.registry import model
from factor_ray.runner.campaign import Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.forecasting import fitted_members
from factor_ray.tables import selected_members

# Axes: T months, K factors.


@dataclass(frozen=True)
class Described:
    """A model of the last window, described; ``tau`` is None for a model of means."""

    model: str
    horizon: int
    tau: float | None
    description: Description

    @property
    def keys(self) -> dict[str, Any]:
        """Columns that every table begins with."""
        return {"model": self.model, "horizon": self.horizon, "tau": math.nan if self.tau is None else self.tau}


def described_of(quest: Quest, store: CellStore) -> Described | None:
    """Describe the first member of the ensemble of a finished search's last window; None for one without factors."""
    return described_in(quest, store, len(quest.windows) - 1)


def described_in(quest: Quest, store: CellStore, window: int) -> Described | None:
    """Describe the first member of the ensemble of one of a finished search's windows; None for one without factors.

    Factors of a model of means are in the order and with the signs of :func:`identified`; a quantile model's factors
    all have one length, and it orders them itself.
    """
    assert quest.selection is not None
    found = first_fitted(quest, store, window, quest.selection.best[window]).describe()
    if found is None or quest.tau is not None:
        return None if found is None else Described(quest.model, quest.horizon, quest.tau, found)
    order_K, sign_K = identified(found)
    ordered = replace(
        found, factors=found.factors[:, order_K] * sign_K, loadings=found.loadings[order_K] * sign_K[:, None]
    )
    return Described(quest.model, quest.horizon, quest.tau, ordered)


def first_fitted(quest: Quest, store: CellStore, window: int, variant: str) -> Fitted:
    """Return the first sound member of what was selected for a window.

    Raises
    ------
    WorkError
        If all members diverged.
    """
    assert quest.selection is not None
    listed = selected_members(quest, quest.selection, window, variant, quest.members)
    fits: dict[str, Fit] = {}
    for member in listed:
        fits[member.cell] = store.read(member.cell)
        if fits[member.cell].status == "ok":
            break
    first = fitted_members(quest.model, listed[: len(fits)], fits)[0]
    return model(quest.model).fitted(first.settings, first.weights)


def identified(description: Description) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Return the order of factors by falling variance, and their signs that make means positive; training decides.

    Returns
    -------
    order_K : int64 array (K,)
        Positions of the factors.
    sign_K : float64 array (K,)
        1 or -1, in that order.
    """
    factors_TK = description.factors
    known_tK = factors_TK[np.isfinite(factors_TK).all(axis=1)]
    if not len(known_tK):
        return np.arange(factors_TK.shape[1]), np.ones(factors_TK.shape[1])
    order_K = np.argsort(-known_tK.var(axis=0), kind="stable")
    return order_K, np.where(known_tK.mean(axis=0)[order_K] < 0, -1.0, 1.0)


def factor_frame(panel: Panel, described: Sequence[Described]) -> pd.DataFrame:
    """Return one row for each factor, counted from 1, and month of formation that the descriptions know."""
    frames = []
    for own in described:
        months = month_ends((own.description.months + panel.months[0]).astype(np.int32))
        for position, values_T in enumerate(own.description.factors.T):
            columns = {**own.keys, "factor": position + 1, "month": months.astype("datetime64[ms]"), "value": values_T}
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def loading_frame(panel: Panel, described: Sequence[Described]) -> pd.DataFrame:
    """Return one row for each factor and characteristic: its coefficient, and what is known of its error.

    ``separation`` is the factor's, ``joint_p`` the characteristic's in all factors; null where a model does not say.
    """
    frames = []
    for own in described:
        found = own.description
        for position, values_P in enumerate(found.loadings):
            columns = {
                **own.keys,
                "factor": position + 1,
                "characteristic": panel.characteristic_names[: len(values_P)],
                "coefficient": values_P,
                "standard_error": math.nan if found.standard_errors is None else found.standard_errors[position],
                "bootstrap_error": math.nan if found.bootstrap_errors is None else found.bootstrap_errors[position],
                "joint_p": math.nan if found.joint_p is None else found.joint_p,
                "separation": math.nan if found.separation is None else found.separation[position],
            }
            frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def term_frame(panel: Panel, described: Sequence[Described]) -> pd.DataFrame:
    """Return one row for each factor and term of the sieve of index models: its coefficient, and the index's part."""
    frames = []
    for own in described:
        sieve_KS, index_KS = own.description.sieve, own.description.sieve_of_index
        if sieve_KS is None or index_KS is None:
            continue
        names = panel.characteristic_names
        order = next(m for m in count(2) if basis_size(len(names), m) >= sieve_KS.shape[1])
        for position, (values_S, index_S) in enumerate(zip(sieve_KS, index_KS, strict=True)):
            columns = {"term": term_names(names, order), "coefficient": values_S, "of_index": index_S}
            frames.append(pd.DataFrame({**own.keys, "factor": position + 1, **columns}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

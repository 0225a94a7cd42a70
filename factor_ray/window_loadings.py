"""How factors' coefficients on characteristics move from window to window, each window's factors aligned with the last.

Axes: K factor, P characteristic, W window.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.data.windows import Window
from factor_ray.descriptions import described_in
from factor_ray.runner.campaign import Quest
from factor_ray.runner.cells import CellStore

Array = npt.NDArray[np.float64]


def window_loading_frame(quest: Quest, panel: Panel, store: CellStore) -> pd.DataFrame:
    """Return one row for each window, factor and characteristic of what a finished search selected; empty for few.

    Factors are counted from 1 in the order of the first window; one that a window has beyond those before it comes
    after them. ``month`` is the window's last before its test. Nothing for a model without coefficients on
    characteristics, or with one window alone.
    """
    if len(quest.windows) < 2:
        return pd.DataFrame()
    known_KP: Array = np.zeros((0, len(panel.characteristic_names)))
    keys: Mapping[str, Any] = {}
    places, loadings = [], []
    for number in range(len(quest.windows)):
        found = described_in(quest, store, number)
        if found is None or not found.description.loadings.size:
            return pd.DataFrame()
        places_K, loadings_KP = follow(known_KP, found.description.loadings[:, : known_KP.shape[1]])
        known_KP = _updated(known_KP, places_K, loadings_KP)
        keys, order_K = found.keys, np.argsort(places_K)
        places.append(places_K[order_K])
        loadings.append(loadings_KP[order_K])
    return _frame(keys, quest.windows, panel.characteristic_names, places, loadings)


def follow(known_KP: Array, loadings_KP: Array) -> tuple[npt.NDArray[np.intp], Array]:
    """Find which of the known factors each factor goes on, and the signs in which their coefficients agree.

    Factors are paired to make the sum of |cos| between their coefficients largest; those that are left are new.

    Parameters
    ----------
    known_KP : array (K', P)
        Coefficients of the factors so far, as they were last seen; none at the first window.
    loadings_KP : array (K, P)
        Of this window's.

    Returns
    -------
    places_K : int array (K,)
        Positions among the known factors; K' and more for new ones.
    loadings_KP : array (K, P)
        The coefficients, with signs that agree with the known factors'.
    """
    count, known = len(loadings_KP), len(known_KP)
    places_K = np.full(count, -1)
    signed_KP = loadings_KP.astype(np.float64)
    if known:
        cosine_KK = _unit(signed_KP) @ _unit(known_KP).T
        own_k, their_k = linear_sum_assignment(-np.abs(cosine_KK))
        places_K[own_k] = their_k
        signed_KP[own_k] *= np.where(cosine_KK[own_k, their_k] < 0.0, -1.0, 1.0)[:, None]
    new_K = places_K < 0
    places_K[new_K] = known + np.arange(new_K.sum())
    return places_K, signed_KP


def _updated(known_KP: Array, places_K: npt.NDArray[np.intp], loadings_KP: Array) -> Array:
    """The known factors with this window's in their places."""
    updated_KP = np.zeros((max(len(known_KP), int(places_K.max()) + 1), loadings_KP.shape[1]))
    updated_KP[: len(known_KP)] = known_KP
    updated_KP[places_K] = loadings_KP
    return updated_KP


def _frame(
    keys: Mapping[str, Any],
    windows: Sequence[Window],
    names: Sequence[str],
    places: Sequence[npt.NDArray[np.intp]],
    loadings: Sequence[Array],
) -> pd.DataFrame:
    """Lay the windows' factors in their places end to end, a row for each characteristic."""
    loadings_FP = np.concatenate(loadings)  # F factors of all windows
    factors, P = loadings_FP.shape
    window_F = np.repeat(np.arange(len(windows)), [len(places_K) for places_K in places])
    month_W = month_ends((window.validation or window.train)[1] for window in windows).astype("datetime64[ms]")
    return pd.DataFrame(
        {
            **keys,
            "window": np.repeat(window_F + 1, P),
            "month": np.repeat(month_W[window_F], P),
            "factor": np.repeat(np.concatenate(places) + 1, P),
            "characteristic": np.tile(np.array(names[:P], dtype=object), factors),
            "coefficient": loadings_FP.ravel(),
        }
    )


def _unit(vectors_KP: Array) -> Array:
    length_K1 = np.linalg.norm(vectors_KP, axis=1, keepdims=True)
    unit: Array = np.divide(vectors_KP, length_K1, out=np.zeros_like(vectors_KP), where=length_K1 > 0.0)
    return unit

"""How factors' coefficients on characteristics move from window to window, each window's factors aligned with the last.

Axes: K factor, P characteristic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment

from factor_ray.data.months import month_ends
from factor_ray.data.panel import Panel
from factor_ray.descriptions import Described, described_in
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
    frames = []
    for number, window in enumerate(quest.windows):
        found = described_in(quest, store, number)
        if found is None or not found.description.loadings.size:
            return pd.DataFrame()
        places_K, loadings_KP = follow(known_KP, found.description.loadings[:, : known_KP.shape[1]])
        known_KP = _updated(known_KP, places_K, loadings_KP)
        last = (window.validation or window.train)[1]
        frames += _rows(found, panel, number, last, places_K, loadings_KP)
    return pd.concat(frames, ignore_index=True)


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


def _rows(
    found: Described, panel: Panel, window: int, last: int, places_K: npt.NDArray[np.intp], loadings_KP: Array
) -> list[pd.DataFrame]:
    month = month_ends(np.array([last], dtype=np.int32)).astype("datetime64[ms]")[0]
    return [
        pd.DataFrame(
            {
                **found.keys,
                "window": window + 1,
                "month": month,
                "factor": int(place) + 1,
                "characteristic": panel.characteristic_names[: len(values_P)],
                "coefficient": values_P,
            }
        )
        for place, values_P in sorted(zip(places_K.tolist(), loadings_KP, strict=True), key=lambda pair: pair[0])
    ]


def _unit(vectors_KP: Array) -> Array:
    length_K1 = np.linalg.norm(vectors_KP, axis=1, keepdims=True)
    unit: Array = np.divide(vectors_KP, length_K1, out=np.zeros_like(vectors_KP), where=length_K1 > 0.0)
    return unit

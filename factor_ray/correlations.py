"""Correlations of latent factors with macro series."""

from __future__ import annotations

import numpy as np
import pandas as pd

from factor_ray.data.macro import Macro
from factor_ray.data.panel import Panel
from factor_ray.descriptions import Described

_FEWEST_MONTHS = 24


def correlation_frame(panel: Panel, macro: Macro, described: Described) -> pd.DataFrame:
    """Correlate each factor with each macro series as it was known when the factor's return was.

    The factor of formation month t is the one of returns over t+1..t+h: it meets what was known of a series at the end
    of t+h. Nothing is forecast by it.

    Parameters
    ----------
    panel : Panel
        Whose first month the description counts from.
    macro : Macro
    described : Described

    Returns
    -------
    DataFrame
        ``model``, ``horizon``, ``tau``, ``factor`` (from 1), ``series``, ``correlation`` and ``months``: those in which
        both are known. Series that share fewer than 24 months with a factor or do not vary in them are left out.
    """
    earned = (described.description.months + panel.months[0] + described.horizon).astype(np.int32)
    span = np.arange(earned.min(), earned.max() + 1, dtype=np.int32)
    series_TD = macro.on(span).values[earned - span[0]].astype(np.float64)
    rows = []
    for position, values_T in enumerate(described.description.factors.T):
        for name, series_T in zip(macro.names, series_TD.T, strict=True):
            known_T = np.isfinite(values_T) & np.isfinite(series_T)
            x_t, y_t = values_T[known_T], series_T[known_T]
            if len(x_t) >= _FEWEST_MONTHS and np.ptp(x_t) > 0 and np.ptp(y_t) > 0:
                correlation = float(np.corrcoef(x_t, y_t)[0, 1])
                rows.append((*described.keys.values(), position + 1, name, correlation, len(x_t)))
    return pd.DataFrame(rows, columns=[*described.keys, "factor", "series", "correlation", "months"])

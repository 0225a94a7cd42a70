"""What a part of a latent-factor model is worth: variants without it against the full model, month by month."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.panel import Panel
from factor_ray.evaluation.newey_west import mean_test
from factor_ray.experiment import ModelEntry
from factor_ray.models.registry import model
from factor_ray.runner.space import sweeps
from factor_ray.tables import PREDICTIVE, TOTAL, Forecast

FloatArray = npt.NDArray[np.float32]
Losses = Mapping[str, pd.DataFrame]
"""By kind, sums over the assets of each month (index): squared ``errors``, squared ``returns`` and ``rows``."""


def monthly_losses(panel: Panel, forecast: Forecast, target_N: FloatArray) -> dict[str, pd.DataFrame]:
    """Return the losses of a forecast and of its total fit, over the rows for which both it and the return are known.

    Parameters
    ----------
    panel : Panel
        Prepared.
    forecast : Forecast
        Of mean returns.
    target_N : float32 array (N,)
    """
    months_n, target_n = panel.row_months[forecast.rows], target_N[forecast.rows].astype(np.float64)
    found = {}
    for kind, values_n in ((PREDICTIVE, forecast.returns), (TOTAL, forecast.total)):
        if values_n is None:
            continue
        known_n = np.isfinite(values_n) & np.isfinite(target_n)
        squares = {"errors": (values_n - target_n)[known_n] ** 2, "returns": target_n[known_n] ** 2, "rows": 1}
        found[kind] = pd.DataFrame(squares).groupby(months_n[known_n]).sum()
    return found


def measure_ablations(
    entries: Sequence[ModelEntry], losses: Mapping[str, Losses], horizon: int
) -> dict[str, dict[str, Any]]:
    """Compare each variant that lacks something with the full model.

    Parameters
    ----------
    entries : sequence of ModelEntry
        The experiment's models. What a variant may lack are the ablations that its entry lists, and what sweeps of
        true and false switch: of these the full model has the default or, where that is not in the sweep, the first
        value. All other swept hyperparameters are the variant's.
    losses : mapping of label to Losses
        Of variants at one horizon; those of models without a total fit need not be there.
    horizon : int
        Months h of the returns: Newey-West standard errors have h - 1 lags.

    Returns
    -------
    dict of label to dict
        ``full``, the full model's label, and for each kind (predictive, total) the variant's ``r2`` and ``full_r2``
        against zero, their ``difference``, its ``standard_error``, ``t_statistic`` and ``p_value`` (two-sided), and
        ``months`` and ``observations``: those months in which both have the same number of rows.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        settings, spaces = model(entry.name).Settings, entry.spaces()
        references = {
            name: _reference(values, settings.model_fields[name].default)
            for name, values in sweeps(settings, entry.given).items()
            if all(isinstance(value, bool) for value in values)
        }
        for label, space in spaces.items():
            wanted = {**spaces[space.full or label].fixed, **references}
            full = next(other for other, its in spaces.items() if its.fixed == wanted)
            if full != label and label in losses and full in losses:
                kinds = {
                    kind: _difference(losses[label][kind], losses[full][kind], horizon)
                    for kind in losses[label]
                    if kind in losses[full]
                }
                found[label] = {"full": full, **kinds}
    return found


def _reference(values: Sequence[bool], default: Any) -> bool:
    return default if default in values else values[0]


def _difference(own: pd.DataFrame, full: pd.DataFrame, horizon: int) -> dict[str, float]:
    """The difference of two R2, which is the mean difference of monthly losses over the mean square of a month."""
    both = own.merge(full, left_index=True, right_index=True, suffixes=("_own", "_full"))
    both = both[both["rows_own"] == both["rows_full"]]
    scale = both["returns_full"].mean()
    test = mean_test((both["errors_full"] - both["errors_own"]) / scale, horizon - 1)
    return {
        "r2": float(1 - both["errors_own"].mean() / scale),
        "full_r2": float(1 - both["errors_full"].mean() / scale),
        "difference": test.mean,
        "standard_error": test.mean / test.t_statistic if test.t_statistic else float("nan"),
        "t_statistic": test.t_statistic,
        "p_value": test.p_value,
        "months": test.months,
        "observations": int(both["rows_full"].sum()),
    }

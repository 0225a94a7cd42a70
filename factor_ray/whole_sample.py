"""Estimates from the whole sample, for description alone: the last window's settings on all months that it knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.data.digests import digest
from factor_ray.descriptions import Described
from factor_ray.models.base import Description, Fit, Hyperparameters, Weights
from factor_ray.models.registry import model
from factor_ray.models.seeds import fit_seed
from factor_ray.runner.campaign import Quest
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs
from factor_ray.tables import Forecast

IN_SAMPLE = "in_sample"
"""The kind of quantiles that were fitted to the very months that they are of."""

FloatArray = npt.NDArray[np.float32]

_DESCRIBED = 4  # raise it when the same estimate would be described in another way
_WHERE_KNOWN = ("standard_errors", "bootstrap_errors", "joint_p", "separation", "sieve", "sieve_of_index")


@dataclass(frozen=True)
class WholeSample:
    """What was selected in a search's last window, estimated from all months up to its last validation month.

    Attributes
    ----------
    fitted : Forecast
        Quantiles of the months of estimation, of kind ``in_sample``.
    described : Described or None
        What the estimate is made of.
    """

    fitted: Forecast
    described: Described | None


def whole_sample(quest: Quest, inputs: Inputs, store: CellStore, warn: Callable[[str], None]) -> WholeSample | None:
    """Estimate, or read the estimate's cell; None for a model that fits no months of its own.

    Parameters
    ----------
    quest : Quest
        The finished search of a quantile model.
    inputs : Inputs
    store : CellStore
    warn : callable
        Told of a cell that is corrupt: it is set aside and estimated again.
    """
    family: Any = model(quest.model)
    if quest.monthly is None and not hasattr(family, "in_sample"):
        return None
    assert quest.selection is not None
    point = quest.selection.points[quest.selection.best[-1]][-1].settings
    window = quest.cells.whole
    seed = fit_seed(quest.cells.seed, quest.model, window, 0)
    identity = {
        "whole_sample": quest.model,
        "version": family.version,
        "described": _DESCRIBED,
        "horizon": quest.horizon,
        "data": quest.cells.whole_data,
        "hyperparameters": point.model_dump(mode="json"),
        "seed": seed,
    }
    name = digest(identity)
    span = inputs.panel.rows(*window.train)
    found = store.find(name, warn)
    if found is None:
        weights = _by_month(quest, point, inputs) if quest.monthly is not None else None
        if weights is None:
            sample = inputs.view(quest.horizon, 0).train(window)
            values_n, description = family.in_sample(point, seed, sample)
            weights = {"prediction": values_n, **_written(description, window.train[0] - int(inputs.panel.months[0]))}
        found = Fit(weights, {})
        store.write(name, found, identity)
    weights = found.weights
    rows = np.arange(span.start, span.stop)
    values_n = np.asarray(weights["prediction"], dtype=np.float32)
    fitted = Forecast(quest.model, quest.horizon, rows, values_n, tau=quest.tau, kind=IN_SAMPLE)
    description = _read(weights, window.train[0] - int(inputs.panel.months[0]))
    described = None if description is None else Described(quest.model, quest.horizon, quest.tau, description)
    return WholeSample(fitted, described)


def curve_frame(described: list[Described]) -> pd.DataFrame:
    """Return one row for each point of each loading function that is known, with its band where there is one."""
    frames = []
    for own in described:
        for position, curve in enumerate(own.description.curves or ()):
            band = curve[:, 2:] if curve.shape[1] == 4 else np.full((len(curve), 2), np.nan)
            columns = {"index": curve[:, 0], "value": curve[:, 1], "low": band[:, 0], "high": band[:, 1]}
            frames.append(pd.DataFrame({**own.keys, "factor": position + 1, **columns}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _by_month(quest: Quest, point: Hyperparameters, inputs: Inputs) -> Weights:
    """Lay the months' fitted values on the rows of the sample; NaN where a target is not known."""
    assert quest.monthly is not None
    first, panel = quest.cells.whole.train[0], inputs.panel
    description, fitted = quest.monthly.describe(point)
    span = panel.rows(*quest.cells.whole.train)
    values_n = np.full(span.stop - span.start, np.nan, dtype=np.float32)
    for month, fitted_N in fitted.items():
        rows = panel.rows(month, month)
        known = np.isfinite(inputs.targets[quest.horizon][rows])
        values_n[rows.start - span.start + np.flatnonzero(known)] = fitted_N
    return {"prediction": values_n, **_written(description, first)}


def _written(description: Description | None, first: int) -> dict[str, npt.NDArray[np.float64]]:
    """A description as arrays, its months counted from the first of the sample."""
    if description is None:
        return {}
    written = {
        "months": (description.months - first).astype(np.float64),
        "factors": description.factors,
        "loadings": description.loadings,
    }
    known = {name: getattr(description, name) for name in _WHERE_KNOWN}
    written |= {name: values for name, values in known.items() if values is not None}
    return written | {f"curve_{k}": curve for k, curve in enumerate(description.curves or ())}


def _read(weights: Weights, first: int) -> Description | None:
    if "factors" not in weights:
        return None
    plain = {name: np.asarray(values, dtype=np.float64) for name, values in weights.items()}
    curves = [plain[f"curve_{k}"] for k in range(plain["factors"].shape[1]) if f"curve_{k}" in plain]
    return Description(
        plain["months"].astype(np.int64) + first,
        plain["factors"],
        plain["loadings"],
        curves=curves or None,
        **{name: plain[name] for name in _WHERE_KNOWN if name in plain},
    )

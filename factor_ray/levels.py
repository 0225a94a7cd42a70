"""The levels of one quantile forecast together: gathered, compared for crossing, rearranged. Axes: L levels, n rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from factor_ray.models.trivial import trivial_quantiles
from factor_ray.runner.inputs import Inputs
from factor_ray.tables import TOTAL, Forecast

Levels = list[Forecast]
"""One model's forecasts of all levels, rising, over the same rows."""

FloatArray = npt.NDArray[np.float32]


def trivial_levels(
    inputs: Inputs, horizon: int, rows: npt.NDArray[np.int64], taus: Sequence[float]
) -> Iterator[Levels]:
    """Yield the quantiles that need no model."""
    found = trivial_quantiles(inputs.panel, inputs.targets[horizon], horizon, taus, rows)
    for name, values_Ln in found.items():
        yield [Forecast(name, horizon, rows, values_n, tau=tau) for tau, values_n in zip(taus, values_Ln, strict=True)]


def rearranged(levels: Levels) -> Levels:
    """Sort the quantiles of each row, so that they rise with their level; rows that lack one stay as they are.

    Sorted quantiles are never farther from the true ones (Chernozhukov, Fernandez-Val and Galichon, 2010).
    """
    returns = _sorted([forecast.returns for forecast in levels])
    totals = _sorted([forecast.total for forecast in levels])
    return [
        replace(forecast, returns=returns_n, total=total_n)
        for forecast, returns_n, total_n in zip(levels, returns, totals, strict=True)
    ]


def crossing(levels: Levels) -> dict[str, dict[str, Any]]:
    """Return how often quantiles of a higher level lie below those of the next lower one, by kind.

    Of rows with all levels: ``crossing_rate`` is the share of pairs of adjacent levels that cross, ``crossed`` that of
    rows with a crossing. Nothing for fewer than two levels.
    """
    if len(levels) < 2:
        return {}
    found = {}
    kinds = {levels[0].kind: [f.returns for f in levels], TOTAL: [f.total for f in levels]}
    for kind, parts in kinds.items():
        values_Ln = _together(parts)
        if values_Ln is None:
            continue
        known_n = np.isfinite(values_Ln).all(axis=0)
        crosses = np.diff(values_Ln[:, known_n], axis=0) < 0.0
        if crosses.size:
            rate, crossed = float(crosses.mean()), float(crosses.any(axis=0).mean())
            found[kind] = {"crossing_rate": rate, "crossed": crossed, "observations": int(known_n.sum())}
    return found


def _sorted(parts: Sequence[FloatArray | None]) -> Sequence[FloatArray | None]:
    values_Ln = _together(parts)
    if values_Ln is None:
        return parts
    whole_n = np.isfinite(values_Ln).all(axis=0)
    values_Ln[:, whole_n] = np.sort(values_Ln[:, whole_n], axis=0)
    return list(values_Ln)


def _together(parts: Sequence[FloatArray | None]) -> FloatArray | None:
    known = [part for part in parts if part is not None]
    return np.stack(known) if len(known) == len(parts) else None

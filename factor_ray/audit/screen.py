"""A leak inside the data, dated as if it were known: no perturbation can see it, a correlation can."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.data.panel import Panel
from factor_ray.data.targets import next_returns
from factor_ray.data.within_month import ranked

FloatArray = npt.NDArray[np.float32]

HIGHEST_CORRELATION = 0.3
_LONGEST_SHIFT = 12
_ALIKE = 0.99  # share of known pairs that must agree for an input to be a shifted return


def suspicious_inputs(panel: Panel) -> dict[str, str]:
    """Return the inputs that seem to know the future, and why.

    Parameters
    ----------
    panel : Panel
        As it came from its source.

    Returns
    -------
    dict of str to str
        Characteristics and consensus variables whose monthly rank correlation with the next month's return averages
        above 0.3 in size, or that equal the return of one of the next twelve months.
    """
    found: dict[str, str] = {}
    following = {shift: _return_after(panel, shift) for shift in range(1, _LONGEST_SHIFT + 1)}
    correlations = _mean_rank_correlations(panel, next_returns(panel))
    values_NP = np.concatenate([panel.characteristics, panel.consensus], axis=1)
    for position, name in enumerate((*panel.characteristic_names, *panel.consensus_names)):
        shift = next((k for k, later in following.items() if _equal(values_NP[:, position], later)), None)
        if shift is not None:
            found[name] = f"equals the return of {shift} month{'s' if shift > 1 else ''} later"
        elif abs(correlations[position]) > HIGHEST_CORRELATION:
            found[name] = f"its rank correlation with the next month's return averages {correlations[position]:.2f}"
    return found


def _return_after(panel: Panel, shift: int) -> FloatArray:
    codes = np.unique(panel.assets, return_inverse=True)[1]
    at_N = panel.row_months - panel.months[0]
    earned_TA = np.full((len(panel.months) + shift, int(codes.max()) + 1), np.nan, dtype=np.float32)
    earned_TA[at_N, codes] = panel.values("return")
    return np.asarray(earned_TA[at_N + shift, codes])


def _equal(values: FloatArray, later: FloatArray) -> bool:
    both = ~np.isnan(values) & ~np.isnan(later)
    if both.sum() < 2 or np.ptp(values[both]) == 0:
        return False
    return bool(np.mean(np.isclose(values[both], later[both], rtol=1e-5, atol=1e-7)) >= _ALIKE)


def _mean_rank_correlations(panel: Panel, return_N: FloatArray) -> npt.NDArray[np.float64]:
    """Mean over months of the correlation of ranks, of every characteristic, then consensus variable."""
    width = panel.characteristics.shape[1] + panel.consensus.shape[1]
    total_P, months_P = np.zeros(width), np.zeros(width)
    for start, stop in zip(panel.offsets[:-1], panel.offsets[1:], strict=True):
        known = np.flatnonzero(~np.isnan(return_N[start:stop])) + start
        block = np.concatenate([panel.characteristics[known], panel.consensus[known]], axis=1)
        ranks_nP = ranked(block).astype(np.float64)
        pair_nP = ~np.isnan(ranks_nP)
        own_nP = np.where(pair_nP, ranked(return_N[known, None]).astype(np.float64), np.nan)
        count_P = pair_nP.sum(axis=0)
        safe_P = np.maximum(count_P, 1)
        x = np.where(pair_nP, ranks_nP - np.where(pair_nP, ranks_nP, 0.0).sum(axis=0) / safe_P, 0.0)
        y = np.where(pair_nP, own_nP - np.where(pair_nP, own_nP, 0.0).sum(axis=0) / safe_P, 0.0)
        scale_P = np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
        usable_P = (count_P > 2) & (scale_P > 0)
        total_P += np.where(usable_P, (x * y).sum(axis=0) / np.where(scale_P > 0, scale_P, 1.0), 0.0)
        months_P += usable_P
    return total_P / np.maximum(months_P, 1)

"""Tests of whether outcomes fall at or below their quantiles as often, and as irregularly, as they should."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy
from scipy.stats import chi2

from factor_ray.errors import InputError


@dataclass(frozen=True)
class CoverageTest:
    """A likelihood-ratio test.

    Attributes
    ----------
    statistic, p_value : float
        Chi-square under the hypothesis, with one degree of freedom (two for conditional coverage); NaN without
        observations.
    observations : int
        Outcomes, or pairs of adjacent ones, behind it.
    """

    statistic: float
    p_value: float
    observations: int


def kupiec_test(hits: npt.ArrayLike, tau: float) -> CoverageTest:
    """Test that hits, taken as independent, have probability tau (Kupiec 1995, proportion of failures).

    Parameters
    ----------
    hits : array of bool (N,)
        Whether each outcome was at or below its quantile.
    tau : float
        Level, in (0, 1).

    Raises
    ------
    InputError
        If tau is not in (0, 1).
    """
    _check_level(tau)
    hit_N = np.asarray(hits, dtype=bool)
    count, total = int(hit_N.sum()), hit_N.size
    return _likelihood_ratio(_log_likelihood(count, total, tau), _log_likelihood(count, total), total)


def christoffersen_test(hits: npt.ArrayLike, months: npt.ArrayLike, assets: npt.ArrayLike) -> CoverageTest:
    """Test that a hit is no likelier after a hit (Christoffersen 1998, independence against a Markov chain).

    Transitions are counted from each month to the next of the same asset, and pooled over assets; where a month is
    missing there is none.

    Parameters
    ----------
    hits : array of bool (N,)
        Whether each outcome was at or below its quantile.
    months, assets : int arrays (N,)
        Running number of the month, and the asset, of each; no pair twice.

    Raises
    ------
    InputError
        If the three differ in length.
    """
    before, after = _transitions(hits, months, assets)
    return _likelihood_ratio(_log_likelihood(int(after.sum()), len(after)), _chain(before, after), len(after))


def conditional_coverage_test(
    hits: npt.ArrayLike, months: npt.ArrayLike, assets: npt.ArrayLike, tau: float
) -> CoverageTest:
    """Test that a hit has probability tau whatever came a month before (Christoffersen 1998, conditional coverage).

    The two hypotheses of :func:`kupiec_test` and :func:`christoffersen_test` at once, on the outcomes that have one a
    month before: the likelihood of independent hits of probability tau against that of the Markov chain.

    Parameters
    ----------
    hits, months, assets
        As in :func:`christoffersen_test`.
    tau : float
        Level, in (0, 1).

    Raises
    ------
    InputError
        If the three differ in length, or tau is not in (0, 1).
    """
    _check_level(tau)
    before, after = _transitions(hits, months, assets)
    restricted = _log_likelihood(int(after.sum()), len(after), tau)
    return _likelihood_ratio(restricted, _chain(before, after), len(after), degrees=2)


def coverage_tests(
    hits: npt.ArrayLike, months: npt.ArrayLike, assets: npt.ArrayLike, tau: float
) -> dict[str, CoverageTest]:
    """Return all three tests, as ``kupiec``, ``christoffersen`` and ``conditional_coverage``; hits are sorted once.

    Raises
    ------
    InputError
        As :func:`conditional_coverage_test`.
    """
    _check_level(tau)
    before, after = _transitions(hits, months, assets)
    hit, chain = int(after.sum()), _chain(before, after)
    return {
        "kupiec": kupiec_test(hits, tau),
        "christoffersen": _likelihood_ratio(_log_likelihood(hit, len(after)), chain, len(after)),
        "conditional_coverage": _likelihood_ratio(_log_likelihood(hit, len(after), tau), chain, len(after), degrees=2),
    }


def _check_level(tau: float) -> None:
    if not 0.0 < tau < 1.0:
        raise InputError(f"tau must lie between 0 and 1, both excluded; got {tau!r}")


def _transitions(
    hits: npt.ArrayLike, months: npt.ArrayLike, assets: npt.ArrayLike
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Hits of a month and of the next one of the same asset."""
    hit_N = np.asarray(hits, dtype=bool)
    month_N, asset_N = np.asarray(months, dtype=np.int64), np.asarray(assets)
    if not hit_N.shape == month_N.shape == asset_N.shape:
        raise InputError(
            f"hits, months and assets must have one value for each observation; got {hit_N.shape}, {month_N.shape} and "
            f"{asset_N.shape}"
        )
    order = np.lexsort([month_N, asset_N])
    hit_N, month_N, asset_N = hit_N[order], month_N[order], asset_N[order]
    adjacent = (asset_N[1:] == asset_N[:-1]) & (month_N[1:] == month_N[:-1] + 1)
    return hit_N[:-1][adjacent], hit_N[1:][adjacent]


def _chain(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_]) -> float:
    """Log-likelihood of the Markov chain whose transitions are likeliest."""
    total, hits = len(before), int(np.count_nonzero(before))
    twice = int(np.count_nonzero(before & after))
    first = int(np.count_nonzero(after)) - twice
    return _log_likelihood(first, total - hits) + _log_likelihood(twice, hits)


def _log_likelihood(hits: int, total: int, probability: float | None = None) -> float:
    """Of Bernoulli draws, at a given probability or at the likeliest one."""
    if probability is None:
        probability = hits / max(total, 1)
    return float(xlogy(hits, probability) + xlogy(total - hits, 1.0 - probability))


def _likelihood_ratio(restricted: float, free: float, observations: int, degrees: int = 1) -> CoverageTest:
    if not observations:
        return CoverageTest(float("nan"), float("nan"), 0)
    statistic = max(2.0 * (free - restricted), 0.0)
    return CoverageTest(statistic, float(chi2.sf(statistic, degrees)), observations)

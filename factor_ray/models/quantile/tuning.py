"""Tuning of QCF by one-month-ahead losses (equation 10 of the paper), in its cheap form.

A month is scored once for every (r, m, ridge), with the model of the window that ends the month before; the selection
for a month averages the scores of earlier months. Axes: T month, N asset, P term, W window, C setting.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.errors import InputError
from factor_ray.models.quantile.alignment import align
from factor_ray.models.quantile.hermite import hermite_basis
from factor_ray.models.quantile.qcf import Month, QuantileFactors, window_models
from factor_ray.models.quantile.refitting import JudgedMonths
from factor_ray.models.quantile.single_index import Recovery
from factor_ray.models.quantile.solver import quantile_regressions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Setting:
    """One choice of what is tuned; fewer factors, then lower orders sort first."""

    factors: int
    order: int
    ridge: float


@dataclass(frozen=True)
class Scores:
    """Losses of one month ahead.

    Attributes
    ----------
    settings : tuple of Setting
        In their sorted order.
    months : int array (W,)
        The scored months, each with the window that ends just before it.
    losses : array (W, C)
        Mean pinball loss of the month's returns about quantiles whose factors are fitted to them (a fit, as ``total``).
    """

    settings: tuple[Setting, ...]
    months: npt.NDArray[np.int64]
    losses: Floats


def step_one(
    months: Sequence[Month],
    tau: float,
    orders: Sequence[int],
    ridges: Sequence[float],
    *,
    penalise_constant: bool = False,
) -> dict[tuple[int, float], Floats]:
    """Coefficients (T, P) of every month for each (order, ridge): all that any window, r or score needs.

    Raises
    ------
    InputError
        If a month cannot be fitted.
    """
    unpenalised = () if penalise_constant else (0,)
    coefficients: dict[tuple[int, float], Floats] = {}
    for order in orders:
        fits = quantile_regressions(((hermite_basis(x, order), y) for x, y in months), [tau], ridges, unpenalised)
        for ridge in ridges:
            coefficients[order, ridge] = np.array([month[float(tau), float(ridge)].coefficients for month in fits])
    return coefficients


def rolling_models(
    coefficients_TP: npt.ArrayLike,
    tau: float,
    factors: int,
    characteristics: int,
    order: int,
    *,
    first: int,
    window: int | None,
    rule: Recovery = "projection",
) -> list[QuantileFactors]:
    """Models for months first, ..., T, each from the window that ends the month before, aligned with its predecessor.

    Parameters
    ----------
    coefficients_TP : array (T, P)
        Step 1's coefficients of all months.
    tau, factors, characteristics, order, rule
        As in :func:`factors_from_coefficients`.
    first : int
        The first month to have a model, counted from 0; at least ``factors``.
    window : int, optional
        Months of a rolling window; None expands it from the first month.

    Returns
    -------
    list of QuantileFactors
        ``T - first + 1`` of them; the last is for the month after the sample.

    Raises
    ------
    InputError
        If first is out of range or a window has fewer months than factors.
    """
    C_TP = np.asarray(coefficients_TP, dtype=np.float64)
    if not 1 <= first <= len(C_TP):
        raise InputError(f"first must lie between 1 and the {len(C_TP)} months; got {first}")
    windows = _windows(first, len(C_TP) + 1, window)
    models: list[QuantileFactors] = []
    for model in window_models(C_TP, windows, tau, factors, characteristics, order, rule):
        models.append(align(model, models[-1]) if models else model)
    return models


def _windows(first: int, stop: int, window: int | None) -> list[tuple[int, int]]:
    """The windows that end before months first, ..., stop - 1."""
    return [(0 if window is None else max(month - window, 0), month) for month in range(first, stop)]


def score_settings(
    months: Sequence[Month],
    tau: float,
    coefficients: Mapping[tuple[int, float], Floats],
    factors: Sequence[int],
    *,
    first: int,
    window: int | None,
    rule: Recovery = "projection",
) -> Scores:
    """Score every setting on months first, ..., T - 1.

    Parameters
    ----------
    months : sequence of (x, y)
        The T months.
    tau : float
        Level.
    coefficients : mapping from (order, ridge) to array (T, P)
        As from :func:`step_one`.
    factors : sequence of int
        The r to be scored.
    first, window, rule
        As in :func:`rolling_models`. The paper's sum begins after T0; the specification takes T0 = T / 2.

    Raises
    ------
    InputError
        If first leaves no month to be scored, a window is shorter than the largest r, or a month has too few assets.
    """
    if not 1 <= first < len(months):
        raise InputError(f"first must lie between 1 and {len(months) - 1}, one less than the months; got {first}")
    settings = sorted(Setting(r, order, ridge) for order, ridge in coefficients for r in factors)
    place = {setting: number for number, setting in enumerate(settings)}
    losses_WC = np.empty((len(months) - first, len(settings)))
    characteristics = np.shape(months[0][0])[1]
    judging = JudgedMonths.of(months[first:])
    for (order, ridge), C_TP in sorted(coefficients.items(), key=lambda item: item[0]):
        # Not aligned with each other: the first r must be each window's strongest, whatever their order a month before.
        windows = _windows(first, len(months), window)
        models = window_models(C_TP, windows, tau, max(factors), characteristics, order, rule)
        for r, loss_W in judging.losses(models, factors).items():
            losses_WC[:, place[Setting(r, order, ridge)]] = loss_W
    return Scores(tuple(settings), np.arange(first, len(months)), losses_WC)


def select(scores: Scores, before: int, *, tolerance: float = 0.0) -> Setting:
    """The setting for month ``before``, judged by the scores of earlier months alone.

    Parameters
    ----------
    scores : Scores
        Of any months.
    before : int
        The month it is for, counted from 0; scores of this and later months are not read.
    tolerance : float
        Parsimony: the least r, and for it the least m, with which some ridge's mean loss exceeds the least of all by no
        more than this share of it; then the best such ridge. 0 takes the least loss. Equation 10 refits factors in the
        scored month, so that a larger r almost never loses: .01 or so keeps out factors that do next to nothing.

    Raises
    ------
    InputError
        If no month before has a score or tolerance is negative.
    """
    if tolerance < 0.0:
        raise InputError(f"tolerance must be zero or a positive share of the loss; got {tolerance!r}")
    earlier = scores.months < before
    if not earlier.any():
        raise InputError(
            f"A selection for month {before} needs scores of earlier months; the first scored is {scores.months.min()}"
        )
    mean_C = scores.losses[earlier].mean(axis=0)
    limit = mean_C.min() * (1.0 + tolerance)
    good = [setting for setting, mean in zip(scores.settings, mean_C, strict=True) if mean <= limit]
    simplest = min((setting.factors, setting.order) for setting in good)
    rivals = [setting for setting in good if (setting.factors, setting.order) == simplest]
    return min(rivals, key=lambda setting: float(mean_C[scores.settings.index(setting)]))

"""A market drawn from a known process: the embedded default data, and the truth that models are held against."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import ValidationError

from factor_ray.data.macro import Macro
from factor_ray.data.months import month_ends, parse_month
from factor_ray.data.panel import Panel
from factor_ray.data.simulation_firms import Analysts, cross_sections
from factor_ray.data.simulation_settings import SimulationSettings
from factor_ray.data.simulation_truth import DoubleArray, Truth
from factor_ray.errors import InputError
from factor_ray.refusals import explain

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_FIRST_ID = 10_001

# Axes: N rows of the panel, T months, S slots, P characteristics, C consensus variables, D macro series, Z two states,
# K factors, A scores that matter, k series of any kind.


@dataclass(frozen=True)
class SimulatedMarket:
    """A panel, and the truth behind it in the same row order."""

    panel: Panel
    truth: Truth


def simulate(**settings: Any) -> SimulatedMarket:
    """Draw a market.

    Returns are simple, monthly and in excess of the risk-free rate (there is no risk-free column). A row of month t
    holds what is known at the end of t: ranks of its scores and of the analysts' consensus, and the return of month t,
    which was earned from the loadings of month t-1. So returns are missing in the first month and in a firm's first
    month; a firm that dies in month t has no row in t, and its last row is that of t-1. Macro series are known without
    lag. Each part of the process has its own stream of random numbers: a longer market starts like a shorter one, and
    other analysts leave the returns as they are.

    Parameters
    ----------
    **settings
        Fields of :class:`factor_ray.data.simulation_settings.SimulationSettings`, such as ``seed``, ``slots`` and
        ``months``.

    Returns
    -------
    SimulatedMarket

    Raises
    ------
    InputError
        If a setting is unknown or out of range.
    """
    chosen = _validated(settings)
    lives_TS = _lives(chosen)
    month_N, slot_N = _rows(lives_TS)
    states_TZ = _ar1(chosen.state_persistence, chosen.months, chosen.stream("states"))
    analysts = Analysts.hired(chosen)
    characteristics_NP, consensus_NC, scores_NA = cross_sections(chosen, analysts, lives_TS, slot_N, states_TZ)
    truth = Truth(chosen, month_N, scores_NA, states_TZ, _factors(chosen), analysts.weights_CM)

    earned_N = _returns(truth)
    before_N = _row_of_month_before(lives_TS, month_N, slot_N)
    return_N = np.where(before_N >= 0, earned_N[before_N], np.nan)
    months_T = np.arange(chosen.months, dtype=np.int32) + np.int32(parse_month(chosen.start))
    frame = pd.DataFrame(
        {
            "month": month_ends(months_T)[month_N],
            "asset": lives_TS[month_N, slot_N],
            "return": return_N,
            "market_cap": _market_caps(truth, return_N, before_N),
        }
    )
    names_P, names_C = _names("characteristic", chosen.characteristics), _names("consensus", chosen.consensus)
    blocks = [
        pd.DataFrame(characteristics_NP, columns=names_P, copy=False),
        pd.DataFrame(consensus_NC, columns=names_C, copy=False),
    ]
    panel = Panel.from_frame(
        pd.concat([frame, *blocks], axis=1),
        month="month",
        asset="asset",
        returns="return",
        market_cap="market_cap",
        characteristics=names_P,
        consensus=names_C,
        macro=Macro(months_T, tuple(_names("macro", chosen.macro_series)), _macro_series(chosen, states_TZ)),
    )
    return SimulatedMarket(panel, truth)


def _validated(settings: dict[str, Any]) -> SimulationSettings:
    try:
        return SimulationSettings(**settings)
    except ValidationError as error:
        _, sentence = explain(error, SimulationSettings, settings)
        raise InputError(f"the simulated market: {sentence}") from error


def _lives(settings: SimulationSettings) -> IntArray:
    """Identifier of the firm in each slot at the end of each month (T, S); 0 where there is none."""
    draws_TS = settings.stream("lives").random((settings.months, settings.slots))
    lives_TS = np.zeros(draws_TS.shape, dtype=np.int64)
    alive_S = np.zeros(settings.slots, dtype=bool)
    next_id = _FIRST_ID
    for t, draw_S in enumerate(draws_TS):
        birth = settings.birth if t else settings.alive_at_start
        born_S = ~alive_S & (draw_S < birth)
        stays_S = alive_S & (draw_S >= settings.death)
        if t:
            lives_TS[t, stays_S] = lives_TS[t - 1, stays_S]
        count = int(born_S.sum())
        lives_TS[t, born_S] = np.arange(next_id, next_id + count)
        next_id += count
        alive_S = stays_S | born_S
    return lives_TS


def _rows(lives_TS: IntArray) -> tuple[IntArray, IntArray]:
    """Month and slot of every row, sorted by month, then identifier: the panel's order."""
    month_N, slot_N = np.nonzero(lives_TS)
    order_N = np.lexsort((lives_TS[month_N, slot_N], month_N))
    return month_N[order_N], slot_N[order_N]


def _ar1(persistence_k: tuple[float, ...], months: int, stream: np.random.Generator) -> DoubleArray:
    """Stationary AR(1) series of mean 0 and variance 1, (T, k)."""
    rho_k = np.array(persistence_k)
    path_Tk = stream.standard_normal((months, len(rho_k)))
    for t in range(1, months):
        path_Tk[t] = rho_k * path_Tk[t - 1] + np.sqrt(1 - rho_k**2) * path_Tk[t]
    return path_Tk


def _factors(settings: SimulationSettings) -> DoubleArray:
    shape = (settings.months, len(settings.premia))
    return settings.stream("factors").normal(settings.premia, settings.factor_volatility, shape)


def _macro_series(settings: SimulationSettings, states_TZ: DoubleArray) -> FloatArray:
    stream = settings.stream("macro")
    loadings_DZ = stream.standard_normal((settings.macro_series, states_TZ.shape[1]))
    rho = settings.macro_noise_persistence
    rho_D = tuple(rho[d % len(rho)] for d in range(settings.macro_series))
    noise_TD = _ar1(rho_D, settings.months, stream)
    return (states_TZ @ loadings_DZ.T + settings.macro_noise * noise_TD).astype(np.float32)


def _returns(truth: Truth) -> DoubleArray:
    """Return of the month after each row's month, (N,), whether or not the firm lives to earn it."""
    freedom = truth.settings.degrees_of_freedom
    shock_N = truth.settings.stream("returns").standard_t(freedom, len(truth.month_N))
    own_N = truth.volatility_N * sqrt((freedom - 2) / freedom) * shock_N
    return np.clip(truth.systematic_N + own_N, truth.settings.lowest_return, truth.settings.highest_return)


def _row_of_month_before(lives_TS: IntArray, month_N: IntArray, slot_N: IntArray) -> IntArray:
    """The same firm's row of the month before, (N,); -1 where it has none."""
    row_TS = np.full(lives_TS.shape, -1, dtype=np.int64)
    row_TS[month_N, slot_N] = np.arange(len(month_N))
    stays_TS = np.zeros(lives_TS.shape, dtype=bool)
    stays_TS[1:] = lives_TS[1:] == lives_TS[:-1]
    row_before_TS = np.roll(row_TS, 1, axis=0)
    return np.where(stays_TS, row_before_TS, -1)[month_N, slot_N]


def _market_caps(truth: Truth, return_N: DoubleArray, before_N: IntArray) -> DoubleArray:
    """Capitalisation at the end of each row's month, (N,): set at entry, then moved by returns less a payout."""
    settings = truth.settings
    log_cap_N = settings.entry_log_cap + settings.entry_slope * truth.scores_NA[:, 0]
    growth_N = np.log1p(return_N) - settings.payout
    offsets = np.searchsorted(truth.month_N, np.arange(settings.months + 1))
    for start, stop in pairwise(offsets[1:]):
        rows = np.arange(start, stop)
        rows = rows[before_N[rows] >= 0]
        log_cap_N[rows] = log_cap_N[before_N[rows]] + growth_N[rows]
    return np.exp(log_cap_N)


def _names(prefix: str, count: int) -> list[str]:
    width = len(str(max(count - 1, 0)))
    return [f"{prefix}_{position:0{width}d}" for position in range(count)]

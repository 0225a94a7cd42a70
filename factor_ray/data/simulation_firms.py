"""The firms of the simulated market, month by month: scores, what analysts say of them, and what is left unsaid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np
import numpy.typing as npt

from factor_ray.data.simulation_settings import PRICED_SCORES, SimulationSettings
from factor_ray.data.simulation_truth import DoubleArray, drivers, hermite
from factor_ray.data.within_month import ranked

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

_SPREADING = 6  # scores that spill over into later ones

# Axes: N rows of the panel, T months, S slots, n rows of one month, P characteristics and scores, C consensus
# variables, Z two states, M drivers that analysts see, A scores that matter.


@dataclass(frozen=True)
class Analysts:
    """What each consensus variable follows: priced drivers, and scores that nobody prices.

    Attributes
    ----------
    weights_CM : float64 array (C, 3)
        Weights of the drivers D1, D2, D3; their squares sum to 1.
    linear_C, product_C, partner_C : int64 arrays (C,)
        Positions p, q, m of the scores that enter as they are and as a product.
    """

    weights_CM: DoubleArray
    linear_C: IntArray
    product_C: IntArray
    partner_C: IntArray

    @classmethod
    def hired(cls, settings: SimulationSettings) -> Analysts:
        """Draw the analysts of one market."""
        stream = settings.stream("analysts")
        count = settings.consensus
        size_CM = np.sqrt(stream.dirichlet(np.ones(3), count))
        sign_CM = np.where(stream.random((count, 3)) < settings.negative_weights, -1.0, 1.0)
        followed_3C = stream.integers(PRICED_SCORES, settings.characteristics, (3, count))
        return cls(sign_CM * size_CM, *followed_3C)

    def signal(self, settings: SimulationSettings, scores_nP: DoubleArray, state_Z: DoubleArray) -> DoubleArray:
        """Return what a consensus variable would be without optimism and noise, (n, C)."""
        product_nC, partner_nC = scores_nP[:, self.product_C], scores_nP[:, self.partner_C]
        with_score_nC = np.where(self.product_C == self.partner_C, hermite(product_nC), product_nC * partner_nC)
        every_third_C = np.arange(len(self.linear_C)) % 3 == 0
        curved_nC = np.where(every_third_C, product_nC * state_Z[1], with_score_nC)
        unpriced_nC = sqrt(0.5) * scores_nP[:, self.linear_C] + sqrt(0.5) * curved_nC
        priced_nC = drivers(scores_nP, float(state_Z[0])) @ self.weights_CM.T
        return sqrt(settings.consensus_drivers) * priced_nC + sqrt(settings.consensus_unpriced) * unpriced_nC


def cross_sections(
    settings: SimulationSettings,
    analysts: Analysts,
    lives_TS: IntArray,
    slot_N: IntArray,
    states_TZ: DoubleArray,
) -> tuple[FloatArray, FloatArray, DoubleArray]:
    """Ranked characteristics (N, P), ranked consensus (N, C) and priced scores (N, 8), a month at a time."""
    chars_NP = np.empty((len(slot_N), settings.characteristics), dtype=np.float32)
    consensus_NC = np.empty((len(slot_N), settings.consensus), dtype=np.float32)
    scores_NA = np.empty((len(slot_N), PRICED_SCORES))
    offsets = np.append(0, np.cumsum((lives_TS > 0).sum(axis=1)))
    gaps, silence = settings.stream("missing characteristics"), settings.stream("missing consensus")
    opinion = sqrt(settings.consensus_optimism), sqrt(settings.consensus_noise)

    paths = zip(_scores(settings, lives_TS), _opinions(settings, lives_TS), strict=True)
    for t, (scores_SP, (optimism_S, noise_SC)) in enumerate(paths):
        rows = slice(int(offsets[t]), int(offsets[t + 1]))
        slot_n = slot_N[rows]
        scores_nP = scores_SP[slot_n]
        scores_NA[rows] = scores_nP[:, :PRICED_SCORES]
        chars_NP[rows] = ranked(scores_nP.astype(np.float32))
        chars_NP[rows][gaps.random(scores_nP.shape) < settings.missing_characteristics] = np.nan

        consensus_nC = analysts.signal(settings, scores_nP, states_TZ[t])
        consensus_nC += opinion[0] * (1 + optimism_S[slot_n, None]) + opinion[1] * noise_SC[slot_n]
        consensus_NC[rows] = ranked(consensus_nC.astype(np.float32))
        draws_nC = silence.random((len(slot_n), 1 + settings.consensus))
        silent_nC = (draws_nC[:, :1] < settings.missing_consensus) | (draws_nC[:, 1:] < settings.missing_variables)
        consensus_NC[rows][silent_nC] = np.nan
    return chars_NP, consensus_NC, scores_NA


def _scores(settings: SimulationSettings, lives_TS: IntArray) -> Iterator[DoubleArray]:
    """Scores of every slot (S, P), month after month."""
    own, further = settings.score_persistence, settings.further_persistence
    count = settings.characteristics
    rho_P = np.array([own[j] if j < len(own) else further[(j - len(own)) % len(further)] for j in range(count)])
    mixed = np.arange(len(own), count, 2)
    source = ((mixed - len(own)) // 2) % _SPREADING
    spill, keep = settings.spillover, sqrt(1 - settings.spillover**2)
    for path_SP in _firm_paths(rho_P, lives_TS, settings.stream("scores")):
        scores_SP = path_SP.copy()
        scores_SP[:, mixed] = spill * path_SP[:, source] + keep * path_SP[:, mixed]
        yield scores_SP


def _opinions(settings: SimulationSettings, lives_TS: IntArray) -> Iterator[tuple[DoubleArray, DoubleArray]]:
    """A firm's optimism (S,) and the noise of each consensus variable (S, C), month after month."""
    rho_1C = np.append(settings.optimism_persistence, np.full(settings.consensus, settings.noise_persistence))
    for path_S1C in _firm_paths(rho_1C, lives_TS, settings.stream("opinions")):
        yield path_S1C[:, 0], path_S1C[:, 1:]


def _firm_paths(rho_k: DoubleArray, lives_TS: IntArray, stream: np.random.Generator) -> Iterator[DoubleArray]:
    """Stationary AR(1) paths of every slot (S, k), drawn afresh where a new firm enters."""
    fresh_k = np.sqrt(1 - rho_k**2)
    path_Sk = stream.standard_normal((lives_TS.shape[1], len(rho_k)))
    yield path_Sk
    for firm_S, firm_before_S in zip(lives_TS[1:], lives_TS[:-1], strict=True):
        shock_Sk = stream.standard_normal(path_Sk.shape)
        enters_S1 = (firm_S != firm_before_S)[:, None]
        path_Sk = np.where(enters_S1, shock_Sk, rho_k * path_Sk + fresh_k * shock_Sk)
        yield path_Sk

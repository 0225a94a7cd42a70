"""The projection rule of step 3 at order 3: with no more than two polynomials the maximum is found for certain.

    maximise over ||x|| = 1:  f(x) = p(x)^2 + q(x)^2,   p(x) = a'x,   q(x) = x'Bx

It lies on a curve. Let x be a maximum, with p >= 0 (otherwise take -x) and q > 0 (otherwise take -B; if q = 0, the
following says that x is a/|a|, an end of the curve). For all y, ``f(x) >= f(y) >= 2 p p(y) + 2 q q(y) - f(x)``: x
maximises ``p a'y + q y'By`` as well, whose maxima are those with ``(k I - B) x = a p / 2q`` and a positive semidefinite
``k I - B`` (Moré and Sorensen, SIAM J. Sci. Stat. Comput. 1983). In the eigenvectors of B, with eigenvalues of which
l_1 is the largest, with gaps ``g_i = l_1 - l_i``, a's elements alpha_i and ``t = k - l_1``,

    x_i(t) = alpha_i / (t + g_i) / sqrt(u_2),   u_n = sum over i of alpha_i^2 / (t + g_i)^n,   0 < t <= infinity.

t = 0 needs ``alpha_1 = 0``, the "hard case", where the curve may end short of the first eigenvector. So no alpha_1 is
less than 2^-52, the rounding error of coefficients of unit length: it takes the curve there, however late.

An interval's ends tell of all between them. As t grows ``p^2 = u_1^2 / u_2`` rises and q falls, with the slopes
``2 u_1 z / u_2^2`` and ``-2 z / u_2^2``; u_1, u_2 and ``z = u_1 u_3 - u_2^2`` fall, the last as the sum over i < j of
``(alpha_i alpha_j (g_i - g_j))^2 / ((t + g_i) (t + g_j))^3``. Hence

    df = -(u_1 - 2q) dq,   d(u_1 - 2q) / dt = (4z - u_2^3) / u_2^2.

Intervals are halved until they are lower than what is known, f has its maximum at an end, u_1 - 2q falls (then its root
is the only maximum), or nothing is left to gain. At a root x is at a maximum or saddle of the whole sphere: along it,
f / 2 has the slope ``|u_1 - 2q|`` times the spread of the g_i weighted by x_i^2, at most half the largest.

No number depends on the factor's companions. Axes: K factor, D characteristic, P term.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.compiled import compiled

Floats = npt.NDArray[np.float64]

_LEAST_ALPHA = 2.0**-52
_FAR = 2.0**52  # t from which on x is a/|a|, for coefficients of unit length
_FLAT = 1e-14  # |u_1 - 2q| at a root
_ALIKE = 1e-14  # values of f; a root is preferred to an a/|a| that is near it, and not as flat
_MOST_STEPS = 100


def nearest_quadratic_indices(betas_KP: Floats, characteristics: int) -> Floats:
    """Directions (K, D) of unit length that maximise f, for sieves of order 3.

    Parameters
    ----------
    betas_KP : array (K, P)
        Sieve coefficients, ``P = basis_size(D, 3)``; none with all but the constant zero.
    characteristics : int
        D.
    """
    unit_KP = betas_KP / np.sqrt(np.sum(betas_KP[:, 1:] ** 2, axis=1))[:, None]
    thetas_KD = np.empty((len(betas_KP), characteristics))
    _maximise_all(unit_KP, thetas_KD)
    return thetas_KD


class _Point(NamedTuple):
    """Where on the curve, and what is there."""

    t: float
    u_1: float
    u_2: float
    z: float
    p_squared: float
    q: float


@compiled
def _maximise_all(unit_KP: Floats, thetas_KD: Floats) -> None:
    """Fill in the best theta of every factor."""
    width = thetas_KD.shape[1]
    B_DD = np.empty((width, width))
    for k in range(len(unit_KP)):
        place = 1 + width
        for d in range(width):
            B_DD[d, d] = unit_KP[k, place]
            for c in range(d + 1, width):
                # h_1 h_1 has the coefficient sqrt(2) theta_d theta_c, and B has it twice.
                B_DD[d, c] = B_DD[c, d] = unit_KP[k, place + c - d] / np.sqrt(2.0)
            place += width - d
        _maximise(unit_KP[k, 1 : 1 + width], B_DD, thetas_KD[k])


@compiled
def _maximise(a_D: Floats, B_DD: Floats, theta_D: Floats) -> None:
    """Fill in the best theta of one factor: the better of both sides'."""
    width = len(a_D)
    levels_D, vectors_DD = np.linalg.eigh(B_DD)
    alphas_D, gaps_D, weights_D = np.empty(width), np.empty(width), np.empty(width)
    value = -1.0
    for first in (width - 1, 0):
        for d in range(width):
            gaps_D[d] = abs(levels_D[first] - levels_D[d])
            alphas_D[d] = 0.0
            for c in range(width):
                alphas_D[d] += vectors_DD[c, d] * a_D[c]
        if abs(alphas_D[first]) < _LEAST_ALPHA:
            alphas_D[first] = _LEAST_ALPHA
        highest, t = _highest(alphas_D, levels_D, gaps_D, first, value)
        if highest > value:
            value, length = highest, 0.0
            for d in range(width):
                weights_D[d] = alphas_D[d] / (t + gaps_D[d])
                length += weights_D[d] ** 2
            for d in range(width):
                theta_D[d] = 0.0
                for c in range(width):
                    theta_D[d] += vectors_DD[d, c] * weights_D[c] / np.sqrt(length)
        for d in range(width):
            levels_D[d] = -levels_D[d]


@compiled
def _highest(alphas_D: Floats, levels_D: Floats, gaps_D: Floats, first: int, value: float) -> tuple[float, float]:
    """The highest f along the curve, and its t, unless no f is above a value: then this value, and any t.

    Intervals lie side by side: from ``left`` to the last of ``rights``, on to the one before it, and so forth.
    """
    best_t, rights = _FAR, [_point(_FAR, alphas_D, levels_D, gaps_D)]
    value = max(value, rights[0].p_squared + rights[0].q ** 2 - _ALIKE)
    begin = 0.25 * alphas_D[first] ** 2 / levels_D[first]  # up to it u_1 >= alpha_1^2 / t > 2 l_1 >= 2q: f rises
    if not 0.0 < begin < _FAR:
        return value, best_t
    left = _point(begin, alphas_D, levels_D, gaps_D)
    while len(rights) > 0:
        right = rights[-1]
        lower = right.p_squared + left.q**2 <= value
        rises_or_falls = right.u_1 >= 2.0 * left.q or left.u_1 <= 2.0 * right.q
        dips = 4.0 * right.z >= left.u_2**3  # the slope turns from falling to rising, if it turns
        peaks = 4.0 * left.z <= right.u_2**3
        steepest = max(left.u_1 - 2.0 * right.q, 2.0 * left.q - right.u_1)
        if lower or rises_or_falls or dips:
            left = rights.pop()
        elif peaks or steepest * (left.q - right.q) <= _ALIKE:
            if left.u_1 > 2.0 * left.q and right.u_1 < 2.0 * right.q:
                root = _root(left.t, right.t, alphas_D, levels_D, gaps_D)
                if root.p_squared + root.q**2 > value:
                    value, best_t = root.p_squared + root.q**2, root.t
            left = rights.pop()
        else:
            rights.append(_point(np.sqrt(left.t * right.t), alphas_D, levels_D, gaps_D))
    return value, best_t


@compiled
def _root(least: float, most: float, alphas_D: Floats, levels_D: Floats, gaps_D: Floats) -> _Point:
    """Where u_1 - 2q turns negative between two t: Newton steps of 1/t, halves of the interval where these lead out."""
    point = _point(np.sqrt(least * most), alphas_D, levels_D, gaps_D)
    for _ in range(_MOST_STEPS):
        excess = point.u_1 - 2.0 * point.q
        if abs(excess) <= _FLAT:
            break
        if excess > 0.0:
            least = point.t
        else:
            most = point.t
        t = point.t / (1.0 + excess * point.u_2**2 / (point.t * (4.0 * point.z - point.u_2**3)))
        if not least < t < most:
            t = np.sqrt(least * most)
        point = _point(t, alphas_D, levels_D, gaps_D)
    return point


@compiled
def _point(t: float, alphas_D: Floats, levels_D: Floats, gaps_D: Floats) -> _Point:
    """The point of the curve at t.

    As u_1 u_3 and u_2^2 may agree to all digits, z is ``u_2^2 / u_1`` times the sum of ``alpha_i^2 (g_i - g)^2`` over
    ``(t + g_i)^3``, where g is the mean gap in weights x_i^2.
    """
    u_1, u_2, level, gap = 0.0, 0.0, 0.0, 0.0
    for d in range(len(alphas_D)):
        share = alphas_D[d] / (t + gaps_D[d])
        u_1 += alphas_D[d] * share
        u_2 += share**2
        level += levels_D[d] * share**2
        gap += gaps_D[d] * share**2
    q, mean_gap, spread = level / u_2, gap / u_2, 0.0
    for d in range(len(alphas_D)):
        spread += (alphas_D[d] * (gaps_D[d] - mean_gap)) ** 2 / (t + gaps_D[d]) ** 3
    return _Point(t, u_1, u_2, spread * u_2**2 / u_1, u_1**2 / u_2, q)

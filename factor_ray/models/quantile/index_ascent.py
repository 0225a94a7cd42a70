"""The projection rule of step 3 for many factors.

    maximise over ||theta|| = 1:  f(theta) = sum over j >= 1 of q_j(theta)^2,   q_j(theta) = a_j(theta)'beta_j

q_j is a homogeneous polynomial of degree j, ``q_j(theta) = T_j theta^j`` with a symmetric tensor T_j. As
``q_j(theta)^2 >= 2 q_j(t) q_j(theta) - q_j(t)^2``, a step from t to the maximum of a convex function with the slope of
``sum q_j(t) q_j`` never lowers f: the shifted power method (Kolda and Mayo, SIAM J. Matrix Anal. Appl. 2011), which
brings every start near a maximum. Newton steps on the sphere finish the best ones. At order 3, where this takes four
times as long, :mod:`factor_ray.models.quantile.quadratic_index` leaves no doubt which maximum is the highest.

No number depends on the factor's companions. Axes: K factor, D characteristic, P term, S start, E element of the
tensors, degree after degree.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import factorial, prod

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.compiled import compiled
from factor_ray.models.quantile.hermite import exponents

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

_ROUNDS, _POWER_STEPS = 3, 8  # after each round, starts that have met go on as one
_DROPPED = -1.0  # in place of a start's value
_FINISHED = 3  # distinct ends of the power method that Newton's method finishes
_SAME = 0.999  # |cos| between what is at one maximum, or on the way there
_NO_LENGTH = 1e-6  # squared, of two vectors' sum
_MOST_STEPS = 100
_EPSILON = 2.0**-52
_FLAT = 1e-13  # slope along the sphere at which a maximum is reached, for coefficients of unit length


def nearest_indices(betas_KP: Floats, characteristics: int, order: int) -> Floats:
    """Directions (K, D) of unit length that maximise f, the best of several ascents for each factor.

    Parameters
    ----------
    betas_KP : array (K, P)
        Sieve coefficients, ``P = basis_size(D, order)``; none with all but the constant zero.
    characteristics, order : int
        D, and m, at least 2.
    """
    unit_KP = betas_KP / np.sqrt(np.sum(betas_KP[:, 1:] ** 2, axis=1))[:, None]
    thetas_KD = np.empty((len(betas_KP), characteristics))
    _ascend_all(unit_KP, *_tensor_places(characteristics, order), order - 1, thetas_KD)
    return thetas_KD


@lru_cache(maxsize=16)
def _tensor_places(characteristics: int, order: int) -> tuple[Integers, Floats]:
    """For every element of the T_j: the term it belongs to, and the root of the number of elements that share it."""
    place = {tuple(p): number for number, p in enumerate(exponents(characteristics, order).tolist())}
    places, shares = [], []
    for degree in range(1, order):
        for axes in product(range(characteristics), repeat=degree):
            p = tuple(axes.count(axis) for axis in range(characteristics))
            places.append(place[p])
            shares.append(factorial(degree) / prod(map(factorial, p)))
    return np.array(places, dtype=np.intp), np.sqrt(np.array(shares))


@compiled
def _ascend_all(unit_KP: Floats, places_E: Integers, roots_E: Floats, degrees: int, thetas_KD: Floats) -> None:
    """Fill in the best theta of every factor."""
    tensors_E = np.empty(len(places_E))
    for k in range(len(unit_KP)):
        for element in range(len(places_E)):
            tensors_E[element] = unit_KP[k, places_E[element]] / roots_E[element]
        _ascend(tensors_E, degrees, thetas_KD[k])


@compiled
def _ascend(tensors_E: Floats, degrees: int, best_D: Floats) -> None:
    """Fill in the best theta of one factor."""
    width = len(best_D)
    norms_J = np.empty(degrees)
    gradients_JD, room, goal_D = np.empty((degrees, width)), np.empty(len(tensors_E)), np.empty(width)
    thetas_SD = _starts(tensors_E, norms_J, width)
    values_S = np.zeros(len(thetas_SD))
    for _ in range(_ROUNDS):
        for s in range(len(thetas_SD)):
            if values_S[s] >= 0.0:
                for _ in range(_POWER_STEPS):
                    _power_step(tensors_E, norms_J, thetas_SD[s], goal_D, gradients_JD, room)
                values_S[s] = _value(tensors_E, thetas_SD[s], gradients_JD, room)
        _drop_the_same(thetas_SD, values_S)
    highest = -1.0
    for _ in range(_FINISHED):
        best = 0
        for s in range(len(values_S)):
            if values_S[s] > values_S[best]:
                best = s
        if values_S[best] < 0.0:
            break
        value = _finish(tensors_E, norms_J, thetas_SD[best], goal_D, gradients_JD, room)
        values_S[best] = _DROPPED
        if value > highest:
            highest = value
            for d in range(width):
                best_D[d] = thetas_SD[best, d]


@compiled
def _starts(tensors_E: Floats, norms_J: Floats, width: int) -> Floats:
    """Leading singular vectors of the T_j, their sums and differences, (S, D).

    Fills in the largest singular value of each T_j. Without error theta is the first vector of every T_j.
    """
    degrees = len(norms_J)
    count = 0
    for degree in range(1, degrees + 1):
        count += min(degree, 2, width)
    thetas_SD, squared_DD = np.empty((count * count, width)), np.empty((width, width))
    norms_J[0] = np.sqrt(_dot(tensors_E[:width], tensors_E[:width]))
    for d in range(width):
        thetas_SD[0, d] = tensors_E[d] / norms_J[0] if norms_J[0] > 0.0 else 1.0 / np.sqrt(width)
    place, begin, size = 1, width, width**2
    for degree in range(2, degrees + 1):
        for d in range(width):
            for c in range(width):
                squared_DD[d, c] = 0.0
                for row in range(begin, begin + size, width):
                    squared_DD[d, c] += tensors_E[row + d] * tensors_E[row + c]
        squares_D, vectors_DD = np.linalg.eigh(squared_DD)
        norms_J[degree - 1] = np.sqrt(max(squares_D[width - 1], 0.0))
        for rank in range(min(2, width)):
            for d in range(width):
                thetas_SD[place, d] = vectors_DD[d, width - 1 - rank]
            place += 1
        begin += size
        size *= width
    for one in range(count):
        for other in range(one + 1, count):
            for sign in (1.0, -1.0):
                length = 0.0
                for d in range(width):
                    thetas_SD[place, d] = thetas_SD[one, d] + sign * thetas_SD[other, d]
                    length += thetas_SD[place, d] ** 2
                for d in range(width):
                    alike = length < _NO_LENGTH
                    thetas_SD[place, d] = thetas_SD[0, d] if alike else thetas_SD[place, d] / np.sqrt(length)
                place += 1
    return thetas_SD


@compiled
def _drop_the_same(thetas_SD: Floats, values_S: Floats) -> None:
    """Drop starts that are by now where one of a higher value is, up to sign."""
    for s in range(len(values_S)):
        for other in range(len(values_S)):
            ahead = values_S[other] > values_S[s] or (values_S[other] == values_S[s] and other < s)
            if ahead and abs(_dot(thetas_SD[s], thetas_SD[other])) > _SAME:
                values_S[s] = _DROPPED


@compiled
def _power_step(
    tensors_E: Floats, norms_J: Floats, theta_D: Floats, goal_D: Floats, gradients_JD: Floats, room: Floats
) -> None:
    """Move theta; the shift of ``sum q_j(t) q_j`` is the least that surely makes it convex in the unit ball."""
    _gradients(tensors_E, theta_D, gradients_JD, room)
    for d in range(len(theta_D)):
        goal_D[d] = 0.0
    for place in range(len(norms_J)):
        degree, q = place + 1, _dot(gradients_JD[place], theta_D)
        shift = degree * (degree - 1) * abs(q) * norms_J[place]
        for d in range(len(theta_D)):
            goal_D[d] += degree * q * gradients_JD[place, d] + shift * theta_D[d]
    length = np.sqrt(_dot(goal_D, goal_D))
    if length > 0.0:
        for d in range(len(theta_D)):
            theta_D[d] = goal_D[d] / length


@compiled
def _finish(
    tensors_E: Floats, norms_J: Floats, theta_D: Floats, goal_D: Floats, gradients_JD: Floats, room: Floats
) -> float:
    """Move theta to the maximum near it, and return f there: Newton steps, and power steps where these do more."""
    newton_D = np.empty(len(theta_D))
    for _ in range(_MOST_STEPS):
        if _newton_step(tensors_E, theta_D, newton_D, gradients_JD, room) <= _FLAT:
            break
        value = _value(tensors_E, newton_D, gradients_JD, room)
        _power_step(tensors_E, norms_J, theta_D, goal_D, gradients_JD, room)
        if value >= _value(tensors_E, theta_D, gradients_JD, room) - _EPSILON:
            for d in range(len(theta_D)):
                theta_D[d] = newton_D[d]
    return _value(tensors_E, theta_D, gradients_JD, room)


@compiled
def _newton_step(tensors_E: Floats, theta_D: Floats, newton_D: Floats, gradients_JD: Floats, room: Floats) -> float:
    """Fill in where a Newton step on the sphere leads; return the slope of f / 2 along the sphere."""
    width = len(theta_D)
    slope_D, curve_DD = np.zeros(width), np.zeros((width, width))
    _gradients(tensors_E, theta_D, gradients_JD, room)
    begin, size = 0, width
    for place in range(len(gradients_JD)):
        degree, q = place + 1, _dot(gradients_JD[place], theta_D)
        for d in range(width):
            slope_D[d] += degree * q * gradients_JD[place, d]
            for c in range(width):
                curve_DD[d, c] += degree**2 * gradients_JD[place, d] * gradients_JD[place, c]
        if degree > 1:
            _contract(tensors_E[begin : begin + size], theta_D, 2, room)
            for d in range(width):
                for c in range(width):
                    curve_DD[d, c] += degree * (degree - 1) * q * room[d * width + c]
        begin += size
        size *= width
    radial = _dot(slope_D, theta_D)
    bent_D = np.zeros(width)
    for d in range(width):
        slope_D[d] -= radial * theta_D[d]
        bent_D[d] = _dot(curve_DD[d], theta_D)
    steepness, bent = np.sqrt(_dot(slope_D, slope_D)), _dot(bent_D, theta_D)
    for d in range(width):
        for c in range(width):
            curve_DD[d, c] += bent * theta_D[d] * theta_D[c] - bent_D[d] * theta_D[c] - theta_D[d] * bent_D[c]
        # The slope's length in the shift keeps a system near a flat maximum solvable, and steps quadratic elsewhere.
        curve_DD[d, d] -= radial + steepness + 1e-14
    _solve(curve_DD, slope_D)
    for d in range(width):
        newton_D[d] = theta_D[d] - slope_D[d]
    length = np.sqrt(_dot(newton_D, newton_D))
    for d in range(width):
        newton_D[d] = newton_D[d] / length if 0.0 < length < np.inf else theta_D[d]
    return float(steepness)


@compiled
def _value(tensors_E: Floats, theta_D: Floats, gradients_JD: Floats, room: Floats) -> float:
    """F at theta."""
    _gradients(tensors_E, theta_D, gradients_JD, room)
    value = 0.0
    for place in range(len(gradients_JD)):
        value += _dot(gradients_JD[place], theta_D) ** 2
    return value


@compiled
def _gradients(tensors_E: Floats, theta_D: Floats, gradients_JD: Floats, room: Floats) -> None:
    """Fill in ``T_j theta^(j - 1)``, the gradient of q_j over j."""
    begin, size = 0, len(theta_D)
    for place in range(len(gradients_JD)):
        _contract(tensors_E[begin : begin + size], theta_D, 1, room)
        for d in range(len(theta_D)):
            gradients_JD[place, d] = room[d]
        begin += size
        size *= len(theta_D)


@compiled
def _contract(tensor_E: Floats, theta_D: Floats, axes: int, room: Floats) -> None:
    """Fill in the product of a symmetric tensor with as many theta as leave so many axes."""
    width, left = len(theta_D), len(tensor_E)
    least = width**axes
    if left == least:
        for element in range(left):
            room[element] = tensor_E[element]
    source_E = tensor_E
    while left > least:
        left //= width
        for element in range(left):
            room[element] = source_E[element] * theta_D[0]
        for d in range(1, width):
            for element in range(left):
                room[element] += source_E[d * left + element] * theta_D[d]
        source_E = room


@compiled
def _dot(one_D: Floats, other_D: Floats) -> float:
    total = 0.0
    for d in range(len(one_D)):
        total += one_D[d] * other_D[d]
    return total


@compiled
def _solve(system_DD: Floats, right_D: Floats) -> None:
    """Turn the right side of a linear system into its solution, by elimination with pivots; spoils the system."""
    width = len(right_D)
    for step in range(width):
        pivot = step
        for d in range(step + 1, width):
            if abs(system_DD[d, step]) > abs(system_DD[pivot, step]):
                pivot = d
        for c in range(step, width):
            system_DD[step, c], system_DD[pivot, c] = system_DD[pivot, c], system_DD[step, c]
        right_D[step], right_D[pivot] = right_D[pivot], right_D[step]
        for d in range(step + 1, width):
            share = system_DD[d, step] / system_DD[step, step]
            right_D[d] -= share * right_D[step]
            for c in range(step, width):
                system_DD[d, c] -= share * system_DD[step, c]
    for step in range(width - 1, -1, -1):
        for c in range(step + 1, width):
            right_D[step] -= system_DD[step, c] * right_D[c]
        right_D[step] /= system_DD[step, step]

"""The projection rule of step 3 for many factors at once.

    maximise over ||theta|| = 1:  f(theta) = sum over j >= 1 of q_j(theta)^2,   q_j(theta) = a_j(theta)'beta_j

q_j is a homogeneous polynomial of degree j, ``q_j(theta) = T_j theta^j`` with a symmetric tensor T_j. As
``q_j(theta)^2 >= 2 q_j(t) q_j(theta) - q_j(t)^2``, a step from t to the maximum of a convex function with the slope of
``sum q_j(t) q_j`` never lowers f: the shifted power method (Kolda and Mayo, SIAM J. Matrix Anal. Appl. 2011), which
brings every start near a maximum. Newton steps on the sphere finish the best ones.

No number depends on the factor's companions, bit for bit: sums run over one factor's axes, BLAS and LAPACK are called
for each factor. Axes: K factor, D characteristic, P term, S start.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import factorial, prod

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.batched import solve_systems
from factor_ray.models.quantile.hermite import exponents

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

POWER_STEPS = 40
FINISHED = 3  # distinct ends of the power method that Newton's method finishes
MOST_STEPS = 100
FLAT = 1e-13  # slope along the sphere at which a maximum is reached, for coefficients of unit length
BLOCK_NUMBERS = 1 << 20  # in the tensors of the factors that are treated at a time


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
    block = max(1, BLOCK_NUMBERS // characteristics ** (order - 1))
    ends = [
        _ascend(_Polynomials.of(unit_KP[begin : begin + block], characteristics, order))
        for begin in range(0, len(unit_KP), block)
    ]
    return np.concatenate(ends)


@dataclass(frozen=True)
class _Polynomials:
    """The T_j of K factors, j = 1, 2, ...: arrays (K, D^(j-1), D)."""

    tensors: tuple[Floats, ...]

    @staticmethod
    def of(betas_KP: Floats, characteristics: int, order: int) -> _Polynomials:
        tensors = []
        for degree in range(1, order):
            places, roots = _tensor_places(characteristics, order, degree)
            elements = np.take(betas_KP, places, axis=1) / roots
            tensors.append(elements.reshape(len(betas_KP), -1, characteristics))
        return _Polynomials(tuple(tensors))

    def select(self, keep_K: npt.NDArray[np.bool_]) -> _Polynomials:
        """The factors that are kept."""
        return _Polynomials(tuple(tensor[keep_K] for tensor in self.tensors))

    def values(self, theta_KDS: Floats) -> Floats:
        """F at every theta, (K, S)."""
        gradients = [_contracted(tensor, theta_KDS, axes=1) for tensor in self.tensors]
        total: Floats = sum(np.sum(gradient * theta_KDS, axis=1) ** 2 for gradient in gradients)
        return total


def _ascend(polynomials: _Polynomials) -> Floats:
    starts_KDS, norms_JK = _starts(polynomials)
    for _ in range(POWER_STEPS):
        starts_KDS = _power_step(polynomials, starts_KDS, norms_JK)
    thetas_KDS = _distinct_best(starts_KDS, polynomials.values(starts_KDS))
    best_KD = np.empty(thetas_KDS.shape[:2])
    left_K = np.arange(len(best_KD))
    for step in range(MOST_STEPS + 1):
        slope_KS, newton_KDS = _newton_step(polynomials, thetas_KDS)
        done_K = np.all((slope_KS <= FLAT) | (step == MOST_STEPS), axis=1)
        if done_K.any():
            values_KS = polynomials.select(done_K).values(thetas_KDS[done_K])
            winner_K = np.argmax(values_KS, axis=1)
            best_KD[left_K[done_K]] = thetas_KDS[done_K][np.arange(len(winner_K)), :, winner_K]
            if done_K.all():
                break
            polynomials, left_K, norms_JK = polynomials.select(~done_K), left_K[~done_K], norms_JK[:, ~done_K]
            thetas_KDS, newton_KDS = thetas_KDS[~done_K], newton_KDS[~done_K]
        power_KDS = _power_step(polynomials, thetas_KDS, norms_JK)
        lower_KS = polynomials.values(newton_KDS) < polynomials.values(power_KDS) - np.finfo(np.float64).eps
        thetas_KDS = np.where(lower_KS[:, None], power_KDS, newton_KDS)
    return best_KD


def _starts(polynomials: _Polynomials) -> tuple[Floats, Floats]:
    """Leading singular vectors of the T_j, their sums and differences; and the largest singular value of each T_j.

    Without error theta is the first vector of every T_j.
    """
    vectors, norms = [], []
    for degree, tensor in enumerate(polynomials.tensors, start=1):
        squared_K, vectors_KDD = np.linalg.eigh(tensor.transpose(0, 2, 1) @ tensor)
        norms.append(np.sqrt(np.maximum(squared_K[:, -1], 0.0)))
        vectors += [vectors_KDD[:, :, -rank] for rank in range(1, 1 + min(degree, 2, tensor.shape[2]))]
    pairs = [one + sign * other for one, other in combinations(vectors, 2) for sign in (1.0, -1.0)]
    lengths = [np.sqrt(np.sum(pair**2, axis=1))[:, None] for pair in pairs]
    vectors += [
        np.where(length > 1e-3, pair / np.maximum(length, 1e-3), vectors[0])
        for pair, length in zip(pairs, lengths, strict=True)
    ]
    return np.stack(vectors, axis=2), np.array(norms)


def _power_step(polynomials: _Polynomials, theta_KDS: Floats, norms_JK: Floats) -> Floats:
    """The shift of ``sum q_j(t) q_j`` is the least that surely makes it convex in the unit ball."""
    goal_KDS = np.zeros_like(theta_KDS)
    for degree, (tensor, norm_K) in enumerate(zip(polynomials.tensors, norms_JK, strict=True), start=1):
        gradient_KDS = degree * _contracted(tensor, theta_KDS, axes=1)
        q_K1S = np.sum(gradient_KDS * theta_KDS, axis=1, keepdims=True) / degree
        goal_KDS += q_K1S * gradient_KDS + degree * (degree - 1) * np.abs(q_K1S) * norm_K[:, None, None] * theta_KDS
    return _on_sphere(goal_KDS, theta_KDS)


def _newton_step(polynomials: _Polynomials, theta_KDS: Floats) -> tuple[Floats, Floats]:
    """Slope of f / 2 along the sphere (K, S), and where a Newton step leads (K, D, S)."""
    theta_KSD = theta_KDS.transpose(0, 2, 1)
    slope_KSD, curve_KSDD = np.zeros_like(theta_KSD), np.zeros((*theta_KSD.shape, theta_KSD.shape[2]))
    for degree, tensor in enumerate(polynomials.tensors, start=1):
        gradient_KSD = degree * _contracted(tensor, theta_KDS, axes=1).transpose(0, 2, 1)
        q_KS1 = np.sum(gradient_KSD * theta_KSD, axis=2, keepdims=True) / degree
        slope_KSD += q_KS1 * gradient_KSD
        curve_KSDD += gradient_KSD[..., None] * gradient_KSD[..., None, :]
        if degree > 1:
            second_KDDS = _contracted(tensor, theta_KDS, axes=2).reshape(*theta_KDS.shape[:2], *theta_KDS.shape[1:])
            curve_KSDD += degree * (degree - 1) * q_KS1[..., None] * second_KDDS.transpose(0, 3, 1, 2)
    radial_KS1 = np.sum(slope_KSD * theta_KSD, axis=2, keepdims=True)
    slope_KSD -= radial_KS1 * theta_KSD
    steepness_KS = np.sqrt(np.sum(slope_KSD**2, axis=2))
    along_KSDD = np.eye(theta_KSD.shape[2]) - theta_KSD[..., None] * theta_KSD[..., None, :]
    system_KSDD = along_KSDD @ curve_KSDD @ along_KSDD
    # The slope's length in the shift keeps a system near a flat maximum solvable, and steps quadratic elsewhere.
    diagonal = np.arange(theta_KSD.shape[2])
    system_KSDD[..., diagonal, diagonal] -= radial_KS1 + steepness_KS[..., None] + 1e-14
    change_KSD = solve_systems(system_KSDD, -slope_KSD)
    return steepness_KS, _on_sphere((theta_KSD + change_KSD).transpose(0, 2, 1), theta_KDS)


def _distinct_best(theta_KDS: Floats, value_KS: Floats) -> Floats:
    """Those of highest value that are not at the same maximum, up to sign."""
    chosen = []
    for _ in range(FINISHED):
        best_K = np.argmax(value_KS, axis=1)
        chosen.append(theta_KDS[np.arange(len(best_K)), :, best_K])
        same_KS = np.abs(np.sum(chosen[-1][:, :, None] * theta_KDS, axis=1)) > 0.999
        value_KS = np.where(same_KS, -np.inf, value_KS)
    return np.stack(chosen, axis=2)


def _contracted(tensor: Floats, theta_KDS: Floats, axes: int) -> Floats:
    """T_j theta^(j - axes): an array (K, D^axes, S); T_j itself, for all S, where j = axes."""
    factors, others, characteristics = tensor.shape
    if others * characteristics == characteristics**axes:
        return np.repeat(tensor.reshape(factors, -1, 1), theta_KDS.shape[2], axis=2)
    part = tensor @ theta_KDS
    while part.shape[1] > characteristics**axes:
        part = np.sum(part.reshape(factors, -1, characteristics, part.shape[2]) * theta_KDS[:, None], axis=2)
    return part


def _on_sphere(goal_KDS: Floats, otherwise_KDS: Floats) -> Floats:
    length_K1S = np.sqrt(np.sum(goal_KDS**2, axis=1, keepdims=True))
    unit: Floats = np.divide(goal_KDS, length_K1S, out=otherwise_KDS.copy(), where=length_K1S > 0.0)
    return unit


@lru_cache(maxsize=16)
def _tensor_places(characteristics: int, order: int, degree: int) -> tuple[Integers, Floats]:
    """For every element of T_j: the term it belongs to, and the root of the number of elements that share the term."""
    place = {tuple(p): number for number, p in enumerate(exponents(characteristics, order).tolist())}
    powers = [
        tuple(axes.count(axis) for axis in range(characteristics))
        for axes in product(range(characteristics), repeat=degree)
    ]
    shares = [factorial(degree) / prod(map(factorial, p)) for p in powers]
    return np.array([place[p] for p in powers], dtype=np.intp), np.sqrt(np.array(shares))

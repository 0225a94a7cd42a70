"""One iteration of the interior point: a factored Newton system, Mehrotra's step and Gondzio's further correctors.

Axes: K problem, N row, P column. Notation as in :mod:`factor_ray.models.quantile.interior_point`.

Linearising ``u s = target`` and ``v w = target``, and eliminating the changes of u, v and d, leaves for the change of c

    (X'QX + R) dc = X'd - Rc + X'Q(e - target_u / s + target_v / w),   Q = 1 / (u / s + v / w).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
from scipy.linalg.lapack import dpotrs

from factor_ray.models.quantile.normal_matrix import factor_by_cholesky, factor_by_qr

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

STEP_FRACTION = 0.9995  # of the way to the boundary
REFINEMENTS = 2
INEXACT = 0.01  # of the duality gap: a dual residual that costs more shows that X'QX is too inaccurate


@dataclass(frozen=True)
class Problems:
    """K problems on one design: its transpose (contiguous, P x N), sums of |x|, the response, levels and penalties."""

    Xt: Floats
    column_sums_P: Floats
    y_N: Floats
    tau_K: Floats
    penalty_KP: Floats

    def select(self, keep_K: Bools) -> Problems:
        """The problems that are kept."""
        return Problems(self.Xt, self.column_sums_P, self.y_N, self.tau_K[keep_K], self.penalty_KP[keep_K])

    def fitted(self, c_KP: Floats) -> Floats:
        """``Xc``, of each problem by its own matrix-vector product."""
        product: Floats = np.matmul(c_KP[:, None, :], self.Xt)[:, 0]
        return product

    def pulled(self, d_KN: Floats) -> Floats:
        """``X'd``, of each problem by its own matrix-vector product."""
        product: Floats = np.matmul(d_KN[:, None, :], self.Xt.T)[:, 0]
        return product

    @property
    def penalised(self) -> bool:
        """Whether any column has a penalty."""
        return bool(self.penalty_KP[0].any())


@dataclass(frozen=True)
class Iterate:
    """Coefficients, duals, the positive parts of the residual y - Xc = u - v, and the dual slacks.

    The slacks are carried along, not taken from the duals: near the boundary a difference has no digits left.
    """

    c_KP: Floats
    d_KN: Floats
    u_KN: Floats
    v_KN: Floats
    s_KN: Floats
    w_KN: Floats

    def select(self, keep_K: Bools) -> Iterate:
        """The problems that are kept."""
        return Iterate(*(getattr(self, field.name)[keep_K] for field in fields(self)))

    @property
    def mean_product_K(self) -> Floats:
        """Mean of the complementarity products ``u s`` and ``v w``, which is zero at the optimum."""
        sum_K = np.einsum("kn,kn->k", self.u_KN, self.s_KN) + np.einsum("kn,kn->k", self.v_KN, self.w_KN)
        mean_K: Floats = sum_K / (2 * self.u_KN.shape[1])
        return mean_K


@dataclass(frozen=True)
class Direction:
    """A direction in coefficients, duals and parts of the residual; s moves against the duals, w with them."""

    c_KP: Floats
    d_KN: Floats
    u_KN: Floats
    v_KN: Floats


def advance(problems: Problems, iterate: Iterate, e_KN: Floats, r_KP: Floats) -> Iterate:
    """The next iterate, given the residuals e = y - Xc and r = X'd of this one.

    Raises
    ------
    WorkError
        If a Newton system cannot be factored.
    """
    system = _System(problems, iterate, e_KN, r_KP)
    target_u, target_v, centre_K1 = _predicted_targets(system)
    direction = system.direction(target_u, target_v)
    primal_K, dual_K = system.step_lengths(direction)
    for _ in range(_affordable_correctors(*problems.Xt.shape)):
        change_u, change_v = _centrality_change(system, direction, primal_K, dual_K, centre_K1)
        corrected = system.direction(target_u + change_u, target_v + change_v)
        longer_primal_K, longer_dual_K = system.step_lengths(corrected)
        better_K = longer_primal_K + longer_dual_K >= primal_K + dual_K + 0.02
        if not better_K.any():
            break
        better_K1 = better_K[:, None]
        direction = _choose(better_K1, corrected, direction)
        target_u = np.where(better_K1, target_u + change_u, target_u)
        target_v = np.where(better_K1, target_v + change_v, target_v)
        primal_K = np.where(better_K, longer_primal_K, primal_K)
        dual_K = np.where(better_K, longer_dual_K, dual_K)
    moved = _moved(iterate, direction, primal_K, dual_K)
    cycling_K = moved.mean_product_K > 0.9 * iterate.mean_product_K
    if cycling_K.any():
        # Mehrotra's second-order targets can lead an ill-centred iterate in circles (Cartis 2009); these cannot.
        target_K1 = 0.5 * iterate.mean_product_K[:, None]
        centring = system.direction(target_K1, target_K1)
        direction = _choose(cycling_K[:, None], centring, direction)
        moved = _moved(iterate, direction, *system.step_lengths(direction))
    return moved


def _moved(iterate: Iterate, direction: Direction, primal_K: Floats, dual_K: Floats) -> Iterate:
    a_K1, b_K1 = primal_K[:, None], dual_K[:, None]
    return Iterate(
        iterate.c_KP + a_K1 * direction.c_KP,
        iterate.d_KN + b_K1 * direction.d_KN,
        iterate.u_KN + a_K1 * direction.u_KN,
        iterate.v_KN + a_K1 * direction.v_KN,
        iterate.s_KN - b_K1 * direction.d_KN,
        iterate.w_KN + b_K1 * direction.d_KN,
    )


class _System:
    """The Newton systems of K problems at one iterate, factored once."""

    def __init__(self, problems: Problems, iterate: Iterate, e_KN: Floats, r_KP: Floats) -> None:
        self.problems, self.iterate, self.e_KN = problems, iterate, e_KN
        self.u_over_s_KN = iterate.u_KN / iterate.s_KN
        self.v_over_w_KN = iterate.v_KN / iterate.w_KN
        self.Q_KN = 1.0 / (self.u_over_s_KN + self.v_over_w_KN)
        self.dual_residual_KP = r_KP - problems.penalty_KP * iterate.c_KP
        root_KN = np.sqrt(self.Q_KN)
        self.inexact_K = _inexact(problems, iterate, self.dual_residual_KP)
        scratch = np.empty_like(problems.Xt)
        self.factors = [
            factor_by_qr(problems.Xt, root_N, penalty_P)
            if inexact
            else factor_by_cholesky(problems.Xt, root_N, penalty_P, scratch)
            for root_N, penalty_P, inexact in zip(root_KN, problems.penalty_KP, self.inexact_K, strict=True)
        ]

    def direction(self, target_u: Floats, target_v: Floats) -> Direction:
        """The Newton direction towards ``u s = target_u`` and ``v w = target_v``."""
        problems, iterate = self.problems, self.iterate
        u_shift_KN = target_u / self.iterate.s_KN
        v_shift_KN = target_v / self.iterate.w_KN
        goal_KN = self.e_KN - u_shift_KN + v_shift_KN
        right_KP = self.dual_residual_KP + problems.pulled(self.Q_KN * goal_KN)
        dc_KP = np.empty_like(right_KP)
        for k, factor in enumerate(self.factors):
            dc_KP[k] = dpotrs(factor, right_KP[k], lower=1)[0]
        dd_KN = self.Q_KN * (goal_KN - problems.fitted(dc_KP))
        for k in map(int, np.flatnonzero(self.inexact_K)):
            self._refine(k, dc_KP[k], dd_KN[k])
        du_KN = u_shift_KN - iterate.u_KN + self.u_over_s_KN * dd_KN
        dv_KN = v_shift_KN - iterate.v_KN - self.v_over_w_KN * dd_KN
        return Direction(dc_KP, dd_KN, du_KN, dv_KN)

    def _refine(self, k: int, dc_P: Floats, dd_N: Floats) -> None:
        """Correct a direction in place until X'd = Rc holds after it: what rounding left of it goes to u and v."""
        Xt, penalty_P = self.problems.Xt, self.problems.penalty_KP[k]
        for _ in range(REFINEMENTS):
            left_P = self.dual_residual_KP[k] + Xt @ dd_N - penalty_P * dc_P
            change_P = dpotrs(self.factors[k], left_P, lower=1)[0]
            dc_P += change_P
            dd_N -= self.Q_KN[k] * (change_P @ Xt)

    def step_lengths(self, direction: Direction) -> tuple[Floats, Floats]:
        """Longest primal and dual steps, at most 1, that keep u, v, s and w off zero.

        With a penalty c enters the dual constraint X'd = Rc, so that both take the shorter.
        """
        primal_K = _longest(-direction.u_KN / self.iterate.u_KN, -direction.v_KN / self.iterate.v_KN)
        dual_K = _longest(direction.d_KN / self.iterate.s_KN, -direction.d_KN / self.iterate.w_KN)
        if self.problems.penalised:
            primal_K = dual_K = np.minimum(primal_K, dual_K)
        return primal_K, dual_K

    def products(self, direction: Direction, primal_K: Floats, dual_K: Floats) -> tuple[Floats, Floats]:
        """Complementarity products ``u s`` and ``v w`` after a step."""
        a_K1, b_K1 = primal_K[:, None], dual_K[:, None]
        u_s_KN = (self.iterate.u_KN + a_K1 * direction.u_KN) * (self.iterate.s_KN - b_K1 * direction.d_KN)
        v_w_KN = (self.iterate.v_KN + a_K1 * direction.v_KN) * (self.iterate.w_KN + b_K1 * direction.d_KN)
        return u_s_KN, v_w_KN


def _predicted_targets(system: _System) -> tuple[Floats, Floats, Floats]:
    """Mehrotra's targets: centred as far as the affine step falls short, less that step's second-order error."""
    nothing = np.zeros_like(system.e_KN)
    affine = system.direction(nothing, nothing)
    now_u, now_v = system.products(affine, np.zeros(len(nothing)), np.zeros(len(nothing)))
    then_u, then_v = system.products(affine, *system.step_lengths(affine))
    mean_K = (now_u.mean(axis=1) + now_v.mean(axis=1)) / 2
    ratio_K = (then_u.mean(axis=1) + then_v.mean(axis=1)) / 2 / mean_K
    centre_K1 = (ratio_K**3 * mean_K)[:, None]
    target_u = centre_K1 + affine.u_KN * affine.d_KN
    target_v = centre_K1 - affine.v_KN * affine.d_KN
    return target_u, target_v, centre_K1


def _centrality_change(
    system: _System, direction: Direction, primal_K: Floats, dual_K: Floats, centre_K1: Floats
) -> tuple[Floats, Floats]:
    """Gondzio's change of the targets: brings outlying products of a bolder step back to [0.1, 10] x centre."""
    bolder = [np.minimum(1.0, 1.08 * step_K + 0.08) for step_K in (primal_K, dual_K)]
    changes = [
        np.maximum(np.clip(product_KN, 0.1 * centre_K1, 10.0 * centre_K1) - product_KN, -10.0 * centre_K1)
        for product_KN in system.products(direction, *bolder)
    ]
    return changes[0], changes[1]


def _affordable_correctors(columns: int, rows: int) -> int:
    """How many further solves with one factor pay for themselves, by counted operations."""
    factor = rows * columns**2 + columns**3 / 3
    solve = 4 * rows * columns + 2 * columns**2 + 150 * rows
    return sum(factor > multiple * solve for multiple in (5, 15, 40))


def _inexact(problems: Problems, iterate: Iterate, dual_residual_KP: Floats) -> Bools:
    """Problems whose error in X'd = Rc costs the duality gap more than a share of what the products still do.

    Every full step removes that error, so that one of this size is what X'QX lost: beside the weights of interpolated
    rows, a small penalty is below its rounding.
    """
    free_KP = problems.penalty_KP == 0.0
    squares_KP = np.divide(
        dual_residual_KP**2, 2.0 * problems.penalty_KP, out=np.zeros_like(free_KP, float), where=~free_KP
    )
    cost_K = squares_KP.sum(axis=1) + (np.abs(iterate.c_KP * dual_residual_KP) * free_KP).sum(axis=1)
    inexact_K: Bools = cost_K > INEXACT * 2 * iterate.u_KN.shape[1] * iterate.mean_product_K
    return inexact_K


def _longest(*rates_KN: Floats) -> Floats:
    """Longest step, at most 1, after which all variables that shrink at these rates are still clear of zero."""
    fastest_K: Floats = np.maximum.reduce([rate_KN.max(axis=1) for rate_KN in rates_KN])
    return np.divide(STEP_FRACTION, np.maximum(fastest_K, STEP_FRACTION))


def _choose(first_K1: Bools, first: Direction, second: Direction) -> Direction:
    names = [field.name for field in fields(Direction)]
    return Direction(*(np.where(first_K1, getattr(first, name), getattr(second, name)) for name in names))

"""A primal-dual interior point for many ridge-penalised quantile regressions on one design.

Axes: K problem (a level and a penalty), N row, P column.

Every problem is, with the check function rho and a diagonal penalty R >= 0,

    primal:  min over c of  sum_i rho_tau(y_i - x_i'c) + c'Rc / 2
    dual:    max over d of  y'd - (X'd)' R^+ (X'd) / 2,   tau - 1 <= d_i <= tau,  x_j'd = 0 where R_j = 0.

The residual is split as y - Xc = u - v with u, v > 0; s = tau - d and w = d - tau + 1 are the dual slacks. The optimum
has X'd = Rc, u s = 0 and v w = 0. Each iteration is Mehrotra's predictor and corrector (SIAM J. Optim. 1992) with
Gondzio's further correctors (Comput. Optim. Appl. 1996): one X'QX and one Cholesky factor, several solves. (d = 0,
c = 0) is feasible in the dual, so no phase is spent on finding a feasible point.

Nothing is mixed between problems, and BLAS is called for each by itself, so that a problem's result is the same bits
whatever its companions. Starting from the solution at a neighbouring ridge was measured to save a third of the
iterations, but the result would then depend on which neighbours were asked for, and none could be solved side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from factor_ray.errors import WorkError
from factor_ray.models.quantile.certificate import Certificate, certify
from factor_ray.models.quantile.newton import Iterate, Problems, advance
from factor_ray.models.quantile.vertex import exact_solution

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

MAXIMUM_ITERATIONS = 200
GUESS_BELOW = 1e-3  # relative gap from which the interpolated rows are guessed
ROUNDING = 8 * np.finfo(np.float64).eps  # of all that is summed: what an objective's digits cannot tell from zero


@dataclass(frozen=True)
class Solution:
    """Optimal coefficients and duals, and the proof: objective and duality gap in units of the sum, iterations."""

    coefficients_P: Floats
    duals_N: Floats
    objective: float
    gap: float
    iterations: int


def solve(
    Xt: Floats, y_N: Floats, tau_K: Floats, penalty_KP: Floats, start_P: Floats, tolerance: float
) -> list[Solution]:
    """Solve K penalised quantile regressions on one design to a relative duality gap.

    Parameters
    ----------
    Xt : array (P, N), contiguous
        Transposed design, its columns of about unit size; the columns without penalty must be linearly independent.
    y_N : array (N,)
        Response, of about unit size.
    tau_K, penalty_KP : arrays (K,), (K, P)
        Levels and diagonals of R. The zeros of R are in the same columns in all K.
    start_P : array (P,)
        Coefficients to start from, zero in penalised columns.
    tolerance : float
        Largest duality gap, relative to the objective; a gap within the objective's rounding error passes too, which
        matters where the fit is perfect.

    Raises
    ------
    WorkError
        If a problem does not reach the tolerance.
    """
    problems = Problems(Xt, np.abs(Xt).sum(axis=1), y_N, tau_K, penalty_KP)
    iterate = _starting_point(problems, start_P)
    index_K = np.arange(len(tau_K))
    guesses = _Guesses.none(*iterate.d_KN.shape)
    solutions: dict[int, Solution] = {}
    for iteration in range(MAXIMUM_ITERATIONS):
        e_KN = y_N - problems.fitted(iterate.c_KP)
        r_KP = problems.pulled(iterate.d_KN)
        certificate = certify(y_N, e_KN, iterate.c_KP, iterate.d_KN, r_KP, problems.tau_K, problems.penalty_KP)
        relative_K = _relative_gap(problems, certificate, iterate.c_KP, tolerance)
        done_K = relative_K <= tolerance
        exact = _exact_solutions(problems, iterate, e_KN, relative_K, done_K, guesses, tolerance)
        for k, original in enumerate(index_K):
            if k in exact:
                solutions[int(original)] = Solution(*exact[k], iterations=iteration)
                done_K[k] = True
            elif done_K[k]:
                objective, gap = float(certificate.objective_K[k]), float(certificate.gap_K[k])
                solutions[int(original)] = Solution(iterate.c_KP[k], iterate.d_KN[k], objective, gap, iteration)
        if done_K.all():
            return [solutions[k] for k in range(len(tau_K))]
        if done_K.any():
            problems, iterate, guesses = problems.select(~done_K), iterate.select(~done_K), guesses.select(~done_K)
            index_K, e_KN, r_KP, relative_K = index_K[~done_K], e_KN[~done_K], r_KP[~done_K], relative_K[~done_K]
        iterate = advance(problems, iterate, e_KN, r_KP)
    worst = int(np.argmax(relative_K))
    raise WorkError(
        f"The quantile regression at tau {problems.tau_K[worst]:g} stopped at a relative duality gap of "
        f"{relative_K[worst]:.1e} after {MAXIMUM_ITERATIONS} iterations, above the tolerance {tolerance:.1e}: "
        f"raise the tolerance or the ridge, or remove nearly collinear columns"
    )


@dataclass
class _Guesses:
    """The rows each problem seemed to interpolate an iteration ago, and those last tried in vain."""

    previous_KN: Bools
    tried_KN: Bools

    @staticmethod
    def none(problems: int, rows: int) -> _Guesses:
        return _Guesses(np.zeros((problems, rows), dtype=bool), np.zeros((problems, rows), dtype=bool))

    def select(self, keep_K: Bools) -> _Guesses:
        return _Guesses(self.previous_KN[keep_K], self.tried_KN[keep_K])


def _starting_point(problems: Problems, start_P: Floats) -> Iterate:
    count = len(problems.tau_K)
    c_KP = np.repeat(start_P[None, :], count, axis=0)
    e_KN = problems.y_N - problems.fitted(c_KP)
    offset = float(np.mean(np.abs(e_KN[0]))) + 1e-6 * float(np.mean(np.abs(problems.y_N)))
    u_KN, v_KN = np.maximum(e_KN, 0.0) + offset, np.maximum(-e_KN, 0.0) + offset
    s_KN = np.repeat(problems.tau_K[:, None], len(problems.y_N), axis=1)
    return Iterate(c_KP, np.zeros_like(e_KN), u_KN, v_KN, s_KN, 1.0 - s_KN)


def _relative_gap(problems: Problems, certificate: Certificate, c_KP: Floats, tolerance: float) -> Floats:
    """Gap over objective, or over what makes the objective's rounding error just pass the tolerance."""
    summed_K = np.sum(np.abs(problems.y_N)) + (np.abs(c_KP) * problems.column_sums_P).sum(axis=1)
    least_K = np.maximum(ROUNDING / tolerance * summed_K, np.finfo(np.float64).tiny)
    relative_K: Floats = certificate.gap_K / np.maximum(certificate.objective_K, least_K)
    return relative_K


def _exact_solutions(
    problems: Problems,
    iterate: Iterate,
    e_KN: Floats,
    relative_K: Floats,
    done_K: Bools,
    guesses: _Guesses,
    tolerance: float,
) -> dict[int, tuple[Floats, Floats, float, float]]:
    """Exact optima, by place in the batch, of those problems whose interpolated rows are guessed rightly by now.

    A row is taken for interpolated when its dual is farther from its box than its residual from zero. Trying costs
    about half an iteration, so that a guess is tried only when it is plausible: as many rows as columns, the
    same rows twice running, or the last chance.
    """
    unit_K1 = 0.25 * np.mean(np.abs(e_KN), axis=1)[:, None]
    guess_KN = unit_K1 * np.minimum(iterate.s_KN, iterate.w_KN) > np.maximum(iterate.u_KN, iterate.v_KN)
    full_K = guess_KN.sum(axis=1) == len(problems.Xt)
    stable_K = (guess_KN == guesses.previous_KN).all(axis=1)
    new_K = (guess_KN != guesses.tried_KN).any(axis=1)
    plausible_K = full_K if not problems.penalised else full_K | stable_K | done_K
    guesses.previous_KN = guess_KN
    exact = {}
    for k in np.flatnonzero((relative_K < GUESS_BELOW) & new_K & plausible_K):
        guesses.tried_KN[k] = guess_KN[k]
        one_K = np.arange(len(done_K)) == k
        problem = problems.select(one_K)
        found = exact_solution(
            problems.Xt.T, problems.y_N, problem.tau_K[0], problem.penalty_KP[0], e_KN[k], guess_KN[k]
        )
        if found is None:
            continue
        c_KP, d_KN = found[0][None], found[1][None]
        exact_e_KN, r_KP = problem.y_N - problem.fitted(c_KP), problem.pulled(d_KN)
        proof = certify(problem.y_N, exact_e_KN, c_KP, d_KN, r_KP, problem.tau_K, problem.penalty_KP)
        relative = _relative_gap(problem, proof, c_KP, tolerance)[0]
        if relative <= min(tolerance, relative_K[k]):
            exact[int(k)] = (*found, float(proof.objective_K[0]), float(proof.gap_K[0]))
    return exact

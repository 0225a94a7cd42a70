"""The exchange method for small quantile regressions without penalty: from vertex to vertex, down to the optimum.

A vertex interpolates as many rows as there are columns. Where the dual of one of these rows leaves its box
``[tau - 1, tau]``, the loss falls along the edge that gives the row up. The edge's least point, a weighted quantile of
where it crosses the other rows, is the next vertex (Barrodale and Roberts 1974; Koenker and d'Orey, "Computing
regression quantiles", Applied Statistics 1987). The way begins at zero, where columns themselves are held in place of
rows; these are given up first.

The vertex at the end is computed afresh from its rows, in rising order, and kept only if a gap of rounding size proves
it optimal. Axes: M row of all problems, laid end to end, K problem, N row of one problem, R column.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from factor_ray.models.quantile.compiled import compiled
from factor_ray.models.quantile.vertex import OUTSIDE

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

NO_ROW = -1
"""In the place of a row: a column's coefficient is held at zero."""

_INDEPENDENT = 1e-10  # of a column's squared length, that must be left of it beside the columns before it
_MOST_STEPS = 100  # and as many for each column: more are circles among tied rows
_NOISE = 1e-13  # of the largest step that an edge can make in a row: one that is rounding alone
_ROUNDING = 64 * 2.0**-52  # of all that is summed: a gap that proves a vertex optimal
_CLEAR = 1e-9  # of the box of a dual, or of the mean residual: a distance that is no rounding


@compiled
def solve_all(
    Xt_RM: Floats,
    y_M: Floats,
    bounds: Integers,
    tau: float,
    begin_KR: Integers,
    rows_KR: Integers,
    c_KR: Floats,
    objective_K: Floats,
    gap_K: Floats,
) -> None:
    """Solve K problems into the last four arrays.

    Parameters
    ----------
    Xt_RM, y_M : arrays (R, M), (M,)
        Columns and responses of the problems, end to end.
    bounds : int array (K + 1,)
        Where each problem begins, and the end.
    tau : float
        Level.
    begin_KR : int array (K, R)
        Rows to begin from, counted in their problem, or ``NO_ROW``. They change no bit: an optimum that is not the only
        one is looked for again from zero.
    rows_KR, c_KR, objective_K, gap_K : arrays
        The interpolated rows, coefficients, and sums of losses with their gaps. An objective of NaN marks a problem
        without a proven optimum: its columns are nearly collinear, or ties led in circles.
    """
    d_M = np.empty(len(y_M))
    for k in range(len(bounds) - 1):
        Xt_RN, y_N = Xt_RM[:, bounds[k] : bounds[k + 1]].copy(), y_M[bounds[k] : bounds[k + 1]]
        objective_K[k] = np.nan
        if not _independent(Xt_RN):
            continue
        d_N, first = d_M[: len(y_N)], 1  # the attempt: 0 from the rows that are given, 1 from zero
        for r in range(len(Xt_RN)):
            rows_KR[k, r] = begin_KR[k, r]
            if begin_KR[k, r] != NO_ROW:
                first = 0
        for attempt in range(first, 2):
            if _descend(Xt_RN, y_N, tau, rows_KR[k], d_N):
                objective, gap, optimal, alone = _proof(Xt_RN, y_N, tau, rows_KR[k], d_N, c_KR[k])
                if optimal and (alone or attempt == 1):
                    objective_K[k], gap_K[k] = objective, gap
                    break
            rows_KR[k, :] = NO_ROW


@compiled
def _independent(Xt_RN: Floats) -> bool:
    """Whether columns are far from collinear, by the Cholesky factor of their products."""
    factor_RR = np.empty((len(Xt_RN), len(Xt_RN)))
    for r in range(len(Xt_RN)):
        for s in range(r + 1):
            product = _dot(Xt_RN[r], Xt_RN[s])
            length = product
            for before in range(s):
                product -= factor_RR[r, before] * factor_RR[s, before]
            if s < r:
                factor_RR[r, s] = product / factor_RR[s, s]
            elif product > _INDEPENDENT * length:
                factor_RR[r, r] = np.sqrt(product)
            else:
                return False
    return True


@compiled
def _dot(one_N: Floats, other_N: Floats) -> float:
    """The inner product, in four sums that processors add side by side."""
    even, odd, third, fourth = 0.0, 0.0, 0.0, 0.0
    whole = len(one_N) // 4 * 4
    for i in range(0, whole, 4):
        even += one_N[i] * other_N[i]
        odd += one_N[i + 1] * other_N[i + 1]
        third += one_N[i + 2] * other_N[i + 2]
        fourth += one_N[i + 3] * other_N[i + 3]
    total = (even + odd) + (third + fourth)
    for i in range(whole, len(one_N)):
        total += one_N[i] * other_N[i]
    return total


@compiled
def _descend(Xt_RN: Floats, y_N: Floats, tau: float, rows_R: Integers, d_N: Floats) -> bool:
    """Lead the rows to an optimum, and fill in the duals of the others; False if none is reached.

    Duals say on which side of the fit a row is, tau above and tau - 1 below, even where rows are on it.
    """
    columns, rows = Xt_RN.shape
    e_N, z_N, when_N = np.empty(rows), np.empty(rows), np.empty(rows)
    values_N, weight_N = np.empty(rows), np.empty(rows)
    c_R, pull_R, edge_R, largest_R = np.empty(columns), np.empty(columns), np.empty(columns), np.empty(columns)
    edges_RR = np.empty((columns, columns))
    _hold_all(Xt_RN, rows_R, edges_RR)
    for r in range(columns):
        c_R[r], largest_R[r] = 0.0, 0.0
        for s in range(columns):
            if rows_R[s] != NO_ROW:
                c_R[r] += edges_RR[r, s] * y_N[rows_R[s]]
        for i in range(rows):
            largest_R[r] = max(largest_R[r], abs(Xt_RN[r, i]))
    _residuals(Xt_RN, y_N, c_R, e_N)
    for i in range(rows):
        d_N[i] = tau if e_N[i] > 0.0 else tau - 1.0
    for row in rows_R:
        if row != NO_ROW:
            e_N[row] = d_N[row] = 0.0
    _pull(Xt_RN, d_N, pull_R)
    for _ in range(_MOST_STEPS * (1 + columns)):
        out, sign, slope = _steepest(edges_RR, pull_R, rows_R, tau)
        if out < 0:
            return True
        for r in range(columns):
            edge_R[r] = sign * edges_RR[r, out]
        _changes(Xt_RN, edge_R, largest_R, z_N)
        for i in range(rows):
            when_N[i] = max(e_N[i] / z_N[i], 0.0) if d_N[i] * z_N[i] > 0.0 else np.inf
        step = _least_point(when_N, z_N, slope, values_N, weight_N)
        if step == np.inf:
            return False
        into = _move(Xt_RN, z_N, when_N, step, tau, e_N, d_N, pull_R)
        if rows_R[out] != NO_ROW:
            d_N[rows_R[out]] = tau if sign < 0.0 else tau - 1.0
            _add(pull_R, d_N[rows_R[out]], Xt_RN, rows_R[out])
        _hold(edges_RR, Xt_RN, into, out)
        rows_R[out] = into
    return False


@compiled
def _hold_all(Xt_RN: Floats, rows_R: Integers, edges_RR: Floats) -> None:
    """Fill in the edges: column by column the change of the coefficients that moves one held row by 1, and no other.

    The rows are held one by one, each in place of the column on which it depends most; those that depend on rows before
    them are left out. ``rows_R`` is brought into the order of their columns.
    """
    wanted_R = rows_R.copy()
    for r in range(len(rows_R)):
        rows_R[r] = NO_ROW
        for s in range(len(rows_R)):
            edges_RR[r, s] = 1.0 if r == s else 0.0
    for row in wanted_R:
        if row == NO_ROW:
            continue
        place, most = -1, 0.0
        for r in range(len(rows_R)):
            moves, size = _moved(edges_RR, Xt_RN, row, r)
            if rows_R[r] == NO_ROW and moves > max(most, _NOISE * size):
                place, most = r, moves
        if place >= 0:
            _hold(edges_RR, Xt_RN, row, place)
            rows_R[place] = row


@compiled
def _moved(edges_RR: Floats, Xt_RN: Floats, row: int, place: int) -> tuple[float, float]:
    """By how much an edge moves a row, and what this is the sum of, both without signs."""
    moves, size = 0.0, 0.0
    for r in range(len(edges_RR)):
        moves += Xt_RN[r, row] * edges_RR[r, place]
        size += abs(Xt_RN[r, row] * edges_RR[r, place])
    return abs(moves), size


@compiled
def _hold(edges_RR: Floats, Xt_RN: Floats, row: int, place: int) -> None:
    """Hold a row in place of what is held there; the other edges are turned into the row's plane."""
    columns = len(edges_RR)
    pivot = 0.0
    for r in range(columns):
        pivot += Xt_RN[r, row] * edges_RR[r, place]
    for r in range(columns):
        edges_RR[r, place] /= pivot
    for s in range(columns):
        if s != place:
            moves = 0.0
            for r in range(columns):
                moves += Xt_RN[r, row] * edges_RR[r, s]
            for r in range(columns):
                edges_RR[r, s] -= moves * edges_RR[r, place]


@compiled
def _residuals(Xt_RN: Floats, y_N: Floats, c_R: Floats, e_N: Floats) -> None:
    """Fill in ``y - Xc``."""
    for i in range(len(e_N)):
        e_N[i] = y_N[i]
    for r in range(len(c_R)):
        for i in range(len(e_N)):
            e_N[i] -= c_R[r] * Xt_RN[r, i]


@compiled
def _pull(Xt_RN: Floats, d_N: Floats, pull_R: Floats) -> None:
    """Fill in ``X'd``."""
    for r in range(len(pull_R)):
        pull_R[r] = _dot(Xt_RN[r], d_N)


@compiled
def _steepest(edges_RR: Floats, pull_R: Floats, rows_R: Integers, tau: float) -> tuple[int, float, float]:
    """What is to be given up, to which side, and how fast the loss falls; a place of -1 at the optimum."""
    place, sign, slope = -1, 1.0, OUTSIDE
    for r in range(len(rows_R)):
        dual = 0.0
        for s in range(len(rows_R)):
            dual -= edges_RR[s, r] * pull_R[s]
        if rows_R[r] == NO_ROW:
            return r, -1.0 if dual > 0.0 else 1.0, abs(dual)
        if dual - tau > slope:
            place, sign, slope = r, -1.0, dual - tau
        if tau - 1.0 - dual > slope:
            place, sign, slope = r, 1.0, tau - 1.0 - dual
    return place, sign, slope


@compiled
def _changes(Xt_RN: Floats, edge_R: Floats, largest_R: Floats, z_N: Floats) -> None:
    """Fill in by how much the fit of a row grows along an edge; zero where that is rounding alone."""
    noise = 0.0
    for i in range(len(z_N)):
        z_N[i] = 0.0
    for r in range(len(edge_R)):
        noise += _NOISE * abs(edge_R[r]) * largest_R[r]
        for i in range(len(z_N)):
            z_N[i] += edge_R[r] * Xt_RN[r, i]
    for i in range(len(z_N)):
        z_N[i] = z_N[i] if abs(z_N[i]) > noise else 0.0


@compiled
def _least_point(when_N: Floats, z_N: Floats, slope: float, values_N: Floats, weight_N: Floats) -> float:
    """How far along the edge the loss is least: every row that is crossed makes the slope rise by its weight.

    Infinity if none is crossed. The last two arrays are room to work in.
    """
    count = 0
    for i in range(len(when_N)):
        values_N[count], weight_N[count] = when_N[i], abs(z_N[i])
        count += when_N[i] < np.inf
    return _weighted_quantile(values_N, weight_N, count, slope) if count else np.inf


@compiled
def _weighted_quantile(values_n: Floats, weight_n: Floats, count: int, least: float) -> float:
    """The least of the first values up to which weights sum to at least so much, or the largest; reorders both."""
    low, high = 0, count - 1
    while low < high:
        one, two, three = values_n[low], values_n[(low + high) // 2], values_n[high]
        if (one <= two) == (two <= three):
            at = (low + high) // 2
        elif (two <= one) == (one <= three):
            at = low
        else:
            at = high
        pivot, weight = values_n[at], weight_n[at]
        values_n[at], weight_n[at] = values_n[high], weight_n[high]
        place, below = low, 0.0
        for i in range(low, high):  # without branches: which side a value falls to cannot be predicted
            value, own = values_n[i], weight_n[i]
            values_n[i], weight_n[i] = values_n[place], weight_n[place]
            values_n[place], weight_n[place] = value, own
            is_below = value < pivot
            place += is_below
            below += own * is_below
        values_n[high], weight_n[high] = values_n[place], weight_n[place]
        values_n[place], weight_n[place] = pivot, weight
        if below >= least:
            high = place - 1
        elif below + weight >= least:
            return float(pivot)
        else:
            least -= below + weight
            low = place + 1
    return float(values_n[min(low, count - 1)])


@compiled
def _move(
    Xt_RN: Floats, z_N: Floats, when_N: Floats, step: float, tau: float, e_N: Floats, d_N: Floats, pull_R: Floats
) -> int:
    """Take a step along the edge, up to a row that is now held: of those in the same place the one of most weight."""
    into, largest = -1, 0.0
    for i in range(len(e_N)):
        e_N[i] -= step * z_N[i]
        if when_N[i] < step:
            flip = -1.0 if d_N[i] > 0.0 else 1.0
            d_N[i] = tau if flip > 0.0 else tau - 1.0
            _add(pull_R, flip, Xt_RN, i)
        elif when_N[i] == step and abs(z_N[i]) > largest:
            into, largest = i, abs(z_N[i])
    _add(pull_R, -d_N[into], Xt_RN, into)
    e_N[into] = d_N[into] = 0.0
    return into


@compiled
def _add(pull_R: Floats, weight: float, Xt_RN: Floats, row: int) -> None:
    for r in range(len(pull_R)):
        pull_R[r] += weight * Xt_RN[r, row]


@compiled
def _proof(
    Xt_RN: Floats, y_N: Floats, tau: float, rows_R: Integers, d_N: Floats, c_R: Floats
) -> tuple[float, float, bool, bool]:
    """Fill in the coefficients of a vertex; its loss and gap, whether it is proven optimal, and the only optimum.

    All is computed from the rows in rising order, whatever the way to them. The duals of these are filled in.
    """
    columns, rows = Xt_RN.shape
    e_N = np.empty(rows)
    edges_RR, pull_R = np.empty((columns, columns)), np.empty(columns)
    _sort(rows_R)
    _hold_all(Xt_RN, rows_R, edges_RR)
    for r in range(columns):
        c_R[r] = 0.0
        if rows_R[r] == NO_ROW:
            return np.nan, np.nan, False, False
    for _ in range(2):  # the second time refines the first
        _residuals(Xt_RN, y_N, c_R, e_N)
        for r in range(columns):
            for s in range(columns):
                c_R[r] += edges_RR[r, s] * e_N[rows_R[s]]
    _residuals(Xt_RN, y_N, c_R, e_N)
    for row in rows_R:
        e_N[row] = 0.0
    for _ in range(2):
        _pull(Xt_RN, d_N, pull_R)
        for r in range(columns):
            for s in range(columns):
                d_N[rows_R[r]] -= edges_RR[s, r] * pull_R[s]
    widest = 0.0
    for row in rows_R:
        widest = max(widest, abs(d_N[row] - (tau - 0.5)))
        d_N[row] = min(max(d_N[row], tau - 1.0), tau)
    _pull(Xt_RN, d_N, pull_R)
    objective, bound, size, summed, leak = 0.0, 0.0, 0.0, 0.0, 0.0
    for i in range(rows):
        objective += max(tau * e_N[i], (tau - 1.0) * e_N[i])
        bound += y_N[i] * d_N[i]
        size += abs(e_N[i])
        summed += abs(y_N[i])
    for r in range(columns):
        leak += abs(c_R[r] * pull_R[r])
        for i in range(rows):
            summed += abs(c_R[r] * Xt_RN[r, i])
    gap = max(objective - bound + leak, 0.0)
    few = 0
    for i in range(rows):
        few += abs(e_N[i]) <= _CLEAR * size / rows + _ROUNDING * summed
    optimal = widest <= 0.5 + OUTSIDE and gap <= _ROUNDING * summed
    return objective, gap, optimal, few == columns and widest < 0.5 - _CLEAR


@compiled
def _sort(rows_R: Integers) -> None:
    for r in range(1, len(rows_R)):
        row, place = rows_R[r], r
        while place > 0 and rows_R[place - 1] > row:
            rows_R[place] = rows_R[place - 1]
            place -= 1
        rows_R[place] = row

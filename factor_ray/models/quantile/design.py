"""A design made fit for the interior point: columns of unit size, those without penalty linearly independent.

Axes: N row, P column as the user gave it, F column without penalty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import qr, solve_triangular
from scipy.linalg.blas import dsyrk
from scipy.linalg.lapack import dpocon, dpotrf, dpotrs

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

DEPENDENT = 1e-10  # of its size: a column that others reproduce to within it counts as dependent on them
WELL_CONDITIONED = 1e-10  # reciprocal condition of the Gram matrix (1e5 of the columns) below which they are rotated


@dataclass(frozen=True)
class Design:
    """Working columns, and the way back from their coefficients to the user's.

    Attributes
    ----------
    transposed : array (working columns, N)
        The columns without penalty (or a basis of their span) first, then the penalised ones; contiguous.
    penalty_weights : array (working columns,)
        What a ridge of 1 on the user's coefficients is on the working ones: 0, or 1 / column scale squared.
    start : array (working columns,)
        Least squares on the columns without penalty.
    """

    transposed: Floats
    penalty_weights: Floats
    start: Floats
    _scale_P: Floats
    _free_P: Bools
    _shrunk_F: Bools
    _basis: _Basis | None

    def coefficients(self, working: Floats) -> Floats:
        """The user's coefficients (P,).

        Where columns are dependent, many coefficients give the same fit: of these the ones with the least sum of
        squares over the columns that a ridge would penalise, which is where a vanishing ridge leads.
        """
        frees = int(np.sum(self.penalty_weights == 0.0))
        scaled_F = working[:frees] if self._basis is None else self._basis.coefficients(working[:frees])
        c_P = np.empty_like(self._scale_P)
        c_P[self._free_P] = scaled_F / self._scale_P[self._free_P]
        c_P[~self._free_P] = working[frees:] / self._scale_P[~self._free_P]
        if self._basis is not None and self._basis.null.shape[1]:
            null = self._basis.null / self._scale_P[self._free_P][:, None]
            shrunk_F = self._shrunk_F.astype(np.float64)
            move = np.linalg.lstsq(shrunk_F[:, None] * null, -shrunk_F * c_P[self._free_P], rcond=None)[0]
            c_P[self._free_P] += null @ move
        return c_P


def prepare(X: Floats, y: Floats, free_P: Bools, unpenalised_P: Bools) -> Design:
    """Scale the columns of X, and replace those without penalty by a basis where they are nearly dependent.

    Parameters
    ----------
    X, y : arrays (N, P), (N,)
        Design and response.
    free_P : array of bool (P,)
        Columns without penalty in the problems to be solved: all of them if the ridge is zero.
    unpenalised_P : array of bool (P,)
        Columns that no ridge penalises.
    """
    Xt = np.concatenate([X.T[free_P], X.T[~free_P]])
    size = np.sqrt(np.einsum("pn,pn->p", Xt, Xt) / len(y))
    # Powers of two, so that scaling and its undoing are exact.
    scale = np.exp2(np.round(np.log2(size, out=np.zeros_like(size), where=size > 0.0)))
    Xt /= scale[:, None]
    frees = int(free_P.sum())
    basis, start_F = None, _least_squares(Xt[:frees], y)
    if start_F is None:
        basis = _Basis.of(Xt[:frees].T)
        Xt = np.concatenate([basis.transposed, Xt[frees:]])
        start_F = basis.transposed @ y / len(y)
    weights = 1.0 / scale[frees:] ** 2
    scale_P = np.empty_like(scale)
    scale_P[free_P], scale_P[~free_P] = scale[:frees], scale[frees:]
    return Design(
        transposed=Xt,
        penalty_weights=np.concatenate([np.zeros(len(start_F)), weights]),
        start=np.concatenate([start_F, np.zeros(len(weights))]),
        _scale_P=scale_P,
        _free_P=free_P,
        _shrunk_F=~unpenalised_P[free_P],
        _basis=basis,
    )


@dataclass(frozen=True)
class _Basis:
    """Orthogonal columns of unit size with the span of given ones, by QR with column pivoting."""

    transposed: Floats  # (rank, N)
    to_given: Floats  # (given, rank): coefficients of the given columns that make up each column of the basis
    null: Floats  # (given, given - rank): combinations of the given columns that vanish

    @staticmethod
    def of(given: Floats) -> _Basis:
        rows, count = given.shape
        q, r, order = qr(given, mode="economic", pivoting=True)
        diagonal = np.abs(np.diagonal(r))
        rank = int(np.sum(diagonal > DEPENDENT * max(float(diagonal[0]), np.finfo(float).tiny)))
        triangle, root = r[:rank, :rank], np.sqrt(rows)
        to_given, null = np.zeros((count, rank)), np.zeros((count, count - rank))
        to_given[order[:rank]] = solve_triangular(triangle, np.eye(rank)) * root
        null[order[:rank]] = -solve_triangular(triangle, r[:rank, rank:])
        null[order[rank:]] = np.eye(count - rank)
        return _Basis(np.ascontiguousarray(q[:, :rank].T) * root, to_given, null)

    def coefficients(self, working: Floats) -> Floats:
        """Coefficients of the given columns, zero for those that were found dependent."""
        return self.to_given @ working


def _least_squares(free_FN: Floats, y: Floats) -> Floats | None:
    """Least squares by the normal equations, or None where the columns are too nearly dependent for these."""
    if not len(free_FN):
        return np.zeros(0)
    gram = dsyrk(1.0 / len(y), free_FN.T, trans=1, lower=1)
    norm = float(np.abs(gram + np.tril(gram, -1).T).sum(axis=0).max())
    factor, failure = dpotrf(gram, lower=1, clean=0)
    if failure or dpocon(factor, norm, uplo="L")[0] < WELL_CONDITIONED:
        return None
    solution: Floats = dpotrs(factor, free_FN @ y / len(y), lower=1)[0]
    return solution

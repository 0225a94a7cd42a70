"""The multivariate Hermite sieve, and the expansion of a single index in it.

Univariate: ``h_j = He_j / sqrt(j!)`` (probabilists'), orthonormal under the standard normal. Multivariate:
``phi_p(x) = prod_l h_{p_l}(x_l)`` for every exponent vector p of degree below m, ordered by degree and, within a
degree, as ``x_1^2, x_1 x_2, ..., x_2^2, ...``. For ||theta|| = 1 (spec of QCF, model):

    h_j(x'theta) = sum over |p| = j of a_jp(theta) phi_p(x),   a_jp(theta) = sqrt(j! / prod_l p_l!) prod_l theta_l^p_l.

Axes: N row, D characteristic, P term, J degree (0 to m - 1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, pairwise
from math import comb

import numpy as np
import numpy.typing as npt
from scipy.special import factorial

from factor_ray.errors import InputError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]


def basis_size(characteristics: int, order: int) -> int:
    """Number of terms P = C(m - 1 + d, d) of a sieve of order m (2 linear, 3 quadratic) in d characteristics.

    Raises
    ------
    InputError
        If either is below 1.
    """
    _check_sizes(characteristics, order)
    return comb(order - 1 + characteristics, characteristics)


def exponents(characteristics: int, order: int) -> Integers:
    """The index set: exponents p of every term, in the order of the basis' columns, as a (P, D) array.

    Raises
    ------
    InputError
        If either size is below 1.
    """
    _check_sizes(characteristics, order)
    return _layout(characteristics, order).exponents_PD.copy()


def degree_slices(characteristics: int, order: int) -> list[slice]:
    """Where the terms of each degree 0, ..., m - 1 lie among the basis' columns.

    Raises
    ------
    InputError
        If either size is below 1.
    """
    ends = [0] + [basis_size(characteristics, degree + 1) for degree in range(order)]
    return [slice(begin, end) for begin, end in pairwise(ends)]


def hermite_functions(w: npt.ArrayLike, order: int) -> Floats:
    """The orthonormal polynomials h_0, ..., h_{m-1} at every w, along a new first axis J.

    By the recursion ``sqrt(j+1) h_{j+1} = w h_j - sqrt(j) h_{j-1}``.

    Raises
    ------
    InputError
        If order is below 1.
    """
    _check_sizes(1, order)
    points = np.asarray(w, dtype=np.float64)
    values = np.ones((order, *points.shape))
    if order > 1:
        values[1] = points
    for j in range(1, order - 1):
        values[j + 1] = (points * values[j] - np.sqrt(j) * values[j - 1]) / np.sqrt(j + 1)
    return values


def hermite_basis(x: npt.ArrayLike, order: int) -> Floats:
    """Evaluate every term of the sieve.

    Parameters
    ----------
    x : array (N, D)
        Characteristics, standardised (within the month, as a rule). Missing values give missing terms.
    order : int
        Number m of polynomials in each direction: 2 is linear, 3 quadratic.

    Returns
    -------
    array (N, P)
        The constant first; its columns are contiguous in memory, as the solver wants them.

    Raises
    ------
    InputError
        If x is not a matrix with at least one column, or order is below 1.
    """
    x_ND = np.asarray(x, dtype=np.float64)
    if x_ND.ndim != 2:
        raise InputError(f"Characteristics must have two axes, assets and characteristics; got shape {x_ND.shape}")
    _check_sizes(x_ND.shape[1], order)
    return _layout(x_ND.shape[1], order).products(hermite_functions(np.ascontiguousarray(x_ND.T), order)).T


def term_names(characteristics: Sequence[str], order: int) -> list[str]:
    """A readable name of every term: ``1``, ``spread``, ``h2(spread)``, ``duration x spread``, ...

    Raises
    ------
    InputError
        If there are no characteristics, or order is below 1.
    """

    def factor(name: str, power: int) -> str:
        return name if power == 1 else f"h{power}({name})"

    return [
        " x ".join(factor(name, power) for name, power in zip(characteristics, p_D, strict=True) if power) or "1"
        for p_D in exponents(len(characteristics), order).tolist()
    ]


def index_coefficients(theta: npt.ArrayLike, order: int) -> Floats:
    """The coefficients a_jp(theta) of every term, (P,) or (K, P): those of degree j, at its slice, have unit length.

    Parameters
    ----------
    theta : array (D,) or (K, D)
        One index, or several.
    order : int
        m.

    Raises
    ------
    InputError
        If a theta is not a vector of unit length (the expansion holds for no other), or order is below 1.
    """
    theta_KD = _unit_vectors(np.atleast_2d(np.asarray(theta, dtype=np.float64)), order)
    layout = _layout(theta_KD.shape[1], order)
    powers_JDK = theta_KD.T ** np.arange(order)[:, None, None]
    coefficients_KP: Floats = layout.products(powers_JDK).T * layout.multinomial_roots_P
    return coefficients_KP if np.ndim(theta) > 1 else coefficients_KP[0]


def index_gradients(theta: npt.ArrayLike, order: int) -> Floats:
    """Derivatives of :func:`index_coefficients` with respect to theta's elements, (P, D).

    ``sum over j of b_j h_j(x'theta)`` moves by ``sum of b_j phi_p(x) gradient'dtheta``. Of the terms of degree j,
    ``|gradient u|^2 = j`` for every u of unit length that is orthogonal to theta.

    Raises
    ------
    InputError
        If theta is not a vector of unit length, or order is below 1.
    """
    theta_D = _unit_vectors(np.asarray(theta, dtype=np.float64)[None], order)[0]
    layout = _layout(len(theta_D), order)
    p_PD = layout.exponents_PD
    lowered_DPD = np.maximum(p_PD - np.eye(len(theta_D), dtype=np.intp)[:, None, :], 0)
    slopes_DP = p_PD.T * np.prod(theta_D**lowered_DPD, axis=2)
    gradients: Floats = (layout.multinomial_roots_P * slopes_DP).T
    return gradients


@dataclass(frozen=True)
class _Block:
    """Terms of one degree whose last characteristic has one exponent: each is a term of lower degree times h(x_l)."""

    exponent: int
    terms: Integers
    parents: Integers
    characteristics: Integers


@dataclass(frozen=True)
class _Layout:
    exponents_PD: Integers
    multinomial_roots_P: Floats
    blocks: tuple[_Block, ...]

    def products(self, factors_JDN: Floats) -> Floats:
        """Of every term the product of its factors, (P, N), with those of each exponent and characteristic given."""
        terms_PN = np.ones((len(self.exponents_PD), factors_JDN.shape[2]))
        for block in self.blocks:
            terms_PN[block.terms] = terms_PN[block.parents] * factors_JDN[block.exponent, block.characteristics]
        return terms_PN


@lru_cache(maxsize=64)
def _layout(characteristics: int, order: int) -> _Layout:
    terms = [term for degree in range(order) for term in combinations_with_replacement(range(characteristics), degree)]
    place = {term: number for number, term in enumerate(terms)}
    exponents_PD = np.zeros((len(terms), characteristics), dtype=np.intp)
    members: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for number, term in enumerate(terms):
        for characteristic in term:
            exponents_PD[number, characteristic] += 1
        if term:
            power = term.count(term[-1])
            members.setdefault((len(term), power), []).append((number, place[term[:-power]], term[-1]))
    # Parents have a lower degree, so that blocks in order of degree find them evaluated.
    blocks = tuple(_Block(power, *np.array(rows, dtype=np.intp).T) for (_, power), rows in sorted(members.items()))
    roots_P = np.sqrt(factorial(exponents_PD.sum(axis=1)) / factorial(exponents_PD).prod(axis=1))
    return _Layout(exponents_PD, roots_P, blocks)


def _unit_vectors(theta_KD: Floats, order: int) -> Floats:
    if theta_KD.ndim != 2 or not (np.abs(np.linalg.norm(theta_KD, axis=-1) - 1.0) < 1e-8).all():
        raise InputError(f"theta must be a vector of unit length; got {theta_KD!r}: divide it by its norm")
    _check_sizes(theta_KD.shape[1], order)
    return theta_KD


def _check_sizes(characteristics: int, order: int) -> None:
    if characteristics < 1:
        raise InputError(f"A Hermite sieve needs at least one characteristic; got {characteristics}")
    if order < 1:
        raise InputError(f"The order of a Hermite sieve counts its terms in each direction, at least 1; got {order}")

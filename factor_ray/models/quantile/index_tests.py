"""Index coefficients with their covariance: standard errors, stars and Wald tests.

Axes: R factor, D characteristic, J degree, I point of an index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2, norm

from factor_ray.errors import InputError
from factor_ray.models.quantile.hermite import hermite_functions

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Wald:
    """A test that some index coefficients are all zero.

    Attributes
    ----------
    statistic : float
        ``(R theta)'(R Sigma R')^-1 (R theta)``, chi-square under the hypothesis.
    degrees : int
        Number of coefficients.
    p_value : float
    """

    statistic: float
    degrees: int
    p_value: float


@dataclass(frozen=True)
class IndexInference:
    """Index coefficients with their joint covariance.

    Attributes
    ----------
    thetas : array (R, D)
        Index coefficients, rows of unit length.
    covariance : array (R, D, R, D)
        Their covariance; singular along each theta_k.
    loading_covariance : array (R, J, J)
        Of each factor's b_kj as the projection finds them, with theta_k taken as known: a_j(theta) keeps its length, so
        that to first order an error of theta_k moves no b_kj where beta_k is of the single-index form.
    separation : array (R,)
        How far each d_k is from its nearest neighbour, in standard errors of the difference; infinite for one factor.
    """

    thetas: Floats
    covariance: Floats
    loading_covariance: Floats
    separation: Floats

    @property
    def standard_errors(self) -> Floats:
        """Of each coefficient, (R, D)."""
        size = self.thetas.size
        return np.sqrt(np.diag(self.covariance.reshape(size, size))).reshape(self.thetas.shape)

    @property
    def p_values(self) -> Floats:
        """Two-sided, of each coefficient's being zero, (R, D)."""
        p_RD: Floats = 2.0 * norm.sf(np.abs(self.thetas) / self.standard_errors)
        return p_RD

    @property
    def stars(self) -> list[list[str]]:
        """``***``, ``**``, ``*`` or nothing, for p-values up to 1, 5 and 10 per cent; R lists of D."""
        return [["*" * sum(p <= level for level in (0.01, 0.05, 0.10)) for p in row] for row in self.p_values]

    def loading_errors(self, factor: int, index: npt.ArrayLike) -> Floats:
        """Standard errors (I,) of a factor's loading function at values of its index, theta_k taken as known.

        They are those of single points, not of the whole function at once, and hold for the projection alone: not for
        the paper's rule of pure powers.

        Parameters
        ----------
        factor : int
            k, from 0.
        index : array (I,)
            Values of x'theta_k.
        """
        h_JI = hermite_functions(np.asarray(index, dtype=np.float64), self.loading_covariance.shape[1])
        errors: Floats = np.sqrt(np.einsum("ji,jl,li->i", h_JI, self.loading_covariance[factor], h_JI))
        return errors

    def wald(self, factor: int, characteristics: Sequence[int]) -> Wald:
        """Test that a factor's index leaves out all of some characteristics.

        Parameters
        ----------
        factor : int
            k, from 0.
        characteristics : sequence of int
            Their positions, from 0; at most D - 1, because theta_k has unit length.

        Raises
        ------
        InputError
            As :meth:`wald_of`.
        """
        return self.wald_of([(factor, characteristic) for characteristic in characteristics])

    def wald_of(self, coefficients: Sequence[tuple[int, int]]) -> Wald:
        """Test that any of the coefficients, of one factor or of several, are all zero.

        Parameters
        ----------
        coefficients : sequence of (factor, characteristic)
            Their positions, from 0; of each factor at most D - 1, because theta_k has unit length.

        Raises
        ------
        InputError
            If a factor or characteristic does not exist, or coefficients are none, repeated or too many.
        """
        factors, width = self.thetas.shape
        chosen = list(coefficients)
        if wrong := [k for k, _ in chosen if not 0 <= k < factors]:
            raise InputError(f"factor must lie between 0 and {factors - 1}; got {wrong[0]}")
        most = max(Counter(k for k, _ in chosen).values(), default=0)
        known = all(0 <= column < width for _, column in chosen)
        if not known or not 1 <= most < width or len(set(chosen)) < len(chosen):
            raise InputError(
                f"A Wald test takes 1 to {width - 1} different characteristics of a factor, between 0 and {width - 1}; "
                f"got {[column for _, column in chosen]}"
            )
        at = [k * width + column for k, column in chosen]
        theta = self.thetas.reshape(-1)[at]
        block = self.covariance.reshape(self.thetas.size, -1)[np.ix_(at, at)]
        statistic = float(theta @ np.linalg.solve(block, theta))
        return Wald(statistic, len(at), float(chi2.sf(statistic, len(at))))

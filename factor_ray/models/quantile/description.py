"""What a report shows of a QCF estimate: factors, indices with standard errors, loading functions with bands.

Axes: T month, R factor, D characteristic, I point of an index, J degree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from factor_ray.errors import InputError
from factor_ray.models.base import Description
from factor_ray.models.quantile.hermite import hermite_functions
from factor_ray.models.quantile.index_tests import IndexInference
from factor_ray.models.quantile.inference import covariances
from factor_ray.models.quantile.months_bootstrap import bootstrap_indices
from factor_ray.models.quantile.qcf import Month, QuantileFactors
from factor_ray.models.quantile.single_index import Recovery

Floats = npt.NDArray[np.float64]

_POINTS = 61
_DRAWS = 100  # of months: a standard error is then known to within a twelfth
_TAIL = 0.01  # of the assets' index values on either side, where a curve would be drawn on next to nothing


def describe(
    model: QuantileFactors,
    months_T: npt.NDArray[np.int64],
    samples: Sequence[Month] = (),
    ridge: float = 0.0,
    *,
    rule: Recovery = "projection",
    penalise_constant: bool = False,
    coefficients_TP: Floats | None = None,
) -> Description:
    """Describe an estimate; with the months' data also its loading functions, and how sure these and the indices are.

    Loading functions are drawn where the assets' indices lie, from their first to their last percentile, with 95% bands
    of single points (:meth:`IndexInference.loading_errors`: theta_k taken as known) where the projection found them.

    Parameters
    ----------
    model : QuantileFactors
    months_T : int array (T,)
        The months of its factors.
    samples : sequence of (x, y), optional
        Those months' data.
    ridge, rule, penalise_constant
        As in the estimation.
    coefficients_TP : array (T, P), optional
        Step 1's, for a bootstrap over months beside the standard errors.
    """
    if not samples:
        return Description(months_T, model.factors, model.thetas)
    pooled = np.concatenate([np.asarray(x, dtype=np.float64) for x, _ in samples])
    ranges = [np.quantile(pooled @ theta_D, [_TAIL, 1.0 - _TAIL]) for theta_D in model.thetas]
    curves = _curves(model, [np.linspace(low, high, _POINTS) for low, high in ranges])
    found = Description(
        months_T, model.factors, model.thetas, None, curves, sieve=model.betas, sieve_of_index=model.of_index()
    )
    if coefficients_TP is not None:
        drawn = bootstrap_indices(coefficients_TP, model, _DRAWS, 0, rule=rule)
        found = replace(found, bootstrap_errors=drawn.std(axis=0))
    inference = _inference(model, samples, ridge, rule, penalise_constant)
    if inference is None:
        return found
    if rule == "projection":
        curves = [_with_band(curve, inference.loading_errors(k, curve[:, 0])) for k, curve in enumerate(curves)]
    return replace(
        found,
        standard_errors=inference.standard_errors,
        curves=curves,
        joint_p=_joint_p(inference),
        separation=inference.separation,
    )


def _joint_p(inference: IndexInference) -> Floats:
    """Of every characteristic's being in no factor's index; NaN with one alone, whose coefficient is 1."""
    factors, width = inference.thetas.shape
    if width == 1:
        return np.full(1, np.nan)
    return np.array([inference.wald_of([(k, d) for k in range(factors)]).p_value for d in range(width)])


def _inference(
    model: QuantileFactors, samples: Sequence[Month], ridge: float, rule: Recovery, penalise_constant: bool
) -> IndexInference | None:
    """None where residuals are too few for the density that standard errors need.

    Of factors that are nearly tied the report warns, by their separation.
    """
    try:
        return covariances(model, samples, ridge, rule=rule, penalise_constant=penalise_constant)
    except (InputError, np.linalg.LinAlgError):
        return None


def _curves(model: QuantileFactors, points: Sequence[Floats]) -> list[Floats]:
    order = model.loading_coefficients.shape[1]
    return [
        np.column_stack([w_I, np.tensordot(b_J, hermite_functions(w_I, order), axes=1)])
        for w_I, b_J in zip(points, model.loading_coefficients, strict=True)
    ]


def _with_band(curve: Floats, errors_I: Floats) -> Floats:
    half_I = norm.ppf(0.975) * errors_I
    return np.column_stack([curve, curve[:, 1] - half_I, curve[:, 1] + half_I])

"""Quantile regression and the models of conditional quantiles that are built on it."""

from factor_ray.models.quantile.hermite import basis_size, hermite_basis, index_coefficients, term_names
from factor_ray.models.quantile.qcf import QuantileFactors, fit_quantile_factors
from factor_ray.models.quantile.solver import QuantileFit, quantile_regression, quantile_regressions

__all__ = [
    "QuantileFactors",
    "QuantileFit",
    "basis_size",
    "fit_quantile_factors",
    "hermite_basis",
    "index_coefficients",
    "quantile_regression",
    "quantile_regressions",
    "term_names",
]

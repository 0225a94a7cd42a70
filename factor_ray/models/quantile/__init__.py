"""Quantile regression and the models of conditional quantiles that are built on it."""

from factor_ray.data.quantile_simulation import SimulatedQuantiles, simulate_quantiles
from factor_ray.models.quantile.alignment import align
from factor_ray.models.quantile.hermite import basis_size, hermite_basis, index_coefficients, term_names
from factor_ray.models.quantile.index_tests import IndexInference, Wald
from factor_ray.models.quantile.inference import index_inference
from factor_ray.models.quantile.months_bootstrap import bootstrap_indices
from factor_ray.models.quantile.observed import RollingQuantiles, observed_factor_loadings, rolling_observed
from factor_ray.models.quantile.qcf import (
    QuantileFactors,
    factors_from_coefficients,
    fit_quantile_factors,
    monthly_coefficients,
    total_quantiles,
    window_models,
)
from factor_ray.models.quantile.qfm import LatentQuantileFactors, fit_latent_factors, number_of_factors
from factor_ray.models.quantile.single_index import recover_index, recover_indices
from factor_ray.models.quantile.small import SmallFits, ragged_quantile_regressions, small_quantile_regressions
from factor_ray.models.quantile.solver import QuantileFit, quantile_regression, quantile_regressions
from factor_ray.models.quantile.tuning import Scores, Setting, rolling_models, score_settings, select, step_one

__all__ = [
    "IndexInference",
    "LatentQuantileFactors",
    "QuantileFactors",
    "QuantileFit",
    "RollingQuantiles",
    "Scores",
    "Setting",
    "SimulatedQuantiles",
    "SmallFits",
    "Wald",
    "align",
    "basis_size",
    "bootstrap_indices",
    "factors_from_coefficients",
    "fit_latent_factors",
    "fit_quantile_factors",
    "hermite_basis",
    "index_coefficients",
    "index_inference",
    "monthly_coefficients",
    "number_of_factors",
    "observed_factor_loadings",
    "quantile_regression",
    "quantile_regressions",
    "ragged_quantile_regressions",
    "recover_index",
    "recover_indices",
    "rolling_models",
    "rolling_observed",
    "score_settings",
    "select",
    "simulate_quantiles",
    "small_quantile_regressions",
    "step_one",
    "term_names",
    "total_quantiles",
    "window_models",
]

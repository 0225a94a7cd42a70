"""Quantile regression and the models of conditional quantiles that are built on it."""

from factor_ray.models.quantile.solver import QuantileFit, quantile_regression, quantile_regressions

__all__ = ["QuantileFit", "quantile_regression", "quantile_regressions"]

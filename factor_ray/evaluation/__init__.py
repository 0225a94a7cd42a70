"""Forecast, quantile and portfolio statistics for plain tables: no torch, no Ray."""

from factor_ray.evaluation.benchmarks import DieboldMariano, diebold_mariano, historical_mean
from factor_ray.evaluation.comparison import compare_losses
from factor_ray.evaluation.coverage import CoverageTest, christoffersen_test, conditional_coverage_test, kupiec_test
from factor_ray.evaluation.forecasts import consensus_statistics, forecast_statistics
from factor_ray.evaluation.newey_west import MeanTest, mean_test
from factor_ray.evaluation.portfolio_statistics import long_short, portfolio_means, return_statistics
from factor_ray.evaluation.portfolios import double_sort, sort_portfolios
from factor_ray.evaluation.quantile_levels import crossing_rates, expected_shortfall, rearrange
from factor_ray.evaluation.quantiles import quantile_statistics

__all__ = [
    "CoverageTest",
    "DieboldMariano",
    "MeanTest",
    "christoffersen_test",
    "compare_losses",
    "conditional_coverage_test",
    "consensus_statistics",
    "crossing_rates",
    "diebold_mariano",
    "double_sort",
    "expected_shortfall",
    "forecast_statistics",
    "historical_mean",
    "kupiec_test",
    "long_short",
    "mean_test",
    "portfolio_means",
    "quantile_statistics",
    "rearrange",
    "return_statistics",
    "sort_portfolios",
]

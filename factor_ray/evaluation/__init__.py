"""Forecast and portfolio statistics for plain tables: no torch, no Ray."""

from factor_ray.evaluation.benchmarks import DieboldMariano, diebold_mariano, historical_mean
from factor_ray.evaluation.forecasts import consensus_statistics, forecast_statistics
from factor_ray.evaluation.newey_west import MeanTest, mean_test
from factor_ray.evaluation.portfolio_statistics import long_short, portfolio_means, return_statistics
from factor_ray.evaluation.portfolios import double_sort, sort_portfolios

__all__ = [
    "DieboldMariano",
    "MeanTest",
    "consensus_statistics",
    "diebold_mariano",
    "double_sort",
    "forecast_statistics",
    "historical_mean",
    "long_short",
    "mean_test",
    "portfolio_means",
    "return_statistics",
    "sort_portfolios",
]

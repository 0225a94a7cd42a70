"""What a run leaves behind: its tables and measures, gathered forecast by forecast and written at the end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from factor_ray.ablation import Losses, measure_ablations, monthly_losses
from factor_ray.comparison import compare_forecasts, compare_quantiles
from factor_ray.correlations import correlation_frame
from factor_ray.descriptions import Described, factor_frame, loading_frame, term_frame
from factor_ray.experiment import Experiment
from factor_ray.levels import Levels, crossing, rearranged
from factor_ray.loadings import Loadings, left_out_r2, loading_portfolios, measure_loading_portfolios
from factor_ray.measures import (
    MARKET,
    fills_portfolios,
    form_portfolios,
    market_portfolio,
    measure_consensus,
    measure_market,
    measure_portfolios,
    measure_quantiles,
    measure_returns,
    plain,
)
from factor_ray.run_directory import TABLES, Run
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.inputs import Inputs
from factor_ray.selected_levels import Measured, MeasuredWhole
from factor_ray.tables import (
    Forecast,
    ParquetPieces,
    coefficient_frame,
    consensus_table,
    forecast_tables,
    parquet,
    trials_frame,
)
from factor_ray.whole_sample import curve_frame
from factor_ray.within import measure_within

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]

_CONSTANT_IN_A_MONTH = ("zero", "historical_mean")


@dataclass
class Results:
    """Tables and measures of a run, gathered forecast by forecast.

    Quantiles are compared, and measured where they were not yet, by ``beside`` while what comes next is made.
    """

    experiment: Experiment
    inputs: Inputs
    next_return_N: FloatArray
    next_excess_N: FloatArray
    within: Mapping[str, BoolArray]
    beside: ThreadPoolExecutor
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    pieces: dict[str, ParquetPieces] = field(default_factory=dict)
    portfolios: list[pd.DataFrame] = field(default_factory=list)
    coefficients: list[pd.DataFrame] = field(default_factory=list)
    losses: dict[int, dict[str, Losses]] = field(default_factory=dict)
    described: list[Described] = field(default_factory=list)
    loading_portfolios: list[pd.DataFrame] = field(default_factory=list)
    window_loadings: list[pd.DataFrame] = field(default_factory=list)
    measuring: list[tuple[Callable[[Any], None], Future[Any]]] = field(default_factory=list)

    def add_market(self, rows: npt.NDArray[np.int64], horizon: int) -> None:
        """Form and measure the portfolio of all assets on a horizon's tested rows."""
        settings = self.experiment.portfolios
        market = market_portfolio(self.inputs.panel, rows, self.next_return_N, settings)
        self.portfolios.append(market.assign(model=MARKET, horizon=horizon))
        excess = market_portfolio(self.inputs.panel, rows, self.next_excess_N, settings)
        self._measured(MARKET, horizon)["portfolio"] = measure_market(market, excess)

    def add(self, forecast: Forecast, benchmark_N: FloatArray) -> None:
        """Take a forecast of mean returns and of the consensus."""
        panel, target_N = self.inputs.panel, self.inputs.targets[forecast.horizon]
        measured = self._measured(forecast.model, forecast.horizon)
        self._tell("forecasts", forecast_tables(panel, forecast, target_N))
        if forecast.returns is not None:
            measured["returns"] = measure_returns(panel, forecast, forecast.returns, target_N, benchmark_N)
            self._sort(forecast, measured)
            measured |= self._within(forecast, benchmark_N)
        if forecast.total is not None:
            measured["total"] = measure_returns(panel, forecast, forecast.total, target_N, benchmark_N)
            losses = self.losses.setdefault(forecast.horizon, {})
            losses[forecast.model] = monthly_losses(panel, forecast, target_N)
        if forecast.consensus is not None:
            self._tell("consensus", consensus_table(panel, forecast))
            measured["consensus"] = measure_consensus(panel, forecast)
        self.coefficients.append(coefficient_frame(panel, [forecast]))

    def add_levels(self, levels: Sequence[Measured]) -> Levels:
        """Take a forecast of all levels of returns, and return it rearranged where that is asked for."""
        forecasts, measures = [each.forecast for each in levels], [each.measures for each in levels]
        self._measured(forecasts[0].model, forecasts[0].horizon)["crossing"] = crossing(forecasts)
        taken = rearranged(forecasts) if self.experiment.target.rearrange else forecasts
        for forecast, measured in zip(taken, measures, strict=True):
            self._add_quantile(forecast, measured)
        return taken

    def add_whole_sample(self, levels: Sequence[MeasuredWhole]) -> None:
        """Take what a quantile model makes of the whole sample at all levels; nothing where it does not say."""
        for found in levels:
            self._add_quantile(*found.fitted)
            self.add_description(found.described)
        if fitted := [found.fitted.forecast for found in levels]:
            self._measured(fitted[0].model, fitted[0].horizon)["crossing"] |= crossing(fitted)

    def add_loadings(self, loadings: Loadings | None) -> None:
        """Take a model's loadings on its factors, where it has any."""
        if loadings is None:
            return
        settings, measured = self.experiment.portfolios, self._measured(loadings.model, loadings.horizon)
        target_N = self.inputs.targets[loadings.horizon]
        measured["total_without_own"] = left_out_r2(self.inputs.panel, loadings, target_N)
        formed = loading_portfolios(self.inputs.panel, loadings, self.next_return_N, settings)
        if not formed.empty:
            self.loading_portfolios.append(formed)
            measured["loadings"] = measure_loading_portfolios(formed, settings)

    def compare(self, forecasts: list[Forecast], horizon: int) -> None:
        """Compare a horizon's forecasts of mean returns with each other."""
        target_N = self.inputs.targets[horizon]
        for name, row in compare_forecasts(self.inputs.panel, forecasts, target_N, horizon).items():
            self._measured(name, horizon)["comparison"] = row

    def compare_level(self, forecasts: Sequence[Forecast], horizon: int) -> None:
        """Compare a horizon's forecasts of one quantile with each other."""

        def take(compared: Mapping[str, dict[str, Any]]) -> None:
            for name, row in compared.items():
                self._measured(name, horizon).setdefault("quantile_comparison", {})[f"{forecasts[0].tau:g}"] = row

        panel, target_N = self.inputs.panel, self.inputs.targets[horizon]
        self.measuring.append((take, self.beside.submit(compare_quantiles, panel, forecasts, target_N, horizon)))

    def add_window_loadings(self, found: pd.DataFrame) -> None:
        """Take what a model's factors load on in each window, where it says."""
        if not found.empty:
            self.window_loadings.append(found)

    def add_description(self, described: Described | None) -> None:
        """Take what a model is made of, where it has factors."""
        if described is not None:
            self.described.append(described)

    def ablate(self, horizon: int) -> None:
        """Compare a horizon's variants of latent-factor models with the full ones."""
        found = measure_ablations(self.experiment.models, self.losses.get(horizon, {}), horizon)
        for name, measured in found.items():
            self._measured(name, horizon)["ablation"] = measured

    def write(self, run: Run, campaign: Campaign) -> None:
        """Write the tables, what was selected and, last, the measures; tables that this run lacks are removed."""
        tables = dict(self._tables(campaign))
        for take, measured in self.measuring:
            take(measured.result())
        for name, content in tables.items():
            run.write(f"{name}.parquet", content)
        run.remove(*(f"{name}.parquet" for name in TABLES if name not in tables))
        run.write("selection.json", json.dumps(_selections(campaign), indent=1).encode())
        run.write("metrics.json", json.dumps(plain(self.metrics), indent=1).encode())

    def _tables(self, campaign: Campaign) -> Iterator[tuple[str, bytes]]:
        """Yield the name and content of each table that the run has."""
        yield "trials", parquet(trials_frame(campaign))
        for name, pieces in self.pieces.items():
            yield name, pieces.content()
        if self.portfolios:
            yield "portfolios", parquet(pd.concat(self.portfolios, ignore_index=True))
            yield "coefficients", parquet(pd.concat(self.coefficients, ignore_index=True))
        if self.described:
            panel = self.inputs.panel
            yield "factors", parquet(factor_frame(panel, self.described))
            yield "loadings", parquet(loading_frame(panel, self.described))
            if any(own.description.curves for own in self.described):
                yield "curves", parquet(curve_frame(self.described))
            if not (terms := term_frame(panel, self.described)).empty:
                yield "terms", parquet(terms)
            if panel.macro is not None:
                found = [correlation_frame(panel, panel.macro, described) for described in self.described]
                yield "correlations", parquet(pd.concat(found, ignore_index=True))
        if self.window_loadings:
            yield "window_loadings", parquet(pd.concat(self.window_loadings, ignore_index=True))
        if self.loading_portfolios:
            yield "loading_portfolios", parquet(pd.concat(self.loading_portfolios, ignore_index=True))

    def _measured(self, model: str, horizon: int) -> dict[str, Any]:
        measured: dict[str, Any] = self.metrics.setdefault(model, {}).setdefault(str(horizon), {})
        return measured

    def _add_quantile(self, forecast: Forecast, measured: dict[str, Any] | None) -> None:
        panel, target_N = self.inputs.panel, self.inputs.targets[forecast.horizon]
        found = self._measured(forecast.model, forecast.horizon).setdefault("quantiles", {})
        take = found.setdefault(f"{forecast.tau:g}", {}).update
        if measured is not None:
            take(measured)
        else:
            self.measuring.append((take, self.beside.submit(measure_quantiles, panel, forecast, target_N)))
        self._tell("quantiles", forecast_tables(panel, forecast, target_N))

    def _tell(self, name: str, tables: Iterator[Any]) -> None:
        for table in tables:
            self.pieces.setdefault(name, ParquetPieces()).add(table)

    def _within(self, forecast: Forecast, benchmark_N: FloatArray) -> dict[str, Any]:
        """Measure a forecast of mean returns in each universe; nothing where none was asked for."""
        panel, settings, target_N = self.inputs.panel, self.experiment.portfolios, self.inputs.targets[forecast.horizon]
        sorts = forecast.model not in _CONSTANT_IN_A_MONTH
        found = {
            name: measure_within(
                panel, forecast, inside_N, target_N, benchmark_N, self.next_return_N, settings, sorts=sorts
            )
            for name, inside_N in self.within.items()
        }
        return {"within": found} if found else {}

    def _sort(self, forecast: Forecast, measured: dict[str, Any]) -> None:
        """Form portfolios on the forecast, where some month has assets enough."""
        panel, settings = self.inputs.panel, self.experiment.portfolios
        fills = fills_portfolios(panel, forecast, self.next_return_N, settings)
        if forecast.model not in _CONSTANT_IN_A_MONTH and fills:
            formed = form_portfolios(panel, forecast, self.next_return_N, settings)
            self.portfolios.append(formed)
            measured |= measure_portfolios(formed, settings.costs)


def _selections(campaign: Campaign) -> dict[str, dict[str, Any]]:
    """Return what was selected: model -> horizon -> the best variant of each window, and each variant's points."""
    found: dict[str, dict[str, Any]] = {}
    for quest in campaign.quests:
        assert quest.selection is not None
        points = {
            variant: [point.settings.model_dump(mode="json") for point in listed]
            for variant, listed in quest.selection.points.items()
        }
        found.setdefault(quest.model, {})[quest.key] = {"best": quest.selection.best, "points": points}
    return found

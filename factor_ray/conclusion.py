"""The end of a run: forecasts of the selected cells, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt

from factor_ray import stages
from factor_ray.data.load import Loaded
from factor_ray.data.prepare import rows_kept
from factor_ray.data.targets import excess_returns, next_returns
from factor_ray.descriptions import described_of
from factor_ray.experiment import Experiment
from factor_ray.loadings import loadings_of
from factor_ray.results import Results
from factor_ray.run_directory import Run
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.inputs import Inputs
from factor_ray.selected_levels import Measured, SelectedLevels
from factor_ray.tables import Forecast, forecasts_of
from factor_ray.window_loadings import window_loading_frame
from factor_ray.within import rows_within

FloatArray = npt.NDArray[np.float32]

ORACLE = "oracle"
"""Label of the simulated market's true expected returns."""

_NOT_COMPARED = (ORACLE, "last_value")  # the one is the truth, the other lacks forecasts that all others have


def conclude(
    experiment: Experiment,
    run: Run,
    loaded: Loaded,
    inputs: Inputs,
    campaign: Campaign,
    targets: Mapping[int, FloatArray],
    selected: SelectedLevels,
) -> dict[str, Any]:
    """Forecast with the selected cells, measure, and write every table.

    Parameters
    ----------
    experiment, run, loaded, inputs, campaign
        Of the run; the campaign is finished.
    targets : mapping of horizon to float32 array
        Of the rows as they were loaded.
    selected : SelectedLevels
        Begun for every search of a quantile model.

    Returns
    -------
    dict
        What ``metrics.json`` holds: model -> horizon -> measure.
    """
    at_n = rows_kept(loaded.panel, inputs.panel)
    within = {name: inside_N[at_n] for name, inside_N in rows_within(loaded.panel, experiment.within).items()}
    earned_N, excess_N = next_returns(loaded.panel), excess_returns(loaded.panel, 1)
    forecasts_means = not campaign.quests or any(quest.tau is None for quest in campaign.quests)
    with ThreadPoolExecutor(1) as beside:
        results = Results(experiment, inputs, earned_N[at_n], excess_N[at_n], within, beside)
        for horizon in inputs.targets:
            if forecasts_means:
                _add_means(results, loaded, campaign, horizon, targets[horizon])
            quantiles = [results.add_levels(levels) for levels in _levels(campaign, horizon, selected)]
            for forecasts in zip(*quantiles, strict=True):
                results.compare_level(forecasts, horizon)
            for name in dict.fromkeys(quest.model for quest in campaign.quests):
                quests = [quest for quest in campaign.quests if quest.model == name and quest.horizon == horizon]
                for quest in quests:
                    if quest.tau is not None:
                        results.add_window_loadings(selected.window_loadings(quest))
                    else:
                        results.add_window_loadings(window_loading_frame(quest, inputs.panel, campaign.store))
                        results.add_loadings(loadings_of(quest, inputs, campaign.store))
                        results.add_description(described_of(quest, campaign.store))
                fits = [selected.whole_sample(quest) for quest in quests if quest.tau is not None]
                results.add_whole_sample([fit for fit in fits if fit is not None])
        results.write(run, campaign)
    return results.metrics


def _add_means(results: Results, loaded: Loaded, campaign: Campaign, horizon: int, target_N: FloatArray) -> None:
    """Take a horizon's forecasts of mean returns, with the market and the trivial forecasts that they are held to."""
    inputs = results.inputs
    benchmarks = stages.trivial_of(inputs.panel, inputs.targets[horizon], loaded.panel, target_N, horizon)
    results.add_market(inputs.tested_rows(horizon), horizon)
    compared = []
    for forecast in _forecasts(results.experiment, loaded, inputs, campaign, horizon, benchmarks):
        results.add(forecast, benchmarks["historical_mean"])
        compared += [forecast] * (forecast.returns is not None and forecast.model not in _NOT_COMPARED)
    results.compare(compared, horizon)
    results.ablate(horizon)


def _forecasts(
    experiment: Experiment,
    loaded: Loaded,
    inputs: Inputs,
    campaign: Campaign,
    horizon: int,
    trivial: Mapping[str, FloatArray],
) -> Iterator[Forecast]:
    """Yield a horizon's forecasts of means: the searched models', the trivial ones and, the truth where it is known."""
    for quest in campaign.quests:
        if quest.horizon == horizon and quest.tau is None:
            yield from forecasts_of(quest, inputs, campaign.store, experiment.ensemble)
    rows = inputs.tested_rows(horizon)
    for name, values in trivial.items():
        yield Forecast(name, horizon, rows, values[rows])
    if loaded.truth is not None:
        true_N = loaded.truth.expected_return(horizon).astype(np.float32)[rows_kept(loaded.panel, inputs.panel)]
        yield Forecast(ORACLE, horizon, rows, true_N[rows])


def _levels(campaign: Campaign, horizon: int, selected: SelectedLevels) -> Iterator[list[Measured]]:
    """Yield a horizon's quantiles: the searched models' and, beside any of these, the trivial ones."""
    quests = [quest for quest in campaign.quests if quest.horizon == horizon and quest.tau is not None]
    for name in dict.fromkeys(quest.model for quest in quests):  # its variants, all levels together
        by_level = [selected.forecasts(quest) for quest in quests if quest.model == name]
        yield from map(list, zip(*by_level, strict=True))
    if quests:
        yield from selected.trivial(horizon)

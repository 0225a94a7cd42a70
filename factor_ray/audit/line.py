"""The whole line, walked in this process on one version of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from factor_ray import stages
from factor_ray.data.load import Loaded
from factor_ray.data.prepare import prepare
from factor_ray.data.windows import Window
from factor_ray.experiment import Experiment
from factor_ray.levels import trivial_levels
from factor_ray.models.base import Weights
from factor_ray.runner.campaign import Campaign, Quest, quest_key
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, fit_packs
from factor_ray.runner.forecasting import Member
from factor_ray.runner.inputs import Digests, Inputs, month_digests
from factor_ray.runner.search import Request, Search, Selection
from factor_ray.tables import Forecast, ensemble_of, forecasts_of

FloatArray = npt.NDArray[np.float32]
Fitter = Callable[[Campaign, Inputs], None]


@dataclass(frozen=True)
class Line:
    """One version of the data and all that was made of it.

    Attributes
    ----------
    experiment : Experiment
    loaded : Loaded
    targets : mapping of horizon to float32 array (N,)
        Of the rows as they were loaded.
    inputs : Inputs
        Prepared rows, their targets, windows and macro states.
    digests : Digests
    quests : sequence of Quest
        One search for each model and horizon; selected once the line was searched.
    store : CellStore
    """

    experiment: Experiment
    loaded: Loaded
    targets: Mapping[int, FloatArray]
    inputs: Inputs
    digests: Digests
    quests: Sequence[Quest]
    store: CellStore

    @cached_property
    def forecasts(self) -> dict[tuple[str, str], Forecast]:
        """Every predictive forecast by label and search, trivial ones included, over the test months in order."""
        found = {}
        for quest in self.quests:
            for forecast in forecasts_of(quest, self.inputs, self.store, self.experiment.ensemble):
                found[forecast.model, quest.key] = forecast
        panel = self.inputs.panel
        for horizon, target_n in self.inputs.targets.items():
            rows = self.inputs.tested_rows(horizon)
            trivial = stages.trivial_of(panel, target_n, self.loaded.panel, self.targets[horizon], horizon)
            for name, values in trivial.items():
                found[name, str(horizon)] = Forecast(name, horizon, rows, values[rows])
            if any(quest.tau is not None for quest in self.quests):
                for levels in trivial_levels(self.inputs, horizon, rows, self.experiment.target.quantiles):
                    for forecast in levels:
                        found[forecast.model, quest_key(horizon, forecast.tau)] = forecast
        return found

    def ensemble(self, quest: Quest, window: int, variant: str) -> list[Member]:
        """Return the members of a window's ensemble with their weights."""
        return ensemble_of(quest, window, variant, self.inputs, self.store, self.experiment.ensemble)


def walk_to_inputs(
    experiment: Experiment, loaded: Loaded, windows: Mapping[int, tuple[Window, ...]], store: CellStore
) -> Line:
    """Prepare, and make the macro states; nothing is searched yet."""
    panel = loaded.panel
    prepared = prepare(panel, experiment.preprocess, judged=stages.judged_months(experiment, panel))
    targets = stages.targets_of(experiment, panel)
    own = stages.on_rows_of(prepared, panel, targets)
    seed = experiment.search.seed
    states = stages.macro_states(experiment.macro_state, prepared, windows, store, seed, lambda _: None)
    inputs = Inputs.of(prepared, own, windows, states)
    digests = stages.digest_inputs(prepared, month_digests(prepared), own)
    return Line(experiment, loaded, targets, inputs, digests, stages.quests(experiment, inputs, digests), store)


def search_line(line: Line, fit: Fitter) -> Campaign:
    """Search, fitting what the store does not have; all quests have selected then."""
    campaign = Campaign(line.quests, line.store, slots=1, pack=line.experiment.search.pack)
    if not campaign.finished:
        fit(campaign, line.inputs)
    return campaign


def fit_here(campaign: Campaign, inputs: Inputs) -> None:
    """Fit pack after pack in this process."""
    while (pack := campaign.take()) is not None:
        fit_packs([pack], inputs, campaign.store, Context())
        campaign.complete(pack)


def replay(search: Search, known: Mapping[Request, float]) -> Selection:
    """Answer a search with scores that are known; what another search never asked for does not matter here."""
    try:
        requests = next(search)
        while True:
            requests = search.send({request: known.get(request, 0.0) for request in requests})
    except StopIteration as stop:
        found: Selection = stop.value
    return found


def state_again(line: Line, horizon: int, window: int, scratch: Path) -> FloatArray:
    """Fit a window's macro state anew and return it, float32 (T, d)."""
    windows = {horizon: (line.inputs.windows[horizon][window],)}
    settings, seed = line.experiment.macro_state, line.experiment.search.seed
    return stages.macro_states(settings, line.inputs.panel, windows, CellStore(scratch), seed, lambda _: None)[horizon][
        0
    ]


def weights_again(line: Line, quest: Quest, request: Request, scratch: Path) -> Weights:
    """Fit one cell anew in this process, by one rank whoever fitted it first, and return its weights."""
    point = replace(request.point, settings=request.point.settings.for_one_rank())
    request = request._replace(point=point)
    monthly = stages.monthly_fits(quest.model, quest.horizon, line.inputs, line.digests)
    own = Quest(quest.model, quest.horizon, _asking(request), quest.windows, quest.cells, quest.tau, monthly)
    campaign = Campaign([own], CellStore(scratch), slots=1)
    fit_here(campaign, line.inputs)
    return campaign.store.read(quest.cells.name(request.window, request.point.settings, request.member)).weights


def _asking(request: Request) -> Search:
    scores = yield [request]
    assert not math.isnan(scores[request])
    return Selection({request.point.variant: [request.point]}, [request.point.variant], dict(scores))

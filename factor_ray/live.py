"""Live use: the selected recipes fitted on everything that is known, and applied to months as they come."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from factor_ray import stages
from factor_ray.console import Console
from factor_ray.data.load import join_factors, load, read_panel
from factor_ray.data.macro_sources import read_macro
from factor_ray.data.months import format_month, month_ends, parse_month
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.sample import WindowView, asset_numbers, observed_factors_of
from factor_ray.data.settings import TableData
from factor_ray.data.targets import own_excess_returns
from factor_ray.data.windows import Window
from factor_ray.errors import InputError
from factor_ray.models.base import Hyperparameters
from factor_ray.models.ensemble import ensemble_forecast
from factor_ray.models.macro_state import MacroState, MacroStateSettings
from factor_ray.models.registry import model
from factor_ray.pipeline import build_inputs
from factor_ray.run_directory import Run
from factor_ray.runner.campaign import Campaign, CellNames, Quest, quest_key
from factor_ray.runner.cells import CellStore, write_atomically
from factor_ray.runner.cluster import cluster
from factor_ray.runner.forecasting import Member, fitted_members, read_fits
from factor_ray.runner.search import Point, Request, Search, Selection
from factor_ray.runner.tuning import run_campaign
from factor_ray.tables import PREDICTIVE, parquet
from factor_ray.threads import one_blas_thread


@one_blas_thread()
def refit(run: Run) -> Path:
    """Fit each model's recipe of the last window on a window that ends at the data's last month.

    The data is read again from the run's files, so that months which came since are used. Training and validation end
    as early as the embargo asks, so that every target is known at the last month's end.

    Returns
    -------
    Path
        ``live.json``: for each model and horizon the recipe, its window and the cells of its ensemble.

    Raises
    ------
    InputError
        If the run has not selected anything yet.
    """
    experiment, selection, console = run.experiment, run.selection, Console()
    with run.lock():
        panel = load(experiment.data).panel
        months = panel.months.tolist()
        windows = {h: (experiment.windows.last_window(months, h),) for h in experiment.target.horizon}
        targets = stages.targets_of(experiment, panel)
        stages.require_targets(panel, targets, windows)
        store = CellStore(run.cells)
        with cluster(experiment.compute) as machines:
            inputs, digests = build_inputs(experiment, panel, windows, targets, store, machines, console)
            quests, recipes = [], []
            for entry in experiment.models:
                members = stages.members_of(experiment, entry.name)
                for horizon, tau in itertools.product(windows, stages.levels_of(experiment, entry.name)):
                    cells = CellNames.of(entry.name, horizon, inputs, digests, experiment.search.seed)
                    monthly = stages.monthly_fits(entry.name, horizon, inputs, digests)
                    recipe = _recipe(entry.name, selection[entry.name][quest_key(horizon, tau)])
                    search = _members(recipe, members)
                    quests.append(Quest(entry.name, horizon, search, windows[horizon], cells, tau, monthly, members))
                    recipes.append(recipe)
            campaign = Campaign(quests, store, slots=machines.slots, pack=experiment.search.pack, warn=console.warn)
            planned: Counter[str] = Counter()
            for quest in quests:
                planned[quest.model] += quest.members if quest.monthly is None else len(quest.monthly.months)
            with console.progress("refitting", planned.total()) as advance:

                def note(campaign: Campaign) -> None:
                    advance(campaign.reused + campaign.fitted, campaign.seconds_left(planned))

                run_campaign(campaign, inputs, machines, on_progress=note)
        seed = experiment.search.seed
        described = [
            {
                "model": quest.model,
                "horizon": quest.horizon,
                "tau": quest.tau,
                "variant": recipe.variant,
                "hyperparameters": recipe.settings.model_dump(mode="json"),
                "window": quest.windows[0].dates(),
                "cells": [quest.cells.name(0, recipe.settings, member) for member in range(quest.members)],
                "characteristics": inputs.panel.characteristic_names,
                "macro_state": _state_cell(experiment.macro_state, panel, quest.windows[0], seed),
            }
            for quest, recipe in zip(quests, recipes, strict=True)
        ]
        return run.write("live.json", json.dumps({"recipes": described}, indent=1).encode())


@one_blas_thread()
def predict(run: Run, panel_path: Path, out: Path, macro_path: Path | None = None) -> Path:
    """Forecast the months of a file from the last month that `refit` knew on.

    Parameters
    ----------
    run : Run
        Refitted.
    panel_path : Path
        A panel with the run's columns: the new months, and before them the history from which imputation carries
        values forward.
    out : Path
        Written as Parquet: ``month``, ``asset``, ``model``, ``horizon``, ``tau`` (missing for means), ``kind``,
        ``prediction``.
    macro_path : Path, optional
        A newer file of macro series; the run's own by default.

    Raises
    ------
    InputError
        If the run was not refitted or does not read files, or if the panel lacks columns or new months.
    """
    experiment, recipes = run.experiment, run.live["recipes"]
    if not isinstance(experiment.data, TableData):
        raise InputError(
            f"predict reads a panel file, and this run's data.source is {experiment.data.source}: use data.source "
            "table for live use (Panel.to_frame writes any source's panel as a table)"
        )
    sources = experiment.data.macro_sources
    if macro_path is not None:
        if len(sources) != 1:
            raise InputError(
                f"--macro replaces the one file of macro series that a run reads; this run reads {len(sources)}: leave "
                "it out, and update the run's own files"
            )
        sources = (sources[0].model_copy(update={"path": str(macro_path)}),)
    macro, _, _ = read_macro(sources)
    raw = read_panel(experiment.data.model_copy(update={"path": str(panel_path)}), macro)
    if experiment.data.factors:
        raw, _ = join_factors(raw, experiment.data.factors)
    panel = prepare(raw, experiment.preprocess, characteristics=recipes[0]["characteristics"])
    targets = stages.on_rows_of(panel, raw, stages.targets_of(experiment, raw))
    store, tables = CellStore(run.cells), []
    _tell_what_is_missing(panel_path, raw, panel, min(parse_month(recipe["window"]["test"][0]) for recipe in recipes))
    for recipe in recipes:
        first = parse_month(recipe["window"]["test"][0])
        if panel.months[-1] < first:
            raise InputError(
                f"{panel_path} must hold months from {format_month(first)} on, the last that the refitted ensembles "
                f"knew; it ends in {format_month(panel.months[-1])}: add the new months"
            )
        first = max(first, int(panel.months[0]))
        rows = panel.rows(first, int(panel.months[-1]))
        settings = model(recipe["model"]).Settings(**recipe["hyperparameters"])
        members = [Member(cell, settings) for cell in recipe["cells"]]
        state_Td = np.zeros((len(panel.months), 0), dtype=np.float32)
        if recipe["macro_state"] is not None and panel.macro is not None:
            weights = store.read(recipe["macro_state"]).weights
            state_Td = MacroState.from_weights(experiment.macro_state, weights).transform(panel.macro.values)
        view = WindowView(
            panel=panel,
            horizon=recipe["horizon"],
            target_N=targets[recipe["horizon"]],
            excess_N=own_excess_returns(panel),
            asset_N=asset_numbers(panel),
            state_Td=state_Td,
            factors_TF=observed_factors_of(panel),
            first=parse_month(recipe["window"]["train"][0]),
        )
        fitted = fitted_members(recipe["model"], members, read_fits(store, members))
        months = view.forecast_months((first, int(panel.months[-1])))
        forecast = ensemble_forecast(model(recipe["model"]), fitted, months)
        if forecast.returns is not None:
            tables.append(
                pd.DataFrame(
                    {
                        "month": month_ends(panel.row_months[rows]),
                        "asset": panel.assets[rows],
                        "model": recipe["model"],
                        "horizon": np.int32(recipe["horizon"]),
                        "tau": np.nan if recipe["tau"] is None else recipe["tau"],
                        "kind": PREDICTIVE,
                        "prediction": forecast.returns,
                    }
                )
            )
    if not tables:
        raise InputError(f"{run.path} has no model that forecasts returns: there is nothing to predict")
    write_atomically(out, parquet(pd.concat(tables, ignore_index=True)))
    return out


def _tell_what_is_missing(path: Path, raw: Panel, prepared: Panel, first: int) -> None:
    """Warn where forecasts lack the history that a run's had, and of rows that preparation drops."""
    console, new, last = Console(), max(first, int(raw.months[0])), int(raw.months[-1])
    given, kept = (rows.stop - rows.start for rows in (raw.rows(new, last), prepared.rows(new, last)))
    if raw.months[0] >= first:
        console.warn(
            f"{path} begins in {format_month(raw.months[0])}, with the months to be forecast: what earlier months "
            "would fill in, and whether a firm's history suffices, is not known; give some years before"
        )
    if kept < given:
        console.warn(
            f"{given - kept} of {given} firm-months from {format_month(new)} on have no forecast: preparation drops "
            "them (preprocess.universe, or firms without consensus so far)"
        )


def _recipe(name: str, selected: Mapping[str, Any]) -> Point:
    """The point and variant that the last window selected."""
    variant = selected["best"][-1]
    settings: Hyperparameters = model(name).Settings(**selected["points"][variant][-1])
    return Point(variant, 0, settings)


def _members(point: Point, members: int) -> Search:
    """A search that has chosen already: it asks for the members of one point."""
    requests = [Request(0, point, member) for member in range(members)]
    scores = yield requests
    return Selection({point.variant: [point]}, [point.variant], dict(scores))


def _state_cell(settings: MacroStateSettings, panel: Panel, window: Window, seed: int) -> str | None:
    if panel.macro is None or settings.kind == "none":
        return None
    return stages.state_name(settings, panel, window, seed)

"""Walking an experiment through its stages, from source to report."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from factor_ray import stages
from factor_ray.conclusion import conclude
from factor_ray.console import Console
from factor_ray.data.load import Loaded, load
from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.data.settings import AnySimulatedData
from factor_ray.data.windows import Window
from factor_ray.experiment import Experiment
from factor_ray.measures import portfolio_weights, require_portfolios
from factor_ray.models.quantile.compiled import load_compiler
from factor_ray.run_directory import Run
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.cluster import Machines, cluster
from factor_ray.runner.inputs import Digests, Inputs
from factor_ray.runner.shards import prepare_in_shards
from factor_ray.runner.tracking import Tracker
from factor_ray.runner.tuning import run_campaign
from factor_ray.selected_levels import SelectedLevels
from factor_ray.shown_assets import require_shown_assets
from factor_ray.threads import one_blas_thread
from factor_ray.within import require_within

_MOST_SHARDS = 16
_NEEDED_LATE = ("arch.bootstrap", "factor_ray.report")
"""Modules that take a second to import, and that a run needs only once everything is fitted."""


@one_blas_thread()
def run_experiment(experiment: Experiment) -> Run:
    """Run an experiment, or go on where it stopped; cells that are stored are not fitted again.

    Raises
    ------
    InputError
        If the data or the settings cannot be used; nothing has been fitted then.
    WorkError
        If fits failed or the disk is full; what was fitted is kept.
    """
    experiment.require_readable_paths()
    run, console, started = Run(experiment.directory), Console(), time.time()
    with run.lock():
        console.stage(f"reading {experiment.data.source} data")
        loaded = load(experiment.data)
        panel = loaded.panel
        windows = stages.lay_windows(experiment, panel)
        targets = stages.targets_of(experiment, panel)
        stages.require_targets(panel, targets, windows)
        stages.require_fittable(experiment, panel)
        require_portfolios(experiment.portfolios, panel, windows)
        require_within(panel, experiment.within, windows)
        require_shown_assets(experiment.report, panel, windows)
        described = describe(experiment, loaded, windows)
        run.write_description(described)
        store = CellStore(run.cells)

        tracker = Tracker(
            experiment.tracking, experiment.name, experiment.model_dump(mode="json", by_alias=True), run.path
        )
        with ExitStack() as held:
            with _loading_late_needs(experiment):  # Ray's start is mostly waiting
                machines = held.enter_context(cluster(experiment.compute))
            held.enter_context(tracker)
            inputs, digests = build_inputs(experiment, panel, windows, targets, store, machines, console)
            run.write_description({**described, "preparation": inputs.panel.preparation})
            quests = stages.quests(experiment, inputs, digests)
            levels = held.enter_context(SelectedLevels(experiment, inputs, store, console.warn))
            levels.begin_trivial(quests)
            campaign = Campaign(
                quests,
                store,
                slots=machines.slots,
                pack=experiment.search.pack,
                warn=console.warn,
                on_selected=levels.begin,
            )
            by_model = {
                entry.name: sum(sum(stages.planned_cells(experiment, entry, listed)) for listed in windows.values())
                for entry in experiment.models
            }
            planned = sum(by_model.values())
            with console.progress("fitting", planned) as advance:

                def note(campaign: Campaign) -> None:
                    left = campaign.seconds_left(by_model)
                    advance(campaign.reused + campaign.fitted, left)
                    run.note_status(
                        stage="fitting",
                        planned=planned,
                        reused=campaign.reused,
                        fitted=campaign.fitted,
                        started=started,
                        left=left,
                    )
                    tracker.note(campaign.reused, campaign.fitted)

                note(campaign)
                run_campaign(campaign, inputs, machines, on_progress=note)
            console.stage("forecasting and measuring")
            metrics = conclude(experiment, run, loaded, inputs, campaign, targets, levels)
            tracker.finish(metrics)
            run.note_status(
                stage="done", planned=planned, reused=campaign.reused, fitted=campaign.fitted, started=started
            )
            console.stage("writing the report")
            with ThreadPoolExecutor(1) as beside:
                left = beside.submit(held.close)  # Ray's processes take a second to end
                _report(run, started, campaign)
            left.result()
    return run


def build_inputs(
    experiment: Experiment,
    panel: Panel,
    windows: Mapping[int, tuple[Window, ...]],
    targets: Mapping[int, npt.NDArray[np.float32]],
    store: CellStore,
    machines: Machines,
    console: Console,
) -> tuple[Inputs, Digests]:
    """Prepare the panel in shards and fit the macro states: all that fits read, and the hashes that name it."""
    console.stage(f"preparing {len(panel):,} rows")
    judged = stages.judged_months(experiment, panel)
    prepared, months = prepare_in_shards(panel, experiment.preprocess, min(machines.slots, _MOST_SHARDS), judged)
    targets = stages.on_rows_of(prepared, panel, targets)
    stages.require_targets(prepared, targets, windows)
    console.stage(f"macro state: {experiment.macro_state.kind if panel.macro is not None else 'none'}")
    states = stages.macro_states(experiment.macro_state, prepared, windows, store, experiment.search.seed, console.warn)
    return Inputs.of(prepared, targets, windows, states), stages.digest_inputs(prepared, months, targets)


def describe(experiment: Experiment, loaded: Loaded, windows: Mapping[int, Sequence[Window]]) -> dict[str, Any]:
    """Return the content of ``experiment.yaml``: all that is needed to run again and to know what was run."""
    panel = loaded.panel
    config = experiment.model_copy(update={"output": str(experiment.directory.parent.resolve())})
    values = config.model_dump(mode="json", by_alias=True)
    if not isinstance(experiment.data, AnySimulatedData):
        values["data"] = experiment.data.with_paths(lambda path: str(Path(path).resolve()))
    return {
        "experiment": values,
        "versions": {
            "factor_ray": version("factor_ray"),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "ray", "optuna", "numpy", "pandas", "pyarrow", "wandb")},
        },
        "data": {
            "lineage": dict(loaded.lineage),
            "first_month": format_month(panel.months[0]),
            "last_month": format_month(panel.months[-1]),
            "months": len(panel.months),
            "rows": len(panel),
            "assets": len(np.unique(panel.assets)),
            "characteristics": list(panel.characteristic_names),
            "consensus": list(panel.consensus_names),
            "macro_series": 0 if panel.macro is None else len(panel.macro.names),
            "risk_free": panel.has_risk_free,
            "portfolio_weights": portfolio_weights(experiment.portfolios, panel),
        },
        "notes": list(loaded.notes),
        "looks_ahead": _what_looks_ahead(experiment),
        "windows": {horizon: [window.dates() for window in listed] for horizon, listed in windows.items()},
    }


def _what_looks_ahead(experiment: Experiment) -> list[str]:
    found = []
    if experiment.preprocess.screen == "paper":
        found.append("preprocess.screen is paper: firms and characteristics were chosen by the whole sample.")
    if experiment.preprocess.impute == "paper":
        found.append(
            "preprocess.impute is paper: gaps of growth rates are filled with the firm's mean over all months, and "
            "gaps of an imputed consensus with the line to its next value."
        )
    for horizon in experiment.target.horizon:
        if experiment.windows.looks_ahead(horizon):
            found.append(
                f"windows.embargo is {experiment.windows.embargo}: at horizon {horizon}, training and validation "
                "targets reach into the months that follow them."
            )
    if experiment.search.selection == "global":
        found.append("search.selection is global: points were selected with validation scores of later windows.")
    return found


@contextmanager
def _loading_late_needs(experiment: Experiment) -> Iterator[None]:
    """Import modules in another thread; what is done meanwhile should import next to nothing itself."""

    def load_all() -> None:
        for module in _NEEDED_LATE:
            import_module(module)
        if experiment.target.quantiles:
            load_compiler()

    with ThreadPoolExecutor(1) as beside:
        loaded = beside.submit(load_all)
        yield
    loaded.result()


def _report(run: Run, started: float, campaign: Campaign) -> None:
    from factor_ray.report import write_report

    months = [
        {"model": model, "horizon": horizon, "cells": len(cells), "seconds": sum(cells.values())}
        for (model, horizon), cells in campaign.months.items()
    ]
    cost = {
        "seconds": time.time() - started,
        "fitted": campaign.fitted,
        "reused": campaign.reused,
        "months": months,
    }
    run.write("logs/cost.json", json.dumps(cost).encode())
    write_report(run.path)

"""What a run would do, before it does anything."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from time import perf_counter

import numpy as np
import psutil

from factor_ray import stages
from factor_ray.data.load import load
from factor_ray.data.months import format_month
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare, rows_kept
from factor_ray.data.targets import excess_returns
from factor_ray.data.windows import Window
from factor_ray.experiment import Experiment, ModelEntry
from factor_ray.measures import require_portfolios
from factor_ray.models.base import Hyperparameters
from factor_ray.models.by_month import ByMonth
from factor_ray.models.macro_state import MacroStateSettings
from factor_ray.models.registry import model
from factor_ray.run_directory import Run
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs
from factor_ray.runner.space import Space
from factor_ray.shown_assets import require_shown_assets
from factor_ray.within import require_within

_MEMORY_OF_A_WORKER = 0.6e9  # a process with torch and Ray, without the panel, which is shared
_PROBED_EPOCHS = 2
_EPOCHS_OF_A_FIT = 25  # what early stopping allowed on the simulated market and on US stocks
_MOST_WINDOWS_TOLD = 12
_BYTES_OF_A_HEADER = 6_000
_BYTES_OF_A_FORECAST = 8  # a row of a Parquet table, compressed


def describe_plan(experiment: Experiment) -> str:
    """Return what a run would do: data, windows, fits, memory, disk and an estimate of its time.

    The data is read and the windows are laid, so that what would stop a run stops here; nothing is fitted or written.

    Raises
    ------
    InputError
        Whatever a run would raise before its first fit.
    """
    experiment.compute.require_processors()
    experiment.require_readable_paths()
    Run(experiment.directory).require_writable()
    loaded = load(experiment.data)
    panel = loaded.panel
    windows = stages.lay_windows(experiment, panel)
    stages.require_targets(panel, stages.targets_of(experiment, panel), windows)
    stages.require_fittable(experiment, panel)
    stages.require_macro_states(experiment.macro_state, panel, windows, experiment.search.seed)
    require_portfolios(experiment.portfolios, panel, windows)
    require_within(panel, experiment.within, windows)
    require_shown_assets(experiment.report, panel, windows)
    lines = [
        f"{experiment.name}: {len(panel):,} rows, {format_month(panel.months[0])}..{format_month(panel.months[-1])}, "
        f"{len(panel.characteristic_names)} characteristics, {len(panel.consensus_names)} consensus variables, "
        f"{0 if panel.macro is None else len(panel.macro.names)} macro series",
        *_said_of_quantiles(experiment),
        *(f"note: {note}" for note in loaded.notes),
        "",
    ]
    for horizon, listed in windows.items():
        lines.append(f"horizon {horizon}: {len(listed)} windows, embargo {experiment.windows.gap(horizon)} months")
        lines += _described(listed)
    fits, seconds, disk = _work(experiment, windows, panel)
    cpus = os.cpu_count() or 1
    slots = cpus if experiment.compute.slots == "auto" else experiment.compute.slots
    memory = panel.table.nbytes * 4 + _MEMORY_OF_A_WORKER * (slots + 1)
    stored = CellStore(experiment.directory / "cells").size()
    lines += [
        "",
        f"fits: at most {fits:,} cells of {', '.join(entry.name for entry in experiment.models)}",
        f"time: about {_duration(seconds / min(slots, cpus))} with {min(slots, cpus)} CPUs (an upper bound from short "
        "trials; early stopping and stored cells shorten it)",
        f"memory: about {memory / 1e9:.1f} GB of {psutil.virtual_memory().total / 1e9:.1f} GB; the panel takes "
        f"{panel.table.nbytes / 1e9:.2f} GB, once a node",
        f"disk: about {disk / 1e6:.0f} MB in {experiment.directory} ({stored / 1e6:.0f} MB there already)",
    ]
    return "\n".join(lines)


def _said_of_quantiles(experiment: Experiment) -> list[str]:
    """A line on the levels of quantile models, or on what is given for quantiles that no model forecasts."""
    given = "quantiles" in experiment.target.model_fields_set
    names = [entry.name for entry in experiment.models if model(entry.name).forecasts == "quantile"]
    if not names:
        keys = ["target.quantiles"] * given + ["report.assets"] * bool(experiment.report.assets)
        return [f"note: {key} is given and no model forecasts quantiles" for key in keys]
    levels = ", ".join(map(str, experiment.target.quantiles))
    return [f"quantiles {levels}{'' if given else ' (default)'} for {', '.join(names)}"]


def _described(windows: Sequence[Window]) -> list[str]:
    """A line for each window; of many only the first and the last ones."""
    lines = []
    for number, window in enumerate(windows, start=1):
        dates = {name: "..".join(pair) if pair else "none" for name, pair in window.dates().items()}
        lines.append(f"  {number:3d}  train {dates['train']}  validation {dates['validation']}  test {dates['test']}")
    if len(lines) > _MOST_WINDOWS_TOLD:
        first, last = lines[: _MOST_WINDOWS_TOLD // 2], lines[-2:]
        return [*first, f"  ...  {len(lines) - len(first) - len(last)} more", *last]
    return lines


def _work(experiment: Experiment, windows: Mapping[int, Sequence[Window]], panel: Panel) -> tuple[int, float, float]:
    """Return cells, seconds on one CPU and bytes on disk, from a probe of each model on its first window."""
    cells, seconds, disk = 0, 0.0, 0.0
    for entry in experiment.models:
        spaces = entry.spaces()
        for horizon, listed in windows.items():
            fits = stages.planned_cells(experiment, entry, listed)
            months = stages.month_settings_of(experiment, entry)
            if months is None:
                rate, size = _probe(entry, next(iter(spaces.values())), experiment, panel, horizon, listed[0])
            else:
                rate, size = _probe_month(entry, months, experiment, panel, horizon, listed[0])
            for window, count in zip(listed, fits, strict=True):
                rows = panel.rows(*window.train)
                seconds += count * rate * (rows.stop - rows.start)
                cells += count
                disk += count * size
            test_rows = sum(rows.stop - rows.start for rows in (panel.rows(*window.test) for window in listed))
            disk += test_rows * (len(spaces) + 1) * (1 + len(panel.consensus_names)) * _BYTES_OF_A_FORECAST
    return cells, seconds, disk


def _probe(
    entry: ModelEntry, space: Space, experiment: Experiment, panel: Panel, horizon: int, window: Window
) -> tuple[float, float]:
    """Fit two members for two epochs on the first window; return seconds a row of a whole fit, and bytes a cell."""
    family = model(entry.name)
    point = space.first_point().for_one_rank()
    if "epochs" in family.Settings.model_fields:
        point = point.model_copy(update={"epochs": _PROBED_EPOCHS})
    view = _inputs(experiment, panel, horizon, window).view(horizon, 0)
    train = view.train(window)
    validation = train if window.validation is None else view.validation(window)
    fits = family.fit_pack([point] * 2, [0, 1], train, validation, order_seed=0)
    a_row = sum(fit.seconds for fit in fits) / (2 * len(train))
    size = sum(values.nbytes for values in fits[0].weights.values()) + _BYTES_OF_A_HEADER
    if "epochs" in family.Settings.model_fields:
        a_row *= _EPOCHS_OF_A_FIT / _PROBED_EPOCHS
    return a_row, size


def _probe_month(
    entry: ModelEntry,
    settings: Sequence[Hyperparameters],
    experiment: Experiment,
    panel: Panel,
    horizon: int,
    window: Window,
) -> tuple[float, float]:
    """Fit the first window's last month with every setting; return seconds a row of that window, and bytes a cell."""
    family = model(entry.name)
    assert issubclass(family, ByMonth)
    inputs = _inputs(experiment, panel, horizon, window)
    months = range(window.train[1], window.train[0] - 1, -1)
    section = next(found for month in months if (found := inputs.cross_section(horizon, month)) is not None)
    started = perf_counter()
    fits = family.fit_month(settings, section)
    seconds = (perf_counter() - started) / len(settings)
    rows = panel.rows(*window.train)
    size = sum(values.nbytes for values in fits) / len(fits) + _BYTES_OF_A_HEADER
    return seconds / (rows.stop - rows.start), size


def _inputs(experiment: Experiment, panel: Panel, horizon: int, window: Window) -> Inputs:
    """What the first window reads, its macro state left at zero."""
    last = (window.validation or window.train)[1]
    past = panel.between(int(panel.months[0]), last)
    prepared = prepare(past, experiment.preprocess, judged=window.train)
    width = 0 if panel.macro is None else _state_width(experiment.macro_state, len(panel.macro.names))
    state_Td = np.zeros((len(prepared.months), width), dtype=np.float32)
    target_N = excess_returns(panel, horizon)[rows_kept(past, prepared)]
    return Inputs.of(prepared, {horizon: target_N}, {horizon: (window,)}, {horizon: (state_Td,)})


def _state_width(settings: MacroStateSettings, series: int) -> int:
    return {"none": 0, "raw": series}.get(settings.kind, settings.dimension)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"

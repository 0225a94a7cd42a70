"""Weights & Biases: one run for the search, one per forecast, grouped by the experiment; offline without a key."""

from __future__ import annotations

import json
import netrc
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from factor_ray.errors import InputError
from factor_ray.runner.settings import TrackingSettings

_HOST = "api.wandb.ai"
_QUANTILE_MEASURES = ("hit_rate", "qhe", "aqe", "r2", "r2_time_series", "r2_cross_section")


class Tracker:
    """Tells W&B of a run; never of rows of the panel.

    The search's own W&B run is open while cells are fitted and counts them; :meth:`finish` adds a run for every
    forecast, with its measures as the summary and its R2 by test year as history.

    Parameters
    ----------
    settings : TrackingSettings
    group : str
        Name of the experiment.
    config : mapping
        The experiment, as W&B's config.
    directory : Path
        Where ``wandb/`` is kept.

    Raises
    ------
    InputError
        If ``online`` is asked for and there is no key.
    """

    def __init__(self, settings: TrackingSettings, group: str, config: Mapping[str, Any], directory: Path) -> None:
        self._settings, self._group, self._config, self._directory = settings, group, dict(config), directory
        self.mode = _mode(settings)
        self._search: Any = None

    def __enter__(self) -> Self:
        if self.mode != "disabled":
            self._search = self._start("search", "search")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._search is not None:
            self._search.finish(exit_code=0 if kind is None else 1)

    def note(self, reused: int, fitted: int) -> None:
        """Log how many cells are done."""
        if self._search is not None:
            self._search.log({"cells_reused": reused, "cells_fitted": fitted})

    def finish(self, metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
        """Log every forecast's measures."""
        if self._search is None:
            return
        self._search.finish()
        self._search = None
        for label, horizons in metrics.items():
            for horizon, measured in horizons.items():
                if not {"returns", "consensus", "quantiles"} & set(measured):
                    continue
                run = self._start(f"{label} h={horizon}", "forecast", model=label, horizon=int(horizon))
                for year, values in measured.get("returns", {}).get("by_year", {}).items():
                    run.log({"test_year": int(year), "r2": values["r2"], "ic": values["ic"]})
                run.summary.update(_summary(measured))
                run.finish()

    def _start(self, name: str, job_type: str, **config: Any) -> Any:
        import wandb

        return wandb.init(
            project=self._settings.project,
            group=self._group,
            name=name,
            job_type=job_type,
            mode=self.mode,
            dir=str(self._directory),
            config={**self._config, **config},
            reinit="finish_previous",
            settings=wandb.Settings(silent=True, console="off", disable_git=True, save_code=False),
        )


def _mode(settings: TrackingSettings) -> Any:
    has_key = bool(os.environ.get("WANDB_API_KEY")) or _netrc_has_key()
    if settings.mode == "online" and not has_key:
        raise InputError(
            "tracking.mode is online and there is no W&B key: run `wandb login`, set WANDB_API_KEY, or set "
            "tracking.mode to auto (offline files that `wandb sync` uploads later)"
        )
    if settings.mode == "auto":
        return "online" if has_key else "offline"
    return settings.mode


def _netrc_has_key() -> bool:
    try:
        return netrc.netrc().authenticators(_HOST) is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False


def _summary(measured: Mapping[str, Any]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, value in measured.get("returns", {}).get("all", {}).items():
        summary[f"return/{name}"] = value
    for variable, found in measured.get("consensus", {}).items():
        summary[f"consensus_r2/{variable}"] = found["all"]["r2"]
    for level, kinds in measured.get("quantiles", {}).items():
        for kind, found in kinds.items():
            summary |= {f"quantile_{level}/{kind}/{name}": found[name] for name in _QUANTILE_MEASURES}
    for row in measured.get("long_short", ()):
        summary |= {f"long_short_{row['cost_bp']:g}bp/{name}": row[name] for name in ("mean_return", "sharpe")}
    return dict(json.loads(json.dumps(summary, default=float)))

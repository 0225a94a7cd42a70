"""What a report is made of: everything that it reads from a run's directory."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from factor_ray.errors import InputError
from factor_ray.report.labels import MARKET, Label, families_of
from factor_ray.report.trials import SearchKey, by_search
from factor_ray.report.wanted_rows import Wanted, wanted_rows
from factor_ray.run_directory import Run, read_yaml


@dataclass(frozen=True)
class Contents:
    """A run's measures and tables.

    Attributes
    ----------
    description : mapping
        ``experiment.yaml``.
    metrics : mapping
        ``metrics.json``: model, then horizon (text), then measures.
    trials : DataFrame
        The run's fits; see :mod:`factor_ray.tables` for the columns.
    cost : mapping
        ``logs/cost.json``: ``seconds``, ``fitted``, ``reused``, and ``months``, those of models fitted month by month
        with ``model``, ``horizon``, ``cells``, ``seconds``; empty where the run was measured by hand.
    directory : Path
        The run's own; tables that only some runs have are read from it when they are first asked for.
    audit : mapping or None
        ``audit.json``, the verdict of the look-ahead audit; None where none was made.
    """

    description: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]
    trials: pd.DataFrame
    cost: Mapping[str, Any]
    directory: Path
    audit: Mapping[str, Any] | None = None

    @cached_property
    def cell_sizes(self) -> Sequence[int]:
        """Bytes of each stored cell; empty where the store is not kept."""
        cells = self.directory / "cells"
        return _sizes(str(cells)) if cells.is_dir() else []

    @cached_property
    def portfolios(self) -> pd.DataFrame:
        """``portfolios.parquet``, of runs that forecast means."""
        return pd.read_parquet(_existing(self.directory, "portfolios.parquet"))

    @cached_property
    def coefficients(self) -> pd.DataFrame:
        """``coefficients.parquet``, of runs that forecast means."""
        return pd.read_parquet(_existing(self.directory, "coefficients.parquet"))

    @cached_property
    def factors(self) -> pd.DataFrame | None:
        """``factors.parquet``; None where no model has factors."""
        return self._table("factors")

    @cached_property
    def loadings(self) -> pd.DataFrame | None:
        """``loadings.parquet``; None where no model loads on characteristics."""
        return self._table("loadings")

    @cached_property
    def curves(self) -> pd.DataFrame | None:
        """``curves.parquet``; None where no model has loading functions."""
        return self._table("curves")

    @cached_property
    def terms(self) -> pd.DataFrame | None:
        """``terms.parquet``; None where no model has a sieve."""
        return self._table("terms")

    @cached_property
    def window_loadings(self) -> pd.DataFrame | None:
        """``window_loadings.parquet``; None with one window alone, or where no model loads on characteristics."""
        return self._table("window_loadings")

    @cached_property
    def correlations(self) -> pd.DataFrame | None:
        """``correlations.parquet``; None where there are no factors or no macro series."""
        return self._table("correlations")

    @cached_property
    def horizons(self) -> list[int]:
        """Horizons with measures, in months."""
        return sorted({int(horizon) for found in self.metrics.values() for horizon in found})

    @cached_property
    def forecasts_means(self) -> bool:
        """Whether some model forecasts returns or the consensus; trivial forecasts of means stand beside these."""
        return any(self.models(h, part) for h in self.horizons for part in ("returns", "consensus"))

    def labels(self, horizon: int, part: str = "returns") -> list[Label]:
        """Return the labels that have a part of the measures (returns, consensus, ...), in the order of the file."""
        found = [Label.read(name) for name, by in self.metrics.items() if part in by.get(str(horizon), {})]
        return [label for label in found if label.full != MARKET]

    def models(self, horizon: int, part: str = "returns") -> list[Label]:
        """Return the labels of what was fitted: each family's selected model and variants."""
        return [label for label in self.labels(horizon, part) if label.is_model]

    def families(self) -> dict[str, list[Label]]:
        """Return each family's labels, whatever they forecast."""
        found: dict[str, list[Label]] = {}
        for name in self.metrics:
            label = Label.read(name)
            if label.is_model:
                found.setdefault(label.family, []).append(label)
        return found

    def every_model(self) -> list[Label]:
        """Return the labels of all that was fitted, family by family."""
        return [label for labels in self.families().values() for label in labels]

    def is_ablation(self, label: Label) -> bool:
        """Whether a variant lacks a part of another one: it was fitted for comparison, and was not to be selected."""
        return any(name in self._ablated.get(label.family, ()) for name, _ in label.settings)

    def part(self, model: str, horizon: int, *path: str) -> Any:
        """Return what lies at a path of the measures; None where there is nothing."""
        found: Any = self.metrics.get(model, {}).get(str(horizon))
        for key in path:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def number(self, model: str, horizon: int, *path: str) -> float:
        """Return one measure; NaN where there is none."""
        return as_number(self.part(model, horizon, *path))

    def long_short(self, model: str, horizon: int) -> list[Mapping[str, Any]]:
        """Return the long-short statistics, one mapping for each cost."""
        return list(self.part(model, horizon, "long_short") or ())

    def consensus_variables(self, horizon: int) -> list[str]:
        """Return the consensus variables that some model approximates."""
        found = [self.part(label.full, horizon, "consensus") for label in self.labels(horizon, "consensus")]
        return list(dict.fromkeys(variable for by in found for variable in by))

    def learns_consensus(self, model: str) -> bool:
        """Whether the consensus was in the model's loss; without it the bottleneck has no units to be judged in."""
        label = Label.read(model)
        own = self._weights[self._weights["family"] == label.family]
        if label.is_variant:
            own = own[own["model"] == model]
        return bool(own.empty or own["learns"].any())

    def consensus_r2(self, model: str, horizon: int, year: str | None = None) -> dict[str, float]:
        """Return the R2 of each consensus variable, pooled or of one year; NaN where the consensus is not learned."""
        found = self.part(model, horizon, "consensus") or {}
        if not self.learns_consensus(model):
            return dict.fromkeys(found, float("nan"))
        return {
            variable: as_number(by["all"]["r2"] if year is None else by["by_year"].get(year))
            for variable, by in found.items()
        }

    def mean_consensus_r2(self, model: str, horizon: int, year: str | None = None) -> float:
        """Return the mean over consensus variables that have an R2; NaN where none has."""
        known = [value for value in self.consensus_r2(model, horizon, year).values() if np.isfinite(value)]
        return float(np.mean(known)) if known else float("nan")

    def windows(self, horizon: int) -> list[Mapping[str, Any]]:
        """Return the horizon's windows: ``train``, ``validation`` (None without) and ``test``, first and last month."""
        return list(self.description["windows"][horizon])

    @cached_property
    def selects_globally(self) -> bool:
        """Whether selection compared means over all windows, and so looked ahead."""
        return bool(self.description["experiment"]["search"]["selection"] == "global")

    @cached_property
    def searches(self) -> dict[SearchKey, pd.DataFrame]:
        """The trials of each search; see :func:`factor_ray.report.trials.by_search`."""
        return by_search(self.trials, is_global=self.selects_globally)

    @cached_property
    def hyperparameters(self) -> pd.DataFrame:
        """One row for each row of the trials, one column for each hyperparameter that some model has."""
        codes, texts = pd.factorize(self.trials["hyperparameters"])
        return pd.DataFrame([json.loads(text) for text in texts]).iloc[codes].set_axis(self.trials.index)

    def quantiles(self, *wanted: Wanted, columns: Sequence[str] | None = None) -> pd.DataFrame | None:
        """Return the rows of ``quantiles.parquet`` of which all that is wanted is true; None where there is no such.

        The file is the largest of a run: what is not wanted is not read.

        Parameters
        ----------
        wanted : tuples of (column, operator, value)
            See :func:`factor_ray.report.wanted_rows.wanted_rows`.
        columns : sequence of str or None
            With ``asset``; None for all.

        Returns
        -------
        DataFrame or None
            The columns of the file; assets are categories, in the order of their names, where these are text.
        """
        file = self.directory / "quantiles.parquet"
        if not file.is_file():
            return None
        rows = wanted_rows(file, wanted, columns, categories=["asset"])
        if rows is None:
            return None
        table: pd.DataFrame = rows.to_pandas()
        if isinstance(table["asset"].dtype, pd.CategoricalDtype):
            table["asset"] = table["asset"].cat.reorder_categories(sorted(table["asset"].cat.categories))
        return table

    def _table(self, name: str) -> pd.DataFrame | None:
        file = self.directory / f"{name}.parquet"
        return pd.read_parquet(file) if file.is_file() else None

    @cached_property
    def _ablated(self) -> dict[str, Collection[str]]:
        return {entry["name"]: entry.get("ablations", ()) for entry in self.description["experiment"]["models"]}

    @cached_property
    def _weights(self) -> pd.DataFrame:
        if "consensus_weight" not in self.hyperparameters:
            return pd.DataFrame({"model": [], "family": [], "learns": []})
        weight = pd.to_numeric(self.hyperparameters["consensus_weight"])
        only = self.hyperparameters.get("consensus_only", pd.Series(False, index=weight.index)) == True  # noqa: E712
        table = pd.DataFrame({"model": self.trials["model"], "learns": (weight > 0) | only})[weight.notna()]
        return table.assign(family=families_of(table["model"]))


def read_contents(directory: Path) -> Contents:
    """Read what a report needs from a run's directory.

    Raises
    ------
    InputError
        If a file is missing: the run is not finished, or the directory is not a run; or if its measures are spoilt.
    """
    return Contents(
        description=read_yaml(_text(directory, "experiment.yaml")),
        metrics=Run(directory).metrics,
        trials=_with_levels(pd.read_parquet(_existing(directory, "trials.parquet"))),
        cost=json.loads(_text(directory, "logs/cost.json")) if (directory / "logs" / "cost.json").is_file() else {},
        audit=json.loads(_text(directory, "audit.json")) if (directory / "audit.json").is_file() else None,
        directory=directory,
    )


def as_number(value: Any) -> float:
    """Return a JSON value as a number; null is NaN."""
    return float("nan") if value is None else float(value)


def _sizes(folder: str) -> list[int]:
    """Bytes of each cell below a folder: of many thousands, for which ``Path.rglob`` takes three times as long."""
    with os.scandir(folder) as entries:
        every = list(entries)
    sizes = [entry.stat().st_size for entry in every if entry.name.endswith(".safetensors")]
    for entry in every:
        if entry.is_dir():
            sizes += _sizes(entry.path)
    return sizes


def _with_levels(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the trials with their column ``tau``, which runs of means alone may lack."""
    return trials if "tau" in trials else trials.assign(tau=np.nan)


def _existing(directory: Path, name: str) -> Path:
    file = directory / name
    if not file.is_file():
        raise InputError(
            f"{directory} has no {name}, which the report is made of: finish the run first with "
            f"`factor-ray resume {directory}`"
        )
    return file


def _text(directory: Path, name: str) -> str:
    return _existing(directory, name).read_text(encoding="utf-8")

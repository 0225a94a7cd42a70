"""A run directory made of random numbers: every table in the format of a run, and nothing fitted."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from factor_ray.evaluation import (
    consensus_statistics,
    forecast_statistics,
    long_short,
    portfolio_means,
    return_statistics,
    sort_portfolios,
)

MakeRun = Callable[..., Path]

_HYPERPARAMETERS = {"consensus_weight": 0.3, "consensus_only": False, "dropout": 0.5, "hidden": [64, 32]}


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Return a maker of run directories; its keywords are those of :func:`write_run`."""

    def make(**options: Any) -> Path:
        directory = tmp_path_factory.mktemp("run")
        write_run(directory, **options)
        return directory

    return make


def write_run(
    directory: Path,
    *,
    horizons: Sequence[int] = (1, 3),
    weights: Sequence[float] = (0.0, 0.3, 1.0),
    families: Sequence[str] = ("cbapm",),
    consensus: Sequence[str] = ("FEPS", "REV6"),
    windows: int = 3,
    assets: int = 30,
    points: int = 4,
    oracle: bool = True,
    costs: Sequence[float] = (0, 25, 50),
    looks_ahead: Sequence[str] = (),
    notes: Sequence[str] = (),
    portfolio_weights: str = "equal",
) -> None:
    """Write a run directory: random returns, forecasts that know a little of them, and measures of both."""
    random = np.random.default_rng(7)
    months = pd.date_range("2013-01-31", periods=12 * windows, freq="ME")
    index = pd.MultiIndex.from_product([months, [f"A{i:03d}" for i in range(assets)]], names=["month", "asset"])
    signal = random.normal(size=len(index))
    frame = index.to_frame(index=False)
    metrics: dict[str, Any] = {}
    portfolios, coefficients, trials = [], [], []
    labels = {
        family: [family, *(f"{family}[consensus_weight={w:g}]" for w in weights)] if len(weights) > 1 else [family]
        for family in families
    }
    for horizon in horizons:
        realized = (
            0.006 * horizon
            + 0.02 * np.sqrt(horizon) * signal
            + 0.08 * np.sqrt(horizon) * random.normal(size=len(index))
        )
        next_return = np.clip(0.006 + 0.02 * signal + 0.08 * random.normal(size=len(index)), -0.9, None)
        shown = [*(label for listed in labels.values() for label in listed), "zero", "historical_mean", "last_value"]
        for label in [*shown, "oracle"] if oracle else shown:
            forecast = _forecast(label, horizon, signal, random)
            table = frame.assign(horizon=horizon, prediction=forecast, realized=realized, benchmark=0.006 * horizon)
            measured: dict[str, Any] = {"returns": _returns(table)}
            if label not in ("zero", "historical_mean"):
                signals = frame.assign(prediction=forecast, next_return=next_return)
                formed = sort_portfolios(signals, portfolios=5)
                formed.insert(0, "model", label)
                formed.insert(1, "horizon", horizon)
                portfolios.append(formed)
                measured["portfolios"] = portfolio_means(formed).to_dict("records")
                measured["long_short"] = long_short(formed, costs=costs).to_dict("records")
            if label.partition("[")[0] in families and consensus:
                measured["consensus"] = _consensus(frame, consensus, label, random)
                coefficients += [
                    (label, horizon, w + 1, v, 0.01 * random.normal() + 0.02) for w in range(windows) for v in consensus
                ]
            metrics.setdefault(label, {})[str(horizon)] = measured
        market = frame.assign(r=next_return).groupby("month")["r"].mean()
        held = pd.DataFrame({"month": market.index, "portfolio": "market", "return": market.to_numpy()})
        portfolios.append(held.assign(model="market", horizon=horizon))
        metrics.setdefault("market", {})[str(horizon)] = {"portfolio": return_statistics(held["return"])}
        for family in families:
            trials += _trials(family, horizon, weights, windows, points, random)

    (directory / "logs").mkdir(parents=True, exist_ok=True)
    (directory / "cells" / "ab").mkdir(parents=True, exist_ok=True)
    (directory / "cells" / "ab" / "abcd.safetensors").write_bytes(b"0" * 1234)
    description = _description(
        horizons, families, consensus, windows, costs, looks_ahead, notes, portfolio_weights, frame
    )
    (directory / "experiment.yaml").write_text(yaml.safe_dump(description, sort_keys=False))
    (directory / "metrics.json").write_text(json.dumps(_plain(metrics)))
    (directory / "logs" / "cost.json").write_text(json.dumps({"seconds": 93.2, "fitted": 40, "reused": 2}))
    pd.concat(portfolios, ignore_index=True).to_parquet(directory / "portfolios.parquet")
    columns = ["model", "horizon", "window", "variable", "coefficient"]
    pd.DataFrame(coefficients, columns=columns).to_parquet(directory / "coefficients.parquet")
    pd.DataFrame(trials).to_parquet(directory / "trials.parquet")


def _plain(value: Any) -> Any:
    """Return a value as metrics.json holds it: what is not finite is null."""
    if isinstance(value, dict):
        return {key: _plain(nested) for key, nested in value.items()}
    if isinstance(value, list):
        return [_plain(nested) for nested in value]
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _forecast(label: str, horizon: int, signal: np.ndarray, random: np.random.Generator) -> np.ndarray:
    scale = 0.02 * np.sqrt(horizon)
    if label == "zero":
        return np.zeros(len(signal))
    if label == "historical_mean":
        return np.full(len(signal), 0.006 * horizon)
    if label == "oracle":
        return 0.006 * horizon + scale * signal
    noise = 3.0 if label == "last_value" else 0.5 + 0.1 * len(label) % 0.3
    return np.asarray(0.006 * horizon + scale * (signal + noise * random.normal(size=len(signal))) / (1 + noise**2))


def _returns(table: pd.DataFrame) -> dict[str, Any]:
    pooled = forecast_statistics(table, by=["horizon"]).iloc[0].drop("horizon").to_dict()
    yearly = forecast_statistics(table, by=["horizon", "year"]).drop(columns="horizon")
    return {"all": pooled, "by_year": {str(int(row.pop("year"))): row for row in yearly.to_dict("records")}}


def _consensus(
    frame: pd.DataFrame, variables: Sequence[str], label: str, random: np.random.Generator
) -> dict[str, Any]:
    weight = float(label.partition("=")[2].rstrip("]") or 0.3)
    found = {}
    for place, variable in enumerate(variables):
        actual = random.uniform(-1, 1, size=len(frame))
        share = weight / (weight + 0.3 + 0.3 * place)
        table = frame.assign(
            variable=variable, actual=actual, prediction=share * actual + 0.2 * random.normal(size=len(frame))
        )
        pooled = consensus_statistics(table, by=["variable"]).iloc[0].drop("variable").to_dict()
        yearly = consensus_statistics(table, by=["variable", "year"])
        by_year = {str(int(year)): r2 for year, r2 in zip(yearly["year"], yearly["r2"], strict=True)}
        found[variable] = {"all": pooled, "by_year": by_year}
    return found


def _trials(
    family: str, horizon: int, weights: Sequence[float], windows: int, points: int, random: np.random.Generator
) -> list[dict[str, Any]]:
    rows = []
    for weight in weights:
        label = f"{family}[consensus_weight={weight:g}]" if len(weights) > 1 else family
        for window in range(windows):
            alive = points if window == 0 else max(1, points // 2)
            for point in range(alive):
                for member in range(3 if point == 0 else 1):
                    failed = window == 0 and points > 1 and point == points - 1
                    rows.append(
                        {
                            "model": label,
                            "horizon": horizon,
                            "window": window + 1,
                            "point": point,
                            "member": member,
                            "hyperparameters": json.dumps(
                                {**_HYPERPARAMETERS, "consensus_weight": weight, "dropout": 0.1 + 0.1 * point}
                            ),
                            "validation_score": np.inf if failed else 0.9 + 0.1 * point + 0.02 * random.normal(),
                            "train_loss": 0.3 * weight + 0.05 * random.random() + 0.2,
                            "epochs": int(random.integers(5, 40)),
                            "status": "diverged" if failed else "ok",
                            "selected": point == 0,
                            "seconds": float(random.uniform(0.2, 2.0)),
                            "cell": f"{family}{horizon}{weight}{window}{point}{member}",
                        }
                    )
    return rows


def _description(
    horizons: Sequence[int],
    families: Sequence[str],
    consensus: Sequence[str],
    windows: int,
    costs: Sequence[float],
    looks_ahead: Sequence[str],
    notes: Sequence[str],
    portfolio_weights: str,
    frame: pd.DataFrame,
) -> dict[str, Any]:
    def dates(horizon: int, window: int) -> dict[str, list[str]]:
        test = pd.Period("2013-01", "M") + 12 * window
        validation = test - horizon - 23, test - horizon
        train = pd.Period("1994-01", "M"), validation[0] - horizon
        spans = {"train": train, "validation": validation, "test": (test, test + 11)}
        return {name: [str(first), str(last)] for name, (first, last) in spans.items()}

    return {
        "experiment": {
            "name": "a <test> & run",
            "data": {"source": "table"},
            "preprocess": {"rank": True, "impute": "point_in_time"},
            "macro_state": {"kind": "pca", "dimension": 3},
            "models": [{"name": family} for family in families],
            "search": {"points": 4, "round": 8, "pruner": "halving", "selection": "per_window", "seed": 0},
            "ensemble": {"members": 3, "weights": "equal"},
            "portfolios": {"number": 5, "weights": "auto", "costs": list(costs)},
        },
        "versions": {"factor_ray": "0.1.0", "python": "3.11.2", "torch": "2.8.0"},
        "data": {
            "lineage": {"panel": {"name": "panel.parquet", "bytes": 12_345_678, "sha256": "0123456789abcdef" * 4}},
            "first_month": "1994-01",
            "last_month": "2015-12",
            "months": 264,
            "rows": len(frame),
            "assets": int(frame["asset"].nunique()),
            "characteristics": ["Mom12m", "Price"],
            "consensus": list(consensus),
            "macro_series": 8,
            "risk_free": False,
            "portfolio_weights": portfolio_weights,
        },
        "notes": list(notes),
        "looks_ahead": list(looks_ahead),
        "windows": {horizon: [dates(horizon, window) for window in range(windows)] for horizon in horizons},
    }

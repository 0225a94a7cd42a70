"""Quantile models in a run directory made of random numbers: their tables, and nothing fitted."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import norm

from factor_ray.evaluation import quantile_statistics
from factor_ray.measures import plain

CHARACTERISTICS = ("spread", "duration", "coupon", "equity_volatility", "momentum_6m")
KEYS = ["model", "horizon", "kind", "tau"]
FACTORS = 2
_TRIVIAL = ("market", "zero", "historical_mean", "last_value", "oracle")


def add_quantiles(
    directory: Path,
    *,
    only: bool = True,
    models: Sequence[str] = ("qcf", "qfm"),
    levels: Sequence[float] = (0.01, 0.05, 0.5, 0.95),
    horizons: Sequence[int] = (1,),
    kinds: Sequence[str] = ("in_sample", "total", "predictive"),
    assets: int = 40,
    months: int = 48,
    standard_errors: bool = True,
    mean_model: str | None = None,
) -> None:
    """Put quantile models into a run of :func:`conftest.write_run`; ``only`` them, or beside what is there.

    Returns are ``0.01 + 0.03 w f + 0.05 e`` with a normal e; the models know this up to noise.
    """
    random = np.random.default_rng(11)
    tables = [_quantiles(horizon, models, levels, kinds, assets, months, random) for horizon in horizons]
    quantiles = pd.concat(tables, ignore_index=True)
    quantiles.astype({"model": "category", "kind": "category"}).to_parquet(directory / "quantiles.parquet")
    file = directory / "metrics.json"
    metrics = json.loads(file.read_text())
    if only:
        metrics = {name: {str(h): metrics[name]["1"] for h in horizons} for name in metrics if name in _TRIVIAL}
    for key, own in quantiles.groupby(["model", "horizon", "kind", "tau"], sort=False):
        model, horizon, kind, tau = key
        measured = quantile_statistics(own, by=["tau"]).iloc[0].to_dict()
        by = metrics.setdefault(model, {}).setdefault(str(horizon), {}).setdefault("quantiles", {})
        by.setdefault(f"{tau:g}", {})[kind] = plain(measured)
    file.write_text(json.dumps(metrics))
    if only:
        portfolios = pd.read_parquet(directory / "portfolios.parquet")
        portfolios[portfolios["model"].isin(_TRIVIAL)].to_parquet(directory / "portfolios.parquet")
        coefficients = pd.read_parquet(directory / "coefficients.parquet")
        coefficients.iloc[:0].to_parquet(directory / "coefficients.parquet")
    trials = pd.DataFrame(_trials(models, levels, horizons, random))
    if not only:
        trials = pd.concat([pd.read_parquet(directory / "trials.parquet").assign(tau=np.nan), trials])
    trials.to_parquet(directory / "trials.parquet", index=False)
    _factor_tables(directory, models[0], levels, horizons, standard_errors, mean_model, random)


def _quantiles(
    horizon: int,
    models: Sequence[str],
    levels: Sequence[float],
    kinds: Sequence[str],
    assets: int,
    months: int,
    random: np.random.Generator,
) -> pd.DataFrame:
    names = [f"B{i:03d}" for i in range(assets)]
    spans = {"in_sample": "2003-01-31", "total": "2013-01-31", "predictive": "2013-01-31"}
    index = random.normal(size=assets)
    drawn: dict[str, pd.DataFrame] = {}
    for start in set(spans.values()):
        dates = pd.date_range(start, periods=months, freq="ME")
        frame = pd.MultiIndex.from_product([dates, names], names=["month", "asset"]).to_frame(index=False)
        factor = np.repeat(random.normal(size=months), assets)
        location = 0.01 + 0.03 * np.tile(index, months) * factor
        realized = location + 0.05 * random.normal(size=len(frame))
        drawn[start] = frame.assign(location=location, realized=realized)
        drawn[start].loc[len(frame) - assets // 2 :, "realized"] = np.nan  # not yet known
    found = []
    for kind in kinds:
        frame = drawn[spans[kind]]
        for tau in levels:
            for place, model in enumerate([*models, "zero", "historical_quantile"]):
                if model in ("zero", "historical_quantile") and kind != "predictive":
                    continue
                location = 0.01 if kind == "predictive" else frame["location"]
                noise = 0.012 * (place + 1) * random.normal(size=len(frame))
                values = location + 0.05 * norm.ppf(tau) + noise
                if model == "historical_quantile":
                    values = 0.0 * noise + 0.01 + 0.06 * norm.ppf(tau)
                if model == "zero":
                    values = 0.0 * noise
                table = frame[["month", "asset"]].assign(
                    model=model, horizon=np.int32(horizon), tau=tau, kind=kind, prediction=values.astype(np.float32)
                )
                table["realized"] = frame["realized"].astype(np.float32)
                found.append(table)
    return pd.concat(found, ignore_index=True)


def _trials(
    models: Sequence[str], levels: Sequence[float], horizons: Sequence[int], random: np.random.Generator
) -> list[dict[str, Any]]:
    rows = []
    for model in models:
        for horizon in horizons:
            for tau in levels:
                for window in range(3):
                    for point in range(3 if model == "qcf" else 1):
                        settings = {"tau": tau, "factors": 1 + (window + point) % 3, "order": 2 + point % 2}
                        rows.append(
                            {
                                "model": model,
                                "horizon": horizon,
                                "tau": tau,
                                "window": window + 1,
                                "point": point,
                                "member": 0,
                                "hyperparameters": json.dumps({**settings, "ridge": [0.001, 0.01, 0.1][point]}),
                                "validation_score": 0.003 + 0.0002 * random.random(),
                                "train_loss": float("nan"),
                                "epochs": 0,
                                "status": "ok",
                                "selected": point == round(10 * tau + window) % 3 or model != "qcf",
                                "seconds": 0.5,
                                "cell": f"{model}{horizon}{tau}{window}{point}",
                            }
                        )
    return rows


def _factor_tables(
    directory: Path,
    model: str,
    levels: Sequence[float],
    horizons: Sequence[int],
    standard_errors: bool,
    mean_model: str | None,
    random: np.random.Generator,
) -> None:
    dates = pd.date_range("2003-01-31", periods=120, freq="ME")
    factors, loadings, curves, terms, windows = [], [], [], [], []
    asked: list[tuple[str, float | None]] = [(model, tau) for tau in levels]
    asked += [(mean_model, None)] if mean_model else []
    for name, tau in asked:
        for horizon in horizons:
            for factor in range(1, 1 + FACTORS):
                keys = {"model": name, "horizon": horizon, "tau": np.nan if tau is None else tau, "factor": factor}
                values = random.normal(size=len(dates))
                factors += [{**keys, "month": date, "value": v} for date, v in zip(dates, values, strict=True)]
                theta = random.normal(size=len(CHARACTERISTICS))
                theta /= np.linalg.norm(theta)
                for characteristic, value in zip(CHARACTERISTICS, theta, strict=True):
                    error = 0.01 * (1 + len(characteristic)) if standard_errors and tau is not None else np.nan
                    loadings.append(
                        {
                            **keys,
                            "characteristic": characteristic,
                            "coefficient": value,
                            "standard_error": error,
                            "bootstrap_error": 2.0 * error,
                            "joint_p": 0.03 if np.isfinite(error) else np.nan,
                            "separation": 4.0 - factor if np.isfinite(error) else np.nan,
                        }
                    )
                for window, month in enumerate(dates[-5:], start=1):
                    listed = enumerate(CHARACTERISTICS) if window + factor != 5 else ()
                    for place, characteristic in listed:
                        at = {"window": window, "month": month, "characteristic": characteristic}
                        windows.append({**keys, **at, "coefficient": (0.1 * place + 0.01 * window) * (-1) ** factor})
                for term, value in (("1", 9.0), ("a", 0.3), ("b", -0.4), ("a x b", 0.0)) if tau is not None else ():
                    terms.append({**keys, "term": term, "coefficient": value, "of_index": 0.5 * value})
                for w in np.linspace(-3, 3, 41) if tau is not None else ():
                    value = 0.02 * w + 0.005 * factor * w**2
                    band = 0.004 + 0.002 * w**2 if standard_errors else np.nan
                    curves.append({**keys, "index": w, "value": value, "low": value - band, "high": value + band})
    pd.DataFrame(factors).to_parquet(directory / "factors.parquet")
    pd.DataFrame(loadings).to_parquet(directory / "loadings.parquet")
    pd.DataFrame(curves).to_parquet(directory / "curves.parquet")
    pd.DataFrame(terms).to_parquet(directory / "terms.parquet")
    pd.DataFrame(windows).to_parquet(directory / "window_loadings.parquet")


def rows_of(page: str, table: str) -> dict[tuple[str, str], list[str]]:
    """Return a table's figures as they stand on the page, by the heading of the panel and the head of the row."""
    body = re.search(rf'<figure class="[^"]*" id="{re.escape(table)}">(.*?)</figure>', page, re.DOTALL)
    assert body is not None, f"the page has no table {table}"
    found = {}
    for panel in body[1].split("<tbody>")[1:]:
        heading = re.search(r'scope="rowgroup"[^>]*>(.*?)</th>', panel)
        for row in panel.split("<tr ")[1:]:
            head = re.search(r'scope="row">(.*?)</th>', row)
            if head is not None:
                cells = [re.sub(r"<[^>]*>", " ", cell).strip() for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)]
                found[heading[1] if heading else "", head[1]] = cells
    return found


def number(text: str) -> float:
    """Read a figure of the page; NaN for what is not there."""
    return float("nan") if text == "–" else float(text.replace("−", "-").replace(",", ""))

"""Measures of quantile forecasts as the report reads them: levels, kinds, and which model was best."""

from __future__ import annotations

import math

from factor_ray.report.contents import Contents
from factor_ray.report.labels import Label

KINDS = {
    "in_sample": "in sample (a fit)",
    "total": "out of sample, total (a fit: factors realised in the test month)",
    "predictive": "out of sample, predictive (a true forecast)",
}
"""How each kind is called, in the order in which tables show them."""

HISTORICAL = "historical_quantile"
PREDICTIVE = "predictive"


def every_label(contents: Contents, horizon: int) -> list[Label]:
    """Return all labels that have quantiles, models before benchmarks."""
    return sorted(contents.labels(horizon, "quantiles"), key=lambda label: not label.is_model)


def levels(contents: Contents, horizon: int) -> list[str]:
    """Return the levels of a horizon as they are written in the measures, rising."""
    found = [contents.part(label.full, horizon, "quantiles") for label in every_label(contents, horizon)]
    return sorted({level for by in found for level in by}, key=float)


def every_level(contents: Contents) -> list[str]:
    """Return the levels of all horizons, rising."""
    return sorted({level for horizon in contents.horizons for level in levels(contents, horizon)}, key=float)


def measure(contents: Contents, model: str, horizon: int, level: str, name: str, kind: str = PREDICTIVE) -> float:
    """Return one measure of a quantile; NaN where there is none."""
    return contents.number(model, horizon, "quantiles", level, kind, name)


def labels_of(contents: Contents, horizon: int, level: str, kind: str = PREDICTIVE) -> list[Label]:
    """Return the labels, benchmarks included, that have a level in a kind."""
    return [
        label
        for label in every_label(contents, horizon)
        if contents.part(label.full, horizon, "quantiles", level, kind)
    ]


def selected_models(contents: Contents, horizon: int, level: str) -> list[Label]:
    """Return the fitted models that forecast a level, variants of sweeps left out."""
    return [label for label in labels_of(contents, horizon, level) if label.is_model and not label.is_variant]


def best_model(contents: Contents, horizon: int, level: str) -> Label | None:
    """Return the selected model with the best true forecasts: on the rows that all models forecast, where compared.

    That is the lowest mean monthly pinball loss; else the highest R2 against a quantile of zero.
    """
    models = selected_models(contents, horizon, level)
    best = best_on_common_rows(contents, models, horizon, "quantile_comparison", level)
    r2 = {label: measure(contents, label.full, horizon, level, "r2") for label in models}
    known = {label: value for label, value in r2.items() if math.isfinite(value)}
    return best or (max(known, key=lambda label: known[label]) if known else None)


def best_on_common_rows(contents: Contents, labels: list[Label], horizon: int, *part: str) -> Label | None:
    """Return the label with the lowest mean loss of a comparison; None where none was compared."""
    loss = {label: contents.number(label.full, horizon, *part, "mean_loss") for label in labels}
    known = {label: value for label, value in loss.items() if math.isfinite(value)}
    return min(known, key=lambda label: known[label]) if known else None


def spread_out(found: list[str], most: int) -> list[str]:
    """Return at most so many of the levels, the outermost ones and others evenly between."""
    if len(found) <= most:
        return found
    return [found[round(place * (len(found) - 1) / (most - 1))] for place in range(most)]

"""The figures of how many factors, blocks or units a latent-factor model needs: K and L curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import ScalarFormatter

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, draw, grid_of, percent_axis, whole_axis
from factor_ray.report.labels import sign, swept_numbers
from factor_ray.report.search import family_trials, without_ablations

_MOST_VALUES = 20

Points = Mapping[int, Sequence[float]]


def curve_figures(contents: Contents) -> list[Figure]:
    """Draw scores and R2 of latent-factor models against each whole number that was swept or searched."""
    found = []
    for family in contents.families():
        horizons = [h for h in contents.horizons if any(m.family == family for m in contents.models(h, "total"))]
        for name in _whole_numbers(contents, family, horizons):
            found.append(_curve_figure(contents, family, name, horizons))
    return found


def validation_by_value(trials: pd.DataFrame, name: str) -> dict[int, list[float]]:
    """Return the best validation score of each value of a hyperparameter, one for each window in which all were tried.

    Values are those that the first window tried: later windows may have fewer, and means over other windows would not
    be comparable.
    """
    tried = trials[(trials["member"] == 0) & (trials["status"] == "ok")]
    if tried.empty:
        return {}
    value = tried["hyperparameters"].map(lambda text: json.loads(text)[name])
    best = tried.assign(value=value).pivot_table(
        index="window", columns="value", values="validation_score", aggfunc="min"
    )
    best = best.loc[:, best.iloc[0].notna()].dropna()
    return {int(str(at)): own.tolist() for at, own in best.items()}


def _whole_numbers(contents: Contents, family: str, horizons: Sequence[int]) -> list[str]:
    """Hyperparameters that take several whole numbers in the family's trials: two where they were swept, else three."""
    values: dict[str, set[object]] = {}
    for horizon in horizons:
        for text in _trials(contents, family, horizon)["hyperparameters"].unique():
            for name, value in json.loads(text).items():
                values.setdefault(name, set()).add(json.dumps(value))
    swept = swept_numbers(contents.families()[family])
    return [
        name
        for name, found in values.items()
        if (2 if name in swept else 3) <= len(found) <= _MOST_VALUES and all(map(_is_whole, found))
    ]


def _trials(contents: Contents, family: str, horizon: int) -> pd.DataFrame:
    return without_ablations(contents, family_trials(contents, family, horizon))


def _is_whole(written: object) -> bool:
    value = json.loads(str(written))
    return isinstance(value, int) and not isinstance(value, bool)


def _curve_figure(contents: Contents, family: str, name: str, horizons: Sequence[int]) -> Figure:
    swept = {
        h: {part: _r2_by_value(contents, family, name, h, part) for part in ("total", "returns")} for h in horizons
    }
    panels: list[tuple[str, Points, str]] = []
    for h in horizons:
        scores = validation_by_value(_trials(contents, family, h), name)
        panels.append((f"Validation score, h = {h}", scores, "score"))
        if any(swept[h].values()):
            panels.append((f"Total R² (a fit), h = {h}", swept[h]["total"], "r2"))
            panels.append((f"Predictive R², h = {h}", swept[h]["returns"], "r2"))
    is_swept = any(kind == "r2" for _, _, kind in panels)
    columns = 3 if is_swept else max(2, min(len(panels), 3))

    rows = -(-len(panels) // columns)

    def paint(canvas: Canvas) -> None:
        for axes, (title, points, kind) in zip(grid_of(canvas, len(panels), columns), panels, strict=True):
            _paint_curve(axes, points, kind)
            axes.set_title(title)
            axes.set_xlabel(sign(name))

    notes = [
        "Validation score (what selection compares, lower is better): the best point of each value, mean over the "
        "windows in which every value was tried. Selection sees it alone."
    ]
    if is_swept:
        notes[0] += (
            " R²: of each variant over the test months, against zero; lines join their means. The total grows with the "
            "number of factors whatever they are worth; what was best is known in hindsight only."
        )
    return draw(
        f"curve-{family}-{name}",
        f"Scores and fits of {family} against {sign(name)}",
        2.2 * rows,
        paint,
        notes,
    )


def _r2_by_value(contents: Contents, family: str, name: str, horizon: int, part: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for label in (own for own in contents.models(horizon, part) if not contents.is_ablation(own)):
        value, r2 = label.value(name), contents.number(label.full, horizon, part, "all", "r2")
        if label.family == family and value is not None and math.isfinite(r2):
            found.setdefault(int(value), []).append(r2)
    return {value: found[value] for value in sorted(found)}


def _paint_curve(axes: Axes, points: Points, kind: str) -> None:
    means = {value: sum(own) / len(own) for value, own in points.items() if own}
    if kind == "r2":
        for value, own in points.items():
            axes.scatter([value] * len(own), own, s=16, color=INK, linewidths=0, zorder=3)
    axes.plot(list(means), list(means.values()), color=INK, linewidth=1.0, marker="o" if kind == "score" else "")
    axes.margins(x=0.06, y=0.14)
    whole_axis(axes)
    if kind == "r2":
        percent_axis(axes)
    else:
        scores = ScalarFormatter(useOffset=False)
        scores.set_scientific(False)
        axes.yaxis.set_major_formatter(scores)

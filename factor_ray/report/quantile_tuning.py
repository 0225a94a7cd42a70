"""The figure of what was tuned for quantile models: the hyperparameters selected in each window, level by level."""

from __future__ import annotations

import json

import pandas as pd
from matplotlib.figure import Figure as Canvas

from factor_ray.data.months import parse_month
from factor_ray.report.contents import Contents
from factor_ray.report.drawing import Figure, draw, grid_of, whole_axis
from factor_ray.report.factor_figures import level_colour
from factor_ray.report.labels import sign
from factor_ray.report.numbers import plain
from factor_ray.report.search import chosen_by_window, searches_of, varying
from factor_ray.report.sheet import RuledAxes

_COLUMNS = 3
_APART = 0.09  # of the distance between two values: lines of levels must not hide each other


def tuning_figures(contents: Contents) -> list[Figure]:
    """Draw the selected hyperparameters of each quantile model that was tuned, by window."""
    found = []
    for family in contents.families():
        for horizon in contents.horizons:
            by_level = {
                f"{tau:g}": chosen_by_window(contents, family, at, tau)
                for at, tau in searches_of(contents, family)
                if at == horizon and tau is not None
            }
            names = varying(contents, family)
            if by_level and names and len(contents.windows(horizon)) > 1:
                found.append(_tuning_figure(contents, family, horizon, by_level, names))
    return found


def _tuning_figure(
    contents: Contents, family: str, horizon: int, by_level: dict[str, pd.DataFrame], names: list[str]
) -> Figure:
    starts = [parse_month(window["test"][0]) / 12 + 1970 for window in contents.windows(horizon)]
    end = (parse_month(contents.windows(horizon)[-1]["test"][1]) + 1) / 12 + 1970

    def paint(canvas: Canvas) -> None:
        for axes, name in zip(grid_of(canvas, len(names), min(len(names), _COLUMNS)), names, strict=True):
            _paint_choices(axes, by_level, name, starts, end)
            axes.set_title(sign(name))
        handles, texts = canvas.axes[0].get_legend_handles_labels()
        canvas.legend(handles, texts, loc="outside lower left", ncols=len(handles))

    notes = ["Selected with validation scores of each window and those before it, level by level; by test month."]
    if contents.selects_globally:
        notes = ["Selected with validation scores of all windows: it looks ahead. By test month."]
    rows = -(-len(names) // _COLUMNS)
    title = f"Tuning of {family}, {horizon}-month horizon"
    return draw(f"tuning-{family}-{horizon}", title, 0.35 + 1.8 * rows, paint, notes)


def _paint_choices(
    axes: RuledAxes, by_level: dict[str, pd.DataFrame], name: str, starts: list[float], end: float
) -> None:
    texts = {level: table["hyperparameters"].tolist() for level, table in by_level.items()}
    written = {text: json.dumps(json.loads(text).get(name)) for every in texts.values() for text in set(every)}
    chosen = {level: [written[text] for text in every] for level, every in texts.items()}
    values = sorted({value for every in chosen.values() for value in every}, key=_order)
    for place, (level, every) in enumerate(chosen.items()):
        shift = (place - (len(chosen) - 1) / 2) * _APART
        at = [starts[int(window) - 1] for window in by_level[level]["window"]]
        heights = [values.index(value) + shift for value in every]
        axes.step([*at, end], [*heights, heights[-1]], where="post", color=level_colour(level), label=f"τ = {level}")
    axes.name_places("y", range(len(values)), [_written(value) for value in values])
    axes.set_ylim(-0.5, len(values) - 0.5)
    axes.margins(x=0.01)
    whole_axis(axes)


def _order(text: str) -> tuple[float, str]:
    value = json.loads(text)
    return (float(value), "") if isinstance(value, int | float) else (float("inf"), text)


def _written(text: str) -> str:
    value = json.loads(text)
    return plain(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value)

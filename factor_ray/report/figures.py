"""The figures of forecasts: windows, sweeps and years."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path

from factor_ray.data.months import parse_month
from factor_ray.report.contents import Contents
from factor_ray.report.drawing import (
    EMBARGO,
    INK,
    TEST,
    TRAIN,
    VALIDATION,
    Figure,
    draw,
    grid_of,
    label_ends,
    lighter,
    percent_axis,
    plain_axis,
    style_of,
    whole_axis,
)
from factor_ray.report.labels import ORACLE, Label, sign, swept_numbers
from factor_ray.report.sheet import RuledAxes
from factor_ray.report.tables import test_years

_PARTS = ("returns", "consensus")
_MOST_YEARLY_SERIES = 4
_HALF = 0.31  # of a bar's height, where rows are one apart


def windows_figure(contents: Contents) -> Figure:
    """Draw training, validation, embargo and test months of every window, one panel for horizons that share them."""
    shared: dict[str, list[int]] = {}
    for horizon in contents.description["windows"]:
        shared.setdefault(repr(contents.windows(horizon)), []).append(horizon)
    groups = list(shared.values())
    count = max(len(contents.windows(group[0])) for group in groups)

    def paint(canvas: Canvas) -> None:
        columns = min(len(groups), 2)
        for axes, horizons in zip(grid_of(canvas, len(groups), columns, sharex=True), groups, strict=True):
            _paint_windows(axes, contents.windows(horizons[0]))
            written = ", ".join(map(str, horizons))
            axes.set_title(f"Horizon {written} month{'s' if horizons != [1] else ''}", pad=4)
        names = {"training": TRAIN, "validation": VALIDATION, "test": TEST}
        patches = [Patch(color=colour, label=name) for name, colour in names.items()]
        if any(_gaps(contents.windows(group[0])) for group in groups):
            patches.insert(
                2, Patch(facecolor=EMBARGO, edgecolor="#9aa3ad", linewidth=0, hatch="/////", label="embargo")
            )
        canvas.legend(handles=patches, loc="outside lower left", ncols=4)

    rows = -(-len(groups) // 2)
    notes = ["Months of formation. An embargo keeps months free whose returns reach into the months that follow."]
    return draw("windows", "Windows", rows * (0.55 + 0.17 * min(count, 24)) + 0.45, paint, notes)


def sweep_figures(contents: Contents) -> list[Figure]:
    """Draw R2 of returns and of the consensus against each hyperparameter that is swept over numbers."""
    found = []
    for family, labels in contents.families().items():
        measured = {label for part in _PARTS for h in contents.horizons for label in contents.labels(h, part)}
        variants = [label for label in labels if label.is_variant and label in measured]
        for name in swept_numbers(variants):
            found.append(_sweep_figure(contents, family, variants, name))
    return found


def yearly_figure(contents: Contents) -> Figure | None:
    """Draw R2 by test year: returns on the left and, where there is one, the mean consensus on the right."""
    parts = [part for part in _PARTS if any(contents.models(h, part) for h in contents.horizons)]
    horizons = [h for h in contents.horizons if any(len(test_years(contents, h, part)) > 1 for part in parts)]
    if not horizons:
        return None

    def paint(canvas: Canvas) -> None:
        every = grid_of(canvas, len(horizons) * len(parts), len(parts))
        for row, horizon in enumerate(horizons):
            for column, part in enumerate(parts):
                axes = every[row * len(parts) + column]
                _paint_years(axes, contents, horizon, part)
                what = "return" if part == "returns" else "mean consensus"
                axes.set_title(f"R² of the {what}, {horizon}-month horizon")

    notes = ["R² against zero, of each calendar year of formation."]
    return draw("by-year", "R² by test year", 2.2 * len(horizons) + 0.1, paint, notes)


def _paint_windows(axes: RuledAxes, windows: Sequence[Mapping[str, Any]]) -> None:
    _paint_bars(axes, _gaps(windows), facecolor=EMBARGO, edgecolor="#9aa3ad", hatch="/////")
    for name, colour in (("train", TRAIN), ("validation", VALIDATION), ("test", TEST)):
        spans = [(row, *_years(window[name])) for row, window in enumerate(windows) if window[name]]
        _paint_bars(axes, spans, facecolor=colour)
    axes.set_ylim(len(windows) - 0.4, -0.6)
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, -(-len(windows) // 10)) if len(windows) <= 10 * step)
    shown = range(0, len(windows), step)
    axes.name_places("y", shown, [str(row + 1) for row in shown])
    axes.set_ylabel("window")
    axes.margins(x=0.01)
    whole_axis(axes)
    axes.grid(axis="y", visible=False)


def _paint_bars(axes: RuledAxes, spans: Sequence[tuple[int, float, float]], **style: Any) -> None:
    """Paint horizontal bars (row, beginning, end) as one shape: windows may be hundreds, and bars are dear."""
    if spans:
        corners = np.array(
            [
                [(start, row - _HALF), (end, row - _HALF), (end, row + _HALF), (start, row + _HALF)]
                for row, start, end in spans
            ]
        )
        bars = PathPatch(Path.make_compound_path_from_polys(corners), linewidth=0, **style)
        bars.sticky_edges.x.append(min(start for _, start, _ in spans))
        axes.update_datalim(corners.reshape(-1, 2))
        axes.add_artist(bars)  # add_patch would look for extremes of curves, corner by corner


def _gaps(windows: Sequence[Mapping[str, Any]]) -> list[tuple[int, float, float]]:
    """Return the months that windows keep free: the window's position, beginning and end."""
    return [
        (row, end, start)
        for row, window in enumerate(windows)
        for (_, end), (start, _) in pairwise(_spans(window).values())
        if start > end
    ]


def _spans(window: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    return {name: _years(window[name]) for name in ("train", "validation", "test") if window[name]}


def _years(months: Sequence[str]) -> tuple[float, float]:
    """Return where a range of months begins and ends on an axis of years."""
    return parse_month(months[0]) / 12 + 1970, (parse_month(months[1]) + 1) / 12 + 1970


def _sweep_figure(contents: Contents, family: str, variants: Sequence[Label], name: str) -> Figure:
    shown = [(part, h) for part in _PARTS for h in contents.horizons if set(variants) & set(contents.labels(h, part))]
    parts, horizons = list(dict.fromkeys(part for part, _ in shown)), sorted({h for _, h in shown})
    columns = len(horizons) if len(horizons) > 1 else len(parts)

    def paint(canvas: Canvas) -> None:
        every = grid_of(canvas, len(horizons) * len(parts), columns)
        for row, part in enumerate(parts):
            for column, horizon in enumerate(horizons):
                axes = every[row * len(horizons) + column]
                _paint_sweep(axes, contents, family, variants, name, horizon, part)
                what = "Return R²" if part == "returns" else "Mean consensus R²"
                axes.set_title(f"{what}, h = {horizon}")
                if row == len(parts) - 1 or len(horizons) == 1:
                    axes.set_xlabel(sign(name) if sign(name) == name else f"{sign(name)} ({name})")

    rows = -(-len(horizons) * len(parts) // columns)
    notes = [
        f"Out-of-sample R² against zero of each variant of {family}. Dashed: what validation selected window by "
        "window; grey: the historical mean"
        + ("; dotted: the truth of the simulated market" if ORACLE in contents.metrics else "")
        + ". Vertical scales differ."
    ]
    return draw(f"sweep-{family}-{name}", f"R² of {family} against {sign(name)}", 2.35 * rows + 0.1, paint, notes)


def _paint_sweep(
    axes: RuledAxes, contents: Contents, family: str, variants: Sequence[Label], name: str, horizon: int, part: str
) -> None:
    def r2(model: str) -> float:
        if part == "consensus":
            return contents.mean_consensus_r2(model, horizon)
        return contents.number(model, horizon, "returns", "all", "r2")

    lines: dict[str, list[tuple[float, float]]] = {}
    for label in variants:
        others = ", ".join(f"{sign(n)} = {v}" for n, v in label.settings if n != name)
        lines.setdefault(others, []).append((label.value(name) or 0.0, r2(label.full)))
    colours = [
        style_of(Label(str(i), str(i)), [Label(str(j), str(j)) for j in range(len(lines))])["color"]
        for i in range(len(lines))
    ]
    ends = []
    for (others, points), colour in zip(lines.items(), colours, strict=True):
        xs, ys = zip(*sorted(points), strict=True)
        axes.plot(xs, ys, marker="o", color=colour, clip_on=False, zorder=3)
        ends.append((ys[-1], others, colour))
    marks: list[tuple[str, dict[str, Any], str]] = [
        (family, {"color": INK, "linestyle": (0, (5, 2)), "linewidth": 1.1}, "selected")
    ]
    if part == "returns":
        marks += [
            (ORACLE, {"color": INK, "linestyle": (0, (1, 1.5)), "linewidth": 1.2}, "oracle"),
            ("historical_mean", {"color": "#7b8590", "linewidth": 1.0}, "hist. mean"),
        ]
    for model, style, text in marks:
        if np.isfinite(r2(model)) and contents.part(model, horizon):
            axes.axhline(r2(model), **style)
            ends.append((r2(model), text, str(style["color"])))
    values = [label.value(name) or 0.0 for label in variants]
    margin = 0.04 * (max(values) - min(values))
    axes.set_xlim(min(values) - margin, max(values) + margin)
    axes.margins(y=0.12)
    percent_axis(axes)
    plain_axis(axes, axis="x")
    label_ends(axes, [end for end in ends if end[1]], 1.7)


def _paint_years(axes: RuledAxes, contents: Contents, horizon: int, part: str) -> None:
    years = test_years(contents, horizon, part)
    shown = _yearly_series(contents, horizon, part)
    width = 0.8 / max(len(shown), 1)
    for place, label in enumerate(shown):
        values = [
            contents.mean_consensus_r2(label.full, horizon, year)
            if part == "consensus"
            else contents.number(label.full, horizon, "returns", "by_year", year, "r2")
            for year in years
        ]
        colour = style_of(Label.read(label.family), contents.every_model())["color"]
        at = np.arange(len(years)) + (place - (len(shown) - 1) / 2) * width
        axes.bar(at, values, width * 0.92, color=lighter(colour) if label.is_variant else colour, label=label.text)
    axes.axhline(0, color="#9aa3ad", linewidth=0.8)
    step = max(1, -(-len(years) // 12))
    axes.name_places("x", range(0, len(years), step), years[::step])
    axes.grid(axis="x", visible=False)
    percent_axis(axes)
    axes.margins(y=0.2)
    if shown:
        legend = axes.legend(
            loc="upper left", bbox_to_anchor=(-0.01, 1.03), ncols=len(shown), handlelength=0.9, columnspacing=1
        )
        legend.set_in_layout(False)


def _yearly_series(contents: Contents, horizon: int, part: str) -> list[Label]:
    """Return what the bars show: what was selected and, where there is one family, an end of its sweep beside it.

    Returns are set against the first value (lambda = 0, the naive network), the consensus against the last.
    """
    models = contents.models(horizon, part)
    variants = [label for label in models if label.is_variant and not contents.is_ablation(label)]
    ends = {label.family: label for label in (variants if part == "consensus" else reversed(variants))}
    families = list(dict.fromkeys(label.family for label in models))
    selected = {label.family: label for label in models if not label.is_variant}
    sides = (ends, selected) if len(families) == 1 else (selected,)
    shown = [by[family] for family in families for by in sides if family in by]
    if part == "consensus":
        shown = [label for label in shown if contents.learns_consensus(label.full)]
    return shown[:_MOST_YEARLY_SERIES]

"""The figures of the search: scores by point, points alive by window, and losses against what is swept."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, dots, draw, grid_of, plain_axis, style_of, whole_axis
from factor_ray.report.labels import Label, families_of, sign, swept_numbers
from factor_ray.report.search import family_trials, is_searched, searches_of
from factor_ray.report.sheet import axes_at

Search = tuple[int, float | None]
"""Horizon and level of a search; the level is None for means."""

_COLUMNS = 4


def search_figures(contents: Contents) -> list[Figure]:
    """Draw each searched family's validation scores by point, and how many points live on in each window."""
    found = []
    for family in contents.families():
        trials = {at: family_trials(contents, family, *at) for at in searches_of(contents, family)}
        trials = {at: own[own["member"] == 0] for at, own in trials.items()}
        if any(is_searched(own) for own in trials.values()):
            found.append(_search_figure(contents, family, trials))
    return found


def loss_figures(contents: Contents) -> list[Figure]:
    """Draw the training and the validation loss of selected points against each swept number."""
    found = []
    for family, labels in contents.families().items():
        for name in swept_numbers(labels):
            found.append(_loss_figure(contents, family, [label for label in labels if label.is_variant], name))
    return found


def _search_figure(contents: Contents, family: str, trials: dict[Search, pd.DataFrame]) -> Figure:
    labels = contents.families()[family]
    dropping = any(len(set(own.groupby("window").size())) > 1 for own in trials.values())
    columns = min(len(trials), _COLUMNS) if len(trials) > 1 else 2
    below = int(dropping and len(trials) > 1)  # of one search alone the two stand side by side
    rows = (1 + below) * -(-len(trials) // columns)

    def paint(canvas: Canvas) -> None:
        grid = canvas.add_gridspec(rows, columns)
        for place, (at, own) in enumerate(trials.items()):
            row, column = (1 + below) * (place // columns), place % columns
            scores = axes_at(canvas, grid[row, column])
            _paint_scores(scores, own, labels)
            scores.set_title(f"First window, {_written(at)}")
            if dropping:
                alive = axes_at(canvas, grid[row + below, column + 1 - below])
                _paint_alive(alive, own, labels)
                alive.set_title(f"Points alive, {_written(at)}")

    swept = any(label.is_variant for label in labels)
    notes = [
        "Validation score of each point's first member on the first window, where the search asks for its points "
        "(lower is better; failed fits are left out), and the best so far"
        + ("; variants are coloured from dark to light in the order of the sweep. " if swept else ". ")
        + (
            "Alive: points fitted in a window, of all variants together."
            if dropping
            else "All went on to every window."
        )
    ]
    return draw(f"search-{family}", f"Search history of {family}", 2.3 * rows, paint, notes)


def _paint_scores(axes: Axes, own: pd.DataFrame, labels: list[Label]) -> None:
    first = own[own["window"] == own["window"].min()]
    for model, points in first.groupby("model", sort=False):
        points = points[points["validation_score"].abs() < float("inf")].sort_values("point")
        colour = style_of(Label.read(str(model)), labels)["color"]
        dots(axes, points["point"], points["validation_score"], 3.6, colour)
        best = points["validation_score"].cummin()
        axes.step(points["point"], best, where="post", color=colour, linewidth=0.9)
    axes.set_xlabel("point")
    axes.set_ylabel("validation score")
    whole_axis(axes)
    plain_axis(axes)


def _paint_alive(axes: Axes, own: pd.DataFrame, labels: list[Label]) -> None:
    alive = own.groupby("window").size()
    colour = style_of(Label.read(labels[0].family), labels)["color"]
    axes.step(alive.index, alive, where="mid", color=colour)
    axes.set_ylim(bottom=0, top=1.08 * alive.max())
    axes.set_xlabel("window")
    axes.set_ylabel("points")
    whole_axis(axes)
    whole_axis(axes, axis="y")


def _loss_figure(contents: Contents, family: str, variants: list[Label], name: str) -> Figure:
    trials = contents.trials
    selected = trials[trials["selected"] & (trials["status"] == "ok")]
    parts = {"train_loss": "Training loss", "validation_score": "Validation score"}
    if selected.loc[families_of(selected["model"]) == family, "train_loss"].isna().all():
        del parts["train_loss"]
    searches = searches_of(contents, family)
    columns = min(len(searches), _COLUMNS) if len(searches) > 1 else 2
    count = len(parts) * len(searches)

    def paint(canvas: Canvas) -> None:
        every = grid_of(canvas, count, min(columns, count))
        for row, (part, title) in enumerate(parts.items()):
            for column, at in enumerate(searches):
                axes = every[row * len(searches) + column]
                horizon, tau = at
                level = selected["tau"].isna() if tau is None else selected["tau"] == tau
                own = selected[(selected["horizon"] == horizon) & level]
                means = own.groupby("model")[part].mean()
                points: dict[float, list[float]] = {}
                for label in variants:
                    if label.full in means:
                        points.setdefault(label.value(name) or 0.0, []).append(float(means[label.full]))
                xs = sorted(points)
                for x in xs:
                    axes.scatter([x] * len(points[x]), points[x], s=16, color=INK, linewidths=0, zorder=3)
                axes.plot(xs, [sum(points[x]) / len(points[x]) for x in xs], color=INK, linewidth=1.0)
                axes.set_title(f"{title}, {_written(at)}")
                axes.set_xlabel(sign(name))
                axes.margins(y=0.12)
                plain_axis(axes)
                plain_axis(axes, axis="x")

    notes = ["Of the selected points, mean over windows and members; the validation score is what selection compares."]
    if "train_loss" in parts:
        notes[0] += (
            " The training loss is what is minimised, with dropout, in the last epoch; the levels of the two are not "
            "comparable"
            + (", and λ decides how it weighs return and consensus." if name == "consensus_weight" else ".")
        )
    return draw(
        f"losses-{family}-{name}",
        f"Losses of {family} against {sign(name)}",
        2.2 * -(-count // columns),
        paint,
        notes,
    )


def _written(at: Search) -> str:
    horizon, tau = at
    return f"h = {horizon}" if tau is None else f"h = {horizon}, τ = {tau:g}"

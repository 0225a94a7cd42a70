"""The figures of the search: scores by point, points alive by window, and losses against what is swept."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas

from factor_ray.report.contents import Contents
from factor_ray.report.drawing import INK, Figure, draw, grid_of, plain_axis, style_of, whole_axis
from factor_ray.report.labels import Label, sign, swept_numbers
from factor_ray.report.search import family_trials, is_searched


def search_figures(contents: Contents) -> list[Figure]:
    """Draw each searched family's validation scores by point, and how many points live on in each window."""
    found = []
    for family in contents.families():
        trials = {h: family_trials(contents, family, h) for h in contents.horizons}
        trials = {h: own[own["member"] == 0] for h, own in trials.items() if not own.empty}
        if trials and is_searched(pd.concat(trials.values())):
            found.append(_search_figure(contents, family, trials))
    return found


def loss_figures(contents: Contents) -> list[Figure]:
    """Draw the training and the validation loss of selected points against each swept number."""
    found = []
    for family, labels in contents.families().items():
        for name in swept_numbers(labels):
            found.append(_loss_figure(contents, family, [label for label in labels if label.is_variant], name))
    return found


def _search_figure(contents: Contents, family: str, trials: dict[int, pd.DataFrame]) -> Figure:
    labels = contents.families()[family]

    def paint(canvas: Canvas) -> None:
        columns = len(trials) if len(trials) > 1 else 2
        every = grid_of(canvas, 2 * len(trials), columns)
        for column, (horizon, own) in enumerate(trials.items()):
            scores, alive = every[column], every[len(trials) + column]
            _paint_scores(scores, own, labels)
            _paint_alive(alive, own, labels)
            scores.set_title(f"First window, h = {horizon}")
            alive.set_title(f"Points alive, h = {horizon}")

    swept = any(label.is_variant for label in labels)
    notes = [
        "Validation score of each point's first member on the first window, where the search asks for its points "
        "(lower is better; failed fits are left out), and the best so far"
        + ("; variants are coloured from dark to light in the order of the sweep. " if swept else ". ")
        + "Alive: points fitted in a window, of all variants together."
    ]
    return draw(f"search-{family}", f"Search history of {family}", 2.3 * (2 if len(trials) > 1 else 1), paint, notes)


def _paint_scores(axes: Axes, own: pd.DataFrame, labels: list[Label]) -> None:
    first = own[own["window"] == own["window"].min()]
    for model, points in first.groupby("model", sort=False):
        points = points[points["validation_score"].abs() < float("inf")].sort_values("point")
        colour = style_of(Label.read(str(model)), labels)["color"]
        axes.scatter(points["point"], points["validation_score"], s=13, color=colour, linewidths=0, zorder=3)
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

    def paint(canvas: Canvas) -> None:
        columns = len(contents.horizons) if len(contents.horizons) > 1 else 2
        every = grid_of(canvas, len(parts) * len(contents.horizons), columns)
        for row, (part, title) in enumerate(parts.items()):
            for column, horizon in enumerate(contents.horizons):
                axes = every[row * len(contents.horizons) + column]
                own = selected[selected["horizon"] == horizon]
                means = own.groupby("model")[part].mean()
                points: dict[float, list[float]] = {}
                for label in variants:
                    if label.full in means:
                        points.setdefault(label.value(name) or 0.0, []).append(float(means[label.full]))
                xs = sorted(points)
                for x in xs:
                    axes.scatter([x] * len(points[x]), points[x], s=16, color=INK, linewidths=0, zorder=3)
                axes.plot(xs, [sum(points[x]) / len(points[x]) for x in xs], color=INK, linewidth=1.0)
                axes.set_title(f"{title}, h = {horizon}")
                axes.set_xlabel(sign(name))
                axes.margins(y=0.12)
                plain_axis(axes)
                plain_axis(axes, axis="x")

    notes = [
        "Of the selected points, mean over windows and members. The training loss is what is minimised, with dropout, "
        "in the last epoch; the validation score is what selection compares. Their levels are not comparable"
        + (", and λ decides how the training loss weighs return and consensus." if name == "consensus_weight" else ".")
    ]
    return draw(
        f"losses-{family}-{name}",
        f"Losses of {family} against {sign(name)}",
        2.2 * (2 if len(contents.horizons) > 1 else 1),
        paint,
        notes,
    )

"""A search beside another: each ends as it would alone, and only the first one's variants are selected."""

from __future__ import annotations

import math

import pytest

from factor_ray.errors import WorkError
from factor_ray.models.base import Hyperparameters, free
from factor_ray.runner.beside import search_beside
from factor_ray.runner.search import Request, Search, Selection, search_forward
from factor_ray.runner.settings import SearchSettings
from factor_ray.runner.space import Range, Space


class Toy(Hyperparameters):
    """Hyperparameters of no model."""

    rate: float = free(0.5, "step", ge=0, le=1)
    weight: float = free(0.0, "penalty", ge=0)


def search(weights: list[float], **given: object) -> Search:
    spaces = {f"toy[weight={w:g}]": Space(Toy, {"weight": w}, {"rate": Range(uniform=(0, 1))}) for w in weights}
    settings = SearchSettings.model_validate({"points": 6, "round": 3, "refresh": 1, "survivors": 2, **given})
    return search_forward(spaces, 4, settings, 2, seed=5)


def score(request: Request) -> float:
    """Lower for smaller weights, so that what lacks something is better in every window."""
    return request.point.settings.weight + abs(request.point.settings.rate - 0.2 * request.window)  # type: ignore[attr-defined]


def drive(search: Search) -> Selection:
    asked = next(search)
    try:
        while True:
            assert len(set(asked)) == len(asked)
            asked = search.send({request: score(request) for request in asked})
    except StopIteration as stop:
        return stop.value


@pytest.mark.parametrize("given", [{}, {"pruner": "none"}, {"selection": "global"}])
def test_each_search_ends_as_it_would_alone_and_the_first_selects(given):
    full, lacking = [1.0, 2.0], [0.0, 0.5]
    alone, other = drive(search(full, **given)), drive(search(lacking, **given))
    found = drive(search_beside(search(full, **given), search(lacking, **given)))
    assert found.points == {**alone.points, **other.points}
    assert found.scores == {**alone.scores, **other.scores}
    assert found.best == alone.best == ["toy[weight=1]"] * 4
    assert other.best == ["toy[weight=0]"] * 4


@pytest.mark.parametrize("long_first", [True, False])
def test_one_may_end_before_the_other(long_first):
    def pair() -> list[Search]:
        return [search([0.0], points=1, refresh=0), search([1.0], points=9)][:: -1 if long_first else 1]

    alone = [drive(own) for own in pair()]
    found = drive(search_beside(*pair()))
    assert found.scores == {**alone[0].scores, **alone[1].scores}
    assert found.best == alone[0].best


def test_an_ablation_that_never_converges_ends_the_run_with_its_name():
    running = search_beside(search([1.0], points=1), search([0.0], points=1))
    scores = {r: score(r) if r.point.variant == "toy[weight=1]" else math.inf for r in next(running)}
    with pytest.raises(WorkError, match=r"^every point of toy\[weight=0\] diverged in window 1"):
        running.send(scores)

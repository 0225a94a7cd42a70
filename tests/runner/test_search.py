"""The search: a pure function of scores. No order of answering and no later window changes what it selects."""

import hashlib
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from factor_ray.errors import WorkError
from factor_ray.models.base import Hyperparameters, free
from factor_ray.runner.search import Request, Selection, planned_fits, search_forward
from factor_ray.runner.settings import SearchSettings
from factor_ray.runner.space import Range, Space

Score = Callable[[Request], float]


class Toy(Hyperparameters):
    """Hyperparameters of no model."""

    rate: float = free(0.5, "step", ge=0, le=1)
    weight: float = free(0.0, "penalty", ge=0)


def spaces(variants: int = 1, *, searched: bool = True) -> dict[str, Space]:
    ranges = {"rate": Range(uniform=(0, 1))} if searched else {}
    return {f"toy[weight={k}]": Space(Toy, {"weight": float(k)}, ranges) for k in range(variants)}


def noise(*parts: object) -> float:
    return int.from_bytes(hashlib.blake2b(repr(parts).encode(), digest_size=4).digest(), "big") / 2**32


def score(request: Request) -> float:
    """A score that differs from window to window and from member to member."""
    return noise(request.window, request.point.settings.model_dump(), request.member)


def run(
    answer: Score = score, *, variants=1, windows=4, members=3, seed=5, searched=True, reverse=False, **given: object
) -> tuple[Selection, list[list[Request]]]:
    """Drive a search to its end; return the selection and what was asked, batch by batch."""
    search = search_forward(
        spaces(variants, searched=searched), windows, SearchSettings.model_validate(given), members, seed
    )
    asked = [next(search)]
    try:
        while True:
            order = reversed(asked[-1]) if reverse else asked[-1]
            asked.append(search.send({request: answer(request) for request in order}))
    except StopIteration as stop:
        return stop.value, asked


SETTINGS = st.fixed_dictionaries(
    {
        "points": st.integers(1, 9),
        "round": st.integers(1, 9),
        "refresh": st.integers(0, 2),
        "pruner": st.sampled_from(["halving", "none"]),
        "survivors": st.integers(1, 4),
        "selection": st.just("per_window"),
    }
)


@settings(max_examples=10, deadline=None)
@given(SETTINGS, st.integers(1, 3), st.integers(1, 3))
def test_the_order_of_answers_decides_nothing(given_settings, variants, windows):
    first = run(variants=variants, windows=windows, **given_settings)
    second = run(variants=variants, windows=windows, reverse=True, **given_settings)
    assert first == second
    assert list(first[0].scores) == list(second[0].scores)


def test_points_are_asked_in_rounds_and_told_together():
    _, asked = run(points=7, round=3, windows=1, members=1)
    assert [[request.point.number for request in batch] for batch in asked] == [[0, 1, 2], [3, 4, 5], [6]]
    assert len({request.point.settings.rate for batch in asked for request in batch}) == 7


def test_a_later_round_depends_on_the_scores_of_earlier_ones():
    def towards(target: float) -> Score:
        return lambda request: abs(request.point.settings.rate - target)

    def near(target: float) -> list[list[Request]]:
        return run(towards(target), points=8, round=4, windows=1, members=1)[1]

    low, high = near(0.1), near(0.9)
    assert low[0] == high[0]
    rates = [np.mean([request.point.settings.rate for request in asked[1]]) for asked in (low, high)]
    assert rates[0] < 0.5 < rates[1]


def test_three_scores_are_too_few_to_learn_from():
    def asked(sign: int) -> list[list[Request]]:
        return run(lambda request: sign * request.point.settings.rate, points=6, round=3, windows=1, members=1)[1]

    assert asked(1) == asked(-1)


def test_variants_and_seeds_have_the_first_points_that_they_should():
    _, asked = run(variants=3, points=4, round=4, windows=1, members=1)
    rates = [[r.point.settings.rate for r in asked[0] if r.point.settings.weight == k] for k in range(3)]
    assert rates[0] == rates[1] == rates[2]
    assert run(points=4, round=4, windows=1, seed=6)[1][0] != run(points=4, round=4, windows=1, seed=5)[1][0]


def test_a_space_without_ranges_has_one_point():
    selection, asked = run(searched=False, variants=2, points=16, round=4, refresh=3, windows=3, members=2)
    fitted = {request for batch in asked for request in batch}
    assert fitted == set(selection.scores)
    assert len(fitted) == 2 * 3 * 2
    assert {request.point.number for request in fitted} == {0}


def test_halving_keeps_the_better_half_and_at_least_the_survivors():
    selection, _ = run(points=16, round=16, survivors=3, windows=6, members=1)
    fitted = [[request.point for request in selection.scores if request.window == w] for w in range(6)]
    assert [len(points) for points in fitted] == [16, 8, 4, 3, 3, 3]
    for w in range(5):
        mean = {
            point: sum(selection.scores[Request(v, point, 0)] for v in range(w + 1)) / (w + 1) for point in fitted[w]
        }
        kept, dropped = fitted[w + 1], set(fitted[w]) - set(fitted[w + 1])
        assert all(mean[point] <= mean[other] for point in kept for other in dropped)
    assert [point.number for point in fitted[1]] == sorted(point.number for point in fitted[1])


def test_once_nothing_can_join_or_leave_all_further_windows_are_asked_for_at_once():
    assert [len(asked) for asked in run(points=16, round=16, pruner="none", members=1)[1]] == [16, 48]
    assert [len(asked) for asked in run(points=8, round=8, survivors=3, members=1)[1]] == [8, 4, 6]
    assert [len(asked) for asked in run(points=2, refresh=1, survivors=1, members=1)[1]] == [2, 2, 2, 2]
    later = run(points=6, pruner="none", windows=5)[0]
    for windows in range(1, 5):
        early = run(points=6, pruner="none", windows=windows)[0]
        assert early.points == {variant: listed[:windows] for variant, listed in later.points.items()}


class Stepped(Hyperparameters):
    """Hyperparameters of a model that says what is simple."""

    simpler_by = ("factors", "order")

    factors: int = free(1, "factors", ge=1)
    order: int = free(2, "order", ge=2)
    ridge: float = free(0.0, "ridge", ge=0)


def stepped(answer: Score, **given: object) -> Selection:
    ranges = {"factors": Range(integer=(1, 3)), "order": Range(choice=(2, 3)), "ridge": Range(choice=(0.0, 1.0))}
    search = search_forward(
        {"stepped": Space(Stepped, {}, ranges)}, 2, SearchSettings.model_validate({"pruner": "none", **given}), 1, 0
    )
    try:
        requests = next(search)
        while True:
            requests = search.send({request: answer(request) for request in requests})
    except StopIteration as stop:
        return stop.value


def test_a_space_of_few_points_is_explored_whole():
    asked = [r.point.settings.model_dump() for r in stepped(score, points=12).scores if r.window == 0]
    assert [(p["factors"], p["order"], p["ridge"]) for p in asked] == [
        (factors, order, ridge) for factors in (1, 2, 3) for order in (2, 3) for ridge in (0.0, 1.0)
    ]
    sampled = [r.point.settings for r in stepped(score, points=11).scores if r.window == 0]
    assert len(sampled) == 11


@pytest.mark.parametrize(
    ("tolerance", "chosen"), [(0.0, (3, 3, 1.0)), (0.05, (2, 2, 1.0)), (0.2, (1, 2, 0.0)), (9.0, (1, 2, 0.0))]
)
def test_parsimony_takes_the_simplest_point_that_is_nearly_the_best_and_its_best_ridge(tolerance, chosen):
    loss = {(3, 3, 1.0): 1.0, (2, 2, 1.0): 1.02, (2, 2, 0.0): 1.03, (2, 3, 0.0): 1.01, (1, 2, 0.0): 1.1}

    def answer(request: Request) -> float:
        point = request.point.settings
        assert isinstance(point, Stepped)
        return loss.get((point.factors, point.order, point.ridge), 2.0)

    found = stepped(answer, points=12, tolerance=tolerance).points["stepped"][-1].settings
    assert tuple(found.model_dump().values()) == chosen


def test_refresh_asks_new_points_which_count_from_their_window_on():
    selection, _ = run(points=4, round=4, refresh=2, pruner="none", windows=3, members=1)
    numbers = [[request.point.number for request in selection.scores if request.window == w] for w in range(3)]
    assert numbers == [list(range(4)), list(range(6)), list(range(8))]

    def best_is(number: int) -> Score:
        return lambda request: 0.0 if request.point.number == number else 1.0

    selection, _ = run(best_is(5), points=4, round=4, refresh=2, pruner="none", windows=3, members=1)
    assert [point.number for point in selection.points["toy[weight=0]"]] == [0, 5, 5]


def test_each_window_takes_the_best_mean_so_far():
    table = {0: [1.0, 0.0, 3.0], 1: [2.0, 0.5, 0.0], 2: [0.0, 9.0, 9.0]}

    def answer(request: Request) -> float:
        return table[request.point.number][request.window]

    selection, _ = run(answer, points=3, round=3, windows=3, survivors=3, members=1)
    assert [point.number for point in selection.points["toy[weight=0]"]] == [2, 0, 1]
    selection, _ = run(answer, points=3, round=3, windows=3, survivors=3, members=1, selection="global")
    assert [point.number for point in selection.points["toy[weight=0]"]] == [1, 1, 1]


def test_the_best_variant_is_that_of_the_best_selected_point():
    def answer(request: Request) -> float:
        best = 1.0 if request.window < 2 else 0.0
        return abs(request.point.settings.weight - best) + request.point.number

    selection, _ = run(answer, variants=2, points=2, round=2, windows=5, members=1)
    # Means over the windows so far: 1, 1, 2/3, 1/2, 2/5 and 0, 0, 1/3, 1/2, 3/5; of equals the first is taken.
    assert selection.best == ["toy[weight=1]"] * 3 + ["toy[weight=0]"] * 2


@settings(max_examples=20, deadline=None)
@given(SETTINGS, st.integers(1, 3), st.integers(0, 3), st.randoms(use_true_random=False))
def test_no_selection_looks_ahead(given_settings, variants, window, random):
    """What is fitted, asked and selected up to a window is the same whatever later windows say."""

    def changed(request: Request) -> float:
        return score(request) if request.window <= window else random.choice([random.random(), 100.0, math.nan])

    def safe(request: Request) -> float:
        return 0.5 if math.isnan(found := changed(request)) else found

    before, _ = run(variants=variants, windows=5, **given_settings)
    after, _ = run(safe, variants=variants, windows=5, **given_settings)
    assert before.best[: window + 1] == after.best[: window + 1]
    for variant, points in before.points.items():
        assert points[: window + 1] == after.points[variant][: window + 1]
    early = [request for request in before.scores if request.window <= window and request.member == 0]
    assert early == [request for request in after.scores if request.window <= window and request.member == 0]


def test_global_selection_looks_ahead():
    def late(request: Request) -> float:
        return float(request.point.number) if request.window < 3 else 100.0 * (3 - request.point.number)

    honest, _ = run(late, points=3, round=3, survivors=3, members=2)
    ahead, asked = run(late, points=3, round=3, survivors=3, members=2, selection="global")
    assert [point.number for point in honest.points["toy[weight=0]"]] == [0, 0, 0, 2]
    assert [point.number for point in ahead.points["toy[weight=0]"]] == [2, 2, 2, 2]
    assert {r.window for r in asked[-1]} == {0, 1, 2, 3}
    assert {r.member for r in asked[-1]} == {1}


def test_global_selection_fits_the_chosen_point_where_it_was_not_fitted_yet():
    def answer(request: Request) -> float:
        return 0.0 if request.point.number == 3 else 1.0

    selection, _ = run(answer, points=2, round=2, refresh=1, windows=3, members=2, pruner="none", selection="global")
    assert [point.number for point in selection.points["toy[weight=0]"]] == [3, 3, 3]
    chosen = selection.points["toy[weight=0]"][0]
    assert all(Request(w, chosen, member) in selection.scores for w in range(3) for member in range(2))


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(0, 23)), st.sampled_from([math.inf, math.nan]))
def test_what_failed_is_never_selected_while_another_did_not(failed, failure):
    def answer(request: Request) -> float:
        return failure if request.window * 6 + request.point.number in failed else score(request)

    none_left = next((w for w in range(4) if {w * 6 + number for number in range(6)} <= failed), None)
    if none_left is not None:
        with pytest.raises(WorkError, match=rf"every point of toy\[weight=0\] diverged in window {none_left + 1}: "):
            run(answer, points=6, round=3, windows=4, members=1, pruner="none")
        return
    selection, _ = run(answer, points=6, round=3, windows=4, members=1, pruner="none")
    for window, point in enumerate(selection.points["toy[weight=0]"]):
        assert window * 6 + point.number not in failed


@pytest.mark.parametrize("window", [0, 2])
def test_when_all_points_of_a_window_failed_it_is_named(window):
    with pytest.raises(WorkError, match=rf"every point of toy\[weight=1\] diverged in window {window + 1}: lower its"):
        run(
            lambda r: math.inf if r.window == window and r.point.settings.weight == 1 else score(r),
            variants=2,
            points=3,
            round=3,
        )


def test_the_selected_points_other_members_are_asked_last_and_once():
    selection, asked = run(variants=2, points=4, round=4, windows=3, members=3)
    others = [request for batch in asked[:-1] for request in batch if request.member]
    assert others == []
    assert len(asked[-1]) == len(set(asked[-1])) == 2 * 3 * 2
    for variant, points in selection.points.items():
        for window, point in enumerate(points):
            assert point.variant == variant
            assert {r.member for r in asked[-1] if r.window == window and r.point == point} == {1, 2}


@settings(max_examples=40, deadline=None)
@given(SETTINGS, st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_planned_fits_are_the_fits(given_settings, variants, windows, members, searched):
    chosen = SearchSettings.model_validate(given_settings)
    selection, asked = run(variants=variants, windows=windows, members=members, searched=searched, **given_settings)
    requests = [request for batch in asked for request in batch]
    assert len(requests) == len(set(requests)) == len(selection.scores)
    fitted = [sum(request.window == window for request in requests) for window in range(windows)]
    assert planned_fits(variants, searched, windows, chosen, members) == fitted


@settings(max_examples=20, deadline=None)
@given(SETTINGS, st.integers(1, 4), st.booleans())
def test_a_global_selection_takes_no_more_fits_than_planned(given_settings, windows, searched):
    given_settings = {**given_settings, "selection": "global"}
    selection, _ = run(windows=windows, members=2, searched=searched, **given_settings)
    planned = planned_fits(1, searched, windows, SearchSettings.model_validate(given_settings), 2)
    for window in range(windows):
        assert sum(request.window == window for request in selection.scores) <= planned[window]

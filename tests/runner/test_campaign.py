"""The campaign: whoever fits what, when, in which company and after how many kills, the same cells say the same."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from toy_campaigns import RANGES, Killed, drive, experiment, outcome, start

from factor_ray import stages
from factor_ray.models import registry
from factor_ray.runner.fitting import Context, Pack, fit_packs
from factor_ray.runner.search import Request, Selection, planned_fits

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> tuple[list[Selection | None], dict[str, bytes]]:
    with pytest.MonkeyPatch.context() as patched:
        from factor_ray.models import registry

        patched.setitem(registry._OURS, "toy", "toy_model:Toy")
        campaign, inputs = start(experiment(), tmp_path_factory.mktemp("cells"), slots=1)
        drive(campaign, inputs, np.random.default_rng(0), slots=1)
        return outcome(campaign)


def test_a_campaign_fits_what_was_planned(tmp_path):
    chosen = experiment(models=[{"name": "toy", "search": {"penalty": RANGES["penalty"]}}])
    campaign, inputs = start(chosen, tmp_path)
    assert not campaign.finished
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    planned = sum(sum(planned_fits(1, True, len(ws), chosen.search, 2)) for ws in inputs.windows.values())
    assert (campaign.fitted, campaign.reused) == (planned, 0)
    assert campaign.take() is None
    for quest in campaign.quests:
        assert quest.selection is not None
        for request, score in quest.selection.scores.items():
            cell = quest.cells.name(request.window, request.point.settings, request.member)
            assert (
                campaign.store.read(cell).scores["selection"]
                == campaign.fit(quest, request).scores["selection"]
                == score
            )


@pytest.mark.parametrize("pack", ["auto", 1, 2, 100])
@pytest.mark.parametrize("slots", [1, 3, 16])
def test_packs_slots_and_order_of_completion_change_nothing(tmp_path, uninterrupted, pack, slots):
    chosen = experiment(search={**experiment().search.model_dump(), "pack": pack})
    campaign, inputs = start(chosen, tmp_path, slots=slots)
    drive(campaign, inputs, np.random.default_rng([slots, len(str(pack))]), slots=slots)
    assert outcome(campaign) == uninterrupted


def test_packs_are_of_one_shape_and_window_and_no_larger_than_asked(tmp_path, toy):
    campaign, inputs = start(experiment(search={**experiment().search.model_dump(), "pack": 2}), tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=3)
    assert max(toy.packs) == 2
    spread, inputs = start(experiment(search={"points": 8, "round": 8}), tmp_path / "spread", slots=4)
    sizes = []
    while (pack := spread.take()) is not None:
        sizes.append(len(pack))
    assert sum(sizes) == 16
    assert max(sizes) <= 2


@pytest.mark.parametrize("seed", range(4))
def test_kills_at_any_point_change_nothing_and_nothing_is_fitted_twice(tmp_path, uninterrupted, toy, seed):
    stream = np.random.default_rng(seed)
    kills = 0
    for _ in range(100):
        campaign, inputs = start(experiment(), tmp_path, slots=int(stream.integers(1, 4)))
        try:
            drive(campaign, inputs, stream, slots=2, packs=int(stream.integers(0, 6)))
            break
        except Killed:
            kills += 1
    assert kills > 3
    assert outcome(campaign) == uninterrupted
    distinct = {
        quest.cells.name(request.window, request.point.settings, request.member)
        for quest in campaign.quests
        if quest.selection is not None
        for request in quest.selection.scores
    }
    assert sum(toy.packs) == len(distinct)
    assert campaign.fitted + campaign.reused == len(distinct)


def test_a_finished_campaign_fits_nothing_again(tmp_path, uninterrupted, toy):
    campaign, inputs = start(experiment(), tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    fitted = campaign.fitted
    toy.packs.clear()
    again, _ = start(experiment(), tmp_path)
    assert again.finished
    assert (again.fitted, again.reused, toy.packs) == (0, fitted, [])
    assert outcome(again) == uninterrupted


def test_a_larger_search_and_ensemble_reuse_the_smaller_ones_cells(tmp_path, toy):
    small = experiment(search={"points": 3, "round": 3, "pruner": "none"}, ensemble={"members": 1})
    campaign, inputs = start(small, tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    first = campaign.fitted
    large = experiment(search={"points": 6, "round": 3, "pruner": "none"}, ensemble={"members": 2})
    campaign, inputs = start(large, tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    assert campaign.reused == first
    assert sum(toy.packs) == first + campaign.fitted


def test_ablations_are_planned_and_fitted_beside_the_full_model_and_never_selected(tmp_path):
    def entry(**more: Any) -> list[dict[str, Any]]:
        return [{"name": "toy", "penalty": 1e-2, "search": {"width": {"choice": [1, 2]}}, **more}]

    chosen = experiment(models=entry(ablations={"penalty": 1e4, "learns": "returns"}))
    (listed,) = chosen.models
    assert list(listed.spaces()) == ["toy", "toy[penalty=10000]", "toy[learns=returns]"]
    campaign, inputs = start(chosen, tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    alone, _ = start(experiment(models=entry()), tmp_path)
    assert alone.finished
    for quest, bare in zip(campaign.quests, alone.quests, strict=True):
        assert quest.selection is not None
        assert bare.selection is not None
        assert quest.selection.points["toy"] == bare.selection.points["toy"]
        assert quest.selection.best == ["toy"] * len(quest.windows)
        first = {v: quest.selection.scores[Request(0, p[0], 0)] for v, p in quest.selection.points.items()}
        assert min(first, key=lambda variant: first[variant]) == "toy[penalty=10000]"
    planned = [sum(stages.planned_cells(chosen, listed, windows)) for windows in inputs.windows.values()]
    bare_entry = experiment(models=entry()).models[0]
    assert planned == [
        3 * sum(stages.planned_cells(chosen, bare_entry, windows)) for windows in inputs.windows.values()
    ]


def test_the_time_that_is_left_counts_a_models_cells_by_what_its_own_have_taken(tmp_path, monkeypatch):
    monkeypatch.setitem(registry._OURS, "dear", "toy_model:Toy")
    clock = [0.0]
    monkeypatch.setattr("factor_ray.runner.campaign.monotonic", lambda: clock[0])
    models = [{"name": "toy", "search": RANGES}, {"name": "dear", "search": RANGES}]
    campaign, inputs = start(experiment(models=models, target={"horizon": 1}), tmp_path, slots=1)
    planned, took, fitted = {"toy": 50, "dear": 40}, {"toy": 0.1, "dear": 0.9}, {"toy": 0, "dear": 0}
    assert campaign.seconds_left(planned) is None
    out = [pack for pack in iter(campaign.take, None) if isinstance(pack, Pack)]
    assert [pack.model for pack in out] == sorted((pack.model for pack in out), reverse=True)
    for pack in out:
        fit_packs([pack], inputs, campaign.store, Context())
        for name, identity in zip(pack.cells, pack.identities, strict=True):
            fit = dataclasses.replace(campaign.store.read(name), seconds=took[pack.model])
            campaign.store.write(name, fit, identity)
        campaign.complete(pack)
        clock[0] += 7
        fitted[pack.model] += len(pack)
        each = took if fitted["dear"] else {"toy": 0.1, "dear": 0.1}  # a model without a fit is taken for the others
        work = sum(each[name] * (planned[name] - fitted[name]) for name in planned)
        done = sum(took[name] * fitted[name] for name in planned)
        assert campaign.seconds_left(planned) == pytest.approx(clock[0] * work / done)
    again, _ = start(experiment(models=models, target={"horizon": 1}), tmp_path, slots=1)
    assert again.seconds_left(planned) is None, "what was reused took no time"


def test_nothing_is_left_of_a_model_whose_searches_have_selected(tmp_path):
    campaign, inputs = start(experiment(), tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    assert campaign.seconds_left({"toy": 1000}) == 0


def test_corrupt_cells_are_told_set_aside_and_fitted_again(tmp_path, uninterrupted, toy):
    campaign, inputs = start(experiment(), tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    asked = list(campaign.quests[0].selection.scores)  # type: ignore[union-attr]
    broken = [
        campaign.quests[0].cells.name(request.window, request.point.settings, request.member)
        for request in (asked[0], asked[2], asked[-1])
    ]
    for name in broken:
        path = campaign.store.path(name)
        path.write_bytes(path.read_bytes()[:-3])
    toy.packs.clear()
    told: list[str] = []
    again, inputs = start(experiment(), tmp_path, warn=told.append)
    drive(again, inputs, np.random.default_rng(0), slots=2)
    assert sum(toy.packs) == again.fitted == len(told) == 3
    assert all("is truncated or not a cell" in sentence and "corrupt" in sentence for sentence in told)
    for name in broken:
        assert (tmp_path / "corrupt" / f"{name}.safetensors").exists()
        (tmp_path / "corrupt" / f"{name}.safetensors").unlink()
    assert outcome(again) == uninterrupted


def test_failed_points_are_stored_and_never_fitted_again(tmp_path, toy):
    chosen = experiment(models=[{"name": "toy", "search": {"fails": {"choice": [True, False]}}}])
    campaign, inputs = start(chosen, tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    failed = [
        request
        for quest in campaign.quests
        for request, score in quest.selection.scores.items()  # type: ignore[union-attr]
        if score == np.inf
    ]
    assert failed
    for quest in campaign.quests:
        for points in quest.selection.points.values():  # type: ignore[union-attr]
            assert not any(point.settings.fails for point in points)  # type: ignore[attr-defined]
    toy.packs.clear()
    again, _ = start(chosen, tmp_path)
    assert again.finished
    assert toy.packs == []

"""What we ask of Tune's insides: actors that outlive a round. Should Ray change them, runs grow slow and not wrong."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.execution.tune_controller import TuneController
from ray.tune.utils.object_cache import _ObjectCache

from factor_ray.errors import WorkError
from factor_ray.runner.tuning import _KeepActors, _PackSearch, _UntilDone


def test_every_slots_actor_is_kept_at_the_end_of_a_round() -> None:
    assert "_actor_cache" in inspect.getsource(TuneController.__init__)
    cache: Any = _ObjectCache()
    scheduler, trial = _KeepActors(2), SimpleNamespace(placement_group_factory="one cpu")
    for _ in range(3):
        scheduler.on_trial_add(SimpleNamespace(_actor_cache=cache), trial)
    assert [cache.cache_object("one cpu", actor) for actor in ("first", "second", "third")] == [True, True, False]
    assert list(cache.flush_cached_objects()) == []
    assert list(cache.flush_cached_objects(force_all=True)) == ["first", "second"]


def test_a_tune_without_that_cache_is_left_alone() -> None:
    _KeepActors(2).on_trial_add(SimpleNamespace(), SimpleNamespace(placement_group_factory="one cpu"))


def test_the_search_is_over_with_its_last_pack() -> None:
    campaign: Any = SimpleNamespace(finished=False, take=lambda: None)
    searcher = _PackSearch(campaign, bundle=False, on_progress=lambda _: None)
    search = _UntilDone(searcher, 2)
    search._total_samples = 10
    assert not search.is_finished()
    campaign.finished = True
    assert search.is_finished()
    assert search.next_trial() is None


def test_a_full_disk_is_told_in_the_workers_own_words_and_not_retried() -> None:
    campaign: Any = SimpleNamespace(finished=False, take=lambda: None)
    searcher = _PackSearch(campaign, bundle=False, on_progress=lambda _: None)
    searcher._out["trial"] = []
    searcher.on_trial_complete("trial", {"packs": 0, "stopped": "the disk is full"})
    assert isinstance(searcher.failure, WorkError)
    assert str(searcher.failure) == "the disk is full"
    assert searcher.done


@pytest.mark.parametrize("failure", [WorkError("status.json cannot be written"), ZeroDivisionError("a bug")])
def test_what_progress_raises_ends_the_search_and_not_the_trial(failure: Exception) -> None:
    """Tune would take it for the trial's failure and tell of the same trial again."""

    def on_progress(_: Any) -> None:
        raise failure

    campaign: Any = SimpleNamespace(finished=False, complete=lambda _: None, store=None)
    searcher = _PackSearch(campaign, bundle=False, on_progress=on_progress)
    searcher._out["trial"] = []
    searcher.on_trial_complete("trial", {"packs": 1})
    assert searcher.failure is failure
    assert searcher.done
    searcher.on_trial_complete("trial", error=True)
    assert searcher.failure is failure

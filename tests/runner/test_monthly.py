"""Models fitted month by month: all windows, searches and runs share the months' cells; selection is equation 10's."""

from __future__ import annotations

import dataclasses
import shutil
from functools import cache
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from factor_ray import stages
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.quantile_simulation import quantile_panel
from factor_ray.errors import InputError
from factor_ray.experiment import Experiment
from factor_ray.models.quantile import Scores, Setting, score_settings, select, step_one
from factor_ray.models.quantile.model_qcf import QCF, QCFSettings
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, MonthPack, Pack, fit_packs, pack_from
from factor_ray.runner.inputs import Inputs, month_digests
from factor_ray.runner.monthly import MonthlyFits
from factor_ray.tables import trials_frame

ASSETS, MONTHS, LENGTH = 24, 26, 10
FACTORS, ORDERS, RIDGES = (1, 2, 3), (2, 3), (1e-3, 1e-2)


@cache
def market(months: int = MONTHS) -> Panel:
    return quantile_panel(ASSETS, months, seed=1)


def experiment(**sections: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "quantiles",
        "data": {"source": "simulated_quantiles"},
        "preprocess": {"rank": False, "standardise": True},
        "target": {"quantiles": [0.3]},
        "windows": {"scheme": "rolling", "length": LENGTH, "validation": 1, "test": 1, "first_train_end": "2000-10"},
        "macro_state": {"kind": "none"},
        "models": [
            {
                "name": "qcf",
                "search": {
                    "factors": {"choice": FACTORS},
                    "order": {"choice": ORDERS},
                    "ridge": {"choice": RIDGES},
                },
            }
        ],
        "search": {"points": 12, "pruner": "none"},
        "ensemble": {"members": 3},
    }
    return Experiment.model_validate({**values, **sections})


def start(chosen: Experiment, root: Path, slots: int = 2, panel: Panel | None = None) -> tuple[Campaign, Inputs]:
    panel = panel or market()
    prepared = prepare(panel, chosen.preprocess)
    windows = stages.lay_windows(chosen, panel)
    targets = stages.targets_of(chosen, panel)
    store = CellStore(root)
    states = stages.macro_states(chosen.macro_state, prepared, windows, store, 0, pytest.fail)
    inputs = Inputs.of(prepared, targets, windows, states)
    digests = stages.digest_inputs(prepared, month_digests(prepared), targets)
    quests = stages.quests(chosen, inputs, digests)
    return Campaign(quests, store, slots=slots, pack=chosen.search.pack), inputs


class Killed(Exception):
    """The driver is gone."""


def drive(campaign: Campaign, inputs: Inputs, packs: float = np.inf, world: int = 1) -> int:
    """Fit what a campaign asks for, killed after some packs with the next one half done; return the packs."""
    count = 0
    while (pack := campaign.take()) is not None:
        if count >= packs:
            fit_packs([pack.share(0, 2)], inputs, campaign.store, Context())
            raise Killed
        for rank in range(world):
            fit_packs([pack], inputs, campaign.store, Context(rank, world))
        campaign.complete(pack)
        count += 1
    assert campaign.finished
    return count


def contents(campaign: Campaign) -> dict[str, tuple[dict[str, bytes], dict[str, float]]]:
    """Weights and scores of every cell; what it took to fit is another each time."""
    found = {}
    for file in sorted(campaign.store.root.rglob("*.safetensors")):
        fit = campaign.store.read(file.stem)
        found[file.stem] = ({name: own.tobytes() for name, own in fit.weights.items()}, dict(fit.scores))
    return found


def selected(campaign: Campaign) -> list[tuple[int, int, float]]:
    (quest,) = campaign.quests
    assert quest.selection is not None
    points = [point.settings for point in quest.selection.points["qcf"]]
    return [(p.factors, p.order, p.ridge) for p in points if isinstance(p, QCFSettings)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Campaign, Inputs]:
    campaign, inputs = start(experiment(), tmp_path_factory.mktemp("cells"))
    drive(campaign, inputs)
    return campaign, inputs


@pytest.mark.parametrize("tolerance", [0.0, 0.02])
def test_the_search_selects_what_equation_10_selects(tmp_path, tolerance):
    chosen = experiment(search={"points": 12, "pruner": "none", "tolerance": tolerance})
    campaign, inputs = start(chosen, tmp_path)
    drive(campaign, inputs)
    months = []
    for month in inputs.panel.months[:-1]:
        section = inputs.cross_section(1, int(month))
        assert section is not None
        months.append((section.x_NP, section.y_N))
    coefficients = step_one(months, 0.3, ORDERS, RIDGES)
    # One r at a time: of several, aligned windows may have their factors in another order than that of strength.
    parts = [score_settings(months, 0.3, coefficients, [r], first=LENGTH, window=LENGTH) for r in FACTORS]
    losses = np.concatenate([part.losses for part in parts], axis=1)
    scores = Scores(tuple(s for part in parts for s in part.settings), parts[0].months, losses)
    expected = [select(scores, before, tolerance=tolerance) for before in range(LENGTH + 1, MONTHS + 1)]
    assert selected(campaign) == [(s.factors, s.order, s.ridge) for s in expected]
    assert len(set(expected)) > 1
    (quest,) = campaign.quests
    assert quest.selection is not None
    for request, loss in quest.selection.scores.items():
        point = request.point.settings
        assert isinstance(point, QCFSettings)
        place = scores.settings.index(Setting(point.factors, point.order, point.ridge))
        assert loss == pytest.approx(scores.losses[request.window, place], rel=1e-9)


def test_what_is_fitted_is_every_month_once(finished):
    campaign, _ = finished
    assert (campaign.fitted, campaign.reused) == (MONTHS * len(ORDERS) * len(RIDGES), 0)
    windows = MONTHS - LENGTH
    assert len(contents(campaign)) == campaign.fitted + windows


def test_the_months_seconds_are_in_their_cells_and_known_to_whoever_reuses_them(finished, tmp_path):
    campaign, _ = finished
    ((key, seconds),) = campaign.months.items()
    assert key == ("qcf", 1)
    assert len(seconds) == campaign.fitted
    assert all(0 < campaign.store.read(name).seconds == own for name, own in seconds.items())
    side_by_side = len(ORDERS) * len(RIDGES)  # the settings of a month share its seconds
    assert len(set(seconds.values())) == campaign.fitted // side_by_side
    shutil.copytree(campaign.store.root, tmp_path, dirs_exist_ok=True)
    again, _ = start(experiment(), tmp_path)
    assert again.finished
    assert again.months == campaign.months


def test_a_run_fits_what_a_notebook_fits(finished):
    campaign, inputs = finished
    (quest,) = campaign.quests
    assert quest.selection is not None
    for window in (0, len(quest.windows) - 1):
        point = quest.selection.points["qcf"][window].settings
        view, dated = inputs.view(1, window), quest.windows[window]
        (fit,) = QCF.fit_pack([point], [0], view.train(dated), view.validation(dated), order_seed=0)
        stored = campaign.store.read(quest.cells.name(window, point, 0))
        assert stored.scores == fit.scores
        assert {n: w.tobytes() for n, w in stored.weights.items()} == {n: w.tobytes() for n, w in fit.weights.items()}


@pytest.mark.parametrize(("slots", "world", "pack"), [(1, 1, "auto"), (5, 2, "auto"), (2, 3, 1), (2, 1, 1000)])
def test_slots_ranks_and_packs_change_no_byte(finished, tmp_path, slots, world, pack):
    campaign, inputs = start(experiment(search={"points": 12, "pruner": "none", "pack": pack}), tmp_path, slots)
    drive(campaign, inputs, world=world)
    assert contents(campaign) == contents(finished[0])


def test_only_the_first_windows_months_are_fitted_before_points_have_survived_it(tmp_path):
    few = {"name": "qcf", "search": {"order": {"choice": ORDERS}, "ridge": {"choice": RIDGES}}}
    campaign, inputs = start(experiment(models=[few], search={"points": 4, "survivors": 1}), tmp_path)
    first: set[int] = set()
    while not first or campaign.fitted < (LENGTH + 1) * len(ORDERS) * len(RIDGES):
        pack = campaign.take()
        assert isinstance(pack, MonthPack)
        first |= set(pack.months)
        fit_packs([pack], inputs, campaign.store, Context())
        campaign.complete(pack)
    assert len(first) == LENGTH + 1
    assert drive(campaign, inputs) > 0
    later = MONTHS - LENGTH - 1
    assert campaign.fitted == (LENGTH + 1) * 4 + later * 2


def test_kills_lose_nothing_and_nothing_is_fitted_twice(finished, tmp_path):
    stored: dict[str, int] = {}
    for packs in range(40):
        campaign, inputs = start(experiment(), tmp_path, slots=3)
        try:
            drive(campaign, inputs, packs=packs % 3)
            break
        except Killed:
            times = {file.name: file.stat().st_mtime_ns for file in tmp_path.rglob("*.safetensors")}
            assert stored.items() <= times.items()
            stored = times
    assert packs > 3
    assert contents(campaign) == contents(finished[0])
    assert campaign.fitted + campaign.reused == finished[0].fitted


def fits_again(tmp_path: Path, finished: tuple[Campaign, Inputs], chosen: Experiment) -> int:
    """Count the months that another run fits beside the first one's cells."""
    root = tmp_path / "cells"
    shutil.copytree(finished[0].store.root, root, dirs_exist_ok=True)
    campaign, inputs = start(chosen, root)
    drive(campaign, inputs)
    return campaign.fitted


def test_other_windows_searches_seeds_and_factors_fit_no_month_again(finished, tmp_path):
    windows = {"scheme": "rolling", "length": 8, "validation": 2, "test": 3, "first_train_end": "2000-12"}
    assert fits_again(tmp_path, finished, experiment(windows=windows)) == 0
    expanding = {"scheme": "expanding", "validation": 1, "test": 1, "first_train_end": "2000-08"}
    assert fits_again(tmp_path, finished, experiment(windows=expanding)) == 0
    other = experiment(search={"points": 5, "seed": 9})
    assert fits_again(tmp_path, finished, other) == 0
    more = {"name": "qcf", "factors": 4, "recovery": "pure_powers", "search": {"ridge": {"choice": RIDGES}}}
    assert fits_again(tmp_path, finished, experiment(models=[more])) == 0
    ridge = {"name": "qcf", "order": 2, "ridge": 0.5}
    assert fits_again(tmp_path, finished, experiment(models=[ridge])) == MONTHS


def test_new_months_and_changed_months_are_all_that_is_fitted_again(tmp_path):
    chosen = experiment(models=[{"name": "qcf", "order": 2, "factors": 2}])
    long = quantile_panel(ASSETS, MONTHS, seed=1)
    short = long.between(int(long.months[0]), int(long.months[-4]))
    campaign, inputs = start(chosen, tmp_path, panel=short)
    drive(campaign, inputs)
    assert campaign.fitted == MONTHS - 3
    campaign, inputs = start(chosen, tmp_path, panel=long)
    drive(campaign, inputs)
    assert (campaign.fitted, campaign.reused) == (3, MONTHS - 3)
    rows = long.rows(int(long.months[5]), int(long.months[5]))
    x_NP = long.characteristics.copy()
    x_NP[rows] = x_NP[rows][::-1]
    campaign, inputs = start(chosen, tmp_path, panel=long.with_columns(characteristics=x_NP, consensus=long.consensus))
    drive(campaign, inputs)
    assert (campaign.fitted, campaign.reused) == (1, MONTHS - 1)


def test_months_without_targets_are_left_out_of_windows(tmp_path):
    frame = market().to_frame()
    gone = frame.groupby("month").ngroup() == 4
    frame.loc[gone, "return"] = np.nan
    panel = Panel.from_frame(
        frame, month="month", asset="asset", returns="return", characteristics=market().characteristic_names
    )
    chosen = experiment(models=[{"name": "qcf", "order": 2, "factors": 2}])
    campaign, inputs = start(chosen, tmp_path, panel=panel)
    drive(campaign, inputs)
    assert campaign.fitted == MONTHS - 1
    (quest,) = campaign.quests
    assert quest.selection is not None
    stored = campaign.store.read(quest.cells.name(0, quest.selection.points["qcf"][0].settings, 0))
    assert stored.weights["months"].tolist() == [0, 1, 2, *range(4, LENGTH + 1)]


def test_a_month_with_too_few_assets_is_named(tmp_path):
    sparse = {"name": "qcf", "order": 4, "ridge": 0.0}
    campaign, inputs = start(experiment(models=[sparse]), tmp_path, panel=quantile_panel(19, MONTHS, seed=1))
    with pytest.raises(InputError, match="2000-01 has 19 assets with a target, fewer than the 20 terms of order 4"):
        drive(campaign, inputs)


def test_more_factors_than_months_are_refused(tmp_path):
    campaign, inputs = start(experiment(models=[{"name": "qcf", "order": 3, "factors": LENGTH + 2}]), tmp_path)
    with pytest.raises(InputError, match="the 10 months from 2000-01 to 2000-10 that hold targets cannot give 12"):
        drive(campaign, inputs)


def test_trials_hold_every_score_and_the_cells_that_are_stored(finished):
    campaign, _ = finished
    trials = trials_frame(campaign)
    assert len(trials) == 12 * (MONTHS - LENGTH)
    assert trials["validation_score"].notna().all()
    kept = trials[trials["cell"].notna()]
    assert kept["selected"].all()
    assert all(campaign.store.has(cell) for cell in kept["cell"])
    assert set(trials["member"]) == {0}


def test_packs_travel_as_dicts(tmp_path):
    campaign, _ = start(experiment(), tmp_path)
    pack = campaign.take()
    assert isinstance(pack, MonthPack)
    assert pack_from(pack.to_dict()) == pack
    assert sorted([*pack.share(0, 2).cells, *pack.share(1, 2).cells]) == sorted(pack.cells)
    assert dataclasses.fields(Pack)


def test_one_levels_months_are_looked_up_while_anothers_scores_are_computed(tmp_path, monkeypatch):
    chosen = experiment(target={"quantiles": [0.3, 0.7]}, search={"points": 2, "pruner": "none"})
    campaign, inputs = start(chosen, tmp_path)
    drive(campaign, inputs)
    looked_up, scores, needed = Event(), MonthlyFits.scores, MonthlyFits.needed

    def slow_scores(self, requests):
        assert looked_up.wait(60)
        return scores(self, requests)

    def told_needed(self, requests):
        if requests[0].point.settings.tau == 0.7:
            looked_up.set()
        return needed(self, requests)

    monkeypatch.setattr(MonthlyFits, "scores", slow_scores)
    monkeypatch.setattr(MonthlyFits, "needed", told_needed)
    again, _ = start(chosen, tmp_path)
    assert again.finished
    assert again.fitted == 0
    assert [quest.selection for quest in again.quests] == [quest.selection for quest in campaign.quests]

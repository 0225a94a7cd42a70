"""The campaign: whoever fits what, when, in which company and after how many kills, the same cells say the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from factor_ray import stages
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.simulation import simulate
from factor_ray.experiment import Experiment
from factor_ray.models import registry
from factor_ray.runner.campaign import Campaign, CellNames
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, Pack, fit_packs
from factor_ray.runner.inputs import Digests, Inputs, month_digests
from factor_ray.runner.search import Request, Selection, planned_fits

pytestmark = pytest.mark.usefixtures("toy")

RANGES = {"penalty": {"log_uniform": [1e-3, 1e3]}, "width": {"choice": [1, 2]}}


@cache
def market(months: int = 44) -> Panel:
    return simulate(seed=3, slots=12, months=months, characteristics=9, consensus=2, macro_series=4).panel


def experiment(**sections: Any) -> Experiment:
    values: dict[str, Any] = {
        "name": "toys",
        "data": {"source": "simulated"},
        "target": {"horizon": [1, 3]},
        "windows": {"first_train_end": "1999-06", "validation": 6, "test": 6},
        "macro_state": {"kind": "pca", "dimension": 2},
        "models": [{"name": "toy", "search": RANGES}],
        "search": {"points": 6, "round": 3, "refresh": 1, "survivors": 2},
        "ensemble": {"members": 2},
    }
    return Experiment.model_validate({**values, **sections})


def inputs_of(
    chosen: Experiment, panel: Panel, store: CellStore, warn: Callable[[str], None] = pytest.fail
) -> tuple[Inputs, Digests]:
    prepared = prepare(panel, chosen.preprocess)
    windows = stages.lay_windows(chosen, panel)
    targets = stages.targets_of(chosen, panel)
    states = stages.macro_states(chosen.macro_state, prepared, windows, store, chosen.search.seed, warn)
    digests = stages.digest_inputs(prepared, month_digests(prepared), targets)
    return Inputs.of(prepared, targets, windows, states), digests


class Killed(Exception):
    """The driver is gone."""


def drive(campaign: Campaign, inputs: Inputs, stream: np.random.Generator, slots: int, packs: float = np.inf) -> None:
    """Fit what a campaign asks for; packs are completed in a random order. Killed after some, one half done."""
    out: list[Pack] = []
    while not campaign.finished:
        while len(out) < slots and (pack := campaign.take()) is not None:
            out.append(pack)
        done = out.pop(int(stream.integers(len(out))))
        if packs <= 0:
            fit_packs([done.share(0, 2)], inputs, campaign.store, Context())
            raise Killed
        packs -= 1
        fit_packs([done], inputs, campaign.store, Context())
        campaign.complete(done)


def start(chosen: Experiment, root: Path, slots: int = 2, **keywords: Any) -> tuple[Campaign, Inputs]:
    store = CellStore(root)
    inputs, digests = inputs_of(chosen, market(), store)
    quests = stages.quests(chosen, inputs, digests)
    return Campaign(quests, store, slots=slots, pack=chosen.search.pack, **keywords), inputs


def outcome(campaign: Campaign) -> tuple[list[Selection | None], dict[str, bytes]]:
    """What was selected, and the weights and scores of every cell that is stored."""
    found = {}
    for file in sorted(campaign.store.root.rglob("*.safetensors")):
        fit = campaign.store.read(file.stem)
        found[file.stem] = (
            b"".join(fit.weights[key].tobytes() for key in sorted(fit.weights)) + repr(fit.scores).encode()
        )
    return [quest.selection for quest in campaign.quests], found


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


def names(chosen: Experiment, panel: Panel, root: Path) -> dict[tuple[int, str], str]:
    """Name of one point's cell in each window of each horizon."""
    inputs, digests = inputs_of(chosen, panel, CellStore(root))
    settings = chosen.models[0].spaces()["toy"].settings()
    found = {}
    for horizon, windows in inputs.windows.items():
        cells = CellNames.of("toy", horizon, inputs, digests, chosen.search.seed)
        for w, window in enumerate(windows):
            found[horizon, str(window.test[0])] = cells.name(w, settings, 0)
    return found


PLAIN = {"models": [{"name": "toy"}]}


def rebuilt(change: Callable[[pd.DataFrame], pd.DataFrame], *, consensus: str = "consensus_0") -> Panel:
    panel = market()
    frame = change(panel.to_frame().rename(columns={"consensus_0": consensus}))
    return Panel.from_frame(
        frame,
        month="month",
        asset="asset",
        returns="return",
        market_cap="market_cap",
        characteristics=panel.characteristic_names,
        consensus=[consensus, "consensus_1"],
        macro=panel.macro,
    )


def test_months_that_are_appended_leave_old_windows_their_names(tmp_path):
    old, new = (names(experiment(**PLAIN), market(months), tmp_path) for months in (44, 53))
    assert len(new) > len(old)
    assert {place: new[place] for place in old} == old
    assert len(set(new.values())) == len(new)


def test_appended_months_fit_new_windows_only(tmp_path, toy, monkeypatch):
    campaign, inputs = start(experiment(), tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    old = {horizon: len(windows) for horizon, windows in inputs.windows.items()}
    toy.packs.clear()
    longer = market(53)
    monkeypatch.setattr("test_campaign.market", lambda: longer)
    again, inputs = start(experiment(), tmp_path)
    refitted = []
    while not again.finished:
        pack = again.take()
        assert pack is not None
        refitted.append((pack.horizon, pack.window))
        fit_packs([pack], inputs, again.store, Context())
        again.complete(pack)
    assert refitted
    assert all(window >= old[horizon] for horizon, window in refitted)


def test_a_copy_of_the_data_gives_the_same_names(tmp_path):
    plain = names(experiment(**PLAIN), market(), tmp_path)
    assert names(experiment(**PLAIN), rebuilt(lambda frame: frame.sample(frac=1, random_state=0)), tmp_path) == plain


@pytest.mark.parametrize("column", ["characteristic_3", "consensus_1", "return"])
def test_a_changed_value_renames_the_windows_that_read_it_and_no_others(tmp_path, column):
    # Without imputation no other month is touched.
    chosen, panel = experiment(**PLAIN, preprocess={"impute": "none"}), market()
    inputs, _ = inputs_of(chosen, panel, CellStore(tmp_path))
    plain = names(chosen, panel, tmp_path)
    month = inputs.windows[1][0].test[0] + 2

    def change(frame: pd.DataFrame) -> pd.DataFrame:
        span = panel.rows(month, month)
        frame.loc[frame.loc[span.start : span.stop - 1, column].idxmin(), column] = 5.0
        return frame

    changed = names(chosen, rebuilt(change), tmp_path)
    for horizon, windows in inputs.windows.items():
        targets = set(range(month - horizon, month)) if column == "return" else set()
        expected = []
        for window in windows:
            assert window.validation is not None
            spans = (window.train, window.validation)
            read = any(first <= t <= last for first, last in spans for t in targets)
            expected.append(read or window.train[0] <= month <= window.validation[1])
        places = [(horizon, str(window.test[0])) for window in windows]
        assert [changed[place] != plain[place] for place in places] == expected
        assert True in expected
        assert False in expected


@pytest.mark.parametrize(
    "other",
    [
        {"search": {"seed": 1}},
        {"macro_state": {"kind": "none"}},
        {"macro_state": {"kind": "pca", "dimension": 1}},
        {"preprocess": {"rank": False}},
        {"windows": {"first_train_end": "1999-06", "validation": 5, "test": 7}},
    ],
)
def test_other_settings_give_other_names(tmp_path, other):
    plain = names(experiment(**PLAIN), market(), tmp_path)
    assert not set(names(experiment(**PLAIN, **other), market(), tmp_path).values()) & set(plain.values())


@pytest.mark.parametrize(
    "other",
    [
        {"search": {"points": 9, "round": 2, "pack": 1, "pruner": "none"}},
        {"ensemble": {"members": 7, "weights": "greedy"}},
        {"compute": {"slots": 7}},
        {"portfolios": {"number": 3}},
        {"name": "other"},
    ],
)
def test_settings_that_no_fit_reads_give_the_same_names(tmp_path, other):
    plain = names(experiment(**PLAIN), market(), tmp_path)
    assert names(experiment(**PLAIN, **other), market(), tmp_path) == plain


def test_names_tell_hyperparameters_members_versions_and_variables_apart(tmp_path, toy, monkeypatch):
    chosen = experiment(**PLAIN)
    inputs, digests = inputs_of(chosen, market(), CellStore(tmp_path))
    cells = CellNames.of("toy", 1, inputs, digests, 0)
    settings = toy.Settings()
    found = [
        cells.name(0, settings, 0),
        cells.name(0, settings, 1),
        cells.name(1, settings, 0),
        cells.name(0, toy.Settings(penalty=2.0), 0),
        cells.name(0, toy.Settings(width=2), 0),
        CellNames.of("toy", 3, inputs, digests, 0).name(0, settings, 0),
        CellNames.of("toy", 1, inputs, dataclasses.replace(digests, names="other"), 0).name(0, settings, 0),
    ]
    monkeypatch.setattr(toy, "version", 2)
    found.append(dataclasses.replace(cells).name(0, settings, 0))  # names are kept; a copy knows none
    renamed = names(chosen, rebuilt(lambda frame: frame, consensus="dispersion"), tmp_path)
    assert not set(renamed.values()) & set(names(chosen, market(), tmp_path).values())
    assert len(set(found)) == len(found)


def test_macro_series_of_later_months_rename_nothing(tmp_path):
    panel = market()
    assert panel.macro is not None
    plain = names(experiment(**PLAIN), panel, tmp_path)
    values = panel.macro.values.copy()
    values[-1] += 1
    last = dataclasses.replace(panel, macro=dataclasses.replace(panel.macro, values=values))
    assert names(experiment(**PLAIN), last, tmp_path) == plain
    values = panel.macro.values.copy()
    values[3] += 1
    early = dataclasses.replace(panel, macro=dataclasses.replace(panel.macro, values=values))
    assert not set(names(experiment(**PLAIN), early, tmp_path).values()) & set(plain.values())


@pytest.mark.parametrize(
    "kind", [{"kind": "pca", "dimension": 2}, {"kind": "autoencoder", "dimension": 2, "hidden": [4], "epochs": 5}]
)
def test_a_corrupt_macro_state_is_fitted_again_to_the_same_bytes(tmp_path, kind):
    chosen, store = experiment(**PLAIN, macro_state=kind), CellStore(tmp_path)
    inputs, _ = inputs_of(chosen, market(), store)
    files = sorted(tmp_path.rglob("*.safetensors"))
    before = {file: file.read_bytes() for file in files}
    files[0].write_bytes(b"broken")
    told: list[str] = []
    again, _ = inputs_of(chosen, market(), store, warn=told.append)
    assert len(told) == 1
    for horizon, states in inputs.states.items():
        for first, second in zip(states, again.states[horizon], strict=True):
            assert np.array_equal(first, second)
    assert files[0].read_bytes() == before[files[0]]

"""Names of cells: whatever a fit reads is in them, and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_campaigns import drive, experiment, inputs_of, market, start

from factor_ray.data.panel import Panel
from factor_ray.experiment import Experiment
from factor_ray.runner.campaign import CellNames
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, fit_packs

pytestmark = pytest.mark.usefixtures("toy")


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


def test_appended_months_fit_new_windows_only(tmp_path, toy):
    campaign, inputs = start(experiment(), tmp_path)
    drive(campaign, inputs, np.random.default_rng(0), slots=2)
    old = {horizon: len(windows) for horizon, windows in inputs.windows.items()}
    toy.packs.clear()
    again, inputs = start(experiment(), tmp_path, months=53)
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

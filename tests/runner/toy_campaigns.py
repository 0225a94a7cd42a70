"""Campaigns of the toy model on a small simulated market."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factor_ray import stages
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import prepare
from factor_ray.data.simulation import simulate
from factor_ray.experiment import Experiment
from factor_ray.runner.campaign import Campaign
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Context, Pack, fit_packs
from factor_ray.runner.inputs import Digests, Inputs, month_digests
from factor_ray.runner.search import Selection

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


def start(chosen: Experiment, root: Path, slots: int = 2, months: int = 44, **keywords: Any) -> tuple[Campaign, Inputs]:
    store = CellStore(root)
    inputs, digests = inputs_of(chosen, market(months), store)
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

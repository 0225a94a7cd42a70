"""Shards prepare in parallel what is prepared at once, to the bit."""

import numpy as np
import pytest

from factor_ray.data.prepare import prepare
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.simulation import simulate
from factor_ray.data.universe import Universe
from factor_ray.runner.cluster import cluster
from factor_ray.runner.inputs import month_digests
from factor_ray.runner.settings import ComputeSettings
from factor_ray.runner.shards import prepare_in_shards

PANEL = simulate(slots=40, months=36).panel
JUDGED = (int(PANEL.months[0]), int(PANEL.months[20]))
CHOSEN = [
    Preprocess(),
    Preprocess(
        universe=Universe(min_cap_percentile=30, min_history=3), impute="paper", screen="paper", consensus="impute"
    ),
]


@pytest.fixture(scope="module", autouse=True)
def _ray():
    with cluster(ComputeSettings(slots=2)):
        yield


@pytest.mark.parametrize("chosen", CHOSEN, ids=["defaults", "paper"])
@pytest.mark.parametrize("shards", [1, 3])
def test_shards_give_the_bits_of_the_whole(chosen, shards):
    whole = prepare(PANEL, chosen, judged=JUDGED)
    found, digests = prepare_in_shards(PANEL, chosen, shards, JUDGED)
    np.testing.assert_array_equal(found.assets, whole.assets)
    for name in ("month", "return", "market_cap"):
        assert found.values(name).tobytes() == whole.values(name).tobytes()
    assert found.characteristics.tobytes() == whole.characteristics.tobytes()
    assert found.consensus.tobytes() == whole.consensus.tobytes()
    assert found.preparation == whole.preparation
    assert found.prepared == whole.prepared
    assert found.characteristic_names == whole.characteristic_names
    np.testing.assert_array_equal(found.months, PANEL.months)
    assert found.macro is PANEL.macro
    assert digests == month_digests(whole)


def test_months_that_are_appended_leave_the_digests_of_earlier_ones_as_they_are():
    longer = simulate(slots=40, months=48).panel
    _, early = prepare_in_shards(PANEL, Preprocess(), 2, JUDGED)
    _, late = prepare_in_shards(longer, Preprocess(), 3, JUDGED)
    assert late[: len(early)] == early

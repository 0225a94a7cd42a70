"""A member's bits do not depend on its companions, on the stack's order or on the number of threads."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from factor_ray.data.sample import Sample
from factor_ray.models.cbapm import CBAPM, CBAPMSettings


def sample(rows: int, *, seed: int = 0, characteristics: int = 7, states: int = 2, variables: int = 3) -> Sample:
    rng = np.random.default_rng(seed)
    x_NP = rng.uniform(-1, 1, (rows, characteristics)).astype(np.float32)
    month_N = np.sort(rng.integers(0, 12, rows)).astype(np.int32)
    z_Td = rng.standard_normal((12, states)).astype(np.float32)
    c_NC = np.tanh(x_NP[:, :variables] + 0.3 * rng.standard_normal((rows, variables))).astype(np.float32)
    y_N = (0.05 * x_NP[:, 0] + 0.05 * rng.standard_normal(rows)).astype(np.float32)
    c_NC[rng.random(c_NC.shape) < 0.2] = np.nan
    y_N[rng.random(rows) < 0.1] = np.nan
    arrays = (x_NP, month_N, z_Td, y_N, c_NC)
    for array in arrays:
        array.setflags(write=False)
    return Sample(*arrays)


TRAIN, VALIDATION = sample(611), sample(203, seed=1)


def equal(a, b) -> bool:
    same = a.weights.keys() == b.weights.keys() and all(np.array_equal(a.weights[k], b.weights[k]) for k in a.weights)
    scores = np.array_equal(list(a.scores.values()), list(b.scores.values()), equal_nan=True)
    histories = all(np.array_equal(a.history[k], b.history[k], equal_nan=True) for k in a.history)
    return same and scores and histories and a.status == b.status


@pytest.mark.parametrize(("hidden", "batch_size"), [((64, 32), 200), ((13, 5), 97), ((7,), 33), ((3, 17, 9), 611)])
def test_a_member_is_the_same_bits_in_every_company(hidden, batch_size):
    def point(**free):
        return CBAPMSettings(hidden=hidden, batch_size=batch_size, epochs=5, patience=2, warm_up=1, **free)

    companions = [
        (point(learning_rate=0.3, weight_decay=0.0), 5),  # an early leaver
        (point(consensus_weight=0.0, dropout=0.0), 7),  # shares the seed of the member under test
        (point(consensus_only=True, gradient_clip=0.01), 11),
        (point(consensus_weight=2.0, dropout=0.13), 7),
        *[(point(dropout=0.1 * k), 20 + k) for k in range(5)],
    ]
    tested = (point(consensus_weight=0.4, learning_rate=3e-3, dropout=0.3), 7)

    def fit(pack):
        points, seeds = zip(*pack, strict=True)
        return CBAPM.fit_pack(points, seeds, TRAIN, VALIDATION, order_seed=3)

    alone = fit([tested])[0]
    for pack, place in [
        ([tested, companions[0]], 0),
        ([companions[1], tested], 1),
        ([*companions[:2], tested], 2),
        ([*companions[:4], tested, *companions[4:]], 4),
        ([tested, *companions[::-1]], 0),
    ]:
        assert equal(fit(pack)[place], alone)


def test_fits_do_not_depend_on_the_callers_threads_and_leave_them_alone():
    point = CBAPMSettings(batch_size=200, epochs=2)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = CBAPM.fit_pack([point], [0], TRAIN, VALIDATION, order_seed=0)[0]
        torch.set_num_threads(2)
        two = CBAPM.fit_pack([point], [0], TRAIN, VALIDATION, order_seed=0)[0]
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert equal(one, two)


def test_points_of_equal_seed_share_initial_weights_and_masks():
    point = CBAPMSettings(batch_size=200, epochs=3)
    first, second, other = CBAPM.fit_pack([point] * 3, [4, 4, 5], TRAIN, VALIDATION, order_seed=0)
    assert equal(first, second)
    assert not equal(first, other)


def test_the_samples_memory_is_never_written_to():
    def checksum():
        arrays = [vars(part)[name] for part in (TRAIN, VALIDATION) for name in ("x_NP", "z_Td", "y_N", "c_NC")]
        return [hashlib.sha256(np.ascontiguousarray(array)).hexdigest() for array in arrays]

    before = checksum()
    point = CBAPMSettings(batch_size=100, epochs=2)
    fit = CBAPM.fit_pack([point], [0], TRAIN, VALIDATION, order_seed=0)[0]
    CBAPM.forecast(point, fit.weights, TRAIN)
    assert checksum() == before


def test_a_diverged_member_leaves_and_is_recorded():
    def point(rate):
        return CBAPMSettings(batch_size=100, epochs=4, learning_rate=rate, gradient_clip=1e9, weight_decay=0.0)

    wild, tame = CBAPM.fit_pack([point(1e25), point(1e-3)], [0, 1], TRAIN, VALIDATION, order_seed=0)
    assert wild.status == "diverged"
    assert wild.scores["return_loss"] == np.inf
    assert len(wild.history["train_loss"]) < 4
    assert equal(tame, CBAPM.fit_pack([point(1e-3)], [1], TRAIN, VALIDATION, order_seed=0)[0])

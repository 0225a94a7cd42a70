"""DY-GAP: what it finds that rows alone do not hold, and its layers against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linked_market import TRAIN, VALIDATION, cut, history, r_squared

from factor_ray.models.cbapm import CBAPM, CBAPMSettings
from factor_ray.models.forecasters.dy_gap import DYGAP, DYGAPSettings
from factor_ray.models.forecasters.dy_gap_network import DYGAPNetwork, GraphAttention, with_self

POINT = DYGAPSettings(
    correlation_months=24,
    overlap=10,
    edges=7,
    epochs=6,
    learning_rate=1e-2,
    width=16,
    heads=2,
    hidden=16,
    steps=1,
)


@pytest.mark.parametrize("signed", [False, True])
def test_it_finds_what_assets_that_move_together_or_apart_say_of_each_other(signed):
    rows = history(signed=signed)
    train, validation = cut(rows, *TRAIN), cut(rows, *VALIDATION)
    (found,) = DYGAP.fit_pack([POINT], [1], train, validation, order_seed=0)
    assert r_squared(DYGAP, POINT, found.weights, rows) > 0.35
    alone = CBAPMSettings(consensus_weight=0, epochs=15, hidden=(32,))
    (of_rows,) = CBAPM.fit_pack([alone], [1], train, validation, order_seed=0)
    assert r_squared(CBAPM, alone, of_rows.weights, rows) < 0.05


def test_the_sign_of_an_edge_is_told_apart(monkeypatch):
    """With both graphs made one, the signals of either sign cancel."""
    rows = history(signed=True)
    links = DYGAP.links

    def unsigned(point, r_NM, asset_N):
        both_NK = np.concatenate(links(point, r_NM, asset_N), axis=1)
        return both_NK, both_NK

    monkeypatch.setattr(DYGAP, "links", unsigned)
    (found,) = DYGAP.fit_pack([POINT], [1], cut(rows, *TRAIN), cut(rows, *VALIDATION), order_seed=0)
    assert r_squared(DYGAP, POINT, found.weights, rows) < 0.1


def slow_attention(x_NI, link_NK, value_DI, asking_AU, asked_AU):
    """Values, and the weight of every edge for every head, with loops."""
    heads, units = asking_AU.shape
    value_NAU = (x_NI @ value_DI.T).reshape(len(x_NI), heads, units)
    share = np.zeros((*link_NK.shape, heads))
    for i, neighbours in enumerate(link_NK):
        there = [k for k, j in enumerate(neighbours) if j >= 0]
        for a in range(heads):
            score = [asking_AU[a] @ value_NAU[i, a] + asked_AU[a] @ value_NAU[neighbours[k], a] for k in there]
            score = np.exp([s if s > 0 else 0.2 * s for s in score])
            share[i, there, a] = score / score.sum() if there else []
    return value_NAU, share


def transition(link_NK, share_NK):
    """P: the matrix of the weights of one head."""
    p_NN = np.zeros((len(link_NK), len(link_NK)))
    for i, neighbours in enumerate(link_NK):
        for k, j in enumerate(neighbours):
            if j >= 0:
                p_NN[i, j] += share_NK[i, k]
    return p_NN


def graphs(seed: int, assets: int = 9, count: int = 4):
    rng = np.random.default_rng(seed)
    links = []
    for _ in range(2):
        link_NK = np.full((assets, count), -1)
        for i in range(assets):
            others = rng.permutation([j for j in range(assets) if j != i])[: rng.integers(0, count + 1)]
            link_NK[i, : len(others)] = others
        link_NK[0] = -1
        links.append(link_NK)
    return rng, links


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_network_is_what_slow_loops_say(steps):
    point = DYGAPSettings(correlation_months=5, overlap=4, width=6, heads=3, hidden=4, steps=steps)
    rng, links = graphs(steps)
    x_NI, r_NM = rng.standard_normal((9, 3)), rng.standard_normal((9, 7))
    with torch.no_grad():
        network = DYGAPNetwork(point, 3).double().eval()
        for parameter in network.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(parameter.shape)))
        found_N = network(
            torch.from_numpy(x_NI)[:, None],
            torch.ones(9, 1, dtype=torch.bool),
            torch.from_numpy(r_NM),
            tuple(torch.from_numpy(link_NK) for link_NK in links),
        ).numpy()
    w = {name: parameter.numpy() for name, parameter in network.state_dict().items()}
    diffused_ND, attended = x_NI @ w["own.weight"].T + w["own.bias"], []
    for g, link_NK in enumerate(links):
        layer = f"graphs.{g}."
        of_returns = [w[f"{layer}returns.{name}"] for name in ("value.weight", "asking", "asked")]
        _, share_NKA = slow_attention(r_NM[:, -5:], link_NK, *of_returns)
        for a in range(3):
            p_NN, units = transition(link_NK, share_NKA[:, :, a]), slice(2 * a, 2 * a + 2)
            for k in range(1, steps + 1):
                theta_ID = w[f"{layer}diffusion.theta.{k - 1}.weight"].T
                diffused_ND[:, units] += np.linalg.matrix_power(p_NN, k) @ x_NI @ theta_ID[:, units]
        self_NK = np.column_stack([link_NK, np.arange(9)])
        of_features = [w[f"{layer}features.{name}"] for name in ("value.weight", "asking", "asked")]
        value_NAU, share_NKA = slow_attention(x_NI, self_NK, *of_features)
        heads = [transition(self_NK, share_NKA[:, :, a]) @ value_NAU[:, a] for a in range(3)]
        attended.append(np.concatenate(heads, axis=1))
    layer_NH = np.concatenate([diffused_ND, *attended], axis=1)
    elu = lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0)))  # noqa: E731
    hidden_NH = elu(elu(layer_NH) @ w["dense.weight"].T + w["dense.bias"])
    np.testing.assert_allclose(found_N, hidden_NH @ w["head.weight"][0] + w["head.bias"][0], rtol=1e-10)


def test_weights_of_attention_add_to_one_and_strangers_have_none():
    rng, (link_NK, _) = graphs(7)
    links, x_NI = torch.from_numpy(link_NK), torch.from_numpy(rng.standard_normal((9, 3))).float()
    layer = GraphAttention(3, 6, 2)
    with torch.no_grad():
        _, share_NKA = layer.attend(x_NI, links)
        _, with_own_NKA = layer.attend(x_NI, with_self(links))
    np.testing.assert_allclose(share_NKA.sum(1), np.repeat((link_NK >= 0).any(1), 2).reshape(9, 2), atol=1e-6)
    np.testing.assert_allclose(with_own_NKA.sum(1), 1, atol=1e-6)
    assert (share_NKA[links < 0] == 0).all()

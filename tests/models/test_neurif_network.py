"""NeurIF's network against plain references: what sees what, and what it starts at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from neurif_market import market

from factor_ray.models.ipca import IPCA, IPCASettings
from factor_ray.models.neurif import NeurIFSettings
from factor_ray.models.neurif_attention import ChannelAttention, SpatialAttention, sinusoids
from factor_ray.models.neurif_months import Months
from factor_ray.models.neurif_network import Factors, Loadings, orthogonality, spatial_kind
from factor_ray.models.neurif_task import NeurIFTask

TINY = {"factors": 2, "width": 16, "heads": 2}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def point(**changes) -> NeurIFSettings:
    return NeurIFSettings(**{**TINY, **changes})


def plain_attention(query_md, key_nd, value_nd, heads):
    """One head after another, one row after another."""
    parts = []
    for q_md, k_nd, v_nd in zip(*(part.chunk(heads, 1) for part in (query_md, key_nd, value_nd)), strict=True):
        rows = [torch.softmax(k_nd @ q_d / len(q_d) ** 0.5, 0) @ v_nd for q_d in q_md]
        parts.append(torch.stack(rows))
    return torch.cat(parts, 1)


def test_month_t_sees_no_later_month():
    factors = Factors(point(), torch.arange(20))
    torch.nn.init.normal_(factors.attention.outward.weight)
    with torch.no_grad():
        before_TK = factors()
        factors.initial[12:] += 1.0
        after_TK = factors()
    assert torch.equal(before_TK[:12], after_TK[:12])
    assert (before_TK[12:] != after_TK[12:]).any(1).all()
    with torch.no_grad():
        factors.initial[3] += 1.0
        assert (factors()[4:] != after_TK[4:]).any(1).all()


def test_factors_start_where_they_are_told():
    factors, wanted_TK = Factors(point(), torch.arange(30) + 400), torch.randn(30, 2)
    factors.start_at(wanted_TK)
    torch.testing.assert_close(factors().detach(), wanted_TK)


@pytest.mark.parametrize("kind", ["exact", "induced"])
def test_spatial_attention_equals_a_plain_one_month_by_month(kind):
    attention, a_Nd = SpatialAttention(16, 2, kind), torch.randn(30, 16)
    bounds = [(0, 9), (9, 10), (10, 30)]
    wanted = []
    for first, last in bounds:
        query, key, value = attention.inward(a_Nd[first:last]).chunk(3, 1)
        if kind == "induced":
            seen_md = plain_attention(attention.points_md, key, value, 2)
            key, value = attention.summary(attention.norm(attention.points_md + seen_md)).chunk(2, 1)
        wanted.append(attention.outward(plain_attention(query, key, value, 2)))
    torch.testing.assert_close(attention(a_Nd, bounds), torch.cat(wanted), atol=1e-5, rtol=1e-5)


def test_channel_gates_are_a_months_own():
    channel, h_Nd = ChannelAttention(), torch.randn(12, 16)
    gates_Nd = channel(h_Nd, [(0, 5), (5, 12)])
    for first, last in ((0, 5), (5, 12)):
        pooled = torch.stack([h_Nd[first:last].mean(0), h_Nd[first:last].amax(0)])
        padded = torch.nn.functional.pad(pooled, (2, 2))
        kernel = channel.convolution.weight[0]
        gate_d = torch.stack([(kernel * padded[:, j : j + 5]).sum() for j in range(16)]) + channel.convolution.bias
        torch.testing.assert_close(gates_Nd[first:last], (1 + torch.sigmoid(gate_d)).expand(last - first, -1))


@pytest.mark.parametrize("kind", ["exact", "induced"])
def test_loadings_do_not_depend_on_other_months_or_on_the_order_of_assets(kind):
    loadings = _stirred(Loadings(point(), 5, kind))
    x_NP, bounds = torch.randn(40, 5), [(0, 15), (15, 40)]
    position_Nd = sinusoids(torch.arange(40) * 977, 16)
    with torch.no_grad():
        _, together_NK = loadings(x_NP, position_Nd, bounds)
        _, alone_NK = loadings(x_NP[15:], position_Nd[15:], [(0, 25)])
        order = torch.randperm(25)
        _, turned_NK = loadings(x_NP[15:][order], position_Nd[15:][order], [(0, 25)])
        _, renamed_NK = loadings(x_NP[15:], position_Nd[:25], [(0, 25)])
    torch.testing.assert_close(together_NK[15:], alone_NK, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(turned_NK, alone_NK[order], atol=1e-5, rtol=1e-5)
    assert (renamed_NK - alone_NK).abs().max() > 1e-3  # companies' positions are seen


def test_positions_of_large_identifiers_are_exact():
    asset_N = np.array([10001, 93436, 2**31 - 2, 2**31 - 1])
    encoded_Nd = sinusoids(torch.from_numpy(asset_N), 8).numpy()
    wave_D = 10_000.0 ** (np.arange(0, 8, 2) / 8)
    angle_ND = asset_N[:, None] / wave_D
    wanted_Nd = np.stack([np.sin(angle_ND), np.cos(angle_ND)], 2).reshape(4, 8)
    np.testing.assert_allclose(encoded_Nd, wanted_Nd, atol=1e-6)
    assert np.abs(encoded_Nd[2] - encoded_Nd[3]).max() > 0.1


def test_training_starts_at_ipca():
    train = market(0, 30)
    task = NeurIFTask([point()], [3], train, train, order_seed=0, device="cpu")
    task.networks[0].load_state_dict({**task.networks[0].state_dict(), **task.initialise(0)})
    (ipca,) = IPCA.fit_pack([IPCASettings(factors=2, iterations=50)], [0], train, train, order_seed=0)
    (chunk,) = Months(train, task.scale, 16, "cpu").chunks(range(30))
    linear_nK, beyond_nK = task.networks[0].loadings(chunk.x_nP, chunk.position_nd, chunk.bounds)
    assert not beyond_nK.any()
    month_n = chunk.months_of_rows().numpy()
    x_nI = np.column_stack([chunk.x_nP, np.ones(len(month_n))])
    wanted_n = ((x_nI @ ipca.weights["gamma"]) * ipca.weights["factors"][month_n]).sum(1)
    found_n = (linear_nK * task.networks[0].factors()[month_n]).sum(1).detach().numpy()
    np.testing.assert_allclose(found_n * task.scale, wanted_n, atol=1e-5)


def test_orthogonality_is_the_mean_squared_cosine():
    factor_TK = np.random.default_rng(0).normal([1.0, 0.0, 2.0], 1.0, (50, 3))
    cosines = [
        (factor_TK[:, j] @ factor_TK[:, k]) / np.linalg.norm(factor_TK[:, j]) / np.linalg.norm(factor_TK[:, k])
        for j in range(3)
        for k in range(3)
        if j != k
    ]
    found = orthogonality(torch.from_numpy(factor_TK))
    assert float(found) == pytest.approx(np.mean(np.square(cosines)))
    assert float(orthogonality(torch.from_numpy(100 * factor_TK))) == pytest.approx(float(found))
    assert float(orthogonality(torch.from_numpy(factor_TK[:, :1]))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("switch", "gone"),
    [({"temporal": False}, "attention"), ({"spatial": False}, "spatial"), ({"channel": False}, "channel")],
)
def test_a_switched_off_attention_has_no_weights(switch, gone):
    train = market(0, 6)

    def names(**changes):
        return set(NeurIFTask([point(**changes)], [0], train, train, order_seed=0, device="cpu").initialise(0))

    assert any(gone in name for name in names())
    assert not any(gone in name for name in names(**switch))
    assert names(**switch) < names()


def test_attention_is_exact_where_months_are_narrow():
    assert spatial_kind(point(), 512, "cpu") == "exact"
    assert spatial_kind(point(), 513, "cpu") == "induced"
    assert spatial_kind(point(), 8000, "cuda") == "exact"
    assert spatial_kind(point(attention="exact"), 8000, "cpu") == "exact"
    assert spatial_kind(point(spatial=False), 10, "cpu") is None


def _stirred(loadings: Loadings) -> Loadings:
    with torch.no_grad():
        loadings.outward.normal_()
    return loadings.eval()

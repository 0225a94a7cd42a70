"""STHD: what it finds that rows alone do not hold, and its network against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linked_market import TRAIN, VALIDATION, cut, history, r_squared

from factor_ray.models.cbapm import CBAPM, CBAPMSettings
from factor_ray.models.forecasters.sthd import STHD, STHDSettings
from factor_ray.models.forecasters.sthd_network import STHDNetwork


def test_it_finds_what_assets_that_move_together_say_of_each_other():
    rows = history(signed=False)
    train, validation = cut(rows, *TRAIN), cut(rows, *VALIDATION)
    point = STHDSettings(
        correlation_months=24,
        overlap=10,
        lookback=1,
        patch=1,
        neighbours=7,
        epochs=10,
        learning_rate=1e-2,
        width=16,
        heads=2,
        layers=1,
        feedforward=16,
        dropout=0,
    )
    (found,) = STHD.fit_pack([point], [1], train, validation, order_seed=0)
    assert r_squared(STHD, point, found.weights, rows) > 0.35
    alone = CBAPMSettings(consensus_weight=0, epochs=15, hidden=(32,))
    (of_rows,) = CBAPM.fit_pack([alone], [1], train, validation, order_seed=0)
    assert r_squared(CBAPM, alone, of_rows.weights, rows) < 0.05


def layer_norm(x_TD, w, name):
    normal = (x_TD - x_TD.mean(1, keepdims=True)) / np.sqrt(x_TD.var(1, keepdims=True) + 1e-5)
    return normal * w[f"{name}.weight"] + w[f"{name}.bias"]


def affine(x_TD, w, name):
    return x_TD @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def slow_forecast(i, x_NLI, seen_NL, r_NM, link_NK, w, point):
    """One asset's forecast: every token of the sequence goes through every layer, one head after another."""
    padding = -point.lookback % point.patch
    tokens, places = [], []
    for place, j in enumerate([i, *link_NK[i]]):
        if j < 0:
            continue
        series = np.column_stack([x_NLI[j], np.where(seen_NL[j], r_NM[j, -point.lookback :], 0)])
        series = np.vstack([np.zeros((padding, series.shape[1])), series])
        seen_L = np.concatenate([np.zeros(padding, bool), seen_NL[j]])
        for t in range(len(series) // point.patch):
            months = slice(t * point.patch, (t + 1) * point.patch)
            if seen_L[months].any():
                flat = series[months].ravel()
                tokens.append(affine(flat[None], w, "embed")[0] + w["time"][t] + w["place"][place])
                places.append((place, t))
    x_TD = np.array(tokens)
    for layer in range(point.layers):
        q, k, v = (affine(x_TD, w, f"attention.{layer}.{name}") for name in ("query", "key", "value"))
        units, mixed = point.width // point.heads, np.zeros_like(x_TD)
        for a in range(point.heads):
            part = slice(a * units, (a + 1) * units)
            score = np.exp(q[:, part] @ k[:, part].T / np.sqrt(units))
            mixed[:, part] = score / score.sum(1, keepdims=True) @ v[:, part]
        x_TD = layer_norm(x_TD + affine(mixed, w, f"attention.{layer}.output"), w, f"norm.{layer}")
        inner = affine(x_TD, w, f"feedforward.{layer}.inner")
        inner = torch.nn.functional.gelu(torch.from_numpy(inner)).numpy()
        x_TD = layer_norm(x_TD + affine(inner, w, f"feedforward.{layer}.outer"), w, f"feedforward.{layer}.norm")
    read = np.zeros((-(-point.lookback // point.patch), point.width))
    for token_D, (place, t) in zip(x_TD, places, strict=True):
        if place == 0:
            read[t] = token_D
    return float(affine(read.ravel()[None], w, "head")[0, 0])


@pytest.mark.parametrize(("lookback", "patch", "layers"), [(1, 1, 1), (5, 2, 2), (6, 3, 3)])
def test_the_network_is_what_slow_loops_say(lookback, patch, layers):
    point = STHDSettings(
        lookback=lookback, patch=patch, layers=layers, neighbours=3, width=6, heads=2, feedforward=5, overlap=4
    )
    rng = np.random.default_rng(lookback)
    x_NLI, r_NM = rng.standard_normal((7, lookback, 2)), rng.standard_normal((7, 8))
    seen_NL = rng.random((7, lookback)) < 0.6
    seen_NL[:, -1] = True
    x_NLI[~seen_NL] = 0
    link_NK = np.array([[1, 2, 3], [0, -1, -1], [-1, -1, -1], [6, 5, 4], [2, 0, -1], [3, 1, 0], [5, -1, -1]])
    with torch.no_grad():
        network = STHDNetwork(point, 2).double().eval()
        for parameter in network.parameters():
            parameter.copy_(torch.from_numpy(rng.standard_normal(parameter.shape)))
        inputs = [torch.from_numpy(values) for values in (x_NLI, seen_NL, r_NM, link_NK)]
        found_N = network(*inputs[:3], (inputs[3],)).numpy()
    w = {name: parameter.numpy() for name, parameter in network.state_dict().items()}
    slow_N = [slow_forecast(i, x_NLI, seen_NL, r_NM, link_NK, w, point) for i in range(7)]
    np.testing.assert_allclose(found_N, slow_N, rtol=1e-8)

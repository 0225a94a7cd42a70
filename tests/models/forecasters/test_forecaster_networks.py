"""Every network against plain code of its own: NumPy by hand, or torch's ready-made attention layers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from factor_ray.models.forecasters.blocks import Attention, Drop, Encoder
from factor_ray.models.forecasters.crossformer import Crossformer, CrossformerSettings
from factor_ray.models.forecasters.dlinear import DLinear, DLinearSettings
from factor_ray.models.forecasters.itransformer import ITransformer, ITransformerSettings
from factor_ray.models.forecasters.mlp import MLP, MLPSettings
from factor_ray.models.forecasters.patchtst import PatchTST, PatchTSTSettings
from factor_ray.models.forecasters.transformer import Transformer, TransformerSettings

INPUTS, LOOKBACK, ROWS = 5, 7, 6


def with_random_weights(network: nn.Module) -> nn.Module:
    """Heads and norms start at special values; every weight shall matter here."""
    generator = torch.Generator().manual_seed(7)
    for parameter in network.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=generator)
    return network.eval()


def batch(rows: int = ROWS, months: int = LOOKBACK):
    generator = torch.Generator().manual_seed(3)
    x_BLI = torch.randn(rows, months, INPUTS, generator=generator)
    observed_BL = torch.ones(rows, months, dtype=torch.bool)
    observed_BL[1, : months - 1] = False
    observed_BL[2, :3] = False
    observed_BL[3, 2] = observed_BL[3, 4] = False
    return x_BLI, observed_BL


def close(found, wanted):
    torch.testing.assert_close(found, torch.as_tensor(wanted, dtype=found.dtype), rtol=1e-4, atol=1e-5)


def plain_attention(layer: Attention) -> nn.MultiheadAttention:
    """Torch's own attention with the same weights."""
    width = layer.query.in_features
    plain = nn.MultiheadAttention(width, layer.heads, batch_first=True).eval()
    plain.in_proj_weight.data = torch.cat([layer.query.weight, layer.key.weight, layer.value.weight])
    plain.in_proj_bias.data = torch.cat([layer.query.bias, layer.key.bias, layer.value.bias])
    plain.out_proj.load_state_dict(layer.output.state_dict())
    return plain


def plain_encoder(encoder: Encoder) -> nn.ModuleList:
    """Torch's own encoder layers with the same weights."""
    layers = nn.ModuleList()
    for attention, norm, feedforward in zip(encoder.attention, encoder.norm, encoder.feedforward, strict=True):
        width, hidden = attention.query.in_features, feedforward.inner.out_features
        plain = nn.TransformerEncoderLayer(width, attention.heads, hidden, 0.0, "gelu", batch_first=True)
        plain.self_attn = plain_attention(attention)
        plain.linear1, plain.linear2 = feedforward.inner, feedforward.outer
        plain.norm1, plain.norm2 = norm, feedforward.norm
        layers.append(
            plain.train()
        )  # without dropout the same as eval, which takes another road through nested tensors
    return layers


def encoded(encoder: Encoder, token, known=None):
    for layer in plain_encoder(encoder):
        token = layer(token, src_key_padding_mask=None if known is None else ~known)
    return token


def test_mlp_is_layers_over_the_months_side_by_side():
    network = with_random_weights(MLP.network(MLPSettings(lookback=LOOKBACK, hidden=(8, 4)), INPUTS))
    x_BLI, observed_BL = batch()
    weights = {name: w.detach().numpy().astype(np.float64) for name, w in network.named_parameters()}
    for row in range(ROWS):
        seen = np.where(observed_BL[row, :, None], x_BLI[row], 0.0)
        h = np.concatenate([seen.ravel(), observed_BL[row, :-1].numpy()])
        for first in (0, 4):
            h = weights[f"layers.{first}.weight"] @ h + weights[f"layers.{first}.bias"]
            h = (h - h.mean()) / np.sqrt(h.var() + 1e-5)
            h = h * weights[f"layers.{first + 1}.weight"] + weights[f"layers.{first + 1}.bias"]
            h = np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in h])
        close(network(x_BLI, observed_BL)[row], weights["head.weight"][0] @ h + weights["head.bias"][0])


@pytest.mark.parametrize("average", [1, 3, 5, 25])
def test_dlinear_is_a_decomposition_and_two_linear_maps(average):
    network = with_random_weights(DLinear.network(DLinearSettings(lookback=LOOKBACK, average=average), INPUTS))
    x_BLI, observed_BL = batch()
    forecast_B = network(x_BLI, observed_BL)
    weights = {name: w.detach().numpy().astype(np.float64) for name, w in network.named_parameters()}
    for row in range(ROWS):
        known, total = observed_BL[row].numpy(), weights["head.bias"][0]
        for number in range(INPUTS):
            series, trend = np.where(known, x_BLI[row, :, number], 0.0), np.zeros(LOOKBACK)
            for month in range(LOOKBACK):
                around = np.clip(np.arange(month - average // 2, month + average // 2 + 1), 0, LOOKBACK - 1)
                if known[month]:
                    trend[month] = series[around][known[around]].mean()
            remainder = series - trend
            value = weights["trend.weight"][0] @ trend + weights["trend.bias"][0]
            value += weights["remainder.weight"][0] @ remainder + weights["remainder.bias"][0]
            total += weights["head.weight"][0, number] * value
        close(forecast_B[row], total)


def test_dlinear_of_full_histories_is_the_papers():
    """The authors' decomposition: edges repeated, torch's own average pooling."""
    network = with_random_weights(DLinear.network(DLinearSettings(lookback=LOOKBACK, average=5), INPUTS))
    x_BLI, _ = batch()
    padded = torch.cat([x_BLI[:, :1].repeat(1, 2, 1), x_BLI, x_BLI[:, -1:].repeat(1, 2, 1)], 1)
    trend_BIL = functional.avg_pool1d(padded.transpose(1, 2), kernel_size=5, stride=1)
    remainder_BIL = x_BLI.transpose(1, 2) - trend_BIL
    value_BI = (network.trend(trend_BIL) + network.remainder(remainder_BIL))[:, :, 0]
    everything = torch.ones(ROWS, LOOKBACK, dtype=torch.bool)
    close(network(x_BLI, everything), network.head(value_BI)[:, 0])


def test_transformer_is_torchs_own_encoder():
    point = TransformerSettings(lookback=LOOKBACK, width=8, heads=2, feedforward=12, layers=2)
    network = with_random_weights(Transformer.network(point, INPUTS))
    x_BLI, observed_BL = batch()
    seen = torch.where(observed_BL[:, :, None], x_BLI, torch.zeros(()))
    token = encoded(network.encoder, network.embed(seen) + network.position_LD, observed_BL)
    close(network(x_BLI, observed_BL), network.head(token[:, -1])[:, 0])


@pytest.mark.parametrize(
    ("patch", "stride", "begins"), [(3, 2, [0, 2, 4]), (4, 2, [-1, 1, 3]), (7, 3, [0]), (1, 1, range(7))]
)
def test_patchtst_encodes_every_history_by_itself(patch, stride, begins):
    point = PatchTSTSettings(lookback=LOOKBACK, patch=patch, stride=stride, width=4, heads=2, feedforward=6)
    network = with_random_weights(PatchTST.network(point, INPUTS))
    x_BLI, observed_BL = batch()
    forecast_B = network(x_BLI, observed_BL)
    for row in range(ROWS):
        codes = []
        for number in range(INPUTS):
            months = [list(range(first, first + patch)) for first in begins]
            seen = [[m >= 0 and bool(observed_BL[row, m]) for m in ms] for ms in months]
            values = [
                [float(x_BLI[row, m, number]) if known else 0.0 for m, known in zip(ms, flags, strict=True)]
                for ms, flags in zip(months, seen, strict=True)
            ]
            known = torch.tensor([[any(flags) for flags in seen]])
            token = network.embed(torch.tensor(values))[None] + network.position_KD
            codes.append(encoded(network.encoder, token, known)[0] * known[0][:, None])
        close(forecast_B[row], network.head(torch.stack(codes).flatten())[0])


def test_itransformer_attends_across_histories():
    point = ITransformerSettings(lookback=LOOKBACK, width=8, heads=4, feedforward=12, layers=2)
    network = with_random_weights(ITransformer.network(point, INPUTS))
    x_BLI, observed_BL = batch()
    seen = torch.where(observed_BL[:, :, None], x_BLI, torch.zeros(()))
    for row in range(ROWS):
        histories = [*seen[row].T, observed_BL[row].float()]
        token = torch.stack([network.embed(history) for history in histories]) + network.mark_JD
        close(network(x_BLI, observed_BL)[row], network.head(encoded(network.encoder, token[None])[0].flatten())[0])


@pytest.mark.parametrize(("months", "segment", "layers"), [(7, 3, 3), (6, 3, 2), (12, 3, 3), (8, 6, 2)])
def test_crossformer_looks_along_time_then_across_through_routers(months, segment, layers):
    point = CrossformerSettings(
        lookback=months, segment=segment, layers=layers, width=4, heads=2, feedforward=6, routers=3
    )
    network = with_random_weights(Crossformer.network(point, INPUTS))
    x_BLI, observed_BL = batch(months=months)
    segments = math.ceil(months / segment)
    before = segments * segment - months
    forecast_B = network(x_BLI, observed_BL)
    for row in range(ROWS):
        seen = torch.where(observed_BL[row][:, None], x_BLI[row], torch.zeros(()))
        seen = torch.cat([torch.zeros(before, INPUTS), seen])
        known = torch.cat([torch.zeros(before, dtype=torch.bool), observed_BL[row]]).view(segments, segment).any(1)
        token = {
            (number, place): network.norm(
                network.embed(seen[place * segment : (place + 1) * segment, number])
                + network.position_IKD[number, place]
            )
            for number in range(INPUTS)
            for place in range(segments)
        }
        total, count = torch.zeros(()), segments
        for scale in range(layers):
            if scale:
                token, known, count = merged(network.merge[scale - 1], token, known, count)
            token = two_stage(network.attention[scale], token, known, count)
            last = torch.cat([token[number, count - 1] for number in range(INPUTS)])
            total = total + network.head[scale](last)[0]
        close(forecast_B[row], total.detach())


def merged(merge, token, known, count):
    nothing = torch.zeros_like(token[0, 0])
    shift = count % 2
    half, pair_known = (count + shift) // 2, []
    of = {(n, k): token[n, k] if known[k] else nothing for n in range(INPUTS) for k in range(count)}
    new = {}
    for place in range(half):
        first, second = 2 * place - shift, 2 * place + 1 - shift
        pair_known.append(bool((first >= 0 and known[first]) or known[second]))
        for number in range(INPUTS):
            pair = torch.cat([of[number, first] if first >= 0 else nothing, of[number, second]])
            new[number, place] = merge.linear(merge.norm(pair))
    return new, torch.tensor(pair_known), half


def two_stage(stage, token, known, count):
    gather, ask = plain_attention(stage.gather), plain_attention(stage.ask)
    in_time = {}
    for number in range(INPUTS):
        history = torch.stack([token[number, place] for place in range(count)])[None]
        for place, code in enumerate(encoded(stage.along_time, history, known[None])[0]):
            in_time[number, place] = code
    new = {}
    for place in range(count):
        across = torch.stack([in_time[number, place] for number in range(INPUTS)])[None]
        routers, _ = gather(stage.router_KRD[place][None], across, across, need_weights=False)
        asked, _ = ask(across, routers, routers, need_weights=False)
        middle = stage.norm(across + asked)
        out = stage.feedforward.norm(middle + stage.feedforward.outer(functional.gelu(stage.feedforward.inner(middle))))
        for number in range(INPUTS):
            new[number, place] = out[0, number]
    return new


def test_dropout_drops_its_share_and_keeps_the_mean():
    drop, x = Drop(0.3), torch.ones(1003, 101)
    torch.manual_seed(0)
    dropped = drop.train()(x)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.005)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)
    assert torch.equal(drop.eval()(x), x)

"""Fitting NeurIF, and what is kept of a fit.

Axes: T training months, N rows of a month, K factors.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from factor_ray.data.sample import History, Sample
from factor_ray.models.base import Fit, Weights
from factor_ray.models.instruments import projection
from factor_ray.models.latent import (
    OfRows,
    history_of,
    identification,
    realised_months,
    rotate_loadings,
    trained_months,
)
from factor_ray.models.neurif import NeurIFSettings
from factor_ray.models.neurif_attention import sinusoids
from factor_ray.models.neurif_forecast import fit_next_factor
from factor_ray.models.neurif_network import Loadings, Spatial, part_of
from factor_ray.models.neurif_task import NeurIFTask
from factor_ray.training.adam import StepSettings
from factor_ray.training.batches import shared_tensor
from factor_ray.training.cpu import one_thread
from factor_ray.training.loop import TrainedMember
from factor_ray.training.loop import train as train_stack
from factor_ray.training.schedule import Schedule


def fit_members(
    points: Sequence[NeurIFSettings],
    seeds: Sequence[int],
    train: Sample,
    validation: Sample,
    *,
    order_seed: int,
    device: str,
) -> list[Fit]:
    """Fit points of one shape; see `NeurIF.fit_pack`."""
    task = NeurIFTask(points, seeds, train, validation, order_seed=order_seed, device=device)
    first = points[0]
    schedule = Schedule(first.epochs, first.patience, first.warm_up, first.plateau_patience, first.plateau_factor)
    settings = [
        StepSettings(point.learning_rate, point.weight_decay, point.gradient_clip, decoupled=True) for point in points
    ]
    members = train_stack(task, settings, schedule, device=device)
    return [
        _kept(point, seed, member, task.completed(number, member.weights), train, device)
        for number, (point, seed, member) in enumerate(zip(points, seeds, members, strict=True))
    ]


def _kept(
    point: NeurIFSettings,
    seed: int,
    trained: TrainedMember,
    weights: Weights,
    train: Sample,
    device: str,
) -> Fit:
    if trained.diverged:
        return Fit({}, {"selection": math.inf}, trained.history, "diverged", trained.seconds)
    scores = {"selection": trained.best["validation_loss"], "total_r2": 1 - trained.best["total_loss"]}
    kept = identified(point, weights, train, device)
    if point.factor_forecast == "attention":
        at_T = kept["months"].astype(np.int64) - int(kept["first"][0])
        factors_TK = np.full((at_T[-1] + 1, point.factors), np.nan)
        factors_TK[at_T] = kept["factors"]
        kept = {**kept, **fit_next_factor(factors_TK, seed)}
    return Fit(kept, scores, trained.history, "ok", trained.seconds)


def identified(point: NeurIFSettings, weights: Weights, train: Sample, device: str = "cpu") -> Weights:
    """Return the weights of a fit under IPCA's identification, with the factors that training months realise.

    Gamma, F' and W_out turn together, so that no fit and no forecast changes. ``projection`` (K, P) are the
    coefficients of a regression of the loadings on the characteristics, for reports; without blocks it is Gamma.
    """
    history, of_rows = history_of(train), _remembered(frozen_loadings(point, weights, device))
    months, realised_TK = realised_months(of_rows, history)
    rotation_KK = identification(weights["loadings.gamma"].astype(np.float64), realised_TK)
    turned = {
        name: rotate_loadings(weights[name].astype(np.float64), rotation_KK).astype(np.float32)
        for name in ("loadings.gamma", "loadings.outward")
        if name in weights
    }
    if point.blocks:
        turned["projection"] = rotate_loadings(projection(of_rows, history).T, rotation_KK).T.astype(np.float32)
    return {
        **weights,
        **turned,
        "embedded_factors": weights["embedded_factors"] @ rotation_KK,
        "factors": realised_TK @ rotation_KK,
        **trained_months(months, train),
    }


def _remembered(of_rows: OfRows) -> OfRows:
    """The same loadings, each month's computed once."""
    found: dict[int, npt.NDArray[np.floating[Any]]] = {}

    def loadings(history: History, rows: slice) -> npt.NDArray[np.floating[Any]]:
        if rows.start not in found:
            found[rows.start] = of_rows(history, rows)
        return found[rows.start]

    return loadings


def frozen_loadings(point: NeurIFSettings, weights: Weights, device: str = "cpu") -> OfRows:
    """Return what gives the loadings (N, K) of one month's rows, with the weights of a fit."""
    copies = {name: torch.from_numpy(np.array(weight)).to(device) for name, weight in weights.items()}
    tensors = part_of(copies, "loadings")
    characteristics = len(tensors["gamma"]) - point.constant
    kind: Spatial = "induced" if "blocks.0.spatial.points_md" in tensors else "exact"
    with torch.device("meta"):
        network = Loadings(point, characteristics, kind if point.spatial else None).eval()
    network.load_state_dict(tensors, assign=True)

    def loadings(history: History, rows: slice) -> npt.NDArray[np.float32]:
        x_NP = shared_tensor(history.x_HP[rows]).to(device)
        position_Nd = sinusoids(shared_tensor(history.asset_H[rows]).to(device), point.width)
        with torch.no_grad(), one_thread():
            linear_NK, beyond_NK = network(x_NP, position_Nd, [(0, len(x_NP))])
        return np.asarray((linear_NK if beyond_NK is None else linear_NK + beyond_NK).cpu())

    return loadings

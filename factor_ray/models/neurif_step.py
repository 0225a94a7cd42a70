"""The loss of NeurIF on some months and its gradient, one chunk of months after another, on one rank or several.

Axes: T training months, n rows of a chunk, K factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed
from torch import Tensor
from torch.func import functional_call

from factor_ray.errors import InputError
from factor_ray.models.neurif_months import Chunk, Months
from factor_ray.models.neurif_network import Network, part_of
from factor_ray.training.modules import seeded


def return_loss(
    network: Network,
    weights: Mapping[str, Tensor],
    months: Months,
    numbers: Sequence[int],
    *,
    instrumentation: float,
    workers: int = 1,
    dropout_seed: tuple[int, ...] | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the loss of some months without the orthogonality of the factors, and all factors F' (T, K).

    The loss is the mean over the months of

        sum_i M (y - Lambda'F')^2 / (mean over training months of sum_i M y^2)
        + b ||Lambda - X Gamma||^2 / ||Lambda||^2

    with y in units of its root mean square, so that the mean over an epoch's equal steps is the share of all squared
    returns that is left open. A chunk's graph is freed before the next chunk is begun: memory does not grow with the
    months of a step.

    Parameters
    ----------
    network : Network
        In training mode for dropout.
    weights : mapping of name to tensor
        Of the network, in any floating type; gradients reach them.
    months : Months
        Of training; month k pairs with row k of the factors.
    numbers : sequence of int
        The months of the step, on every rank the same.
    instrumentation : float
        b.
    workers : int
        Ranks of the process group: each takes every ``workers``-th month, and the gradients are summed over all.
    dropout_seed : tuple of int, optional
        Decides dropout together with a chunk's first month.
    """
    factor_TK: Tensor = functional_call(network.factors, part_of(weights, "factors"), ())
    loading_weights = part_of(weights, "loadings")
    device = factor_TK.device.type
    value = factor_TK.new_zeros(())
    leaves = {name: weight.detach().requires_grad_() for name, weight in loading_weights.items()}
    seen_TK = factor_TK.detach().requires_grad_()
    inputs = [seen_TK, *leaves.values()]
    gradients = [torch.zeros_like(leaf) for leaf in inputs]
    for chunk in months.chunks(sorted(numbers)[rank_of(workers) :: workers]):
        if dropout_seed is None:
            loss = _chunk_loss(network, leaves, chunk, seen_TK, months.known_a_month, instrumentation)
        else:
            with seeded("dropout", *dropout_seed, chunk.number[0], device=device):
                loss = _chunk_loss(network, leaves, chunk, seen_TK, months.known_a_month, instrumentation)
        loss = loss / len(numbers)
        torch._foreach_add_(gradients, torch.autograd.grad(loss, inputs))
        value = value + loss.detach()
    if workers > 1:
        value, *gradients = summed_over_ranks([value, *gradients])
    found: Tensor = _WithGradients.apply(value, gradients, factor_TK, *loading_weights.values())  # type: ignore[no-untyped-call]
    return found, factor_TK


def rank_of(workers: int) -> int:
    """Return this process's rank in a group of so many workers; 0 without a group where one worker is wanted.

    Raises
    ------
    InputError
        If more than one is wanted and the process is not of a group of that size.
    """
    if workers == 1:
        return 0
    ready = torch.distributed.is_available() and torch.distributed.is_initialized()
    found = torch.distributed.get_world_size() if ready else 1
    if found != workers:
        raise InputError(
            f"neurif.workers is {workers}, and the fit runs in a group of {found}: set compute.workers to {workers}, "
            "or neurif.workers to 1"
        )
    return torch.distributed.get_rank()


def summed_over_ranks(parts: Sequence[Tensor]) -> list[Tensor]:
    """Return the sums of tensors over the ranks of the process group, in one message: the same bits on every rank."""
    flat = torch.cat([part.reshape(-1) for part in parts])
    torch.distributed.all_reduce(flat)
    pieces = torch.split(flat, [part.numel() for part in parts])
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def _chunk_loss(
    network: Network,
    leaves: Mapping[str, Tensor],
    chunk: Chunk,
    factor_TK: Tensor,
    squares_a_month: float,
    instrumentation: float,
) -> Tensor:
    """Sum over a chunk's months of the return loss and of the instrumentation penalty."""
    inputs = (chunk.x_nP.to(factor_TK.dtype), chunk.position_nd.to(factor_TK.dtype), chunk.bounds)
    linear_nK, beyond_nK = functional_call(network.loadings, dict(leaves), inputs)
    loading_nK = linear_nK if beyond_nK is None else linear_nK + beyond_nK
    month_n = chunk.months_of_rows()
    number_M = torch.tensor(chunk.number, device=month_n.device)
    fit_n = (loading_nK * factor_TK.index_select(0, number_M).index_select(0, month_n)).sum(1)
    error_n = torch.where(chunk.known_n, chunk.y_n - fit_n, 0.0)
    loss: Tensor = error_n.square().sum() / squares_a_month
    if beyond_nK is None or instrumentation == 0:
        return loss
    nothing_M = loss.new_zeros(len(number_M))
    beyond_M, whole_M = (nothing_M.index_add(0, month_n, rows.square().sum(1)) for rows in (beyond_nK, loading_nK))
    return loss + instrumentation * (beyond_M / whole_M.clamp_min(torch.finfo(loss.dtype).tiny)).sum()


class _WithGradients(torch.autograd.Function):
    """A number whose gradients with respect to some tensors are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *inputs: Tensor) -> Tensor:  # noqa: ARG004
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *outward: Any) -> Any:
        return None, None, *(gradient * outward[0] for gradient in ctx.gradients)

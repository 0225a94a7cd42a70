"""Ordinary torch modules as members of a stack, one member a pass: for networks that gain nothing from stacking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.func import functional_call

from factor_ray.data.digests import digest
from factor_ray.training.weights import Pass


def initial_weights(build: Callable[[], nn.Module], seed: int) -> dict[str, Tensor]:
    """Return the parameters of a module that is built with torch's random numbers starting from a seed."""
    with seeded("initial", seed):
        return {name: parameter.detach() for name, parameter in build().named_parameters()}


def run_member(module: nn.Module, through: Pass, *inputs: object) -> Tensor:
    """Run a module with the weights of a pass of one member; gradients reach the pass's leaves."""
    output: Tensor = functional_call(module, {name: stack[0] for name, stack in through.weights.items()}, inputs)
    return output


def run_weights(module: nn.Module, weights: Mapping[str, Tensor], *inputs: object) -> Tensor:
    """Run a module with a member's weights."""
    output: Tensor = functional_call(module, dict(weights), inputs)
    return output


@contextmanager
def seeded(*identity: object, device: str = "cpu") -> Iterator[None]:
    """Run the body with torch's random numbers decided by an identity, and restore the caller's state.

    For dropout: a member's masks depend on its seed, epoch and step, never on its companions.
    """
    remote = [torch.device(device)] if torch.device(device).type == "cuda" else []
    with torch.random.fork_rng(devices=remote):
        torch.manual_seed(int(digest(list(identity))[:15], 16))
        yield

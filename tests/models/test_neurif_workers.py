"""Ranks of a process group share the months of a step: gradients and fits are those of one worker."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from neurif_market import market

from factor_ray.errors import InputError
from factor_ray.models.neurif import NeurIF, NeurIFSettings
from factor_ray.models.neurif_network import orthogonality
from factor_ray.models.neurif_step import return_loss
from factor_ray.models.neurif_task import NeurIFTask

TINY = {"factors": 2, "width": 16, "heads": 2, "blocks": 1, "dropout": 0.0, "epochs": 2, "months_per_step": 5}


def gradients(workers: int) -> dict[str, torch.Tensor]:
    """Gradients of one step in double precision, from weights that are the same on every rank."""
    point = NeurIFSettings(**TINY, workers=workers)
    task = NeurIFTask([point], [0], market(0, 12), market(12, 18), order_seed=0, device="cpu")
    torch.manual_seed(0)
    network = task.networks[0].double()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    weights = dict(network.named_parameters())
    months = [0, 3, 4, 8, 11]
    value, factor_TK = return_loss(network, weights, task.months, months, instrumentation=0.2, workers=workers)
    found = torch.autograd.grad(value + 0.1 * orthogonality(factor_TK), list(weights.values()))
    return {"loss": value.detach(), **dict(zip(weights, found, strict=True))}


def fit(workers: int) -> dict[str, np.ndarray]:
    point = NeurIFSettings(**TINY, workers=workers)
    (found,) = NeurIF.fit_pack([point], [0], market(0, 12), market(12, 18), order_seed=0)
    return {"selection": np.array(found.scores["selection"]), **found.weights}


def rank(number: int, world: int, folder: str) -> None:
    """What each process does."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=world)
    torch.save(gradients(world), f"{folder}/gradients{number}.pt")
    np.savez(f"{folder}/fit{number}.npz", **fit(world))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(rank, args=(2, str(folder)), nprocs=2)
    return folder


def test_gradients_of_two_workers_are_those_of_one(shared: Path) -> None:
    alone = gradients(1)
    for number in range(2):
        found = torch.load(shared / f"gradients{number}.pt")
        assert found.keys() == alone.keys()
        for name, gradient in alone.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-9, msg=name)


def test_all_ranks_hold_the_same_bits_and_fit_what_one_worker_fits(shared: Path) -> None:
    first, second = (np.load(shared / f"fit{number}.npz") for number in range(2))
    alone = fit(1)
    assert set(first) == set(second) == set(alone)
    for name, weight in alone.items():
        assert first[name].tobytes() == second[name].tobytes(), name
        np.testing.assert_allclose(first[name], weight, atol=2e-4, err_msg=name)


def test_a_group_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"neurif.workers is 2, and the fit runs in a group of 1: set compute.workers"):
        fit(2)

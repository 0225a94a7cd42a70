"""The ranks of a worker group: a refused fit ends the work of all, and leaves none waiting for another."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed
import torch.multiprocessing

from factor_ray.errors import InputError, WorkError
from factor_ray.runner.fitting import Context, fit_packs


@dataclass(frozen=True)
class Stub:
    """A pack that notes in a folder who fits it; one rank's fit may be refused."""

    name: str
    folder: str
    joint: bool = False
    refused_on: int | None = None

    def share(self, rank: int, world: int) -> Stub:  # noqa: ARG002 - as a pack's
        return self

    def fit(self, inputs: Any, store: Any, context: Context) -> None:  # noqa: ARG002 - as a pack's
        Path(self.folder, f"{self.name} on {context.rank}").touch()
        if self.refused_on == context.rank:
            raise WorkError(f"{self.name} is refused")
        if self.joint and context.world > 1:
            torch.distributed.barrier()


def fit(rank: int, world: int, packs: list[Any]) -> None:
    nothing: Any = None
    fit_packs(packs, nothing, nothing, Context(rank, world))


def rank(number: int, world: int, packs: list[Any], folder: str) -> None:
    """What each process does."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=number, world_size=world)
    try:
        fit(number, world, packs)
    except (InputError, WorkError) as error:
        Path(folder, f"told by {number}").write_text(str(error))
    torch.distributed.destroy_process_group()


def test_nothing_is_fitted_after_a_refused_fit(tmp_path: Path) -> None:
    folder = str(tmp_path)
    packs = [Stub("first", folder), Stub("second", folder, refused_on=0), Stub("third", folder, joint=True)]
    with pytest.raises(WorkError, match="second is refused"):
        fit(0, 1, packs)
    assert {file.name for file in tmp_path.iterdir()} == {"first on 0", "second on 0"}


def test_no_rank_waits_for_one_whose_fit_was_refused(tmp_path: Path) -> None:
    """Rank 0 cannot store what both fitted, and stays away from the next pack: rank 1 must too."""
    folder = str(tmp_path)
    packs = [
        Stub("first", folder, joint=True),
        Stub("second", folder, refused_on=0),
        Stub("third", folder),
        Stub("fourth", folder, joint=True),
    ]
    torch.multiprocessing.spawn(rank, args=(2, packs, folder), nprocs=2)
    found = {file.name for file in tmp_path.iterdir()} - {"meeting"}
    assert found == {"first on 0", "first on 1", "second on 0", "second on 1", "third on 1", "told by 0"}
    assert (tmp_path / "told by 0").read_text() == "second is refused"

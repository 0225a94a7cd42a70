"""The fit loop: the same whether it is called in a Tune actor or is the train function of a Ray Train worker group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from factor_ray.models.base import Hyperparameters
from factor_ray.models.registry import model
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs


@dataclass(frozen=True)
class Pack:
    """Members of one shape, fitted as one stack on one window; plain values only, so that it travels as a dict."""

    model: str
    horizon: int
    window: int
    points: Sequence[Mapping[str, Any]]
    seeds: Sequence[int]
    order_seed: int
    cells: Sequence[str]
    identities: Sequence[Mapping[str, Any]]

    def __len__(self) -> int:
        return len(self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return dataclasses.asdict(self)

    def share(self, rank: int, world: int) -> Pack:
        """Return the members that one of several ranks fits."""
        mine = slice(rank, None, world)
        return dataclasses.replace(
            self,
            points=self.points[mine],
            seeds=self.seeds[mine],
            cells=self.cells[mine],
            identities=self.identities[mine],
        )


@dataclass(frozen=True)
class Context:
    """All that the fit loop knows of where it runs."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"


def fit_packs(packs: Sequence[Pack], inputs: Inputs, store: CellStore, context: Context) -> None:
    """Fit this rank's members of every pack and store their cells; members that are stored already are left alone."""
    for pack in packs:
        mine = pack.share(context.rank, context.world)
        todo = [k for k, name in enumerate(mine.cells) if not store.has(name)]
        if not todo:
            continue
        family = model(pack.model)
        window, view = inputs.windows[pack.horizon][pack.window], inputs.view(pack.horizon, pack.window)
        points: list[Hyperparameters] = [family.Settings(**mine.points[k]) for k in todo]
        fits = family.fit_pack(
            points,
            [mine.seeds[k] for k in todo],
            view.train(window),
            view.validation(window),
            order_seed=pack.order_seed,
            device=context.device,
        )
        for k, fit in zip(todo, fits, strict=True):
            store.write(mine.cells[k], fit, mine.identities[k])

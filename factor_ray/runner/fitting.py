"""The fit loop: the same whether it is called in a Tune actor or is the train function of a Ray Train worker group."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar

from factor_ray.errors import InputError, WorkError
from factor_ray.models.base import Fit, Hyperparameters
from factor_ray.models.by_month import ByMonth
from factor_ray.models.registry import model
from factor_ray.runner.cells import CellStore
from factor_ray.runner.inputs import Inputs
from factor_ray.threads import one_blas_thread


@dataclass(frozen=True)
class Context:
    """All that the fit loop knows of where it runs."""

    rank: int = 0
    world: int = 1
    device: str = "cpu"


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

    @property
    def joint(self) -> bool:
        """Whether ranks share every member: they meet in the fit, and none may stay away."""
        return self._settings(0).ranks > 1

    def share(self, rank: int, world: int) -> Pack:
        """Return the members that one of several ranks fits: all of them where the ranks share every member."""
        return self if self.joint else self._some(range(rank, len(self), world))

    def fit(self, inputs: Inputs, store: CellStore, context: Context) -> None:
        """Fit and store the members that are not stored already; of ranks that share them one stores."""
        todo = self._some([k for k, name in enumerate(self.cells) if not store.has(name)])
        if not len(todo):
            return
        family = model(self.model)
        window, view = inputs.windows[self.horizon][self.window], inputs.view(self.horizon, self.window)
        points = [todo._settings(k) for k in range(len(todo))]
        fits = family.fit_pack(
            points,
            todo.seeds,
            view.train(window),
            view.validation(window),
            order_seed=self.order_seed,
            device=context.device,
        )
        if self.joint and context.rank > 0:
            return
        for name, fit, identity in zip(todo.cells, fits, todo.identities, strict=True):
            store.write(name, fit, identity)

    def _settings(self, place: int) -> Hyperparameters:
        return model(self.model).Settings(**self.points[place])

    def _some(self, places: Sequence[int]) -> Pack:
        names = ("points", "seeds", "cells", "identities")
        parts: dict[str, Any] = {name: [getattr(self, name)[k] for k in places] for name in names}
        return dataclasses.replace(self, **parts)


@dataclass(frozen=True)
class MonthPack:
    """Single months of a model that is fitted month by month, each with the settings that are wanted of it."""

    model: str
    horizon: int
    months: Sequence[int]
    settings: Sequence[Sequence[Mapping[str, Any]]]
    names: Sequence[Sequence[str]]
    month_identities: Sequence[Sequence[Mapping[str, Any]]]

    joint: ClassVar[bool] = False
    """A month is fitted by one rank."""

    @property
    def cells(self) -> list[str]:
        """Names of all cells."""
        return [name for listed in self.names for name in listed]

    def __len__(self) -> int:
        return len(self.cells)

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists and dicts."""
        return dataclasses.asdict(self)

    def share(self, rank: int, world: int) -> MonthPack:
        """Return the months that one of several ranks fits."""
        mine = slice(rank, None, world)
        parts = {name: getattr(self, name)[mine] for name in ("months", "settings", "names", "month_identities")}
        return dataclasses.replace(self, **parts)

    def fit(self, inputs: Inputs, store: CellStore, context: Context) -> None:  # noqa: ARG002 - small: no GPU
        """Fit and store what is not stored already, month after month; settings share their month's seconds evenly."""
        family = model(self.model)
        assert issubclass(family, ByMonth)
        for month, settings, names, identities in zip(
            self.months, self.settings, self.names, self.month_identities, strict=True
        ):
            todo = [k for k, name in enumerate(names) if not store.has(name)]
            section = inputs.cross_section(self.horizon, month)
            if not todo or section is None:
                continue
            started = perf_counter()
            found = family.fit_month([family.MonthSettings(**settings[k]) for k in todo], section)
            seconds = (perf_counter() - started) / len(todo)
            for k, coefficients in zip(todo, found, strict=True):
                store.write(names[k], Fit({"coefficients": coefficients}, {}, seconds=seconds), identities[k])


AnyPack = Pack | MonthPack


def pack_from(values: Mapping[str, Any]) -> AnyPack:
    """Return a pack that travelled as a dict."""
    return MonthPack(**values) if "months" in values else Pack(**values)


@one_blas_thread()
def fit_packs(packs: Sequence[AnyPack], inputs: Inputs, store: CellStore, context: Context) -> None:
    """Fit this rank's part of every pack and store the cells; what is stored already is left alone.

    Ranks are given the same packs. Once a fit of one is refused, no rank begins another pack whose members they share,
    in which it would wait for the others; each finishes what it fits alone.

    Raises
    ------
    InputError, WorkError
        Of this rank's own fits: the first one.
    """
    refused: InputError | WorkError | None = None
    for pack in packs:
        if pack.joint and _of_some_rank(refused is not None, context):
            break
        if refused is None:
            try:
                pack.share(context.rank, context.world).fit(inputs, store, context)
            except (InputError, WorkError) as error:
                refused = error
    if refused is not None:
        raise refused


def _of_some_rank(told: bool, context: Context) -> bool:
    """Whether any rank says so: all of them must ask."""
    if context.world == 1:
        return told
    import torch

    count = torch.tensor(int(told), device=context.device)
    torch.distributed.all_reduce(count)
    return bool(count)

"""The campaign: several searches, the store that answers what is known, and the packs of what is missing. No Ray."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from factor_ray.data.digests import digest
from factor_ray.data.windows import Window
from factor_ray.models.base import Fit, Hyperparameters
from factor_ray.models.registry import model
from factor_ray.models.seeds import fit_seed
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import Pack
from factor_ray.runner.inputs import Digests, Inputs
from factor_ray.runner.search import Request, Search, Selection


@dataclass
class Quest:
    """One search of one model at one horizon (and level, for a quantile), and how its requests become cells."""

    model: str
    horizon: int
    search: Search
    windows: Sequence[Window]
    cells: CellNames
    tau: float | None = None
    selection: Selection | None = None
    wanted: list[Request] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What tells it from the model's other searches."""
        return quest_key(self.horizon, self.tau)


def quest_key(horizon: int, tau: float | None) -> str:
    """Return what tells a search from the model's others: the horizon, and the level of a quantile."""
    return str(horizon) if tau is None else f"{horizon}@{tau:g}"


@dataclass(frozen=True)
class CellNames:
    """Names cells of one model and horizon by all that they depend on."""

    model: str
    horizon: int
    windows: Sequence[Window]
    data: Sequence[str]
    states: Sequence[str]
    seed: int

    @classmethod
    def of(cls, model: str, horizon: int, inputs: Inputs, digests: Digests, seed: int) -> CellNames:
        """Compute the digests of every window once."""
        windows = inputs.windows[horizon]
        data = [digests.data(horizon, window) for window in windows]
        states = [digests.state(z, w) for z, w in zip(inputs.states[horizon], windows, strict=True)]
        return cls(model, horizon, windows, data, states, seed)

    def identity(self, window: int, settings: Hyperparameters, member: int) -> dict[str, Any]:
        """Return everything that a fit depends on; its digest is the cell's name."""
        dates = self.windows[window].dates()
        return {
            "model": self.model,
            "version": model(self.model).version,
            "horizon": self.horizon,
            "train": dates["train"],
            "validation": dates["validation"],
            "data": self.data[window],
            "state": self.states[window],
            "hyperparameters": settings.model_dump(mode="json"),
            "member": member,
            "seed": self.seed,
        }

    def name(self, window: int, settings: Hyperparameters, member: int) -> str:
        """Return the cell's name."""
        return digest(self.identity(window, settings, member))


class Campaign:
    """Advances searches as far as the store knows the scores, and hands out what is missing as packs.

    Results depend on nothing here: a pack's size, its companions and the order of completion change no bit of a cell.

    Parameters
    ----------
    quests : sequence of Quest
    store : CellStore
    slots : int
        Packs that are fitted at once; decides the packs' size where ``pack`` is "auto".
    pack : int or "auto"
        Most members of a pack.
    warn : callable
        Told one sentence of anything out of the ordinary that was mended.
    """

    def __init__(
        self,
        quests: Sequence[Quest],
        store: CellStore,
        *,
        slots: int,
        pack: int | str = "auto",
        warn: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.quests, self.store = list(quests), store
        self._slots, self._pack, self._warn = slots, pack, warn
        self._queue: deque[Pack] = deque()
        self._pending: dict[str, list[tuple[Quest, Request]]] = {}
        self._known: dict[str, Fit] = {}
        self.reused = self.fitted = 0
        for quest in self.quests:
            self._advance(quest, None)

    @property
    def finished(self) -> bool:
        """Whether every search has selected."""
        return all(quest.selection is not None for quest in self.quests)

    def take(self) -> Pack | None:
        """Return a pack to fit; None while the searches wait for packs that are out, and when all is finished."""
        return self._queue.popleft() if self._queue else None

    def complete(self, pack: Pack) -> None:
        """Take note that a pack's cells are in the store, and advance the searches that waited for them.

        Raises
        ------
        CorruptCellError
            If a cell that was just written cannot be read.
        """
        waiting: list[Quest] = []
        for name in pack.cells:
            self._known[name] = _light(self.store.read(name))
            self.fitted += 1
            waiting += [quest for quest, _ in self._pending.pop(name, [])]
        for quest in {id(quest): quest for quest in waiting}.values():
            if all(self._name(quest, request) in self._known for request in quest.wanted):
                self._advance(quest, quest.wanted)

    def fit(self, name: str) -> Fit:
        """Return scores and history of a cell that some search has asked for (weights stay in the store)."""
        return self._known[name]

    def _advance(self, quest: Quest, answered: list[Request] | None) -> None:
        try:
            requests = next(quest.search) if answered is None else quest.search.send(self._scores(quest, answered))
            while not (missing := [request for request in requests if not self._look_up(quest, request)]):
                requests = quest.search.send(self._scores(quest, requests))
        except StopIteration as stop:
            quest.selection, quest.wanted = stop.value, []
            return
        quest.wanted = requests
        self._enqueue(quest, missing)

    def _scores(self, quest: Quest, requests: Sequence[Request]) -> Mapping[Request, float]:
        return {request: self._known[self._name(quest, request)].scores["selection"] for request in requests}

    def _name(self, quest: Quest, request: Request) -> str:
        return quest.cells.name(request.window, request.point.settings, request.member)

    def _look_up(self, quest: Quest, request: Request) -> bool:
        name = self._name(quest, request)
        if name in self._known:
            return True
        stored = self.store.find(name, self._warn)
        if stored is None:
            return False
        self._known[name] = _light(stored)
        self.reused += 1
        return True

    def _enqueue(self, quest: Quest, requests: Sequence[Request]) -> None:
        """Group requests of one window and shape; spread them over the slots unless a pack's size is given."""
        shapes: dict[tuple[Any, ...], dict[str, Request]] = {}
        for request in requests:
            name = self._name(quest, request)
            waits = self._pending.setdefault(name, [])
            waits.append((quest, request))
            if len(waits) == 1:
                settings = request.point.settings
                shape = tuple(getattr(settings, key) for key in settings.shape_names())
                shapes.setdefault((request.window, shape), {})[name] = request
        windows = len({window for window, _ in shapes})
        for (window, _), group in shapes.items():
            largest = self._pack if isinstance(self._pack, int) else math.ceil(len(group) * windows / self._slots)
            names = list(group)
            parts = math.ceil(len(names) / min(largest, len(names)))
            for part in range(parts):
                chosen = names[part::parts]
                self._queue.append(_pack(quest, window, {name: group[name] for name in chosen}))


def _pack(quest: Quest, window: int, requests: Mapping[str, Request]) -> Pack:
    cells = quest.cells
    dated = cells.windows[window]
    return Pack(
        model=quest.model,
        horizon=quest.horizon,
        window=window,
        points=[request.point.settings.model_dump(mode="json") for request in requests.values()],
        seeds=[fit_seed(cells.seed, quest.model, dated, request.member) for request in requests.values()],
        order_seed=fit_seed(cells.seed, quest.model, dated, None),
        cells=list(requests),
        identities=[cells.identity(window, r.point.settings, r.member) for r in requests.values()],
    )


def _light(fit: Fit) -> Fit:
    return Fit(weights={}, scores=fit.scores, history=fit.history, status=fit.status, seconds=fit.seconds)

"""The campaign: several searches, the store that answers what is known, and the packs of what is missing. No Ray."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from factor_ray.data.digests import digest
from factor_ray.data.windows import Window
from factor_ray.models.base import Fit, Hyperparameters
from factor_ray.models.registry import model
from factor_ray.models.seeds import fit_seed
from factor_ray.runner.cells import CellStore
from factor_ray.runner.fitting import AnyPack, MonthPack, Pack
from factor_ray.runner.inputs import Digests, Inputs
from factor_ray.runner.monthly import Month, MonthlyFits
from factor_ray.runner.search import Request, Search, Selection

_PACKS_OF_MONTHS = 4  # a slot: small enough to end together
_WRITTEN_AT_ONCE = 8  # cells that nobody waits for one by one
_LEAST_SECONDS = 1e-3  # of a cell: it is written and read, however quickly it is fitted


@dataclass
class Quest:
    """One search of one model at one horizon (and level, for a quantile), and how its requests become cells.

    Attributes
    ----------
    model, horizon, search, windows, cells
        Whose search, over which windows, and how its members' cells are named.
    tau : float or None
        Level of a quantile.
    monthly : MonthlyFits or None
        Where fits are made of single months, whose cells are then what is fitted.
    members : int
        Members of an ensemble.
    selection : Selection or None
        Once the search has ended.
    wanted, months, missing
        What the search waits for, the cells of months that this is made of, and the names of those that are not there.
    """

    model: str
    horizon: int
    search: Search
    windows: Sequence[Window]
    cells: CellNames
    tau: float | None = None
    monthly: MonthlyFits | None = None
    members: int = 1
    selection: Selection | None = None
    wanted: list[Request] = field(default_factory=list)
    months: dict[str, Month] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """What tells it from the model's other searches."""
        return quest_key(self.horizon, self.tau)


def quest_key(horizon: int, tau: float | None) -> str:
    """Return what tells a search from the model's others: the horizon, and the level of a quantile."""
    return str(horizon) if tau is None else f"{horizon}@{tau:g}"


@dataclass(frozen=True)
class CellNames:
    """Names cells of one model and horizon by all that they depend on.

    ``whole`` is all that any window learns or is judged by, as one set of training months; ``whole_data`` its digest.
    """

    model: str
    horizon: int
    windows: Sequence[Window]
    data: Sequence[str]
    states: Sequence[str]
    seed: int
    whole: Window
    whole_data: str
    _names: dict[tuple[int, Hyperparameters, int], str] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @classmethod
    def of(cls, model: str, horizon: int, inputs: Inputs, digests: Digests, seed: int) -> CellNames:
        """Compute the digests of every window once."""
        windows = inputs.windows[horizon]
        data = [digests.data(horizon, window) for window in windows]
        states = [digests.state(z, w) for z, w in zip(inputs.states[horizon], windows, strict=True)]
        last = (windows[-1].validation or windows[-1].train)[1]
        whole = Window(train=(windows[0].train[0], last), validation=None, test=windows[-1].test)
        return cls(model, horizon, windows, data, states, seed, whole, digests.data(horizon, whole))

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
        """Return the cell's name; it is computed once, since a run asks for what it selected again and again."""
        key = window, settings, member
        if key not in self._names:
            self._names[key] = digest(self.identity(window, settings, member))
        return self._names[key]


@dataclass
class Pace:
    """How many of a model's cells are there, and how many of these were fitted now, in what time."""

    there: int = 0
    fitted: int = 0
    seconds: float = 0.0


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
    on_selected : callable
        Handed each search that has selected, while others may go on, and what is done when that is stored.
    """

    def __init__(
        self,
        quests: Sequence[Quest],
        store: CellStore,
        *,
        slots: int,
        pack: int | str = "auto",
        warn: Callable[[str], None] = lambda _: None,
        on_selected: Callable[[Quest, Future[None]], None] = lambda *_: None,
    ) -> None:
        self.quests, self.store = list(quests), store
        self._slots, self._pack, self._warn, self._on_selected = slots, pack, warn, on_selected
        self._queue: deque[AnyPack] = deque()
        self._pending: dict[str, list[Quest]] = {}
        self._known: dict[str, Fit] = {}
        self._started, self._paces = monotonic(), {quest.model: Pace() for quest in self.quests}
        self.reused = self.fitted = 0
        self.months: dict[tuple[str, int], dict[str, float]] = {}
        """By model and horizon the months' cells that searches have read, and the seconds that each took to fit."""
        self._advance_all([(quest, None) for quest in self.quests])

    @property
    def finished(self) -> bool:
        """Whether every search has selected."""
        return all(quest.selection is not None for quest in self.quests)

    def take(self) -> AnyPack | None:
        """Return a pack to fit; None while the searches wait for packs that are out, and when all is finished."""
        return self._queue.popleft() if self._queue else None

    def complete(self, pack: AnyPack) -> None:
        """Take note that a pack's cells are in the store, and advance the searches that waited for them.

        Raises
        ------
        CorruptCellError
            If a cell that was just written cannot be read.
        InputError
            If months do not suffice for what a search asks of them.
        """
        ready: list[tuple[Quest, list[Request] | None]] = []
        for name in pack.cells:
            fit = self.store.read(name)
            self._known[name] = fit if isinstance(pack, MonthPack) else _light(fit)
            self.fitted += 1
            pace = self._paces[pack.model]
            pace.there, pace.fitted = pace.there + 1, pace.fitted + 1
            pace.seconds += max(fit.seconds, _LEAST_SECONDS)
            for quest in self._pending.pop(name, []):
                quest.missing.discard(name)
                if not quest.missing:
                    ready.append((quest, quest.wanted))
        self._advance_all(ready)

    def fit(self, quest: Quest, request: Request) -> Fit:
        """Return scores and history of a cell that a search has asked for; weights stay in the store."""
        return self._known[self._name(quest, request)]

    def seconds_left(self, planned: Mapping[str, int]) -> float | None:
        """Estimate the time that is left from the pace so far; None before the first fit.

        Parameters
        ----------
        planned : mapping of model to int
            Its cells. One that is missing counts as much as the mean of its model's fitted cells, or of all where the
            model has none; none is missing where the model's searches have all selected.
        """
        spent = sum(pace.seconds for pace in self._paces.values())
        if not self.fitted:
            return None
        left = 0.0
        for name in {quest.model for quest in self.quests if quest.selection is None}:
            pace = self._paces[name]
            each = pace.seconds / pace.fitted if pace.fitted else spent / self.fitted
            left += max(planned[name] - pace.there, 0) * each
        return (monotonic() - self._started) * left / spent

    def _advance_all(self, ready: Sequence[tuple[Quest, list[Request] | None]]) -> None:
        """Advance searches with the scores that they asked for.

        While one's scores are computed the others read their cells, and what one has selected is stored.
        """
        with ThreadPoolExecutor(1) as scoring, ThreadPoolExecutor(1) as storing:
            kept = []
            going = deque((quest, self._advance(quest, answered, scoring)) for quest, answered in ready)
            try:
                while going:
                    quest, advancing = going.popleft()
                    if _goes_on(advancing):
                        going.append((quest, advancing))
                    elif quest.selection is not None:
                        stored = storing.submit(self._keep_selected, quest, quest.selection)
                        self._on_selected(quest, stored)
                        kept.append(stored)
            finally:
                scoring.shutdown(cancel_futures=True)  # one that fails does not wait for the others' scores
        for each in kept:
            each.result()

    def _advance(self, quest: Quest, answered: list[Request] | None, scoring: ThreadPoolExecutor) -> Iterator[None]:
        """Advance a search until it lacks cells or has selected, pausing wherever its scores are being computed."""
        try:
            if answered is None:
                requests = next(quest.search)
            else:
                requests = quest.search.send((yield from self._scores(quest, answered, scoring)))
            while not self._lacks(quest, requests):
                requests = quest.search.send((yield from self._scores(quest, requests, scoring)))
        except StopIteration as stop:
            quest.selection, quest.wanted = stop.value, []
            return
        quest.wanted = requests

    def _scores(
        self, quest: Quest, requests: Sequence[Request], scoring: ThreadPoolExecutor
    ) -> Generator[None, None, Mapping[Request, float]]:
        if quest.monthly is None:
            return {request: self._known[self._name(quest, request)].scores["selection"] for request in requests}
        self._take_months(quest, quest.monthly)
        computed = scoring.submit(quest.monthly.scores, requests)
        yield
        return computed.result()

    def _name(self, quest: Quest, request: Request) -> str:
        return quest.cells.name(request.window, request.point.settings, request.member)

    def _lacks(self, quest: Quest, requests: Sequence[Request]) -> bool:
        """Whether something that is asked for is in no cell yet; what is missing is then queued as packs."""
        if quest.monthly is None:
            wanted = {self._name(quest, request): request for request in requests}
            missing = {name: request for name, request in wanted.items() if not self._look_up(quest, name)}
            self._enqueue(quest, {name: missing[name] for name in self._not_out(quest, missing)})
        else:
            quest.months = {quest.monthly.name(month): month for month in quest.monthly.needed(requests)}
            absent = {name: month for name, month in quest.months.items() if not self._look_up(quest, name)}
            self._enqueue_months(quest, {name: absent[name] for name in self._not_out(quest, absent)})
        return bool(quest.missing)

    def _look_up(self, quest: Quest, name: str) -> bool:
        if name in self._known:
            return True
        stored = self.store.find(name, self._warn)
        if stored is None:
            return False
        self._known[name] = _light(stored) if quest.monthly is None else stored
        self.reused += 1
        self._paces[quest.model].there += 1
        return True

    def _not_out(self, quest: Quest, missing: Iterable[str]) -> list[str]:
        """Let a search wait for cells; return those that no pack was made for yet."""
        quest.missing = set(missing)
        fresh = []
        for name in missing:
            waits = self._pending.setdefault(name, [])
            waits.append(quest)
            if len(waits) == 1:
                fresh.append(name)
        return fresh

    def _enqueue(self, quest: Quest, requests: Mapping[str, Request]) -> None:
        """Group requests of one window and shape; spread them over the slots unless a pack's size is given."""
        shapes: dict[tuple[Any, ...], dict[str, Request]] = {}
        for name, request in requests.items():
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

    def _enqueue_months(self, quest: Quest, months: Mapping[str, Month]) -> None:
        """Group cells by month; spread the months over the slots unless a pack's size is given."""
        grouped: dict[int, dict[str, Month]] = {}
        for name, month in months.items():
            grouped.setdefault(month[0], {})[name] = month
        largest = math.ceil(len(grouped) / (_PACKS_OF_MONTHS * self._slots))
        if isinstance(self._pack, int) and months:
            largest = max(1, self._pack * len(grouped) // len(months))
        listed = list(grouped.values())
        for begin in range(0, len(listed), max(largest, 1)):
            self._queue.append(_month_pack(quest, listed[begin : begin + largest]))

    def _take_months(self, quest: Quest, monthly: MonthlyFits) -> None:
        seconds = self.months.setdefault((quest.model, quest.horizon), {})
        for name, month in quest.months.items():
            monthly.take(month, self._known[name])
            seconds[name] = self._known[name].seconds

    def _keep_selected(self, quest: Quest, selection: Selection) -> None:
        """Store what a search of months has selected, for forecasts: of other members every cell is there already."""
        if quest.monthly is None:
            return
        for points in selection.points.values():
            chosen = {window: point.settings for window, point in enumerate(points)}
            names = {window: quest.cells.name(window, settings, 0) for window, settings in chosen.items()}
            absent = {w: settings for w, settings in chosen.items() if self.store.find(names[w], self._warn) is None}
            fits = quest.monthly.fits(absent)
            identities = [quest.cells.identity(window, chosen[window], 0) for window in fits]
            with ThreadPoolExecutor(_WRITTEN_AT_ONCE) as pool:  # writing is waiting for the disk
                list(pool.map(self.store.write, [names[window] for window in fits], fits.values(), identities))


def _goes_on(advancing: Iterator[None]) -> bool:
    """Advance to the next pause; False where there is none."""
    return next(advancing, True) is None


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


def _month_pack(quest: Quest, months: Sequence[Mapping[str, Month]]) -> MonthPack:
    monthly = quest.monthly
    assert monthly is not None
    return MonthPack(
        model=quest.model,
        horizon=quest.horizon,
        months=[next(iter(group.values()))[0] for group in months],
        settings=[[settings.model_dump(mode="json") for _, settings in group.values()] for group in months],
        names=[list(group) for group in months],
        month_identities=[[monthly.identity(month) for month in group.values()] for group in months],
    )


def _light(fit: Fit) -> Fit:
    return Fit(weights={}, scores=fit.scores, history=fit.history, status=fit.status, seconds=fit.seconds)

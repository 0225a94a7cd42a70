"""The search that moves forward in time: a pure function of scores, which never knows who computes them or when."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import optuna

from factor_ray.errors import WorkError
from factor_ray.models.base import Hyperparameters
from factor_ray.runner.settings import SearchSettings
from factor_ray.runner.space import Space

_SCORES_TO_LEARN_FROM = 4
"""Scores that a study must have been told before it draws points by them; until then they are drawn at random.

Optuna's ten would leave the whole of a search of ten points random, and the second round of eight too.
"""


@dataclass(frozen=True)
class Point:
    """One assignment of hyperparameters; ``number`` counts a variant's points in the order they were asked."""

    variant: str
    number: int
    settings: Hyperparameters

    def __hash__(self) -> int:
        """Searches look points up very often: hashing all hyperparameters would be most of their time."""
        return hash((self.variant, self.number))


class Request(NamedTuple):
    """One cell that the search wants to know the score of."""

    window: int
    point: Point
    member: int


@dataclass
class Selection:
    """What a finished search has chosen.

    Attributes
    ----------
    points : dict of variant to list of Point
        The selected point of each window.
    best : list of str
        The variant that is selected in each window.
    scores : dict of Request to float
        Every score that was seen, in the order in which it was asked for.
    """

    points: dict[str, list[Point]] = field(default_factory=dict)
    best: list[str] = field(default_factory=list)
    scores: dict[Request, float] = field(default_factory=dict)


Search = Generator[list[Request], Mapping[Request, float], Selection]


def search_forward(
    spaces: Mapping[str, Space], windows: int, settings: SearchSettings, members: int, seed: int
) -> Search:
    """Explore hyperparameters window by window, select, and ask for the selected points' other members.

    A generator: it yields the cells that it needs next and is sent their scores (lower is better, +inf for a failed
    fit). On the first window rounds of points are asked of Optuna at once and told in point order: the first round is
    drawn at random, later ones by the scores told. A space that has no more points than may be asked is explored whole.
    On every later window the survivors are fitted, and ``refresh`` new points; once nothing can join or leave them, all
    further windows are asked for at once. A window's selection sees the scores of that window and those before it; only
    ``selection: global`` sees later ones.

    Parameters
    ----------
    spaces : mapping of variant to Space
        Variants have one study each, all from one seed, so that they start from the same points.
    windows : int
        Number of windows.
    settings : SearchSettings
    members : int
        Members of an ensemble; the search itself fits member 0.
    seed : int
        Seed of the samplers.
    """
    studies = {variant: _Study(variant, space, seed, settings.points) for variant, space in spaces.items()}
    found = Selection(points={variant: [] for variant in spaces})
    alive: dict[str, list[Point]] = {variant: [] for variant in spaces}

    for _ in range(math.ceil(settings.points / settings.round)):
        asked = {
            variant: study.ask(min(settings.round, settings.points - study.count)) for variant, study in studies.items()
        }
        if any(asked.values()):
            yield from _note(_requests(0, asked), found)
        for variant, points in asked.items():
            studies[variant].tell(points, [found.scores[Request(0, point, 0)] for point in points])
            alive[variant] += points

    known, past = 1, _Past()
    for window in range(windows):
        if window == known:
            fresh = {variant: study.ask(settings.refresh) for variant, study in studies.items()}
            alive = {variant: alive[variant] + fresh[variant] for variant in spaces}
            known = windows if _is_settled(alive, studies, settings) else window + 1
            yield from _note([request for w in range(window, known) for request in _requests(w, alive)], found)
            for variant, points in fresh.items():
                studies[variant].tell(points, [found.scores[Request(window, point, 0)] for point in points])
        past.add([point for points in alive.values() for point in points], window, found.scores)
        ranked = {variant: past.ranked(points) for variant, points in alive.items()}
        for variant, points in ranked.items():
            _require_one_that_converged(variant, points[0], window, found.scores)
            found.points[variant].append(past.simplest(points, settings.tolerance))
        found.best.append(min(spaces, key=lambda v: past.mean(found.points[v][-1])))
        if settings.pruner == "halving":
            alive = {v: _halved(points, settings.survivors) for v, points in ranked.items()}

    if settings.selection == "global":
        last = windows - 1
        found.points = {variant: [points[last]] * windows for variant, points in found.points.items()}
        found.best = [found.best[last]] * windows
        missing = [Request(w, p[w], 0) for p in found.points.values() for w in range(windows)]
        yield from _note([request for request in missing if request not in found.scores], found)
    others = [
        Request(window, point, member)
        for points in found.points.values()
        for window, point in enumerate(points)
        for member in range(1, members)
    ]
    if others:
        yield from _note(others, found)
    return found


def planned_fits(variants: int, searched: bool, windows: int, settings: SearchSettings, members: int) -> list[int]:
    """Return how many cells each window takes when no two points coincide; what ``check`` and progress bars count.

    With ``selection: global`` and ``refresh`` they are the most that it may take.
    """
    alive = settings.points if searched else 1
    fits = []
    for window in range(windows):
        if window > 0 and searched:
            alive += settings.refresh
        # A point asked later than this window may be chosen for it where the selection is global.
        later = settings.selection == "global" and searched and settings.refresh > 0 and window < windows - 1
        fits.append(variants * (alive + later + members - 1))
        if settings.pruner == "halving":
            alive = _survivors(alive, settings.survivors)
    return fits


def _note(requests: list[Request], found: Selection) -> Generator[list[Request], Mapping[Request, float], None]:
    """Ask for scores and keep them in the order of asking, whatever order they come in."""
    answers = yield requests
    found.scores.update((request, answers[request]) for request in requests)


class _Study:
    """One variant's Optuna study, asked in rounds; a space of ``most`` points or fewer needs none."""

    def __init__(self, variant: str, space: Space, seed: int, most: int) -> None:
        self.variant, self.space, self.count = variant, space, 0
        self._listed = space.all_points(most)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, constant_liar=True, n_startup_trials=_SCORES_TO_LEARN_FROM
        )
        self._study = optuna.create_study(sampler=sampler)
        self._trials: dict[int, optuna.Trial] = {}

    @property
    def exhausted(self) -> bool:
        """Whether there is no further point to ask for."""
        return self._listed is not None and self.count == len(self._listed)

    def ask(self, number: int) -> list[Point]:
        """Return new points: all at once where they can be listed, whatever the number."""
        if self._listed is not None:
            rest = self._listed[self.count :]
            points = [Point(self.variant, self.count + k, settings) for k, settings in enumerate(rest)]
            self.count = len(self._listed)
            return points
        points = []
        for _ in range(number):
            trial = self._study.ask()
            points.append(Point(self.variant, self.count, self.space.suggest(trial)))
            self._trials[self.count] = trial
            self.count += 1
        return points

    def tell(self, points: Sequence[Point], scores: Sequence[float]) -> None:
        if self._listed is not None:
            return
        for point, score in zip(points, scores, strict=True):
            trial = self._trials.pop(point.number)
            if math.isfinite(score):
                self._study.tell(trial, score)
            else:
                self._study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _requests(window: int, points: Mapping[str, Sequence[Point]]) -> list[Request]:
    return [Request(window, point, 0) for listed in points.values() for point in listed]


@dataclass(slots=True)
class _Record:
    """A point's scores so far; ``complexity`` orders points by :attr:`Hyperparameters.simpler_by`."""

    complexity: tuple[float, ...]
    last: float = math.nan
    total: float = 0.0
    windows: int = 0

    @property
    def mean(self) -> float:
        """Mean over the windows in which the point was fitted; +inf where it failed in one."""
        return self.total / self.windows


class _Past:
    """The scores of points in the windows so far, and what they say of them."""

    def __init__(self) -> None:
        self._records: dict[Point, _Record] = {}

    def add(self, points: Sequence[Point], window: int, scores: Mapping[Request, float]) -> None:
        """Take the points' scores of the next window."""
        for point in points:
            if (record := self._records.get(point)) is None:
                record = self._records[point] = _Record(_complexity(point))
            record.last = scores[Request(window, point, 0)]
            record.total += record.last if math.isfinite(record.last) else math.inf
            record.windows += 1

    def mean(self, point: Point) -> float:
        """Mean over the windows in which the point was fitted; +inf where it failed in one."""
        return self._records[point].mean

    def ranked(self, points: Sequence[Point]) -> list[Point]:
        """Best first; a point that failed in the last window cannot forecast: it comes after all that can."""

        def place(point: Point) -> tuple[bool, float, int]:
            record = self._records[point]
            return not math.isfinite(record.last), record.mean, point.number

        return sorted(points, key=place)

    def simplest(self, ranked: Sequence[Point], tolerance: float) -> Point:
        """Return the simplest of the points whose mean exceeds the first one's by no more than a share of it."""
        if not tolerance or not ranked[0].settings.simpler_by:
            return ranked[0]
        limit = self.mean(ranked[0]) * (1.0 + tolerance)
        good = [p for p in ranked if math.isfinite(self._records[p].last) and self.mean(p) <= limit]
        return min(good, key=lambda p: self._records[p].complexity) if good else ranked[0]


def _complexity(point: Point) -> tuple[float, ...]:
    settings = point.settings
    return tuple(float(getattr(settings, name)) for name in settings.simpler_by)


def _is_settled(alive: Mapping[str, Sequence[Point]], studies: Mapping[str, _Study], settings: SearchSettings) -> bool:
    """Whether no later window can add a point or drop one."""
    closed = settings.refresh == 0 or all(study.exhausted for study in studies.values())
    kept = all(len(points) == _survivors(len(points), settings.survivors) for points in alive.values())
    return closed and (settings.pruner == "none" or kept)


def _halved(ranked: Sequence[Point], survivors: int) -> list[Point]:
    kept = ranked[: _survivors(len(ranked), survivors)]
    return sorted(kept, key=lambda point: point.number)


def _survivors(count: int, survivors: int) -> int:
    return min(count, max(survivors, math.ceil(count / 2)))


def _require_one_that_converged(variant: str, best: Point, window: int, scores: Mapping[Request, float]) -> None:
    if not math.isfinite(scores[Request(window, best, 0)]):
        raise WorkError(
            f"every point of {variant} diverged in window {window + 1}: lower its learning_rate, or look for extreme "
            "values in the targets; the cells fitted so far are kept"
        )

"""A search beside another: ablations are searched as the full model is, and never selected."""

from __future__ import annotations

from factor_ray.runner.search import Request, Search, Selection


def search_beside(selecting: Search, other: Search) -> Search:
    """Run two searches over different variants step by step; only those of the first may be the best of a window.

    Neither is told the other's scores, so that each ends as it would alone.

    Parameters
    ----------
    selecting, other : Search
        Not started yet.
    """
    searches: tuple[Search, Search] = (selecting, other)
    wanted: dict[Search, list[Request]] = {search: next(search) for search in searches}
    ended: dict[Search, Selection] = {}
    while wanted:
        scores = yield [request for requests in wanted.values() for request in requests]
        for search, requests in list(wanted.items()):
            try:
                wanted[search] = search.send({request: scores[request] for request in requests})
            except StopIteration as stop:
                ended[search] = stop.value
                del wanted[search]
    first, beside = (ended[search] for search in searches)
    return Selection({**first.points, **beside.points}, first.best, {**first.scores, **beside.scores})

"""Panel shards: actors that prepare blocks of firms, then blocks of months, of the panel in the object store."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from factor_ray.data.blocks import FirmBlock, Plan, plan_preparation, prepare_firms, prepare_months
from factor_ray.data.panel import Panel
from factor_ray.data.prepare import choose_characteristics, describe_preparation
from factor_ray.data.preprocess import Preprocess
from factor_ray.data.screen import Census
from factor_ray.data.windows import MonthRange
from factor_ray.runner.inputs import month_digests


class PanelShard:
    """Prepares one block of firms, then one of months; what it returns is the caller's, so a lost actor loses nothing.

    ``shared`` holds a reference to the panel and its plan, nested so that the reference and not a copy is passed.
    """

    def firms(self, shared: list[Any], block: int, blocks: int) -> tuple[FirmBlock, tuple[Census, Counter[str]]]:
        """Prepare every ``blocks``-th firm from its own history; return it, and by itself what the screen needs."""
        panel, plan = _read(shared)
        found = prepare_firms(panel, plan, np.flatnonzero(plan.firm_N % blocks == block))
        return found, (found.census, found.tally)

    def months(
        self, shared: list[Any], blocks: list[Any], kept: list[int], months: MonthRange
    ) -> tuple[pa.Table, list[str], Counter[str]]:
        """Prepare some months of all blocks of firms; return their rows, one digest per month, and what was counted."""
        ready, tally = prepare_months(*_read(shared), ray.get(blocks), kept, months)
        return ready.table.combine_chunks(), month_digests(ready), tally


def prepare_in_shards(
    panel: Panel, settings: Preprocess, shards: int, judged: MonthRange | None
) -> tuple[Panel, list[str]]:
    """Prepare a panel on several actors at once; the bits are those of :func:`factor_ray.data.prepare`.

    Returns
    -------
    Panel, list of str
        The prepared panel as one contiguous block, and its months' digests.
    """
    remote: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(PanelShard)
    plan, left_out = plan_preparation(panel, settings, judged)
    shared = [ray.put((dataclasses.replace(panel, macro=None, factors=None), plan))]
    spans = [(int(part[0]), int(part[-1])) for part in np.array_split(panel.months, shards) if len(part)]
    actors = [remote.remote() for _ in spans]
    count = len(actors)
    firms = [actor.firms.options(num_returns=2).remote(shared, k, count) for k, actor in enumerate(actors)]
    censuses, tallies = zip(*ray.get([told for _, told in firms]), strict=True)
    kept, dropped = choose_characteristics(panel, plan, censuses)
    blocks = [block for block, _ in firms]
    parts: Sequence[Any] = ray.get(
        [a.months.remote(shared, blocks, kept, span) for a, span in zip(actors, spans, strict=True)]
    )
    for actor in actors:
        ray.kill(actor)
    tally = sum([*tallies, *(counted for _, _, counted in parts)], Counter[str]())
    account = describe_preparation(panel, plan, dropped, censuses, left_out, tally)
    whole = Panel.joined([table for table, _, _ in parts], panel.macro, panel.factors)
    digests = [digest for _, listed, _ in parts for digest in listed]
    return whole.with_preparation(settings.model_dump(mode="json"), account), digests


def _read(shared: list[Any]) -> tuple[Panel, Plan]:
    panel, plan = ray.get(shared[0])
    return panel, plan

"""Panel shards: actors that prepare and hash blocks of months of the panel in the object store."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import ray

from factor_ray.data.panel import Panel
from factor_ray.data.prepare import Preprocess, prepare
from factor_ray.data.windows import MonthRange
from factor_ray.runner.inputs import month_digests


class PanelShard:
    """Prepares one block of months. What it returns belongs to the caller, so that losing the actor loses nothing.

    Parameters
    ----------
    settings : Preprocess
    """

    def __init__(self, settings: Preprocess) -> None:
        self._settings = settings

    def prepare(self, raw: list[Any], months: MonthRange) -> tuple[pa.Table, list[str]]:
        """Return the block's prepared rows and one digest per month. Earlier months are read for imputation only.

        ``raw`` holds a reference to the panel, nested so that the reference and not a copy is passed.
        """
        panel: Panel = ray.get(raw[0])
        past = panel.between(int(panel.months[0]), months[1])
        block = prepare(dataclasses.replace(past, macro=None), self._settings, months=months)
        return block.table.combine_chunks(), month_digests(block)


def prepare_in_shards(panel: Panel, settings: Preprocess, shards: int) -> tuple[Panel, list[str]]:
    """Prepare a panel on several actors at once; the bits are those of :func:`factor_ray.data.prepare`.

    Returns
    -------
    Panel, list of str
        The prepared panel as one contiguous block, and its months' digests.
    """
    remote: Any = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(PanelShard)
    raw = ray.put(panel)
    blocks = [part for part in np.array_split(panel.months, shards) if len(part)]
    actors = [remote.remote(settings) for _ in blocks]
    spans = [(int(block[0]), int(block[-1])) for block in blocks]
    results = ray.get([a.prepare.remote([raw], span) for a, span in zip(actors, spans, strict=True)])
    for actor in actors:
        ray.kill(actor)
    table = pa.concat_tables([table for table, _ in results]).combine_chunks()
    return Panel(table, panel.macro), [digest for _, digests in results for digest in digests]
